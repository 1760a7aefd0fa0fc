/*-------------------------------------------------------------------------
 *
 * sql_jobs.h
 *		What the SQL functions about jobs have in common.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_SQL_JOBS_H
#define PENNY_SQL_JOBS_H

#include "postgres.h"

#include "fmgr.h"
#include "utils/timestamp.h"

#define PENNY_MAX_WAIT (INT64CONST(3600) * USECS_PER_SEC) /* us */

/* In us; an error when it is not within these. */
extern int64 penny_interval_arg(const Interval *interval, const char *what, int64 low, int64 high);
/* In a procedure that commits, called `what`: an error within a transaction block. */
extern void penny_require_alone(FunctionCallInfo fcinfo, const char *what);
/* The one INOUT parameter, as a procedure gives it. */
extern Datum penny_procedure_result(FunctionCallInfo fcinfo, Datum value, bool isnull);

#endif /* PENNY_SQL_JOBS_H */

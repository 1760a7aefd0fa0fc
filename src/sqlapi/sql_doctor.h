/*-------------------------------------------------------------------------
 *
 * sql_doctor.h
 *		What the files of penny.doctor() have in common.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_SQL_DOCTOR_H
#define PENNY_SQL_DOCTOR_H

#include "postgres.h"

#include "nodes/execnodes.h"

/* One row; the remedy is shown only where something is wrong.  `detail` is the caller's. */
extern void penny_doctor_report(ReturnSetInfo *out, const char *check, bool ok, const char *detail,
								const char *remedy);

extern void penny_doctor_identity(ReturnSetInfo *out);
extern void penny_doctor_jobs(ReturnSetInfo *out);

#endif /* PENNY_SQL_DOCTOR_H */

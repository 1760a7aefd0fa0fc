/*-------------------------------------------------------------------------
 *
 * execution.h
 *		Executions of tools that never came to an end.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EXECUTION_H
#define PENNY_EXECUTION_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "store/tables.h"

/* Is a row of tool_executions one that is to come to an end by itself? */
extern bool penny_execution_is_open(const PennyRow *execution);
/* Fail those that are open for too long at this time; true: others are open. */
extern bool penny_execution_sweep(TimestampTz at);

#endif /* PENNY_EXECUTION_H */

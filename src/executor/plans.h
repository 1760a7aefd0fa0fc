/*-------------------------------------------------------------------------
 *
 * plans.h
 *		The statements an executor runs: one saved plan for each function and
 *		role.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_PLANS_H
#define PENNY_PLANS_H

#include "postgres.h"

#include "executor/spi.h"

/* Callbacks of the caches; once in a process, connected. */
extern void penny_plan_init(void);

/*
 * Call f(penny.request) as the current role.  `type` is set to the type that
 * was returned.
 */
extern Datum penny_plan_call(Oid function, Oid request_type, Datum request, bool *isnull,
							 Oid *type);

/*
 * Run one of penny's own statements, as the current role: at most `limit`
 * rows, which are then in SPI_tuptable.  `query` is a constant: its address
 * names the plan.
 */
extern void penny_plan_run(const char *query, int nargs, const Oid *types, const Datum *values,
						   const char *nulls, long limit);

#endif /* PENNY_PLANS_H */

/*-------------------------------------------------------------------------
 *
 * rate.h
 *		Requests a second of one user.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_RATE_H
#define PENNY_RATE_H

#include "executor/run.h"

/* Shared memory; from _PG_init. */
extern void penny_rate_init(void);

/*
 * Count this call for its caller, once however often it is tried; raises PY429
 * when the user has made penny.requests_per_second.
 */
extern void penny_rate_check(PennyRun *run);

#endif /* PENNY_RATE_H */

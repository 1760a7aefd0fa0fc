/*-------------------------------------------------------------------------
 *
 * idle.h
 *		Which executors wait for calls.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_IDLE_H
#define PENNY_IDLE_H

#include "postgres.h"

#include "plane/plane.h"

/* Shared memory; from penny_executor_init(). */
extern void penny_idle_init(void);

/* This executor waits for calls, or no longer does. */
extern void penny_idle_set(int executor, bool idle);

/*
 * A wake for a new call reached an executor that cannot take it: wake one
 * that can, or the supervisor.
 */
extern void penny_idle_pass_wake(PennyPlane *plane);

#endif /* PENNY_IDLE_H */

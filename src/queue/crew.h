/*-------------------------------------------------------------------------
 *
 * crew.h
 *		What penny's workers are to each other: who minds the time, when another
 *		one is wanted, and which job each runs.  See crew.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_QUEUE_CREW_H
#define PENNY_QUEUE_CREW_H

#include "postgres.h"

/* Shared memory; from _PG_init. */
extern void penny_crew_init(void);

/* ---- workers ------------------------------------------------------------------ */

/* Mind the time, unless another one does; true: it is this one. */
extern bool penny_crew_mind(int number);
/* There will be something to do at `next`: who minds the time is to know. */
extern void penny_crew_next(int number, int64 next);
/* No longer; true: nobody does now, so another one is to be woken. */
extern bool penny_crew_unmind(int number);

/* Does a worker mind the time? */
extern bool penny_crew_minded(void);

/* The job that this worker is about to run; 0: none.  True: it is to be cancelled. */
extern bool penny_crew_runs(int number, int64 id);
/* Which job of this worker is to be cancelled, if any. */
extern int64 penny_crew_to_cancel(int number);

/*
 * Cancel a job that a worker runs, whose entry says that it is to be
 * (PENNY_JOB_CANCEL): interrupts it if it is the one that runs at this moment.
 */
extern void penny_worker_cancel(uint32 holder, int64 id);

/*
 * A worker's job runs long: what it took with this token and later ones, none of which
 * has begun or will, is for others; wakes one.  May be called in signal handlers.
 */
extern void penny_crew_give(int number, uint64 token);
/* Under the queue's lock: put back what others gave. */
extern void penny_crew_collect(int64 now);
/* Under the queue's lock: what this worker gave is over, it holds nothing. */
extern void penny_crew_forget(int number);

/* ---- the supervisor ------------------------------------------------------------ */

/* Something is ready, and no worker sleeps: perhaps there should be one more. */
extern void penny_crew_short(void);
/* Supervisor: be told of that again. */
extern void penny_crew_rearm(void);
/* Is anything ready that a worker could run?  And when will time make it so, us. */
extern bool penny_crew_waits(int64 *next);
/* Workers that hold a number, and those of them that run jobs or are not there yet. */
extern void penny_crew_count(int *running, int *busy);

/*
 * Supervisor: a worker minds the time.  When that ends, it is told.
 * False: it is to look again after a while.
 */
extern bool penny_crew_attended(void);
/* Does any worker run jobs? */
extern bool penny_crew_works(void);

#endif /* PENNY_QUEUE_CREW_H */

/*-------------------------------------------------------------------------
 *
 * claimers.h
 *		Who waits for external jobs, and what those are called who hold some.
 *		See claimers.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_QUEUE_CLAIMERS_H
#define PENNY_QUEUE_CLAIMERS_H

#include "postgres.h"

#include "queue/queue.h"

#define PENNY_CLAIMER_NAME 64 /* bytes with the end; longer ones are cut */

/* Shared memory; from penny_queue_init(). */
extern void penny_claimers_init(void);

/* ---- names ---------------------------------------------------------------------- */

/* The number by which jobs say who holds them.  NULL: nobody in particular.  Under the queue's lock. */
extern uint32 penny_claimer_number(const char *name);
/* And back; "external" when it is not known any more.  Without the lock. */
extern char *penny_claimer_name(uint32 number);

/* ---- waking ------------------------------------------------------------------------ */

/* The queue has this name, NULL: there is none; under the queue's lock. */
extern void penny_claimers_queue(uint16 queue, const char *name);
/*
 * Something may have become ready, or will at another time: penny_queue_wake() of
 * external jobs.  Not under the queue's lock.
 */
extern void penny_claimers_wake(uint16 queue);
/* All queues that somebody waits for. */
extern void penny_claimers_wake_all(void);
/* Tell the edges of what time has made ready; true: somebody there waits for a queue. */
extern bool penny_claimers_upkeep(void);
/* A claim has left nothing ready; under the queue's lock. */
extern void penny_claimers_drained(uint16 queue);

/* ---- who sleeps ----------------------------------------------------------------------- */

/* Mind the time for all, unless another one does: true. */
extern bool penny_claimers_mind(void);
/* Something will be ready at `next`: who minds the time is to know. */
extern void penny_claimers_next(int64 next);
/* Not asleep any more: somebody else minds the time. */
extern void penny_claimers_leave(void);

#endif /* PENNY_QUEUE_CLAIMERS_H */

/*-------------------------------------------------------------------------
 *
 * waiting.h
 *		Jobs that have not started: taking one out of the scheduler's hands to end
 *		it, wherever it waits.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_QUEUE_WAITING_H
#define PENNY_QUEUE_WAITING_H

#include "postgres.h"

#include "queue/queue.h"

typedef struct PennyWaitingJob
{
	PennyJobRef ref; /* 0: blocked, its row is locked */
	PennyJobRow row;
} PennyWaitingJob;

/*
 * Jobs that wait for others (pending) are in no entry: their rows are locked.
 * Others are made ENDING in memory, into which they are brought if need be.
 */
extern PennyOwned penny_waiting_take(int64 id, PennyWaitingJob *out);
/* Record that it was cancelled. */
extern void penny_waiting_cancel(const PennyWaitingJob *job);
/*
 * A job waits for one other less: it is offered when this was the last.  Its row
 * is locked.  False: there is no such job that waits.
 */
extern bool penny_waiting_count_down(int64 id);
/* Lock the row of a job that waits for others, and read it; false: it does not wait. */
extern bool penny_waiting_lock(int64 id, PennyJobRow *row);

#endif /* PENNY_QUEUE_WAITING_H */

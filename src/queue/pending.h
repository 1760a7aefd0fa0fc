/*-------------------------------------------------------------------------
 *
 * pending.h
 *		What this transaction will tell the scheduler when it commits.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_QUEUE_PENDING_H
#define PENNY_QUEUE_PENDING_H

#include "postgres.h"

#include "queue/queue.h"

/* Transaction callbacks; from penny_queue_init(). */
extern void penny_pending_init(void);
extern void penny_ending_init(void);

/* A job to be offered at commit. */
extern void penny_pending_job(const PennyJob *job, PennyRunner runner);
/*
 * It is cancelled before the commit: nobody will be told of it.  False: it is none of
 * this transaction's; an error when that cannot be known.
 */
extern bool penny_pending_cancel(uint16 queue, int64 id);
/* A deferred one, which is loaded before it is due. */
extern void penny_pending_deferred(TimestampTz due);

/* Workers are to read the tables anew after the commit. */
extern void penny_pending_reload(void);

/* PRE_PREPARE: note under the transaction's xid what it will have added. */
extern void penny_prepared_jobs(int64 first, bool deferred);

#endif /* PENNY_QUEUE_PENDING_H */

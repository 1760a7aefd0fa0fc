/*-------------------------------------------------------------------------
 *
 * cancel.h
 *		Cancelling jobs.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_CANCEL_H
#define PENNY_CANCEL_H

#include "postgres.h"

/* Transaction callbacks; from penny_queue_init(). */
extern void penny_cancel_init(void);

/*
 * Cancel a job in whatever state, in this transaction.  False: there is none, or
 * it has ended.  The caller has checked the right.
 */
extern bool penny_job_cancel(int64 id);

#endif /* PENNY_CANCEL_H */

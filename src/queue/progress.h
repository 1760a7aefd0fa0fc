/*-------------------------------------------------------------------------
 *
 * progress.h
 *		How far a job is, as its handler says.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_QUEUE_PROGRESS_H
#define PENNY_QUEUE_PROGRESS_H

#include "postgres.h"

#include "utils/jsonb.h"

#define PENNY_PROGRESS_MAX 1000 /* bytes, as text */

/* Shared memory; from penny_queue_init(). */
extern void penny_progress_init(void);

/*
 * Tell at once, whatever becomes of the transaction: to who looks, and to who
 * listens.  With id 0 of the job whose handler runs, else of one that is claimed with
 * this token.  False: it is not held any more.
 */
extern bool penny_progress_tell(Jsonb *progress, int64 id, uint64 token);
/* What a job that runs said last, or NULL. */
extern Jsonb *penny_progress_of(int64 id);

#endif /* PENNY_QUEUE_PROGRESS_H */

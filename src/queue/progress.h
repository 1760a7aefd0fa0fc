/*-------------------------------------------------------------------------
 *
 * progress.h
 *		How far jobs are, as their handlers and workers say.  See progress.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_QUEUE_PROGRESS_H
#define PENNY_QUEUE_PROGRESS_H

#include "postgres.h"

#include "queue/queue.h"

#define PENNY_PROGRESS_MAX 8192 /* bytes of a jsonb value */

/* Shared memory; from penny_queue_init(). */
extern void penny_progress_init(void);

/* Keep it and tell it, at once.  The caller has checked that the job is its own and the size. */
extern void penny_progress_set(const PennyJobRow *row, const Jsonb *progress);
/* What was said last, or NULL: nothing, or so long ago that others took its place. */
extern Jsonb *penny_progress_get(int64 id);

#endif /* PENNY_QUEUE_PROGRESS_H */

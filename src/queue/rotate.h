/*-------------------------------------------------------------------------
 *
 * rotate.h
 *		Between the files that empty segments.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_QUEUE_ROTATE_H
#define PENNY_QUEUE_ROTATE_H

#include "postgres.h"

/* ---- rotate_move.c ------------------------------------------------------------- */

/* Move jobs of a segment that have not started to the deferred ones; in a transaction of its own. */
extern void penny_segment_move_jobs(int64 segment, int max);
/*
 * Move the sequence of ids on, never back; in a transaction that ends at once.  False:
 * others have taken ids in transactions that have not ended; not now.
 */
extern bool penny_sequence_to(int64 id);

#endif /* PENNY_QUEUE_ROTATE_H */

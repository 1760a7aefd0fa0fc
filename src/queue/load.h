/*-------------------------------------------------------------------------
 *
 * load.h
 *		From the tables to memory, and other things that are done now and then.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_QUEUE_LOAD_H
#define PENNY_QUEUE_LOAD_H

#include "postgres.h"

#include "queue/queue.h"

/* ---- load.c ---------------------------------------------------------------------- */

/*
 * Offer the job of this id, if it is in a segment, waits, and is not in memory.
 * True: offered.
 */
extern bool penny_load_job(int64 id);
/* The same for a deferred job; false: there is no room. */
extern bool penny_load_row(const PennyJobRow *row);
/* Everything that is not in memory; under the upkeep, in a transaction. */
extern void penny_load_all(int64 now);
/* Attempts that failed of a job in a segment, by receipts, and when it is due (0: as its row says). */
extern int penny_load_attempts(int64 id, int64 *due);

/* ---- load_rows.c ------------------------------------------------------------------- */

/* Jobs on their way into memory, a lock for many. */
typedef struct PennyOffers PennyOffers;
extern PennyOffers *penny_offers_begin(void);
/* True: those so far have been offered. */
extern bool penny_offers_add(PennyOffers *offers, const PennyJob *job);
/* How many came in. */
extern uint64 penny_offers_end(PennyOffers *offers);

/* ---- rescan.c ------------------------------------------------------------------------ */

/* Rows that were left out, as far as there is room.  When to go on; PENNY_SCHED_NEVER. */
extern int64 penny_rescan(int64 now);
/* Deferred jobs that come due. */
extern int64 penny_load_deferred(int64 now);

/* ---- load_prepared.c ------------------------------------------------------------------- */

/* After a start: what is prepared and not noted. */
extern void penny_prepared_begin(void);
/* Those that are over; when to look again, or PENNY_SCHED_NEVER. */
extern int64 penny_prepared_settle(int64 now);

/* ---- rotate.c ------------------------------------------------------------------------ */

/* Empty one segment, if there is one; in transactions of its own.  When to look again. */
extern int64 penny_rotate(int64 now);

/* ---- rotate_empty.c --------------------------------------------------------------------- */

typedef enum PennyEmptied
{
	PENNY_EMPTIED,
	PENNY_EMPTIED_BUSY, /* somebody holds a lock */
	PENNY_EMPTIED_NOT   /* there are rows of which no receipt tells an end */
} PennyEmptied;

/*
 * Empty the tables of a segment, which is closed, in this transaction, after what is
 * kept was copied.  `first`: of rows without an end.
 */
extern PennyEmptied penny_segment_empty(int64 segment, int64 *first);

/* ---- history.c ------------------------------------------------------------------------------ */

/* Note that a row was added to the history of a queue. */
extern void penny_history_added(uint16 queue);
/* Delete what is more than queues keep; when to go on. */
extern int64 penny_history_trim(int64 now);

#endif /* PENNY_QUEUE_LOAD_H */

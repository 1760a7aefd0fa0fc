/*-------------------------------------------------------------------------
 *
 * ending_private.h
 *		Between the files that record how attempts ended.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_QUEUE_ENDING_PRIVATE_H
#define PENNY_QUEUE_ENDING_PRIVATE_H

#include "postgres.h"

#include "storage/itemptr.h"

#include "queue/queue.h"

/* ---- ending.c: what the commit will post ---------------------------------------- */

/*
 * The entry is this transaction's, and the commit is to post this verb; for RETRY
 * with these; deferred: its row has gone to the deferred jobs.
 */
extern void penny_ending_post(PennyJobRef ref, PennyJobVerb verb, int64 due, int attempt,
							  bool deferred);

/* Jobs of a segment that have not started become this transaction's; how many. */
extern int penny_ending_own_segment(int64 segment, int max, PennyJobRef *refs);

/* The job has ended for good: the commit tells who waits for that. */
extern void penny_ending_tell(int64 id);

/* ---- ending_receipt.c ------------------------------------------------------------- */

typedef struct PennyReceipt
{
	int64 id;
	int64 last_id;
	uint16 queue;
	PennyOutcome outcome;
	int attempt;
	int jobs;
	TimestampTz started;
	TimestampTz ended;
	TimestampTz due; /* 0: null */
	uint64 group;    /* 0: null */
	bytea *ids;      /* or NULL; as all that follow */
	Jsonb *result;
	const char *error;
	const char *worker;
} PennyReceipt;

extern void penny_receipt_write(const PennyReceipt *receipt);
/* ids ascending -> bytes, and back: calls `each`. */
extern bytea *penny_receipt_pack(const int64 *ids, int n);
extern void penny_receipt_unpack(int64 first, const bytea *ids, void (*each)(int64 id, void *arg),
								 void *arg);

/* Does a receipt say that this job has ended?  Of batches only those near are looked at. */
extern bool penny_receipt_tells_end(int64 id);

/* ---- ending_errors.c ------------------------------------------------------------------- */

/* Errors so far and one more. */
extern Jsonb *penny_errors_with(const PennyJobRow *row, int attempt, TimestampTz at,
								const char *error, const char *worker);

/* ---- ending_rows.c --------------------------------------------------------------------- */

/* A job that has its row in a segment is to have it with the deferred ones. */
extern void penny_deferred_move(const PennyJobRow *row, int64 due, int made, Jsonb *errors);
/* A deferred job has failed and is to be run again at `due`. */
extern void penny_deferred_retry(const PennyJobRow *row, int64 due, int made, Jsonb *errors);
extern void penny_deferred_delete(int64 id);
/* The row of a segment that this transaction has written. */
extern void penny_job_delete(int64 id);
/* What is kept of one that ended. */
extern void penny_dead_insert(const PennyJobRow *row, int made, const char *reason, Jsonb *errors,
							  TimestampTz at);
extern void penny_history_insert(const PennyJobRow *row, const PennyReceipt *receipt);

#endif /* PENNY_QUEUE_ENDING_PRIVATE_H */

/*-------------------------------------------------------------------------
 *
 * run_private.h
 *		What run.c and run_job.c have in common.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_QUEUE_RUN_PRIVATE_H
#define PENNY_QUEUE_RUN_PRIVATE_H

#include "postgres.h"

#include "queue/run.h"

typedef enum PennyFate
{
	PENNY_FATE_NONE, /* not run in this transaction */
	PENNY_FATE_COMPLETED,
	PENNY_FATE_FAILED,
	PENNY_FATE_CANCELLED,
	PENNY_FATE_GONE,    /* it has no row any more */
	PENNY_FATE_PUT_BACK /* not a worker's any more */
} PennyFate;

/* us after which a job runs again of which not even the failure could be recorded */
#define PENNY_RUN_AGAIN_AFTER (5 * USECS_PER_SEC)

/* A job of the batch. */
typedef struct PennyBatchItem
{
	PennyJobRef ref;
	PennyJob job; /* as taken */
	PennyFate fate;
	PennyJobRow row; /* in the batch's memory, as are the following */
	Jsonb *result;
	const char *error;
	const char *reason;
	TimestampTz started;
} PennyBatchItem;

/* ---- run.c ------------------------------------------------------------------------ */

/*
 * The job that runs takes long: what of the batch is behind it is given to others.
 * In a signal handler.
 */
extern void penny_run_give_rest(int number);

/* ---- run_job.c -------------------------------------------------------------------- */

extern void penny_run_job_init(int number);
/* Around the jobs of one transaction: ticks. */
extern void penny_run_ticks(bool on);
/*
 * Call the handler of the item's job, whose row is read, and leave the transaction
 * as it was but for its effects.  An error comes through; then the transaction is
 * aborted, and penny_run_job_stop() is called.
 */
extern void penny_run_job(PennyBatchItem *item, const PennyHandler *handler,
						  const PennyJobTerms *terms, MemoryContext result_context);
/* After an error.  What the job is told to have failed of, if it was told to stop: else NULL. */
extern const char *penny_run_job_stop(bool *cancelled);
/* The job made something that lasts beyond its transaction's memory: none may follow in it. */
extern bool penny_run_job_left_something(void);

/* ---- run_record.c -------------------------------------------------------------------- */

/* Write down how the jobs of this transaction ended, and choose how it commits. */
extern void penny_run_record(PennyBatchItem *items, int n, const PennyBatchItem **current);
/* The end of one whose entry is this transaction's own. */
extern void penny_run_record_one(const PennyBatchItem *item);

/* ---- run_settle.c ---------------------------------------------------------------------- */

/* After the commit: what it does not tell. */
extern void penny_run_settle(const PennyBatchItem *items, int n);
/* What of these has not begun goes back; at least one. */
extern void penny_run_put_back(const PennyBatchItem *items, int n);

/* ---- pace.c --------------------------------------------------------------------------- */

/* A job of this kind took so long. */
extern void penny_pace_note(uint64 kind, int64 us);

#endif /* PENNY_QUEUE_RUN_PRIVATE_H */

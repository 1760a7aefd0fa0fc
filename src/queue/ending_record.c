/*-------------------------------------------------------------------------
 *
 * ending_record.c
 *		Writing down how attempts ended, and what follows from it.
 *
 * All of it is done in the transaction that says so:
 *
 *	completed, cancelled	a receipt; of a deferred job its row goes to the history
 *	failed, to be retried	a receipt that says when; after more than
 *							PENNY_JOB_DEFER_AFTER the row moves to the deferred jobs
 *	failed at last			a receipt and a dead letter
 *
 * A deferred job has no receipt of its end, but its row and what is kept of it; where a
 * limit counted its start one says that.
 *
 * and for the three final ones what keys, flows and listeners want (ending.h).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/pg_prng.h"
#include "mb/pg_wchar.h"
#include "utils/timestamp.h"

#include "queue/ending.h"
#include "queue/ending_private.h"
#include "queue/pending.h"
#include "queue/shared.h"
#include "queue/storage.h"

#define BACKOFF_MAX (INT64CONST(24) * 3600 * USECS_PER_SEC)
#define ATTEMPTS_MAX 1000

static void fill(const PennyEnding *ending, PennyReceipt *receipt);
static bool retry(const PennyEnding *ending, PennyReceipt *receipt);
static void end(const PennyEnding *ending, PennyReceipt *receipt);

/* ---- what holds for a job -------------------------------------------------------- */

void
penny_job_terms(const PennyJobRow *row, const PennyHandler *handler, PennyJobTerms *terms)
{
	PennyQueueConfig queue;

	if (!penny_queue_by_id(row->queue, &queue))
	{
		/* the queue was dropped: what a queue has that nobody set */
		memset(&queue, 0, sizeof(queue));
		queue.attempts = 3;
		queue.backoff = 2 * USECS_PER_SEC;
		queue.exponential = true;
		queue.timeout = INT64CONST(300) * USECS_PER_SEC;
	}
	terms->attempts = row->attempts > 0                          ? row->attempts
					  : handler != NULL && handler->attempts > 0 ? handler->attempts
																 : queue.attempts;
	terms->timeout = row->timeout_ms > 0                       ? row->timeout_ms * INT64CONST(1000)
					 : handler != NULL && handler->timeout > 0 ? handler->timeout
															   : queue.timeout;
	terms->backoff = row->backoff_ms >= 0                       ? row->backoff_ms * INT64CONST(1000)
					 : handler != NULL && handler->backoff >= 0 ? handler->backoff
																: queue.backoff;
	terms->exponential = queue.exponential;
	terms->jitter = queue.jitter;
}

int64
penny_job_backoff(const PennyJobTerms *terms, int made)
{
	int64 delay = terms->backoff;

	for (int i = 1; terms->exponential && i < made && delay < BACKOFF_MAX; i++)
		delay *= 2;
	delay = Min(delay, BACKOFF_MAX);
	/* a jitter of j takes the delay from [delay * (1 - j), delay] */
	return delay - (int64) ((double) delay * terms->jitter * pg_prng_double(&pg_global_prng_state));
}

/* ---- one ending --------------------------------------------------------------------- */

/* At most so many bytes, whole characters. */
static const char *
clip(const char *text)
{
	int len;

	if (text == NULL)
		return NULL;
	len = (int) strlen(text);
	if (len <= PENNY_JOB_ERROR_MAX)
		return text;
	return pnstrdup(text, (Size) pg_mbcliplen(text, len, PENNY_JOB_ERROR_MAX));
}

static void
fill(const PennyEnding *ending, PennyReceipt *receipt)
{
	const PennyJob *job =
		ending->ref != 0 ? penny_sched_job(penny_queue_sched(), ending->ref) : NULL;

	memset(receipt, 0, sizeof(*receipt));
	receipt->id = receipt->last_id = ending->row->id;
	receipt->queue = ending->row->queue;
	receipt->outcome = ending->outcome;
	/* what is in no entry has not started */
	receipt->attempt = Min(ending->row->made + (ending->ref != 0), ATTEMPTS_MAX);
	receipt->jobs = 1;
	receipt->ended = GetCurrentTimestamp();
	receipt->started = ending->started != 0 ? ending->started : receipt->ended;
	receipt->group = job != NULL && (job->flags & PENNY_JOB_ALONE) ? job->group : 0;
	receipt->result = ending->result;
	receipt->error = clip(ending->error);
	receipt->worker = ending->worker;
}

void
penny_ending_record(const PennyEnding *ending)
{
	PennyReceipt receipt;

	if (ending->ref != 0 && !penny_queue_current())
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the job is not in this database any more"),
						errdetail("The extension penny was dropped while it ran.")));
	fill(ending, &receipt);
	if (ending->outcome != PENNY_OUTCOME_FAILED || ending->permanent || !retry(ending, &receipt))
		end(ending, &receipt);
}

/*
 * A deferred job has no receipts; but a start that a limit counts must be found when
 * the limits are made anew from them.
 */
static void
note_start(const PennyEnding *ending, const PennyReceipt *receipt)
{
	PennyReceipt start = *receipt;

	if (ending->ref == 0 ||
		(penny_sched_job(penny_queue_sched(), ending->ref)->flags & PENNY_JOB_ALONE) == 0)
		return;
	start.outcome = PENNY_OUTCOME_RETRY;
	start.due = 0;
	start.result = NULL;
	start.error = NULL;
	penny_receipt_write(&start);
}

/* Another attempt, if there is one left. */
static bool
retry(const PennyEnding *ending, PennyReceipt *receipt)
{
	const PennyJobRow *row = ending->row;
	bool deferred = (row->flags & PENNY_JOB_DEFERRED) != 0;
	int made = row->made + 1;
	PennyJobTerms terms;
	int64 delay;
	bool far;
	Jsonb *errors = NULL;

	penny_job_terms(row, penny_handler_find(row->kind), &terms);
	if (made >= terms.attempts || ending->ref == 0)
		return false;
	delay = ending->retry_in >= 0 ? ending->retry_in : penny_job_backoff(&terms, made);
	far = delay > PENNY_JOB_DEFER_AFTER;
	receipt->due = receipt->ended + delay;
	if (far || deferred)
		errors = penny_errors_with(row, made, receipt->ended, receipt->error, receipt->worker);
	if (deferred)
	{
		penny_deferred_retry(row, receipt->due, made, errors);
		note_start(ending, receipt);
	}
	else
	{
		receipt->outcome = far ? PENNY_OUTCOME_MOVED : PENNY_OUTCOME_RETRY;
		if (far)
			penny_deferred_move(row, receipt->due, made, errors);
		penny_receipt_write(receipt);
	}
	if (far)
		penny_pending_deferred(receipt->due);
	penny_ending_post(ending->ref, far ? PENNY_VERB_ENDED : PENNY_VERB_RETRY, receipt->due, made,
					  false);
	return true;
}

static void
end(const PennyEnding *ending, PennyReceipt *receipt)
{
	const PennyJobRow *row = ending->row;
	bool deferred = (row->flags & PENNY_JOB_DEFERRED) != 0;

	if (ending->outcome == PENNY_OUTCOME_FAILED)
		penny_dead_insert(row, receipt->attempt,
						  ending->reason != NULL ? ending->reason
						  : ending->permanent    ? "permanent"
												 : "failed",
						  penny_errors_with(row, receipt->attempt, receipt->ended, receipt->error,
											receipt->worker),
						  receipt->ended);
	else if (deferred)
		penny_history_insert(row, receipt);
	if (deferred)
	{
		penny_deferred_delete(row->id);
		note_start(ending, receipt);
	}
	else if (ending->ref != 0)
		penny_receipt_write(receipt);
	else
		penny_job_delete(row->id); /* this transaction enqueued it: nobody will have seen it */
	if (ending->ref != 0)
		penny_ending_post(ending->ref, PENNY_VERB_ENDED, 0, 0, false);
	penny_ending_tell(row->id);
	penny_ending_lineage(ending);
	penny_ending_keys(ending);
	penny_ending_flow(ending);
	penny_ending_events(ending);
}

/* ---- many ---------------------------------------------------------------------------- */

void
penny_ending_record_batch(const int64 *ids, const PennyJobRef *refs, int n, uint16 queue,
						  TimestampTz started, const char *worker)
{
	const PennyJob *first = penny_sched_job(penny_queue_sched(), refs[0]);
	PennyReceipt receipt = {.queue = queue, .started = started, .worker = worker};

	receipt.ended = GetCurrentTimestamp();
	receipt.attempt = Min(first->attempt + 1, ATTEMPTS_MAX);
	receipt.group = n == 1 && (first->flags & PENNY_JOB_ALONE) ? first->group : 0;
	for (int i = 0; i < n;)
	{
		int run = 1;

		while (i + run < n && penny_segment_of(ids[i + run]) == penny_segment_of(ids[i]))
			run++;
		receipt.id = ids[i];
		receipt.last_id = ids[i + run - 1];
		receipt.jobs = run;
		receipt.outcome = run == 1 ? PENNY_OUTCOME_COMPLETED : PENNY_OUTCOME_BATCH;
		receipt.ids = run == 1 ? NULL : penny_receipt_pack(&ids[i], run);
		penny_receipt_write(&receipt);
		i += run;
	}
	for (int i = 0; i < n; i++)
	{
		penny_ending_post(refs[i], PENNY_VERB_ENDED, 0, 0, false);
		penny_ending_tell(ids[i]);
	}
}

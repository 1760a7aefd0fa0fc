/*-------------------------------------------------------------------------
 *
 * run_record.c
 *		How the jobs of a worker's transaction ended, written down in it.
 *
 * Most have completed and nobody wants to know: one receipt is for all of these.
 * What anybody asked of the others while they ran (to be cancelled, to be told)
 * is looked at when their entries are this transaction's own, so nothing can be
 * asked later than that.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "postmaster/bgworker.h"
#include "utils/timestamp.h"

#include "config/config.h"
#include "queue/run_private.h"

static bool is_plain(const PennyBatchItem *item);
static void record_plain(PennyBatchItem **plain, int n);
static void check_cancelled(const PennyBatchItem *item);

/* Is an end of it told by the receipt of the batch alone? */
static bool
is_plain(const PennyBatchItem *item)
{
	const int special = PENNY_JOB_DEFERRED | PENNY_JOB_KEYED | PENNY_JOB_CHILD | PENNY_JOB_TOLD |
						PENNY_JOB_AWAITED | PENNY_JOB_REDRIVEN;

	return item->fate == PENNY_FATE_COMPLETED && item->result == NULL &&
		   (item->job.flags & special) == 0;
}

void
penny_run_record_one(const PennyBatchItem *item)
{
	PennyEnding ending = {.ref = item->ref,
						  .row = &item->row,
						  .outcome = item->fate == PENNY_FATE_COMPLETED ? PENNY_OUTCOME_COMPLETED
									 : item->fate == PENNY_FATE_FAILED  ? PENNY_OUTCOME_FAILED
																		: PENNY_OUTCOME_CANCELLED,
						  .permanent = item->reason != NULL,
						  .reason = item->reason,
						  .retry_in = -1,
						  .result = item->result,
						  .error = item->error,
						  .worker = MyBgworkerEntry->bgw_name,
						  .started = item->started};

	penny_ending_record(&ending);
}

static int
compare_items(const void *a, const void *b)
{
	const PennyBatchItem *const *one = a;
	const PennyBatchItem *const *two = b;

	return (*one)->job.id < (*two)->job.id ? -1 : (*one)->job.id > (*two)->job.id;
}

/* Children of younger parents first: as who cancels a flow locks it (waiting.c). */
static int
compare_special(const void *a, const void *b)
{
	const PennyBatchItem *const *one = a;
	const PennyBatchItem *const *two = b;

	if ((*one)->row.parent != (*two)->row.parent)
		return (*one)->row.parent > (*two)->row.parent ? -1 : 1;
	return compare_items(a, b);
}

static void
record_special(PennyBatchItem **special, int n, const PennyBatchItem **current)
{
	qsort(special, n, sizeof(special[0]), compare_special);
	for (int i = 0; i < n; i++)
	{
		*current = special[i];
		penny_run_record_one(special[i]);
	}
}

/* One receipt for all that are plain. */
static void
record_plain(PennyBatchItem **plain, int n)
{
	static int64 ids[PENNY_BATCH_MAX];
	static PennyJobRef refs[PENNY_BATCH_MAX];
	TimestampTz started = plain[0]->started;

	qsort(plain, n, sizeof(plain[0]), compare_items);
	for (int i = 0; i < n; i++)
	{
		ids[i] = plain[i]->job.id;
		refs[i] = plain[i]->ref;
		started = Min(started, plain[i]->started);
	}
	penny_ending_record_batch(ids, refs, n, plain[0]->job.queue, started,
							  MyBgworkerEntry->bgw_name);
}

/* Somebody asked for the end of a job at the last moment: nothing of this counts. */
static void
check_cancelled(const PennyBatchItem *item)
{
	if (item->fate == PENNY_FATE_COMPLETED && (item->job.flags & PENNY_JOB_CANCEL) != 0)
		ereport(ERROR, (errcode(ERRCODE_QUERY_CANCELED), errmsg("the job was cancelled")));
}

/* Is there an end of it to be written down? */
static bool
has_ended(const PennyBatchItem *item)
{
	return item->fate != PENNY_FATE_GONE && item->fate != PENNY_FATE_PUT_BACK;
}

void
penny_run_record(PennyBatchItem *items, int n, const PennyBatchItem **current)
{
	static PennyJobRef refs[PENNY_BATCH_MAX];
	static PennyBatchItem *plain[PENNY_BATCH_MAX];
	static PennyBatchItem *special[PENNY_BATCH_MAX];
	int owned = 0;
	int plain_n = 0;
	int special_n = 0;
	bool told = false;

	for (int i = 0; i < n; i++)
		if (has_ended(&items[i]))
			refs[owned++] = items[i].ref;
	if (owned > 0)
		penny_ending_own_taken(refs, owned);
	for (int i = 0; i < n; i++)
	{
		PennyBatchItem *item = &items[i];

		if (!has_ended(item))
			continue;
		*current = item;
		/* others may have set some while it was ACTIVE */
		item->job.flags = penny_sched_job(penny_queue_sched(), item->ref)->flags;
		check_cancelled(item);
		told |= (item->job.flags & (PENNY_JOB_TOLD | PENNY_JOB_AWAITED)) != 0;
		if (is_plain(item))
			plain[plain_n++] = item;
		else
			special[special_n++] = item;
	}
	record_special(special, special_n, current);
	if (plain_n > 0)
		record_plain(plain, plain_n);
	if (!told && !penny_job_synchronous_commit)
		synchronous_commit = SYNCHRONOUS_COMMIT_OFF;
}

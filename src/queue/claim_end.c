/*-------------------------------------------------------------------------
 *
 * claim_end.c
 *		Claims that end: completed or failed.
 *
 * Who ends a claim names its token, which is never given twice, also not after a
 * restart: a worker that comes too late is told so and can undo what it did.
 *
 * It is an ending like any (ending.c): recorded in the caller's transaction, and
 * true when that commits.  Extending and releasing (claim.c) happen at once.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/error.h"
#include "queue/claim.h"
#include "queue/claimers.h"
#include "queue/queue.h"

void
penny_claim_stale(int64 id)
{
	ereport(ERROR,
			(errcode(ERRCODE_PENNY_CONFLICT),
			 errmsg("job " INT64_FORMAT " is not held with this token", id),
			 errdetail("Its lease has ended, it was cancelled, or its end is recorded already."),
			 errhint("Undo what was done for it; if it is to run, it is given out again.")));
}

/* Of an entry that is ENDING: its row.  False: that has gone by other hands. */
static bool
describe(PennyJobRef ref, const PennyJob *job, PennyJobRow *row, PennyEnding *ending)
{
	bool found;

	PushActiveSnapshot(GetLatestSnapshot());
	found = penny_job_read(job, row);
	PopActiveSnapshot();
	memset(ending, 0, sizeof(*ending));
	ending->ref = ref;
	ending->row = row;
	ending->retry_in = -1;
	ending->worker = penny_claimer_name(job->holder);
	ending->started = job->started;
	return found;
}

/* ENDING, with its row, or PY409. */
static void
own(int64 id, uint64 token, PennyEnding *ending, PennyJobRow *row)
{
	PennyJobRef ref;
	PennyJob job;

	/* of one without a row, the error puts it back, and who takes it next drops it */
	if (penny_ending_own_claims(&id, &token, 1, &ref, &job) == 0 ||
		!describe(ref, &job, row, ending))
		penny_claim_stale(id);
}

static void
complete_owned(PennyJobRef ref, const PennyJob *job, Jsonb *result)
{
	PennyJobRow row;
	PennyEnding ending;

	if (!describe(ref, job, &row, &ending))
		penny_claim_stale(job->id);
	ending.outcome = PENNY_OUTCOME_COMPLETED;
	ending.result = result;
	penny_ending_record(&ending);
}

void
penny_claim_complete(int64 id, uint64 token, Jsonb *result)
{
	penny_claim_complete_many(&id, &token, 1, &result);
}

void
penny_claim_fail(int64 id, uint64 token, const char *error, int64 retry_in, bool permanent)
{
	PennyJobRow row;
	PennyEnding ending;

	own(id, token, &ending, &row);
	ending.outcome = PENNY_OUTCOME_FAILED;
	ending.permanent = permanent;
	ending.reason = permanent ? "permanent" : NULL;
	ending.retry_in = retry_in;
	ending.error = error;
	penny_ending_record(&ending);
}

/* Nothing but its receipt follows from the end of such a job. */
static bool
is_plain(const PennyJob *job)
{
	return (job->flags & (PENNY_JOB_DEFERRED | PENNY_JOB_KEYED | PENNY_JOB_CHILD | PENNY_JOB_TOLD |
						  PENNY_JOB_REDRIVEN)) == 0;
}

/* A job that is ENDING. */
typedef struct Owned
{
	PennyJobRef ref;
	const PennyJob *job; /* as it was */
} Owned;

static int
by_holder(const void *a, const void *b)
{
	const PennyJob *one = ((const Owned *) a)->job;
	const PennyJob *two = ((const Owned *) b)->job;

	if (one->queue != two->queue)
		return one->queue < two->queue ? -1 : 1;
	if (one->holder != two->holder)
		return one->holder < two->holder ? -1 : 1;
	return one->id < two->id ? -1 : one->id > two->id;
}

/* A start that a rate has counted has a receipt of its own, which says when it was. */
static bool
share_receipt(const PennyJob *one, const PennyJob *two)
{
	return one->queue == two->queue && one->holder == two->holder &&
		   ((one->flags | two->flags) & PENNY_JOB_ALONE) == 0;
}

/* Plain ones of one queue and worker share a receipt. */
static void
record_plain(Owned *plain, int n)
{
	int64 *ids = palloc(sizeof(int64) * (Size) n);
	PennyJobRef *refs = palloc(sizeof(PennyJobRef) * (Size) n);

	qsort(plain, (size_t) n, sizeof(Owned), by_holder);
	for (int from = 0, to; from < n; from = to)
	{
		const PennyJob *first = plain[from].job;
		int64 started = first->started;

		for (to = from; to < n && (to == from || share_receipt(first, plain[to].job)); to++)
		{
			ids[to] = plain[to].job->id;
			refs[to] = plain[to].ref;
			started = Min(started, plain[to].job->started);
		}
		penny_ending_record_batch(ids + from, refs + from, to - from, first->queue, started,
								  penny_claimer_name(first->holder));
	}
}

void
penny_claim_complete_many(const int64 *ids, const uint64 *tokens, int n, Jsonb **results)
{
	PennyJob *jobs = palloc(sizeof(PennyJob) * (Size) Max(n, 1));
	PennyJobRef *refs = palloc(sizeof(PennyJobRef) * (Size) Max(n, 1));
	Owned *plain = palloc(sizeof(Owned) * (Size) Max(n, 1));
	int owned = penny_ending_own_claims(ids, tokens, n, refs, jobs);
	int nplain = 0;

	if (owned < n)
		penny_claim_stale(ids[owned]);
	for (int i = 0; i < n; i++)
	{
		Jsonb *result = results == NULL ? NULL : results[i];

		if (result == NULL && is_plain(&jobs[i]))
			plain[nplain++] = (Owned){refs[i], &jobs[i]};
		else
			complete_owned(refs[i], &jobs[i], result);
	}
	if (nplain > 0)
		record_plain(plain, nplain);
	pfree(jobs);
	pfree(refs);
	pfree(plain);
}

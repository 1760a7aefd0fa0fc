/*-------------------------------------------------------------------------
 *
 * claim.c
 *		External workers: claiming jobs, and what becomes of claims.
 *
 * A claim is a fact of memory: nothing is written, so claims cost little, and a
 * restart makes what was claimed ready again.  Who ends a claim names its
 * token, which is never given twice, also not after a restart: a worker that
 * comes too late is told so and can undo what it did.
 *
 * Rows are read by a snapshot taken after the claim: the commit of a job comes
 * before it can be taken, so its row is there.
 *
 * What a transaction has claimed is put back when it rolls back, since its
 * client never learned of it.  The list of claims lies in TopTransactionContext;
 * that callback takes the queue's lock, which is held for microseconds.
 * PREPARE TRANSACTION leaves claims to their leases.
 *
 * An end of a claim (complete, fail) is an ending like any (ending.c): recorded
 * in the caller's transaction, and true when that commits.  Extending and
 * releasing happen at once.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/error.h"
#include "queue/claim.h"
#include "queue/queue.h"
#include "queue/shared.h"

typedef struct Claim
{
	int64 id;
	uint64 token;
	int level; /* of the subtransaction that claimed it */
} Claim;

/* Of the current transaction. */
static Claim *claims = NULL;
static int nclaims = 0;
static int space = 0;

static void remember(const PennyJob *jobs, int n);
static void mind_lease(int64 until);
static void put_back(int from);
static void vanished(int64 id, uint64 token);
static int read_rows(const PennyJob *jobs, int n, PennyClaimed *out);
static void stale(int64 id) __attribute__((noreturn));
static void own(int64 id, uint64 token, PennyEnding *ending, PennyJobRow *row);
static void xact_callback(XactEvent event, void *arg);
static void subxact_callback(SubXactEvent event, SubTransactionId mine, SubTransactionId parent,
							 void *arg);

void
penny_claim_init(void)
{
	RegisterXactCallback(xact_callback, NULL);
	RegisterSubXactCallback(subxact_callback, NULL);
}

/* ---- claiming ---------------------------------------------------------------- */

int
penny_claim(uint16 queue, int n, int64 lease, const char *worker, PennyClaimed **claimed)
{
	PennySched *sched = penny_queue_sched();
	PennyJobRef *refs = palloc(sizeof(PennyJobRef) * (Size) n);
	PennyJob *jobs = palloc(sizeof(PennyJob) * (Size) n);
	int64 now;
	PennyTake take = {.runner = PENNY_RUNNER_EXTERNAL, .queue = queue};
	uint32 taken = 0;
	bool more;

	(void) worker;
	*claimed = palloc(sizeof(PennyClaimed) * (Size) n);
	/* room to note them is there before they are taken: what follows cannot fail */
	remember(NULL, n);
	penny_queue_lock();
	now = penny_queue_now();
	take.until = now + lease;
	while (taken < (uint32) n)
	{
		uint32 more;

		/* those that a rate counts come one at a time */
		take.max = (uint32) n - taken;
		more = penny_sched_take(sched, &take, now, refs + taken);
		if (more == 0)
			break;
		taken += more;
	}
	for (uint32 i = 0; i < taken; i++)
		jobs[i] = *penny_sched_job(sched, refs[i]);
	remember(jobs, (int) taken);
	more = taken > 0 && penny_sched_waits(sched, PENNY_RUNNER_EXTERNAL, queue, now);
	penny_queue_unlock();
	if (taken == 0)
		return 0;
	mind_lease(take.until);
	if (more)
		penny_queue_wake(PENNY_RUNNER_EXTERNAL, queue);
	return read_rows(jobs, (int) taken, *claimed);
}

/* Somebody is to look when the lease ends: the worker that sleeps until a later time is woken. */
static void
mind_lease(int64 until)
{
	if ((int64) pg_atomic_read_u64(&penny_queue_shared->upkeep_at) <= until)
		return;
	penny_queue_upkeep_by(until);
	penny_queue_wake(PENNY_RUNNER_SQL, 0);
}

/* With jobs NULL make room for n; with jobs note them, which cannot fail. */
static void
remember(const PennyJob *jobs, int n)
{
	if (jobs == NULL)
	{
		if (nclaims + n <= space)
			return;
		space = Max(space * 2, nclaims + n);
		claims = claims == NULL
					 ? MemoryContextAlloc(TopTransactionContext, sizeof(Claim) * (Size) space)
					 : repalloc(claims, sizeof(Claim) * (Size) space);
		return;
	}
	for (int i = 0; i < n; i++)
		claims[nclaims++] = (Claim){jobs[i].id, jobs[i].token, GetCurrentTransactionNestLevel()};
}

/*
 * The rows of what was taken and noted last; jobs whose rows are gone are dropped.
 * When there are enough bytes of payloads the others go back for the next claim: an
 * answer that is too large to be made would come to nothing each time.
 */
static int
read_rows(const PennyJob *jobs, int n, PennyClaimed *out)
{
	Size bytes = 0;
	int found = 0;

	PushActiveSnapshot(GetLatestSnapshot());
	for (int i = 0; i < n; i++)
	{
		if (bytes >= PENNY_CLAIM_BYTES)
		{
			put_back(nclaims - (n - i));
			break;
		}
		if (penny_job_read(&jobs[i], &out[found].row))
		{
			bytes += VARSIZE(out[found].row.payload);
			out[found++].job = jobs[i];
		}
		else
			vanished(jobs[i].id, jobs[i].token);
	}
	PopActiveSnapshot();
	return found;
}

/* Its row was deleted by other hands: it is no job any more. */
static void
vanished(int64 id, uint64 token)
{
	PennySched *sched = penny_queue_sched();
	PennyJobRef ref;

	penny_queue_lock();
	ref = penny_sched_find(sched, id, penny_queue_now());
	if (ref != 0 && penny_sched_job(sched, ref)->state == PENNY_JOB_ACTIVE &&
		penny_sched_job(sched, ref)->token == token)
		penny_sched_finish(sched, ref, PENNY_VERB_ENDED, penny_queue_now());
	penny_queue_unlock();
}

/* ---- ends of claims ------------------------------------------------------------ */

static void
stale(int64 id)
{
	ereport(ERROR,
			(errcode(ERRCODE_PENNY_CONFLICT),
			 errmsg("job " INT64_FORMAT " is not held with this token", id),
			 errdetail("Its lease has ended, it was cancelled, or its end is recorded already."),
			 errhint("Undo what was done for it; if it is to run, it is given out again.")));
}

/* ENDING, with its row, or PY409. */
static void
own(int64 id, uint64 token, PennyEnding *ending, PennyJobRow *row)
{
	PennyJob job;

	memset(ending, 0, sizeof(*ending));
	if (token == 0 || !penny_ending_own(id, token, &ending->ref, &job))
		stale(id);
	PushActiveSnapshot(GetLatestSnapshot());
	if (!penny_job_read(&job, row))
		stale(id); /* the error puts it back, and who takes it next drops it */
	PopActiveSnapshot();
	ending->row = row;
	ending->retry_in = -1;
	ending->worker = "external";
	ending->started = job.started;
}

void
penny_claim_complete(int64 id, uint64 token, Jsonb *result)
{
	PennyJobRow row;
	PennyEnding ending;

	own(id, token, &ending, &row);
	ending.outcome = PENNY_OUTCOME_COMPLETED;
	ending.result = result;
	penny_ending_record(&ending);
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
	return (job->flags &
			(PENNY_JOB_DEFERRED | PENNY_JOB_KEYED | PENNY_JOB_CHILD | PENNY_JOB_TOLD)) == 0;
}

static int
by_id(const void *a, const void *b)
{
	int64 x = ((const PennyJob *) a)->id;
	int64 y = ((const PennyJob *) b)->id;

	return x < y ? -1 : x > y;
}

/*
 * Plain ones of one queue share a receipt; the others, and those with results,
 * have their own.
 */
void
penny_claim_complete_many(const int64 *ids, const uint64 *tokens, int n, Jsonb **results)
{
	PennyJob *plain = palloc(sizeof(PennyJob) * (Size) n);
	PennyJobRef *refs = palloc(sizeof(PennyJobRef) * (Size) n);
	int64 *sorted = palloc(sizeof(int64) * (Size) n);
	int nplain = 0;
	PennySched *sched = penny_queue_sched();

	for (int i = 0; i < n; i++)
	{
		PennyJob job;
		PennyJobRef ref;
		bool simple = results == NULL || results[i] == NULL;

		if (simple)
		{
			penny_queue_lock();
			ref = penny_sched_find(sched, ids[i], penny_queue_now());
			simple = ref != 0 && is_plain(penny_sched_job(sched, ref));
			penny_queue_unlock();
		}
		if (!simple)
			penny_claim_complete(ids[i], tokens[i], results == NULL ? NULL : results[i]);
		else if (tokens[i] != 0 && penny_ending_own(ids[i], tokens[i], &ref, &job))
			plain[nplain++] = job;
		else
			stale(ids[i]);
	}
	qsort(plain, (size_t) nplain, sizeof(PennyJob), by_id);
	for (int from = 0, to; from < nplain; from = to)
	{
		for (to = from; to < nplain && plain[to].queue == plain[from].queue; to++)
		{
			sorted[to] = plain[to].id;
			penny_queue_lock();
			refs[to] = penny_sched_find(sched, plain[to].id, penny_queue_now());
			penny_queue_unlock();
		}
		penny_ending_record_batch(sorted + from, refs + from, to - from, plain[from].queue,
								  plain[from].started, "external");
	}
}

/* ---- at once --------------------------------------------------------------------- */

/* The entry of a claim, with the lock held; 0: not with this token. */
static PennyJobRef
find_claim(int64 id, uint64 token, int64 now)
{
	PennySched *sched = penny_queue_sched();
	PennyJobRef ref = penny_sched_find(sched, id, now);
	const PennyJob *job = ref != 0 ? penny_sched_job(sched, ref) : NULL;

	if (job == NULL || job->state != PENNY_JOB_ACTIVE || job->token != token || token == 0 ||
		job->until == PENNY_SCHED_NEVER)
		return 0;
	return ref;
}

/* A lease that is over and not taken back yet still holds. */
bool
penny_claim_extend(int64 id, uint64 token, int64 lease)
{
	int64 now;
	PennyJobRef ref;

	penny_queue_lock();
	now = penny_queue_now();
	ref = find_claim(id, token, now);
	if (ref != 0)
		penny_sched_lease(penny_queue_sched(), ref, now + lease, now);
	penny_queue_unlock();
	return ref != 0;
}

bool
penny_claim_release(int64 id, uint64 token)
{
	int64 now;
	PennyJobRef ref;
	uint16 queue = 0;

	penny_queue_lock();
	now = penny_queue_now();
	ref = find_claim(id, token, now);
	if (ref != 0)
	{
		queue = penny_sched_job(penny_queue_sched(), ref)->queue;
		penny_sched_put_back(penny_queue_sched(), ref, now);
	}
	penny_queue_unlock();
	if (ref != 0)
	{
		penny_queue_wake(PENNY_RUNNER_EXTERNAL, queue);
		mind_lease(0); /* requests that wait at an edge are told by upkeep */
	}
	return ref != 0;
}

int
penny_claim_expire(int max)
{
	PennySched *sched = penny_queue_sched();
	int done = 0;

	while (done < max)
	{
		PennyJobRef ref;
		PennyJob job;
		PennyJobRow row;
		PennyEnding ending = {
			.outcome = PENNY_OUTCOME_FAILED, .retry_in = -1, .worker = "external"};
		uint32 n;

		penny_queue_lock();
		n = penny_sched_expired(sched, penny_queue_now(), 1, &ref);
		if (n > 0)
			job = *penny_sched_job(sched, ref);
		penny_queue_unlock();
		if (n == 0)
			break;
		penny_ending_adopt(ref);
		done++;
		PushActiveSnapshot(GetLatestSnapshot());
		if (penny_job_read(&job, &row))
		{
			ending.ref = ref;
			ending.row = &row;
			ending.error = "the worker's lease ended before it said how the job went";
			ending.started = job.started;
			penny_ending_record(&ending);
		}
		PopActiveSnapshot();
	}
	return done;
}

/* ---- transactions ------------------------------------------------------------------ */

/* Claims from this one on: what is still held by them is ready again. */
static void
put_back(int from)
{
	for (int i = from; i < nclaims; i++)
		(void) penny_claim_release(claims[i].id, claims[i].token);
	nclaims = Min(nclaims, from);
}

static void
xact_callback(XactEvent event, void *arg)
{
	(void) arg;
	switch (event)
	{
		case XACT_EVENT_ABORT:
			put_back(0);
			/* FALLTHROUGH */
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PREPARE:
			claims = NULL;
			nclaims = 0;
			space = 0;
			break;
		default:
			break;
	}
}

static void
subxact_callback(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	int level = GetCurrentTransactionNestLevel();
	int from = nclaims;

	(void) mine;
	(void) parent;
	(void) arg;
	if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		while (from > 0 && claims[from - 1].level >= level)
			from--;
		put_back(from);
	}
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
		while (from > 0 && claims[from - 1].level >= level)
			claims[--from].level = level - 1;
}

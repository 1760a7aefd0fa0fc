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
#include "port/pg_bitutils.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/error.h"
#include "queue/claim.h"
#include "queue/claimers.h"
#include "queue/config.h"
#include "queue/flow.h"
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
static void put_back(int from);
static void vanished(int64 id, uint64 token);
static int read_rows(const PennyJob *jobs, int n, PennyClaimed *out);
static void stale(int64 id) __attribute__((noreturn));
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

/* What may start, for this holder; how many.  `*next`: when time makes something ready. */
static int
take(uint16 queue, int n, int64 lease, const char *worker, PennyJob *jobs, int64 *next)
{
	PennySched *sched = penny_queue_sched();
	PennyJobRef *refs = palloc(sizeof(PennyJobRef) * (Size) n);
	PennyTake how = {.runner = PENNY_RUNNER_EXTERNAL, .queue = queue};
	uint32 taken = 0;
	uint32 got;
	int64 now;

	/* room to note them is there before they are taken: what follows cannot fail */
	remember(NULL, n);
	penny_queue_lock();
	now = penny_queue_now();
	how.until = now + lease;
	how.holder = penny_claimer_number(worker);
	do
	{
		/* those that a rate counts come one at a time */
		how.max = (uint32) n - taken;
		got = penny_sched_take(sched, &how, now, refs + taken);
		taken += got;
	} while (got > 0 && taken < (uint32) n);
	for (uint32 i = 0; i < taken; i++)
		jobs[i] = *penny_sched_job(sched, refs[i]);
	remember(jobs, (int) taken);
	if (!penny_sched_waits(sched, PENNY_RUNNER_EXTERNAL, queue, now))
		penny_claimers_drained(queue);
	*next = penny_sched_next(sched, PENNY_RUNNER_EXTERNAL, now);
	penny_queue_unlock();
	pfree(refs);
	return (int) taken;
}

int
penny_claim(uint16 queue, int n, int64 lease, const char *worker, PennyClaimed **claimed)
{
	PennyJob *jobs = palloc(sizeof(PennyJob) * (Size) n);
	int64 next;
	int taken;

	/* a queue that was paused is so from its commit on */
	if (penny_queue_config_pending())
		penny_queue_config_apply();
	taken = take(queue, n, lease, worker, jobs, &next);

	/* somebody is to look when a lease ends, and for who waits, when time has come */
	penny_queue_mind(next);
	if (taken == n)
		penny_queue_wake(PENNY_RUNNER_EXTERNAL, queue);
	*claimed = NULL;
	if (taken > 0)
	{
		*claimed = palloc(sizeof(PennyClaimed) * (Size) taken);
		taken = read_rows(jobs, taken, *claimed);
	}
	pfree(jobs);
	return taken;
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
 * When there are enough bytes of what they carry the others go back for the next claim: an
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
			PennyClaimed *claimed = &out[found++];

			claimed->job = jobs[i];
			claimed->children =
				penny_flow_is_parent(&claimed->row) ? penny_flow_children(claimed->row.id) : NULL;
			bytes += VARSIZE(claimed->row.payload);
			bytes += claimed->children != NULL ? VARSIZE(claimed->children) : 0;
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
		stale(id);
}

static void
complete_owned(PennyJobRef ref, const PennyJob *job, Jsonb *result)
{
	PennyJobRow row;
	PennyEnding ending;

	if (!describe(ref, job, &row, &ending))
		stale(job->id);
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
		stale(ids[owned]);
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

void
penny_claim_check(int64 id, uint64 token)
{
	PennyJobRef ref;

	penny_queue_lock();
	ref = find_claim(id, token, penny_queue_now());
	penny_queue_unlock();
	if (ref == 0)
		stale(id);
}

/* A lease that is over and not taken back yet still holds. */
void
penny_claim_extend(const int64 *ids, const uint64 *tokens, int n, int64 lease, bool *held)
{
	int64 now;

	penny_queue_lock();
	now = penny_queue_now();
	for (int i = 0; i < n; i++)
	{
		PennyJobRef ref = find_claim(ids[i], tokens[i], now);

		held[i] = ref != 0;
		if (ref != 0)
			penny_sched_lease(penny_queue_sched(), ref, now + lease, now);
	}
	penny_queue_unlock();
	penny_queue_mind(now + lease);
}

/* Queues of which something was put back. */
typedef struct Queues
{
	uint64 word[PENNY_SCHED_QUEUES / 64];
} Queues;

/* With the lock held. */
static bool
release(int64 id, uint64 token, int64 now, Queues *queues)
{
	PennyJobRef ref = find_claim(id, token, now);
	uint16 queue;

	if (ref == 0)
		return false;
	queue = penny_sched_job(penny_queue_sched(), ref)->queue % PENNY_SCHED_QUEUES;
	penny_sched_put_back(penny_queue_sched(), ref, now);
	queues->word[queue / 64] |= UINT64CONST(1) << queue % 64;
	return true;
}

static void
wake_queues(const Queues *queues)
{
	for (int i = 0; i < PENNY_SCHED_QUEUES / 64; i++)
		for (uint64 left = queues->word[i]; left != 0; left &= left - 1)
			penny_queue_wake(PENNY_RUNNER_EXTERNAL,
							 (uint16) (i * 64 + pg_rightmost_one_pos64(left)));
}

int
penny_claim_release(const int64 *ids, const uint64 *tokens, int n)
{
	Queues queues = {{0}};
	int released = 0;
	int64 now;

	penny_queue_lock();
	now = penny_queue_now();
	for (int i = 0; i < n; i++)
		released += release(ids[i], tokens[i], now, &queues);
	penny_queue_unlock();
	wake_queues(&queues);
	return released;
}

/* ---- transactions ------------------------------------------------------------------ */

/* Claims from this one on: what is still held by them is ready again. */
static void
put_back(int from)
{
	Queues queues = {{0}};
	int64 now;

	if (from >= nclaims)
		return;
	penny_queue_lock();
	now = penny_queue_now();
	for (int i = from; i < nclaims; i++)
		(void) release(claims[i].id, claims[i].token, now, &queues);
	penny_queue_unlock();
	nclaims = from;
	wake_queues(&queues);
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

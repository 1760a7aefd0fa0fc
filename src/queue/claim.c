/*-------------------------------------------------------------------------
 *
 * claim.c
 *		External workers: claiming jobs, extending leases, giving back.  Claims that
 *		end are in claim_end.c.
 *
 * A claim is a fact of memory: nothing is written, so claims cost little, and a
 * restart makes what was claimed ready again.
 *
 * Rows are read by a snapshot taken after the claim: the commit of a job comes
 * before it can be taken, so its row is there.
 *
 * What a transaction has claimed is put back when it rolls back, since its
 * client never learned of it.  The list of claims lies in TopTransactionContext;
 * that callback takes the queue's lock, which is held for microseconds.
 * PREPARE TRANSACTION leaves claims to their leases.
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
		penny_claim_stale(id);
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

/*-------------------------------------------------------------------------
 *
 * enqueue_commit.c
 *		New jobs of a transaction, from their rows to their entries.
 *
 * The jobs are kept in TopTransactionContext in the order of their rows, each with
 * the nesting level of the subtransaction that wrote it: a rollback cuts the tail
 * off, a release lowers its level.  At PRE_COMMIT entries are reserved and filled;
 * at COMMIT they are posted, at ABORT dropped; neither can fail, allocate or wait.
 *
 * Where there is no entry left, for more than MAX_JOBS of one transaction, and for
 * jobs that come when PRE_COMMIT is over, the smallest id is noted for each queue,
 * and its rows are read again from the table (load.c).  A prepared transaction is
 * noted with its xid (load_prepared.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"

#include "queue/pending.h"
#include "queue/shared.h"

#define FIRST_JOBS 16
#define MAX_JOBS 4096
#define FEW_QUEUES 8 /* of which each external one is woken */

typedef struct NewJob
{
	PennyJob job; /* what the enqueuer says; its state and links are not used */
	PennyRunner runner;
	int level;
	int cancelled;   /* level of the subtransaction that cancelled it; 0: none */
	PennyJobRef ref; /* 0: not reserved */
} NewJob;

/* Of the current transaction. */
static struct
{
	NewJob *job;
	int n;
	int space;
	int reserved; /* those before it were reserved */
	int more;     /* that are not in the array */
	bool deferred;
	TimestampTz deferred_due;
	int64 *missed;  /* by queue: smallest id that is not in the array; NULL: none */
	uint32 runners; /* bits of all of them */
	bool upkeep;    /* a worker has more to do than to take jobs */
	bool reload;    /* likewise: all is to be read anew */
} mine;

static void reserve(void);
static void post(PennyJobVerb verb);
static void tell_missed(void);
static void wake(void);
static void forget(void);
static void xact_callback(XactEvent event, void *arg);
static void subxact_callback(SubXactEvent event, SubTransactionId sub, SubTransactionId parent,
							 void *arg);

void
penny_pending_init(void)
{
	RegisterXactCallback(xact_callback, NULL);
	RegisterSubXactCallback(subxact_callback, NULL);
}

/* ---- while the transaction runs -------------------------------------------------- */

static void
note_missed(const PennyJob *job)
{
	if (mine.missed == NULL)
	{
		mine.missed = MemoryContextAlloc(TopTransactionContext, PENNY_SCHED_QUEUES * sizeof(int64));
		for (int i = 0; i < PENNY_SCHED_QUEUES; i++)
			mine.missed[i] = PENNY_QUEUE_NOT_MISSED;
	}
	mine.missed[job->queue] = Min(mine.missed[job->queue], job->id);
}

void
penny_pending_job(const PennyJob *job, PennyRunner runner)
{
	NewJob *place;

	if (!penny_queue_here())
		return;
	mine.runners |= 1U << runner;
	if (mine.n == MAX_JOBS)
	{
		note_missed(job);
		mine.more++;
		return;
	}
	if (mine.n == mine.space)
	{
		int space = Max(mine.space * 2, FIRST_JOBS);

		if (mine.job == NULL)
			mine.job = MemoryContextAlloc(TopTransactionContext, (Size) space * sizeof(NewJob));
		else
			mine.job = repalloc(mine.job, (Size) space * sizeof(NewJob));
		mine.space = space;
	}
	place = &mine.job[mine.n++];
	place->job = *job;
	place->runner = runner;
	place->level = GetCurrentTransactionNestLevel();
	place->cancelled = 0;
	place->ref = 0;
}

bool
penny_pending_cancel(uint16 queue, int64 id)
{
	for (int i = mine.n - 1; i >= 0; i--)
		if (mine.job[i].job.id == id)
		{
			mine.job[i].cancelled = GetCurrentTransactionNestLevel();
			return true;
		}
	if (mine.missed != NULL && id >= mine.missed[queue])
		ereport(
			ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
			 errmsg("job " INT64_FORMAT " cannot be cancelled before this transaction commits", id),
			 errdetail("The transaction has enqueued too many jobs.")));
	return false;
}

void
penny_pending_deferred(TimestampTz due)
{
	if (!penny_queue_here())
		return;
	mine.deferred_due = mine.deferred ? Min(mine.deferred_due, due) : due;
	mine.deferred = true;
}

void
penny_pending_reload(void)
{
	mine.reload = true;
}

/* ---- PRE_COMMIT -------------------------------------------------------------------- */

static void
fill(PennyJob *entry, const PennyJob *job)
{
	entry->id = job->id;
	entry->due = job->due;
	entry->kind = job->kind;
	entry->group = job->group;
	entry->block = job->block;
	entry->offset = job->offset;
	entry->queue = job->queue;
	entry->priority = job->priority;
	entry->flags = job->flags;
	entry->attempt = job->attempt;
}

/* Entries for all jobs, run by run of one queue; those that get none have ref 0. */
static void
reserve(void)
{
	PennySched *sched = penny_queue_sched();

	if (!penny_queue_current())
		return;
	mine.reserved = 0;
	while (mine.reserved < mine.n)
	{
		NewJob *first = &mine.job[mine.reserved];
		uint32 wanted = 1;
		uint32 got;
		PennyJobRef ref;

		while (mine.reserved + (int) wanted < mine.n && first[wanted].job.queue == first->job.queue)
			wanted++;
		got = penny_sched_reserve(sched, first->job.queue, wanted, &ref);
		for (uint32 i = 0; i < got; i++)
		{
			first[i].ref = ref;
			fill(penny_sched_job(sched, ref), &first[i].job);
			ref = penny_sched_next_of(sched, ref);
		}
		mine.reserved += (int) wanted;
	}
}

/* ---- COMMIT and ABORT: nothing here may fail ---------------------------------------- */

static void
post(PennyJobVerb verb)
{
	PennySched *sched = penny_queue_sched();
	PennyJobRef first = 0;
	PennyJobRef last = 0;

	for (int i = 0; i < mine.n; i++)
	{
		PennyJobRef ref = mine.job[i].ref;

		if (ref == 0)
			continue;
		penny_sched_job(sched, ref)->verb =
			(uint8) (mine.job[i].cancelled != 0 ? PENNY_VERB_DROPPED : verb);
		if (last == 0)
			first = ref;
		else
			penny_sched_link(sched, last, ref);
		last = ref;
	}
	if (last == 0)
		return;
	penny_sched_link(sched, last, 0);
	penny_sched_post(sched, first, last);
}

/* What is not in an entry. */
static void
tell_missed(void)
{
	for (int i = 0; i < mine.n; i++)
	{
		const PennyJob *job = &mine.job[i].job;

		if (mine.job[i].ref != 0 || mine.job[i].cancelled != 0)
			continue;
		if (job->flags & PENNY_JOB_DEFERRED)
			penny_pending_deferred(job->due);
		else
			mine.upkeep |= penny_queue_missed(job->queue, job->id);
	}
	for (int q = 0; mine.missed != NULL && q < PENNY_SCHED_QUEUES; q++)
		if (mine.missed[q] != PENNY_QUEUE_NOT_MISSED)
			mine.upkeep |= penny_queue_missed((uint16) q, mine.missed[q]);
	mine.upkeep |= mine.deferred || mine.reload;
	if (mine.reload)
	{
		pg_atomic_fetch_add_u32(&penny_queue_shared->reload, 1);
		penny_queue_upkeep_by(0);
	}
	if (mine.deferred)
	{
		penny_queue_lower(&penny_queue_shared->deferred_due, mine.deferred_due);
		penny_queue_upkeep_by(mine.deferred_due - PENNY_JOB_DEFER_AFTER);
	}
}

static void
wake(void)
{
	uint16 told[FEW_QUEUES];
	int n = 0;

	if ((mine.runners & (1U << PENNY_RUNNER_SQL)) || mine.upkeep)
		penny_queue_wake(PENNY_RUNNER_SQL, 0);
	if (mine.runners & (1U << PENNY_RUNNER_WEBHOOK))
		penny_queue_wake(PENNY_RUNNER_WEBHOOK, 0);
	if (!(mine.runners & (1U << PENNY_RUNNER_EXTERNAL)))
		return;
	for (int i = 0; i < mine.n && n < FEW_QUEUES; i++)
	{
		bool known = mine.job[i].runner != PENNY_RUNNER_EXTERNAL;

		for (int k = 0; k < n && !known; k++)
			known = told[k] == mine.job[i].job.queue;
		if (known)
			continue;
		told[n++] = mine.job[i].job.queue;
		penny_queue_wake(PENNY_RUNNER_EXTERNAL, mine.job[i].job.queue);
	}
}

static void
forget(void)
{
	memset(&mine, 0, sizeof(mine));
}

static int64
smallest_id(void)
{
	int64 id = PENNY_QUEUE_NOT_MISSED;

	for (int i = 0; i < mine.n; i++)
		id = Min(id, mine.job[i].job.id);
	for (int q = 0; mine.missed != NULL && q < PENNY_SCHED_QUEUES; q++)
		id = Min(id, mine.missed[q]);
	return id;
}

static void
xact_callback(XactEvent event, void *arg)
{
	bool any = mine.n > 0 || mine.deferred || mine.reload;

	(void) arg;
	if (!any)
	{
		/* those of a subtransaction that was rolled back have left their array */
		if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
			forget();
		return;
	}
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			reserve();
			break;
		case XACT_EVENT_COMMIT:
			post(PENNY_VERB_ARRIVED);
			tell_missed();
			wake();
			penny_queue_count(PENNY_QUEUE_ENQUEUED, (uint64) (mine.n + mine.more));
			forget();
			break;
		case XACT_EVENT_PRE_PREPARE:
			penny_prepared_jobs(smallest_id(), mine.deferred);
			break;
		case XACT_EVENT_PREPARE:
			forget();
			break;
		case XACT_EVENT_ABORT:
			post(PENNY_VERB_DROPPED);
			forget();
			break;
		default:
			break;
	}
}

static void
subxact_callback(SubXactEvent event, SubTransactionId sub, SubTransactionId parent, void *arg)
{
	int level = GetCurrentTransactionNestLevel();

	(void) sub;
	(void) parent;
	(void) arg;
	if (event != SUBXACT_EVENT_ABORT_SUB && event != SUBXACT_EVENT_COMMIT_SUB)
		return;
	for (int i = mine.n - 1; i >= 0 && mine.job[i].level >= level; i--)
	{
		if (event == SUBXACT_EVENT_ABORT_SUB)
			mine.n = i;
		else
			mine.job[i].level = level - 1;
	}
	for (int i = 0; i < mine.n; i++)
		if (mine.job[i].cancelled >= level)
			mine.job[i].cancelled = event == SUBXACT_EVENT_ABORT_SUB ? 0 : level - 1;
}

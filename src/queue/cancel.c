/*-------------------------------------------------------------------------
 *
 * cancel.c
 *		Cancelling jobs, in whatever state they are.
 *
 *	not started, blocked	ended in this transaction: it is not started meanwhile,
 *						and waits on when the transaction rolls back (waiting.h)
 *	claimed				the same; the worker's token is worth nothing after the
 *						commit, and its next extend() tells it
 *	run by a worker		marked when this transaction commits, and interrupted; the
 *						worker records the end.  The mark stays with the job: should
 *						it start again before that, it ends instead.  It may have
 *						finished at that moment; then it has.  A mark does not outlive
 *						the server
 *	just ending			another transaction records how it ended: it is left
 *
 * The mark of a running job is the one thing for which a COMMIT callback takes the
 * queue's lock: a rollback must not interrupt anybody, so it cannot be set earlier, and
 * an entry that a worker holds is not this transaction's to post.  The lock is held for
 * microseconds and by nobody who waits; nothing is allocated, and nothing there raises.
 *
 * Who may: the user who enqueued it, agents, and who may do everything.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "queue/cancel.h"
#include "queue/claimers.h"
#include "queue/crew.h"
#include "queue/queue.h"
#include "queue/waiting.h"

/* Jobs that run and are to be interrupted when this transaction commits. */
typedef struct Interrupt
{
	int64 id;
	int level;
} Interrupt;

static Interrupt *interrupts = NULL;
static int ninterrupts = 0;
static int space = 0;

static void note_interrupt(int64 id);
static void interrupt(int64 id);
static void xact_callback(XactEvent event, void *arg);
static void subxact_callback(SubXactEvent event, SubTransactionId mine, SubTransactionId parent,
							 void *arg);

void
penny_cancel_init(void)
{
	RegisterXactCallback(xact_callback, NULL);
	RegisterSubXactCallback(subxact_callback, NULL);
}

/* A claim, or nobody's any more: false. */
static bool
cancel_claim(int64 id, const PennyJobRow *row)
{
	PennyEnding ending = {.outcome = PENNY_OUTCOME_CANCELLED, .retry_in = -1, .row = row};
	PennyJob job;

	if (!penny_ending_own_claim(id, &ending.ref, &job))
		return false;
	ending.started = job.started;
	ending.worker = penny_claimer_name(job.holder);
	penny_ending_record(&ending);
	return true;
}

/* What has an entry that could not be taken: does a worker run it, or a transaction end it? */
static void
look(int64 id, bool *runs, bool *ends)
{
	PennySched *sched = penny_queue_sched();
	PennyJobRef ref;

	*runs = *ends = false;
	penny_queue_lock();
	ref = penny_sched_find(sched, id, penny_queue_now());
	if (ref != 0)
	{
		const PennyJob *job = penny_sched_job(sched, ref);

		*runs = job->state == PENNY_JOB_ACTIVE && job->until == PENNY_SCHED_NEVER;
		*ends = job->state == PENNY_JOB_ENDING;
	}
	penny_queue_unlock();
}

bool
penny_job_cancel(int64 id)
{
	PennyWaitingJob waiting;
	bool runs = false;
	bool ends = false;

	/* it may start, or come back, between one look and the next */
	while (!runs && !ends)
	{
		PennyOwned owned = penny_waiting_take(id, &waiting);

		if (owned == PENNY_OWNED)
			penny_waiting_cancel(&waiting);
		if (owned != PENNY_OWNED_RUNS)
			return owned == PENNY_OWNED;
		if (cancel_claim(id, &waiting.row))
			return true;
		look(id, &runs, &ends);
		CHECK_FOR_INTERRUPTS();
	}
	if (runs)
		note_interrupt(id);
	return runs;
}

/* ---- running ones ------------------------------------------------------------- */

static void
note_interrupt(int64 id)
{
	if (ninterrupts == space)
	{
		space = Max(space * 2, 8);
		interrupts = interrupts == NULL ? MemoryContextAlloc(TopTransactionContext,
															 sizeof(Interrupt) * (Size) space)
										: repalloc(interrupts, sizeof(Interrupt) * (Size) space);
	}
	interrupts[ninterrupts++] = (Interrupt){id, GetCurrentTransactionNestLevel()};
}

/* Is it to be ended by the next worker that takes it?  Then at once. */
static void
hasten(PennySched *sched, PennyJobRef ref, int64 now)
{
	PennyJob *job = penny_sched_job(sched, ref);

	if (job->state != PENNY_JOB_DELAYED || !penny_sched_own(sched, ref, now))
		return;
	job->due = now;
	penny_sched_finish(sched, ref, PENNY_VERB_RETRY, now);
}

/* In the COMMIT callback: cannot fail. */
static void
interrupt(int64 id)
{
	PennySched *sched = penny_queue_sched();
	int64 now = penny_queue_now();
	PennyJobRef ref;
	uint32 holder = PENNY_SCHED_HOLDERS;
	PennyRunner runner = PENNY_RUNNER_SQL;

	penny_queue_lock();
	ref = penny_sched_find(sched, id, now);
	if (ref != 0 && penny_sched_job(sched, ref)->state != PENNY_JOB_ENDING)
	{
		PennyJob *job = penny_sched_job(sched, ref);

		job->flags |= PENNY_JOB_CANCEL;
		if (job->runner == PENNY_RUNNER_WEBHOOK)
			runner = PENNY_RUNNER_WEBHOOK;
		if (job->state == PENNY_JOB_ACTIVE && job->runner == PENNY_RUNNER_SQL)
			holder = job->holder;
		hasten(sched, ref, now);
	}
	penny_queue_unlock();
	if (holder < PENNY_SCHED_HOLDERS)
		penny_worker_cancel(holder, id);
	else
		penny_queue_wake(runner, 0);
}

static void
xact_callback(XactEvent event, void *arg)
{
	(void) arg;
	if (event == XACT_EVENT_COMMIT)
		for (int i = 0; i < ninterrupts; i++)
			interrupt(interrupts[i].id);
	if (event == XACT_EVENT_PRE_PREPARE && ninterrupts > 0)
		ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
						errmsg("cannot PREPARE a transaction that cancels a running job")));
	if (event == XACT_EVENT_COMMIT || event == XACT_EVENT_ABORT || event == XACT_EVENT_PREPARE)
	{
		interrupts = NULL;
		ninterrupts = 0;
		space = 0;
	}
}

static void
subxact_callback(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	int level = GetCurrentTransactionNestLevel();

	(void) mine;
	(void) parent;
	(void) arg;
	if (event == SUBXACT_EVENT_ABORT_SUB)
		while (ninterrupts > 0 && interrupts[ninterrupts - 1].level >= level)
			ninterrupts--;
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
		for (int i = ninterrupts - 1; i >= 0 && interrupts[i].level >= level; i--)
			interrupts[i].level = level - 1;
}

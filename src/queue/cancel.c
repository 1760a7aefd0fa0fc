/*-------------------------------------------------------------------------
 *
 * cancel.c
 *		Cancelling jobs, in whatever state they are.
 *
 *	waiting, delayed	ended in this transaction: it is not started meanwhile, and
 *						waits on when the transaction rolls back
 *	claimed				the same; the worker's token is worth nothing after the
 *						commit, and its next extend() tells it
 *	run by a worker		asked for just before this transaction commits: the
 *						handler is interrupted, and the worker records the end.
 *						It may have finished at that moment; then it has
 *	only in its table	(memory was full, or it is deferred) it is brought into
 *						memory first
 *
 * Who may: the user who enqueued it, agents, and who may do everything.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "queue/cancel.h"
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

static bool end_here(int64 id, const PennyJobRow *row);
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

bool
penny_job_cancel(int64 id)
{
	PennySched *sched = penny_queue_sched();
	PennyWaitingJob waiting;
	PennyJobRef ref;
	bool running = false;

	switch (penny_waiting_take(id, &waiting))
	{
		case PENNY_OWNED:
			penny_waiting_cancel(&waiting);
			return true;
		case PENNY_OWNED_GONE:
			return false;
		case PENNY_OWNED_RUNS:
			break;
	}

	penny_queue_lock();
	ref = penny_sched_find(sched, id, penny_queue_now());
	if (ref != 0)
	{
		const PennyJob *job = penny_sched_job(sched, ref);

		running = job->state == PENNY_JOB_ACTIVE && job->until == PENNY_SCHED_NEVER;
	}
	penny_queue_unlock();

	if (running)
	{
		note_interrupt(id);
		return true;
	}
	return end_here(id, &waiting.row);
}

static bool
end_here(int64 id, const PennyJobRow *row)
{
	PennyEnding ending = {.outcome = PENNY_OUTCOME_CANCELLED, .retry_in = -1};
	PennyJob job;

	if (!penny_ending_own(id, 0, &ending.ref, &job))
		return false;
	ending.row = row;
	ending.started = job.before == PENNY_JOB_ACTIVE ? job.started : penny_queue_now();
	penny_ending_record(&ending);
	return true;
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

static void
interrupt(int64 id)
{
	PennySched *sched = penny_queue_sched();
	PennyJobRef ref;
	uint32 holder = 0;
	bool running = false;

	penny_queue_lock();
	ref = penny_sched_find(sched, id, penny_queue_now());
	if (ref != 0)
	{
		PennyJob *job = penny_sched_job(sched, ref);

		running = job->state == PENNY_JOB_ACTIVE && job->until == PENNY_SCHED_NEVER;
		holder = job->holder;
		if (running)
			job->flags |= PENNY_JOB_CANCEL;
	}
	penny_queue_unlock();
	if (running)
		penny_worker_cancel(holder, id);
}

static void
xact_callback(XactEvent event, void *arg)
{
	(void) arg;
	if (event == XACT_EVENT_PRE_COMMIT)
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

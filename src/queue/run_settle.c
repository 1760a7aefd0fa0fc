/*-------------------------------------------------------------------------
 *
 * run_settle.c
 *		What becomes of a worker's entries beside what its commit tells.
 *
 * Ends that were recorded are posted by the COMMIT callback (ending.c).  What is
 * left of a batch is settled here, under the queue's lock: rows that are gone, jobs
 * that are not a worker's any more, failures that could not be recorded, and what
 * has not begun.  Of that others may have put back some already, when a job ran long
 * (crew.h): an entry that is not what was taken is not touched.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "queue/config.h"
#include "queue/marks.h"
#include "queue/run_private.h"

static bool
is_recorded(const PennyBatchItem *item)
{
	return item->fate == PENNY_FATE_COMPLETED || item->fate == PENNY_FATE_FAILED ||
		   item->fate == PENNY_FATE_CANCELLED;
}

/*
 * Is the entry still what was taken?  Not when memory was made anew meanwhile.  Under
 * the lock; what an attempt gave back when it was undone has come by then.
 */
static bool
holds(PennySched *sched, const PennyBatchItem *item)
{
	const PennyJob *job = penny_sched_job(sched, item->ref);

	return job->state == PENNY_JOB_ACTIVE && job->token == item->job.token;
}

/* Not even its failure could be recorded: it is tried again later. */
static void
postpone(PennySched *sched, PennyJobRef ref, int64 now)
{
	penny_sched_job(sched, ref)->due = now + PENNY_RUN_AGAIN_AFTER;
	penny_sched_finish(sched, ref, PENNY_VERB_RETRY, now);
}

void
penny_run_settle(const PennyBatchItem *items, int n)
{
	PennySched *sched = penny_queue_sched();
	int others = 0;

	for (int i = 0; i < n; i++)
	{
		if (!is_recorded(&items[i]))
			others++;
		else if (penny_job_any_charged())
			penny_job_acquit(items[i].job.id,
							 items[i].fate != PENNY_FATE_FAILED || items[i].reason != NULL);
	}
	if (others == 0)
		return;
	penny_queue_lock();
	penny_sched_drain(sched, penny_queue_now());
	for (int i = 0; i < n; i++)
	{
		const PennyBatchItem *item = &items[i];

		if (is_recorded(item) || !holds(sched, item))
			continue;
		if (item->fate == PENNY_FATE_GONE)
			penny_sched_finish(sched, item->ref, PENNY_VERB_ENDED, penny_queue_now());
		else if (item->fate == PENNY_FATE_PUT_BACK)
		{
			penny_sched_put_back(sched, item->ref, penny_queue_now());
			penny_queue_config_distrust(); /* it is nobody's, or another's */
		}
		else
			postpone(sched, item->ref, penny_queue_now());
	}
	penny_queue_unlock();
}

void
penny_run_put_back(const PennyBatchItem *items, int n)
{
	PennySched *sched = penny_queue_sched();
	int back = 0;

	penny_queue_lock();
	penny_sched_drain(sched, penny_queue_now());
	for (int i = 0; i < n; i++)
	{
		if (items[i].fate != PENNY_FATE_NONE || !holds(sched, &items[i]))
			continue;
		penny_sched_put_back(sched, items[i].ref, penny_queue_now());
		back++;
	}
	penny_queue_unlock();
	if (back > 0)
		penny_queue_wake(PENNY_RUNNER_SQL, items[0].job.queue);
}

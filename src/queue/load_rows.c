/*-------------------------------------------------------------------------
 *
 * load_rows.c
 *		Jobs on their way from tables into memory.
 *
 * They are offered many at a time under one hold of the lock.  What finds no room
 * is noted for a rescan, by its queue; a queue that has no room is not asked again.
 * Who may run them is woken as they come.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "queue/load.h"
#include "queue/shared.h"

#define CHUNK 512

struct PennyOffers
{
	uint64 came;
	int n;
	PennyJob job[CHUNK];
};

PennyOffers *
penny_offers_begin(void)
{
	PennyOffers *offers = palloc(sizeof(*offers));

	offers->came = 0;
	offers->n = 0;
	return offers;
}

/* No room: a segment's row is found by its id, a deferred one by its time. */
static void
miss(const PennyJob *job)
{
	if (job->flags & PENNY_JOB_DEFERRED)
		penny_queue_lower(&penny_queue_shared->deferred_due, job->due);
	else
		penny_queue_missed(job->queue, job->id);
}

static void
flush(PennyOffers *offers)
{
	PennySched *sched = penny_queue_sched();
	int64 now = penny_queue_now();
	uint64 before = offers->came;
	bool runner[PENNY_RUNNERS] = {false};

	penny_queue_lock();
	penny_sched_drain(sched, now);
	for (int i = 0; i < offers->n; i++)
	{
		const PennyJob *job = &offers->job[i];
		bool bits = !(job->flags & PENNY_JOB_DEFERRED);
		PennyJobRef ref;

		if (bits && penny_sched_seen(sched, job->id))
			continue;
		if (penny_sched_room(sched, job->queue) == 0)
		{
			miss(job);
			continue;
		}
		ref = penny_sched_offer(sched, job, now);
		if (ref == 0 || ref == PENNY_SCHED_ANY)
			continue;
		runner[penny_sched_job(sched, ref)->runner] = true;
		offers->came++;
	}
	penny_queue_unlock();
	if (offers->came != before)
		for (int i = 0; i < PENNY_RUNNER_EXTERNAL; i++)
			if (runner[i])
				penny_queue_wake((PennyRunner) i, 0);
	if (runner[PENNY_RUNNER_EXTERNAL])
		for (int i = 0; i < offers->n; i++)
			if (i == 0 || offers->job[i].queue != offers->job[i - 1].queue)
				penny_queue_wake(PENNY_RUNNER_EXTERNAL, offers->job[i].queue);
	offers->n = 0;
}

bool
penny_offers_add(PennyOffers *offers, const PennyJob *job)
{
	offers->job[offers->n++] = *job;
	if (offers->n < CHUNK)
		return false;
	flush(offers);
	return true;
}

uint64
penny_offers_end(PennyOffers *offers)
{
	uint64 came;

	flush(offers);
	came = offers->came;
	pfree(offers);
	return came;
}

/*-------------------------------------------------------------------------
 *
 * claim_upkeep.c
 *		Claims of external workers that are gone, and those that wait at the edges
 *		for what time makes ready.
 *
 * A lease that is over is an attempt that failed, recorded by the worker that does
 * the queue's upkeep.  What else time does (delays, windows of rates) that worker
 * tells the edges (claimers.c), as soon after it as LISTENED; where nobody waits it
 * comes by for the leases alone, less often.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/snapmgr.h"

#include "queue/claim.h"
#include "queue/claimers.h"
#include "queue/ending_private.h"
#include "queue/queue.h"

#define EXPIRE_AT_ONCE 100 /* leases in a transaction */
/* us between looks, at least: while requests wait at an edge, and otherwise */
#define LISTENED INT64CONST(5000)
#define NOT_LISTENED INT64CONST(100000)

/* The row has gone by other hands: it is no job any more. */
static void
expire(PennyJobRef ref, const PennyJob *job)
{
	PennyEnding ending = {.ref = ref,
						  .outcome = PENNY_OUTCOME_FAILED,
						  .retry_in = -1,
						  .error = "the worker's lease ended before it said how the job went",
						  .worker = penny_claimer_name(job->holder),
						  .started = job->started};
	PennyJobRow row;

	ending.row = &row;
	if (penny_job_read(job, &row))
		penny_ending_record(&ending);
	else
		penny_ending_post(ref, PENNY_VERB_ENDED, 0, 0, false);
}

/* True: there may be more. */
static bool
expire_some(void)
{
	PennyJobRef refs[EXPIRE_AT_ONCE];
	PennyJob *jobs = palloc(sizeof(PennyJob) * EXPIRE_AT_ONCE);
	int n = penny_ending_own_expired(EXPIRE_AT_ONCE, refs, jobs);

	PushActiveSnapshot(GetLatestSnapshot());
	for (int i = 0; i < n; i++)
		expire(refs[i], &jobs[i]);
	PopActiveSnapshot();
	pfree(jobs);
	return n == EXPIRE_AT_ONCE;
}

int64
penny_claims_upkeep(void)
{
	bool more = expire_some();
	bool listened = penny_claimers_upkeep();
	int64 now;
	int64 next;

	penny_queue_lock();
	now = penny_queue_now();
	next = penny_sched_next(penny_queue_sched(), PENNY_RUNNER_EXTERNAL, now);
	penny_queue_unlock();
	if (more)
		return now;
	return Max(next, now + (listened ? LISTENED : NOT_LISTENED));
}

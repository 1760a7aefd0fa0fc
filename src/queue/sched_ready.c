/*-------------------------------------------------------------------------
 *
 * sched_ready.c
 *		Where a job waits: lanes and the list by age of the ready, heaps by time
 *		of the delayed and of the leases.
 *
 * The list by age of a queue says since when its oldest ready job is ready.  A
 * job that becomes ready goes where a few steps from the end of the list find
 * its place, or before its begin (a batch that is put back); if neither, it
 * stands a few places before the end.  So the age that the list tells is that
 * of a job among the oldest; nothing is decided by it.
 *
 *-------------------------------------------------------------------------
 */
#include "queue/sched_private.h"

static inline int64_t
time_of(const PennyJob *job)
{
	return job->state == PENNY_JOB_DELAYED ? job->due : job->until;
}

#define HEAP(verb) time_heap_##verb
#define HEAP_NODE PennyJob
#define HEAP_AT penny_job_at
#define HEAP_BEFORE(a, b) (time_of(a) < time_of(b))
#include "queue/sched_heap.h"

/* ---- the list by age ------------------------------------------------------------ */

/* The entry behind which one that is ready since `due` goes, near enough; 0: it is the first. */
static uint32_t
age_place(const PennySched *s, const PennySchedQueue *queue, int64_t due)
{
	uint32_t at = queue->newest;

	if (queue->oldest == 0 || due < penny_job_at(s, queue->oldest)->due)
		return 0;
	for (int step = 0; step < PENNY_SCHED_WALK && penny_job_at(s, at)->due > due; step++)
		at = penny_job_at(s, at)->list_prev;
	return at;
}

static void
age_insert(PennySched *s, PennySchedQueue *queue, uint32_t ref)
{
	PennyJob *job = penny_job_at(s, ref);
	uint32_t before = age_place(s, queue, job->due);

	job->list_prev = before;
	job->list_next = before == 0 ? queue->oldest : penny_job_at(s, before)->list_next;
	if (before == 0)
		queue->oldest = ref;
	else
		penny_job_at(s, before)->list_next = ref;
	if (job->list_next == 0)
		queue->newest = ref;
	else
		penny_job_at(s, job->list_next)->list_prev = ref;
}

static void
age_remove(PennySched *s, PennySchedQueue *queue, PennyJob *job)
{
	if (job->list_prev == 0)
		queue->oldest = job->list_next;
	else
		penny_job_at(s, job->list_prev)->list_next = job->list_next;
	if (job->list_next == 0)
		queue->newest = job->list_prev;
	else
		penny_job_at(s, job->list_next)->list_prev = job->list_prev;
	job->list_next = job->list_prev = 0;
}

/* ---- states --------------------------------------------------------------------- */

PennyRunner
penny_sched_runner(const PennySched *s, uint64_t kind)
{
	uint32_t at = (uint32_t) kind % (2 * PENNY_SCHED_KINDS);

	while (s->kinds[at].kind != 0)
	{
		if (s->kinds[at].kind == kind)
			return s->kinds[at].runner;
		at = (at + 1) % (2 * PENNY_SCHED_KINDS);
	}
	return PENNY_RUNNER_EXTERNAL;
}

/* Make it READY: from whatever it was, out of all that this was in. */
void
penny_sched_ready(PennySched *s, uint32_t ref)
{
	PennyJob *job = penny_job_at(s, ref);
	PennySchedQueue *queue = &s->queues[job->queue];
	PennyLane *lane;

	job->runner = (uint8_t) penny_sched_runner(s, job->kind);
	if (job->group_slot == 0)
		penny_sched_join_group(s, job);
	penny_job_set_state(job, PENNY_JOB_READY);
	queue->ready[job->runner]++;
	age_insert(s, queue, ref);
	lane = &penny_group_at(s, job->group_slot)->lane[job->runner];
	penny_lane_put(s, lane, ref);
	if (lane->ring_next == 0)
		penny_sched_settle_group(s, job->group_slot);
}

/* Out of what a READY job is in, but for its group; its state is the caller's. */
void
penny_sched_unready(PennySched *s, uint32_t ref)
{
	PennyJob *job = penny_job_at(s, ref);
	PennySchedQueue *queue = &s->queues[job->queue];
	PennyLane *lane = &penny_group_at(s, job->group_slot)->lane[job->runner];

	queue->ready[job->runner]--;
	age_remove(s, queue, job);
	penny_lane_remove(s, lane, ref);
	if (lane->heap == 0 && lane->first == 0)
		penny_sched_settle_group(s, job->group_slot);
}

/* Make it DELAYED: it is in no group. */
void
penny_sched_delay(PennySched *s, uint32_t ref)
{
	PennyJob *job = penny_job_at(s, ref);

	job->runner = (uint8_t) penny_sched_runner(s, job->kind);
	penny_job_set_state(job, PENNY_JOB_DELAYED);
	s->queues[job->queue].delayed++;
	time_heap_put(s, &s->delays[job->runner], ref);
}

void
penny_sched_undelay(PennySched *s, uint32_t ref)
{
	PennyJob *job = penny_job_at(s, ref);

	s->queues[job->queue].delayed--;
	time_heap_remove(s, &s->delays[job->runner], ref);
}

void
penny_sched_put_lease(PennySched *s, uint32_t ref)
{
	if (penny_job_at(s, ref)->until != PENNY_SCHED_NEVER)
		time_heap_put(s, &s->leases, ref);
}

void
penny_sched_remove_lease(PennySched *s, uint32_t ref)
{
	if (penny_job_at(s, ref)->until != PENNY_SCHED_NEVER)
		time_heap_remove(s, &s->leases, ref);
}

/* What was delayed until now is ready. */
void
penny_sched_promote(PennySched *s, int64_t now)
{
	for (int runner = 0; runner < PENNY_RUNNERS; runner++)
	{
		uint32_t ref;

		while ((ref = s->delays[runner]) != 0 && penny_job_at(s, ref)->due <= now)
		{
			penny_sched_undelay(s, ref);
			penny_sched_ready(s, ref);
		}
	}
}

/*-------------------------------------------------------------------------
 *
 * sched_ready.c
 *		Where a job waits: lanes and the list by age of the ready, heaps by time
 *		of the delayed and of the leases.
 *
 * A lane orders by priority, then id.  What arrives is nearly always behind
 * all that is there, or a few places before its end (commits overtake one
 * another), so it goes into a sorted list, the run, by a walk of a few steps
 * from its end, or before its begin (a batch that is put back).  What fits
 * neither goes into the lane's heap.  The next of the lane is the first of the
 * run or the root of the heap.
 *
 * The list by age of a queue says since when its oldest ready job is ready.  It
 * is kept in the same way, but has no heap: a job that finds no place by a few
 * steps stands a few places before the end.  So the age that it tells is that
 * of a job among the oldest; nothing is decided by it.
 *
 *-------------------------------------------------------------------------
 */
#include "queue/sched_private.h"

static inline bool
goes_before(const PennyJob *a, const PennyJob *b)
{
	return a->priority < b->priority || (a->priority == b->priority && a->id < b->id);
}

static inline int64_t
time_of(const PennyJob *job)
{
	return job->state == PENNY_JOB_DELAYED ? job->due : job->until;
}

#define HEAP(verb) lane_heap_##verb
#define HEAP_NODE PennyJob
#define HEAP_AT penny_job_at
#define HEAP_BEFORE(a, b) goes_before(a, b)
#include "queue/sched_heap.h"

#define HEAP(verb) time_heap_##verb
#define HEAP_NODE PennyJob
#define HEAP_AT penny_job_at
#define HEAP_BEFORE(a, b) (time_of(a) < time_of(b))
#include "queue/sched_heap.h"

/* ---- lanes ---------------------------------------------------------------------- */

/* Put into the run behind `before` (0: as the first). */
static void
run_insert(PennySched *s, PennyLane *lane, uint32_t ref, uint32_t before)
{
	PennyJob *job = penny_job_at(s, ref);

	job->heap_child = PENNY_SCHED_IN_RUN;
	job->heap_prev = before;
	job->heap_next = before == 0 ? lane->first : penny_job_at(s, before)->heap_next;
	if (before == 0)
		lane->first = ref;
	else
		penny_job_at(s, before)->heap_next = ref;
	if (job->heap_next == 0)
		lane->last = ref;
	else
		penny_job_at(s, job->heap_next)->heap_prev = ref;
}

static void
lane_put(PennySched *s, PennyLane *lane, uint32_t ref)
{
	PennyJob *job = penny_job_at(s, ref);
	uint32_t before = lane->last;

	if (lane->first == 0 || goes_before(job, penny_job_at(s, lane->first)))
	{
		run_insert(s, lane, ref, 0);
		return;
	}
	for (int step = 0; step < PENNY_SCHED_WALK; step++)
	{
		PennyJob *other = penny_job_at(s, before);

		if (!goes_before(job, other))
		{
			run_insert(s, lane, ref, before);
			return;
		}
		before = other->heap_prev;
	}
	lane_heap_put(s, &lane->heap, ref);
}

static void
lane_remove(PennySched *s, PennyLane *lane, uint32_t ref)
{
	PennyJob *job = penny_job_at(s, ref);

	if (job->heap_child != PENNY_SCHED_IN_RUN)
	{
		lane_heap_remove(s, &lane->heap, ref);
		return;
	}
	if (job->heap_prev == 0)
		lane->first = job->heap_next;
	else
		penny_job_at(s, job->heap_prev)->heap_next = job->heap_next;
	if (job->heap_next == 0)
		lane->last = job->heap_prev;
	else
		penny_job_at(s, job->heap_next)->heap_prev = job->heap_prev;
	job->heap_child = job->heap_next = job->heap_prev = 0;
}

uint32_t
penny_lane_next(const PennySched *s, const PennyLane *lane)
{
	if (lane->heap == 0)
		return lane->first;
	if (lane->first == 0)
		return lane->heap;
	return goes_before(penny_job_at(s, lane->heap), penny_job_at(s, lane->first)) ? lane->heap
																				  : lane->first;
}

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
	lane_put(s, lane, ref);
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
	lane_remove(s, lane, ref);
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

/*-------------------------------------------------------------------------
 *
 * sched_lane.c
 *		A lane: the ready jobs of one group for one runner, in their order, which
 *		is by priority, then id.
 *
 * Ids ascend and priorities are few, so nearly every job comes behind all of
 * its priority, or a few places before (commits overtake one another), or before
 * all of them (a batch that is put back).  Such jobs are in runs: sorted lists,
 * one for each of up to PENNY_SCHED_RUNS priorities, O(1) in and out.  What fits
 * into none goes into a pairing heap.  The next is the first of the first run or
 * the root of the heap.
 *
 * Links in a run: heap_next, 0 at its end, and heap_prev.  The first of a run
 * has its last in heap_prev and the first of the next run in heap_child.
 *
 *-------------------------------------------------------------------------
 */
#include "queue/sched_private.h"

#define HEAP(verb) lane_heap_##verb
#define HEAP_NODE PennyJob
#define HEAP_AT penny_job_at
#define HEAP_BEFORE(a, b) penny_job_before(a, b)
#include "queue/sched_heap.h"

/* The run of a priority, 0: none; `*before` is the one before it, `*runs` how many were seen. */
static uint32_t
find_run(const PennySched *s, const PennyLane *lane, int32_t priority, uint32_t *before, int *runs)
{
	uint32_t run = lane->first;

	*before = 0;
	*runs = 0;
	while (run != 0 && penny_job_at(s, run)->priority < priority)
	{
		*before = run;
		run = penny_job_at(s, run)->heap_child;
		(*runs)++;
	}
	return run != 0 && penny_job_at(s, run)->priority == priority ? run : 0;
}

/* Let the run before, or the lane, name another first. */
static void
name_run(PennySched *s, PennyLane *lane, uint32_t before, uint32_t first)
{
	if (before == 0)
		lane->first = first;
	else
		penny_job_at(s, before)->heap_child = first;
}

/* A run of its own, behind another; false: there are enough. */
static bool
begin_run(PennySched *s, PennyLane *lane, uint32_t before, int runs, uint32_t ref)
{
	PennyJob *job = penny_job_at(s, ref);
	uint32_t after = before == 0 ? lane->first : penny_job_at(s, before)->heap_child;

	for (uint32_t run = after; run != 0; run = penny_job_at(s, run)->heap_child)
		runs++;
	if (runs >= PENNY_SCHED_RUNS)
		return false;
	job->heap_child = after;
	job->heap_next = 0;
	job->heap_prev = ref;
	job->place = PENNY_FIRST_OF_RUN;
	name_run(s, lane, before, ref);
	return true;
}

/* Become the first of a run, before the one that was. */
static void
put_first(PennySched *s, PennyLane *lane, uint32_t before, uint32_t first, uint32_t ref)
{
	PennyJob *job = penny_job_at(s, ref);
	PennyJob *second = penny_job_at(s, first);

	job->heap_child = second->heap_child;
	job->heap_next = first;
	job->heap_prev = second->heap_prev;
	job->place = PENNY_FIRST_OF_RUN;
	second->heap_child = 0;
	second->heap_prev = ref;
	second->place = PENNY_IN_RUN;
	if (job->heap_prev == first)
		second->heap_next = 0;
	name_run(s, lane, before, ref);
}

/* Into a run, behind one of its last few; false: it does not belong there. */
static bool
put_near_end(PennySched *s, uint32_t first, uint32_t ref)
{
	PennyJob *job = penny_job_at(s, ref);
	uint32_t at = penny_job_at(s, first)->heap_prev;

	for (int step = 0; step < PENNY_SCHED_WALK; step++)
	{
		PennyJob *other = penny_job_at(s, at);

		if (other->id < job->id)
		{
			job->heap_child = 0;
			job->heap_next = other->heap_next;
			job->heap_prev = at;
			job->place = PENNY_IN_RUN;
			if (other->heap_next != 0)
				penny_job_at(s, other->heap_next)->heap_prev = ref;
			else
				penny_job_at(s, first)->heap_prev = ref;
			other->heap_next = ref;
			return true;
		}
		at = other->heap_prev;
	}
	return false;
}

void
penny_lane_put(PennySched *s, PennyLane *lane, uint32_t ref)
{
	PennyJob *job = penny_job_at(s, ref);
	uint32_t before;
	int runs;
	uint32_t run = find_run(s, lane, job->priority, &before, &runs);
	bool done;

	if (run == 0)
		done = begin_run(s, lane, before, runs, ref);
	else if (job->id < penny_job_at(s, run)->id)
	{
		put_first(s, lane, before, run, ref);
		done = true;
	}
	else
		done = put_near_end(s, run, ref);
	if (done)
		return;
	job->place = PENNY_IN_HEAP;
	lane_heap_put(s, &lane->heap, ref);
}

/* The first of a run goes: its second becomes the first, or the run is gone. */
static void
remove_first(PennySched *s, PennyLane *lane, uint32_t ref)
{
	PennyJob *job = penny_job_at(s, ref);
	uint32_t second = job->heap_next;
	uint32_t before;
	int runs;

	find_run(s, lane, job->priority, &before, &runs);
	if (second == 0)
	{
		name_run(s, lane, before, job->heap_child);
		return;
	}
	penny_job_at(s, second)->heap_child = job->heap_child;
	penny_job_at(s, second)->heap_prev = job->heap_prev;
	penny_job_at(s, second)->place = PENNY_FIRST_OF_RUN;
	name_run(s, lane, before, second);
}

static void
remove_inner(PennySched *s, PennyLane *lane, uint32_t ref)
{
	PennyJob *job = penny_job_at(s, ref);
	uint32_t before;
	int runs;

	penny_job_at(s, job->heap_prev)->heap_next = job->heap_next;
	if (job->heap_next != 0)
		penny_job_at(s, job->heap_next)->heap_prev = job->heap_prev;
	else
		penny_job_at(s, find_run(s, lane, job->priority, &before, &runs))->heap_prev =
			job->heap_prev;
}

void
penny_lane_remove(PennySched *s, PennyLane *lane, uint32_t ref)
{
	PennyJob *job = penny_job_at(s, ref);

	if (job->place == PENNY_IN_HEAP)
		lane_heap_remove(s, &lane->heap, ref);
	else if (job->place == PENNY_FIRST_OF_RUN)
		remove_first(s, lane, ref);
	else
		remove_inner(s, lane, ref);
	job->heap_child = job->heap_next = job->heap_prev = 0;
}

uint32_t
penny_lane_next(const PennySched *s, const PennyLane *lane)
{
	if (lane->heap == 0)
		return lane->first;
	if (lane->first == 0)
		return lane->heap;
	return penny_job_before(penny_job_at(s, lane->heap), penny_job_at(s, lane->first))
			   ? lane->heap
			   : lane->first;
}

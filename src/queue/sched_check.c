/*-------------------------------------------------------------------------
 *
 * sched_check.c
 *		Everything that should hold, for tests and debug builds.
 *
 * Linear in entries and groups, without memory of its own: what belongs to one
 * group of many is compared by sums of mixed numbers.  Processes may reserve
 * meanwhile; what they change is not looked at.
 *
 *-------------------------------------------------------------------------
 */
#include "queue/sched_private.h"

#include <string.h>

/* What a walk over all entries finds, of one queue. */
typedef struct Found
{
	uint64_t ready[PENNY_RUNNERS];
	uint64_t delayed;
	uint64_t active;
	uint64_t ending;
	uint64_t busy;
} Found;

typedef struct Sums
{
	Found queue[PENNY_SCHED_QUEUES];
	uint64_t known;
	uint64_t leases;
	uint64_t delayed[PENNY_RUNNERS];
	uint64_t lanes; /* READY */
	uint64_t held[PENNY_SCHED_HOLDERS];
	uint64_t live[PENNY_SEGMENTS];
	uint64_t jobs; /* mixed numbers of their groups */
	uint64_t busy;
	uint32_t openings;
	uint32_t idle;
	uint32_t blocks;
} Sums;

static inline uint64_t
mix(uint64_t number)
{
	number *= UINT64_C(0x9E3779B97F4A7C15);
	return number ^ number >> 29;
}

/* ---- entries ------------------------------------------------------------------------------- */

static bool
in_hash(const PennySched *s, uint32_t wanted)
{
	uint32_t found = 0;

	for (uint32_t ref = *penny_id_head(s, penny_job_at(s, wanted)->id); ref != 0;
		 ref = penny_job_at(s, ref)->same_hash)
	{
		if (ref == wanted)
			found++;
		else if (penny_job_at(s, ref)->id == penny_job_at(s, wanted)->id)
			return false;
	}
	return found == 1;
}

/* What a start leaves behind, while it is not over. */
static const char *
check_start(const PennyJob *job, Sums *sums)
{
	PENNY_HOLDS((job->state == PENNY_JOB_ACTIVE) <= (job->token != 0));
	if (job->token == 0)
	{
		PENNY_HOLDS(!job->serial && (job->flags & PENNY_JOB_ALONE) == 0);
		return NULL;
	}
	PENNY_HOLDS(job->state == PENNY_JOB_ACTIVE || job->state == PENNY_JOB_ENDING);
	PENNY_HOLDS(job->group_slot != 0);
	sums->busy += mix(job->group_slot);
	if (job->serial)
		sums->held[job->holder]++;
	else
		sums->queue[job->queue].busy++;
	return NULL;
}

static const char *
check_entry(const PennySched *s, uint32_t ref, Sums *sums)
{
	const PennyJob *job = penny_job_at(s, ref);
	Found *found = &sums->queue[job->queue];

	sums->known++;
	PENNY_HOLDS(job->id > 0 && job->queue < PENNY_SCHED_QUEUES && job->runner < PENNY_RUNNERS);
	PENNY_HOLDS(in_hash(s, ref));
	if (job->in_segment)
	{
		PENNY_HOLDS(penny_sched_is_open(s, penny_segment_of(job->id)));
		PENNY_HOLDS(penny_sched_seen(s, job->id) && !penny_sched_done(s, job->id));
		sums->live[penny_segment_of(job->id) & (PENNY_SEGMENTS - 1)]++;
	}
	else
		PENNY_HOLDS((job->flags & PENNY_JOB_DEFERRED) != 0 || job->state == PENNY_JOB_ENDING);
	if (job->group_slot != 0)
	{
		sums->jobs += mix(job->group_slot);
		PENNY_HOLDS(penny_group_at(s, job->group_slot)->queue == job->queue);
		PENNY_HOLDS(penny_group_at(s, job->group_slot)->key == job->group);
	}
	PENNY_HOLDS(job->group_slot != 0 || job->state == PENNY_JOB_DELAYED ||
				job->state == PENNY_JOB_ENDING);
	found->ready[job->runner] += job->state == PENNY_JOB_READY;
	found->delayed += job->state == PENNY_JOB_DELAYED;
	found->active += job->state == PENNY_JOB_ACTIVE;
	found->ending += job->state == PENNY_JOB_ENDING;
	sums->lanes += job->state == PENNY_JOB_READY;
	sums->delayed[job->runner] += job->state == PENNY_JOB_DELAYED;
	sums->leases += job->state == PENNY_JOB_ACTIVE && job->until != PENNY_SCHED_NEVER;
	return check_start(job, sums);
}

static const char *
check_entries(const PennySched *s, Sums *sums)
{
	uint32_t used = penny_sched_used(s);
	uint64_t in_use = atomic_load_explicit(&s->taken, memory_order_relaxed) -
					  atomic_load_explicit(&s->returned, memory_order_relaxed);

	for (uint32_t ref = 1; ref < used; ref++)
	{
		const char *wrong = NULL;

		if (penny_job_known(s, penny_job_at(s, ref)))
			wrong = check_entry(s, ref, sums);
		if (wrong != NULL)
			return wrong;
	}
	PENNY_HOLDS(used <= s->entries + 1);
	PENNY_HOLDS(sums->known <= in_use && in_use <= s->entries);
	PENNY_HOLDS(s->freed == 0);
	return NULL;
}

/* ---- limiters ------------------------------------------------------------------------------- */

static const char *
check_limiter(const PennySched *s, const PennyLimiter *limiter, Sums *sums)
{
	uint32_t block = limiter->first;
	uint32_t place = limiter->head;
	int64_t last = INT64_MIN;

	PENNY_HOLDS((limiter->count == 0) == (limiter->first == 0));
	for (uint32_t n = 0; n < limiter->count; n++)
	{
		const PennyTimes *times = penny_times_at(s, block);

		sums->blocks += n == 0 || place == 0;
		PENNY_HOLDS(block != 0 && times->at[place] >= last && times->at[place] <= s->mono);
		last = times->at[place];
		if (n == limiter->count - 1)
			PENNY_HOLDS(block == limiter->last && place + 1 == limiter->tail && times->next == 0);
		else if (++place == PENNY_SCHED_TIMES)
		{
			block = times->next;
			place = 0;
		}
	}
	return NULL;
}

/* ---- groups ----------------------------------------------------------------------------------- */

/* One run; `*count` goes up by its length. */
static const char *
check_run(const PennySched *s, uint32_t first, uint64_t *count)
{
	const PennyJob *head = penny_job_at(s, first);
	uint32_t prev = 0;

	PENNY_HOLDS(head->place == PENNY_FIRST_OF_RUN);
	for (uint32_t ref = first; ref != 0; ref = penny_job_at(s, ref)->heap_next)
	{
		const PennyJob *job = penny_job_at(s, ref);

		PENNY_HOLDS(ref == first || (job->place == PENNY_IN_RUN && job->heap_prev == prev));
		PENNY_HOLDS(prev == 0 || penny_job_before(penny_job_at(s, prev), job));
		PENNY_HOLDS(job->priority == head->priority && job->state == PENNY_JOB_READY);
		PENNY_HOLDS(job->group_slot == head->group_slot && job->runner == head->runner);
		PENNY_HOLDS(++*count <= s->entries);
		prev = ref;
	}
	PENNY_HOLDS(head->heap_prev == prev);
	return NULL;
}

static const char *
check_ring(const PennySched *s, uint32_t slot, int runner)
{
	const PennyGroup *group = penny_group_at(s, slot);
	const PennyLane *lane = &group->lane[runner];
	bool waits = lane->first != 0 || lane->heap != 0;

	PENNY_HOLDS((lane->ring_next != 0) == (waits && group->closed == PENNY_OPEN));
	if (lane->ring_next != 0)
	{
		PENNY_HOLDS(penny_group_at(s, lane->ring_next)->lane[runner].ring_prev == slot);
		PENNY_HOLDS(penny_group_at(s, lane->ring_prev)->lane[runner].ring_next == slot);
		PENNY_HOLDS(penny_group_at(s, lane->ring_next)->queue == group->queue);
		PENNY_HOLDS(s->queues[group->queue].ring[runner] != 0);
	}
	return NULL;
}

static const char *
check_lane(const PennySched *s, uint32_t slot, int runner, Sums *sums)
{
	const PennyLane *lane = &penny_group_at(s, slot)->lane[runner];
	uint64_t count = 0;
	int runs = 0;
	const char *wrong = penny_check_heap(s, PENNY_HEAP_LANE, lane->heap, &count);

	for (uint32_t ref = lane->first; ref != 0 && wrong == NULL;
		 ref = penny_job_at(s, ref)->heap_child)
	{
		const PennyJob *job = penny_job_at(s, ref);

		PENNY_HOLDS(job->group_slot == slot && job->runner == runner);
		PENNY_HOLDS(job->heap_child == 0 ||
					job->priority < penny_job_at(s, job->heap_child)->priority);
		PENNY_HOLDS(++runs <= PENNY_SCHED_RUNS);
		wrong = check_run(s, ref, &count);
	}
	if (wrong != NULL)
		return wrong;
	PENNY_HOLDS(lane->heap == 0 || penny_job_at(s, lane->heap)->place == PENNY_IN_HEAP);
	PENNY_HOLDS(sums->lanes >= count);
	sums->lanes -= count;
	return check_ring(s, slot, runner);
}

static const char *
check_group(const PennySched *s, uint32_t slot, Sums *sums)
{
	const PennyGroup *group = penny_group_at(s, slot);
	const PennyQueueLimits *limits = &s->queues[group->queue].limits;
	bool waits = false;

	sums->jobs -= group->jobs * mix(slot);
	sums->busy -= (uint64_t) group->busy * mix(slot);
	for (int runner = 0; runner < PENNY_RUNNERS; runner++)
	{
		const char *wrong = check_lane(s, slot, runner, sums);

		if (wrong != NULL)
			return wrong;
		waits |= group->lane[runner].first != 0 || group->lane[runner].heap != 0;
	}
	if (slot <= PENNY_SCHED_QUEUES)
	{
		PENNY_HOLDS(group->closed == PENNY_OPEN && group->wait == PENNY_WAIT_NONE);
		PENNY_HOLDS(group->starts.count == 0 && group->queue == slot - 1);
		return NULL;
	}
	PENNY_HOLDS(group->jobs > 0 || group->starts.count > 0);
	PENNY_HOLDS((group->closed == PENNY_CLOSED_BUSY) ==
				(limits->group_concurrency > 0 && group->busy >= limits->group_concurrency));
	PENNY_HOLDS(group->closed != PENNY_CLOSED_RATE || limits->group_rate > 0);
	PENNY_HOLDS((group->wait == PENNY_WAIT_IDLE) == (group->jobs == 0));
	PENNY_HOLDS((group->wait == PENNY_WAIT_OPENING) ==
				(group->closed == PENNY_CLOSED_RATE && waits));
	sums->idle += group->wait == PENNY_WAIT_IDLE;
	sums->openings += group->wait == PENNY_WAIT_OPENING;
	return check_limiter(s, &group->starts, sums);
}

static const char *
check_groups(const PennySched *s, Sums *sums)
{
	PENNY_HOLDS(s->groups_fresh <= s->groups + 1);
	for (uint32_t slot = 1; slot < s->groups_fresh; slot++)
	{
		const char *wrong = NULL;

		if (slot <= PENNY_SCHED_QUEUES || penny_group_at(s, slot)->key != 0)
			wrong = check_group(s, slot, sums);
		if (wrong != NULL)
			return wrong;
	}
	PENNY_HOLDS(sums->jobs == 0);
	PENNY_HOLDS(sums->busy == 0);
	PENNY_HOLDS(sums->lanes == 0);
	return NULL;
}

/* ---- queues --------------------------------------------------------------------------------- */

static const char *
check_age(const PennySched *s, const PennySchedQueue *queue, uint64_t ready)
{
	uint64_t count = 0;
	uint32_t prev = 0;

	for (uint32_t ref = queue->oldest; ref != 0; ref = penny_job_at(s, ref)->list_next)
	{
		PENNY_HOLDS(penny_job_at(s, ref)->state == PENNY_JOB_READY);
		PENNY_HOLDS(penny_job_at(s, ref)->list_prev == prev);
		PENNY_HOLDS(++count <= ready);
		prev = ref;
	}
	PENNY_HOLDS(count == ready);
	PENNY_HOLDS(queue->newest == prev);
	return NULL;
}

static const char *
check_queue(const PennySched *s, uint32_t number, Sums *sums)
{
	const PennySchedQueue *queue = &s->queues[number];
	const PennyQueueLimits *limits = &queue->limits;
	const Found *found = &sums->queue[number];
	const char *wrong;
	uint64_t ready = 0;

	for (int runner = 0; runner < PENNY_RUNNERS; runner++)
	{
		bool can = queue->closed == PENNY_OPEN && queue->ring[runner] != 0;

		PENNY_HOLDS(queue->ready[runner] == found->ready[runner]);
		PENNY_HOLDS(penny_set_has(&s->can_start[0][runner], number) == (can && limits->urgent));
		PENNY_HOLDS(penny_set_has(&s->can_start[1][runner], number) == (can && !limits->urgent));
		PENNY_HOLDS(queue->ring[runner] == 0 ||
					(penny_group_at(s, queue->ring[runner])->queue == number &&
					 penny_group_at(s, queue->ring[runner])->lane[runner].ring_next != 0));
		ready += queue->ready[runner];
	}
	PENNY_HOLDS(queue->delayed == found->delayed);
	PENNY_HOLDS(queue->active == found->active);
	PENNY_HOLDS(queue->ending == found->ending);
	PENNY_HOLDS((uint64_t) queue->busy == found->busy);
	PENNY_HOLDS((queue->closed == PENNY_CLOSED_OFF) == (!limits->exists || limits->paused));
	PENNY_HOLDS(queue->closed == PENNY_CLOSED_OFF ||
				(queue->closed == PENNY_CLOSED_BUSY) ==
					(limits->concurrency > 0 && queue->busy >= limits->concurrency));
	PENNY_HOLDS(penny_set_has(&s->rate_closed, number) == (queue->closed == PENNY_CLOSED_RATE));
	wrong = check_age(s, queue, ready);
	return wrong != NULL ? wrong : check_limiter(s, &queue->starts, sums);
}

static const char *
check_holders(const PennySched *s, Sums *sums)
{
	for (int i = 0; i < PENNY_SCHED_HOLDERS; i++)
	{
		const PennyHolder *holder = &s->holders[i];
		uint64_t count = 0;
		uint32_t prev = 0;

		for (uint32_t ref = holder->first; ref != 0; ref = penny_job_at(s, ref)->list_next)
		{
			const PennyJob *job = penny_job_at(s, ref);

			PENNY_HOLDS(job->serial && job->holder == (uint32_t) i && job->token != 0);
			PENNY_HOLDS(job->list_prev == prev && job->queue == holder->queue);
			PENNY_HOLDS(++count <= holder->jobs);
			prev = ref;
		}
		PENNY_HOLDS(count == holder->jobs && count == sums->held[i]);
		sums->queue[holder->queue].busy += count > 0;
	}
	return NULL;
}

static const char *
check_times(const PennySched *s, Sums *sums)
{
	uint64_t count = 0;
	const char *wrong = penny_check_heap(s, PENNY_HEAP_UNTIL, s->leases, &count);

	PENNY_HOLDS(count == sums->leases);
	for (int runner = 0; runner < PENNY_RUNNERS && wrong == NULL; runner++)
	{
		count = 0;
		wrong = penny_check_heap(s, PENNY_HEAP_DUE, s->delays[runner], &count);
		PENNY_HOLDS(count == sums->delayed[runner]);
	}
	count = 0;
	if (wrong == NULL)
		wrong = penny_check_heap(s, PENNY_HEAP_GROUP, s->openings, &count);
	PENNY_HOLDS(count == sums->openings);
	count = 0;
	if (wrong == NULL)
		wrong = penny_check_heap(s, PENNY_HEAP_GROUP, s->idle, &count);
	PENNY_HOLDS(count == sums->idle);
	return wrong;
}

const char *
penny_sched_check(PennySched *s)
{
	Sums sums;
	const char *wrong;

	memset(&sums, 0, sizeof(sums));
	wrong = check_entries(s, &sums);
	if (wrong == NULL)
		wrong = check_groups(s, &sums);
	if (wrong == NULL)
		wrong = check_holders(s, &sums);
	for (uint32_t number = 0; number < PENNY_SCHED_QUEUES && wrong == NULL; number++)
		wrong = check_queue(s, number, &sums);
	if (wrong == NULL)
		wrong = check_times(s, &sums);
	if (wrong != NULL)
		return wrong;
	PENNY_HOLDS(sums.blocks == s->blocks_used && s->blocks_used <= s->blocks);
	for (int i = 0; i < PENNY_SEGMENTS; i++)
		PENNY_HOLDS(s->segments[i].live == sums.live[i] &&
					s->segments[i].done + s->segments[i].live <= s->segments[i].seen);
	return NULL;
}

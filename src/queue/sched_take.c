/*-------------------------------------------------------------------------
 *
 * sched_take.c
 *		Which job starts: turns of ranks, queues and groups; starts and their end.
 *
 * A start is a claimed job, or a worker's batch, which comes whole out of one
 * queue.  Rank 0 goes first while something of it can start, except that
 *
 *	1. after PENNY_SCHED_TURNS - 1 starts of rank 0 in a row, while a queue of
 *	   rank 1 could start something, rank 1 starts;
 *	2. a queue of rank 1 whose next job has been ready for PENNY_SCHED_AGE goes
 *	   first, the oldest before others, but not twice in a row while rank 0
 *	   waits: a backlog of rank 1 takes half of the starts and not all of them.
 *
 * So while the queues of rank 1 that can start something are k, each starts
 * after at most k times PENNY_SCHED_TURNS starts.  Turns are counted for each
 * runner by itself.  Queues of one rank take turns by number, groups of a queue
 * by their ring.
 *
 * A job that a rate limiter counts is taken alone.  The limiter is asked in the
 * moment of the start, whatever was found before: memory for its time may have
 * gone meanwhile.
 *
 *-------------------------------------------------------------------------
 */
#include "queue/sched_private.h"

/* Whose turn it is. */
typedef struct Pick
{
	int queue; /* -1: nobody's */
	int rank;
	bool both; /* a queue of each rank could start something */
	bool aged;
} Pick;

static inline bool
is_empty(const PennyQueueSet *set)
{
	uint64_t any = 0;

	for (int i = 0; i < PENNY_SCHED_QUEUES / 64; i++)
		any |= set->word[i];
	return any == 0;
}

/* The next member behind `last`, going round; -1: none. */
static int
next_member(const PennyQueueSet *set, uint32_t last)
{
	uint32_t start = (last + 1) % PENNY_SCHED_QUEUES;

	for (uint32_t i = 0; i <= PENNY_SCHED_QUEUES / 64; i++)
	{
		uint32_t word = (start / 64 + i) % (PENNY_SCHED_QUEUES / 64);
		uint64_t bits = set->word[word];

		if (i == 0)
			bits &= UINT64_MAX << (start & 63);
		if (bits != 0)
			return (int) (word * 64 + (uint32_t) __builtin_ctzll(bits));
	}
	return -1;
}

/* The job of this runner that a queue would start next. */
static uint32_t
next_of_queue(const PennySched *s, uint32_t number, PennyRunner runner)
{
	uint32_t slot = s->queues[number].ring[runner];

	return penny_lane_next(s, &penny_group_at(s, slot)->lane[runner]);
}

/* The queue of rank 1 whose next job is oldest, if that is old; -1: none. */
static int
aged_queue(const PennySched *s, PennyRunner runner, int64_t now)
{
	const PennyQueueSet *set = &s->can_start[1][runner];
	int64_t since = now - PENNY_SCHED_AGE;
	int found = -1;

	for (int i = 0; i < PENNY_SCHED_QUEUES / 64; i++)
		for (uint64_t left = set->word[i]; left != 0; left &= left - 1)
		{
			int number = i * 64 + __builtin_ctzll(left);
			int64_t due = penny_job_at(s, next_of_queue(s, (uint32_t) number, runner))->due;

			if (due < since || (due == since && found < 0))
			{
				since = due;
				found = number;
			}
		}
	return found;
}

static Pick
pick_any(const PennySched *s, PennyRunner runner, int64_t now)
{
	const PennyTurns *turns = &s->turns[runner];
	bool high = !is_empty(&s->can_start[0][runner]);
	bool low = !is_empty(&s->can_start[1][runner]);
	Pick pick = {.queue = -1, .rank = high ? 0 : 1, .both = high && low};

	if (pick.both && turns->starts >= PENNY_SCHED_TURNS - 1)
		pick.rank = 1;
	else if (pick.both && !turns->aged && (pick.queue = aged_queue(s, runner, now)) >= 0)
	{
		pick.rank = 1;
		pick.aged = true;
	}
	if (pick.queue < 0)
		pick.queue = next_member(&s->can_start[pick.rank][runner], turns->last[pick.rank]);
	return pick;
}

static Pick
pick_one(const PennySched *s, uint32_t number, PennyRunner runner)
{
	Pick pick = {.queue = -1, .rank = -1};

	if (number < PENNY_SCHED_QUEUES && (penny_set_has(&s->can_start[0][runner], number) ||
										penny_set_has(&s->can_start[1][runner], number)))
		pick.queue = (int) number;
	return pick;
}

/* A start has gone to this one. */
static void
count_turn(PennySched *s, PennyRunner runner, const Pick *pick)
{
	PennyTurns *turns = &s->turns[runner];

	if (pick->rank < 0)
		return;
	turns->last[pick->rank] = (uint16_t) pick->queue;
	turns->starts = pick->rank == 0 && pick->both ? turns->starts + 1 : 0;
	turns->aged = pick->aged;
}

/* ---- starts -------------------------------------------------------------------------- */

static inline bool
is_counted(const PennySched *s, uint32_t number, uint32_t slot)
{
	const PennyQueueLimits *limits = &s->queues[number].limits;

	return limits->rate > 0 || (limits->group_rate > 0 && slot > PENNY_SCHED_QUEUES);
}

/* May the group whose turn it is start a counted job in this very moment?  If not it is set aside. */
static bool
limits_allow(PennySched *s, uint32_t number, uint32_t slot)
{
	penny_sched_settle_group(s, slot);
	penny_sched_settle_queue(s, number);
	return penny_group_at(s, slot)->closed == PENNY_OPEN && s->queues[number].closed == PENNY_OPEN;
}

static void
count_start(PennySched *s, PennySchedQueue *queue, uint32_t slot, PennyJob *job)
{
	if (queue->limits.rate > 0)
		penny_limiter_add(s, &queue->starts, s->mono);
	if (queue->limits.group_rate > 0 && slot > PENNY_SCHED_QUEUES)
		penny_limiter_add(s, &penny_group_at(s, slot)->starts, s->mono);
	job->flags |= PENNY_JOB_ALONE;
}

static void
hold(PennySched *s, PennyJob *job, uint32_t ref)
{
	PennyHolder *holder = &s->holders[job->holder];

	job->serial = 1;
	job->list_prev = 0;
	job->list_next = holder->first;
	if (holder->first != 0)
		penny_job_at(s, holder->first)->list_prev = ref;
	holder->first = ref;
	holder->jobs++;
	holder->queue = job->queue;
}

/* Start the next job of the group whose turn it is. */
static uint32_t
start_next(PennySched *s, const PennyTake *how, uint32_t number, bool counted, bool first)
{
	PennySchedQueue *queue = &s->queues[number];
	uint32_t slot = queue->ring[how->runner];
	PennyGroup *group = penny_group_at(s, slot);
	PennyLane *lane = &group->lane[how->runner];
	uint32_t ref = penny_lane_next(s, lane);
	PennyJob *job = penny_job_at(s, ref);

	queue->ring[how->runner] = lane->ring_next;
	penny_sched_unready(s, ref);
	penny_job_set_state(job, PENNY_JOB_ACTIVE);
	job->token = s->tokens++;
	job->started = s->mono - s->skew;
	job->until = how->until;
	job->holder = how->holder;
	queue->active++;
	queue->started++;
	group->busy++;
	if (counted)
		count_start(s, queue, slot, job);
	if (slot > PENNY_SCHED_QUEUES)
		penny_sched_settle_group(s, slot);
	if (how->serial)
		hold(s, job, ref);
	penny_sched_put_lease(s, ref);
	if (!how->serial || first)
	{
		queue->busy++;
		penny_sched_settle_queue(s, number);
	}
	return ref;
}

/* More for a worker's batch, out of the queue that it began with, which counts as busy by now. */
static uint32_t
fill_batch(PennySched *s, const PennyTake *how, uint32_t number, uint32_t n, PennyJobRef *refs)
{
	PennySchedQueue *queue = &s->queues[number];

	while (n < how->max && queue->ring[how->runner] != 0 &&
		   !is_counted(s, number, queue->ring[how->runner]))
		refs[n++] = start_next(s, how, number, false, false);
	return n;
}

uint32_t
penny_sched_take(PennySched *s, const PennyTake *how, int64_t now, PennyJobRef *refs)
{
	uint32_t n = 0;

	penny_sched_drain(s, now);
	if (how->serial && (how->holder >= PENNY_SCHED_HOLDERS || s->holders[how->holder].jobs > 0))
		return 0;
	while (n < how->max)
	{
		Pick pick = how->queue == PENNY_SCHED_ANY ? pick_any(s, how->runner, now)
												  : pick_one(s, how->queue, how->runner);
		uint32_t number = (uint32_t) pick.queue;
		uint32_t slot;
		bool counted;

		if (pick.queue < 0)
			break;
		slot = s->queues[number].ring[how->runner];
		counted = is_counted(s, number, slot);
		if (counted && n > 0)
			break;
		if (counted && !limits_allow(s, number, slot))
			continue;
		refs[n++] = start_next(s, how, number, counted, true);
		count_turn(s, how->runner, &pick);
		if (counted)
			break;
		if (how->serial)
			return fill_batch(s, how, number, n, refs);
	}
	return n;
}

/* ---- the end of a start ------------------------------------------------------------- */

/* Not ACTIVE any more in what limits count; its state and its group are the caller's. */
void
penny_sched_release(PennySched *s, PennyJob *job)
{
	PennySchedQueue *queue = &s->queues[job->queue];
	PennyGroup *group = penny_group_at(s, job->group_slot);
	bool over = true;

	if (job->serial)
	{
		PennyHolder *holder = &s->holders[job->holder];

		if (job->list_prev == 0)
			holder->first = job->list_next;
		else
			penny_job_at(s, job->list_prev)->list_next = job->list_next;
		if (job->list_next != 0)
			penny_job_at(s, job->list_next)->list_prev = job->list_prev;
		job->list_next = job->list_prev = 0;
		job->serial = 0;
		over = --holder->jobs == 0;
	}
	job->token = 0;
	job->flags &= (uint16_t) ~PENNY_JOB_ALONE;
	group->busy--;
	if (group->closed == PENNY_CLOSED_BUSY)
		penny_sched_settle_group(s, job->group_slot);
	if (!over)
		return;
	queue->busy--;
	if (queue->closed == PENNY_CLOSED_BUSY)
		penny_sched_settle_queue(s, job->queue);
}

/* ---- who waits ------------------------------------------------------------------------- */

bool
penny_sched_waits(PennySched *s, PennyRunner runner, uint32_t queue, int64_t now)
{
	penny_sched_drain(s, now);
	if (queue != PENNY_SCHED_ANY)
		return pick_one(s, queue, runner).queue >= 0;
	return !is_empty(&s->can_start[0][runner]) || !is_empty(&s->can_start[1][runner]);
}

int64_t
penny_sched_next(PennySched *s, PennyRunner runner, int64_t now)
{
	int64_t next = PENNY_SCHED_NEVER;

	penny_sched_drain(s, now);
	if (s->delays[runner] != 0)
		next = penny_job_at(s, s->delays[runner])->due;
	if (s->leases != 0 && penny_job_at(s, s->leases)->until < next)
		next = penny_job_at(s, s->leases)->until;
	if (s->openings != 0 && penny_group_at(s, s->openings)->at - s->skew < next)
		next = penny_group_at(s, s->openings)->at - s->skew;
	for (int i = 0; i < PENNY_SCHED_QUEUES / 64; i++)
		for (uint64_t left = s->rate_closed.word[i]; left != 0; left &= left - 1)
		{
			const PennySchedQueue *queue = &s->queues[i * 64 + __builtin_ctzll(left)];

			if (queue->ring[runner] != 0 && queue->opens - s->skew < next)
				next = queue->opens - s->skew;
		}
	return next;
}

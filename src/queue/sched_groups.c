/*-------------------------------------------------------------------------
 *
 * sched_groups.c
 *		Groups and queues: who takes part in the turns, who is set aside, and
 *		what brings it back.
 *
 * What follows from a group's state (in a ring or not, in a heap or not, there
 * or not) is brought in order by penny_sched_settle_group() after its state has
 * changed, and likewise a queue's by penny_sched_settle_queue(); nobody else
 * writes rings, `openings`, `idle` or the sets.  Both look at limits as of
 * `mono` and may be called at any time.
 *
 * Starts that receipts tell of, and for which there is no memory, close their
 * queue until they do not count any more (`blind`).
 *
 * There is always a free group: one that has no entries has a block of start
 * times, and there are as many groups as entries and blocks.
 *
 *-------------------------------------------------------------------------
 */
#include "queue/sched_private.h"

#include <string.h>

#define HEAP(verb) group_heap_##verb
#define HEAP_NODE PennyGroup
#define HEAP_AT penny_group_at
#define HEAP_BEFORE(a, b) ((a)->at < (b)->at)
#include "queue/sched_heap.h"

static inline bool
has_key(uint32_t slot)
{
	return slot > PENNY_SCHED_QUEUES;
}

static inline bool
lane_waits(const PennyLane *lane)
{
	return lane->first != 0 || lane->heap != 0;
}

static inline bool
any_lane_waits(const PennyGroup *group)
{
	return lane_waits(&group->lane[PENNY_RUNNER_SQL]) ||
		   lane_waits(&group->lane[PENNY_RUNNER_WEBHOOK]) ||
		   lane_waits(&group->lane[PENNY_RUNNER_EXTERNAL]);
}

static uint32_t *
hash_head(const PennySched *s, uint16_t queue, uint64_t key)
{
	uint64_t mixed = (key ^ queue) * UINT64_C(0x9E3779B97F4A7C15);

	return (uint32_t *) ((char *) s + s->group_hash_at) + ((mixed >> 32) & s->group_mask);
}

void
penny_sched_groups_init(PennySched *s)
{
	memset((char *) s + s->group_hash_at, 0, (s->group_mask + 1) * sizeof(uint32_t));
	memset(penny_group_at(s, 0), 0, (PENNY_SCHED_QUEUES + 1) * sizeof(PennyGroup));
	for (uint32_t slot = 1; slot <= PENNY_SCHED_QUEUES; slot++)
		penny_group_at(s, slot)->queue = (uint16_t) (slot - 1);
	s->groups_fresh = PENNY_SCHED_QUEUES + 1;
	s->groups_free = 0;
	s->openings = s->idle = 0;
}

/* ---- rings ----------------------------------------------------------------------- */

/* In at the end: behind all whose turn comes before it comes round again. */
static void
ring_put(PennySched *s, uint32_t slot, int runner)
{
	PennyLane *lane = &penny_group_at(s, slot)->lane[runner];
	uint32_t *head = &s->queues[penny_group_at(s, slot)->queue].ring[runner];

	if (*head == 0)
	{
		lane->ring_next = lane->ring_prev = *head = slot;
		return;
	}
	lane->ring_next = *head;
	lane->ring_prev = penny_group_at(s, *head)->lane[runner].ring_prev;
	penny_group_at(s, lane->ring_prev)->lane[runner].ring_next = slot;
	penny_group_at(s, *head)->lane[runner].ring_prev = slot;
}

static void
ring_remove(PennySched *s, uint32_t slot, int runner)
{
	PennyLane *lane = &penny_group_at(s, slot)->lane[runner];
	uint32_t *head = &s->queues[penny_group_at(s, slot)->queue].ring[runner];

	if (lane->ring_next == slot)
		*head = 0;
	else
	{
		if (*head == slot)
			*head = lane->ring_next;
		penny_group_at(s, lane->ring_prev)->lane[runner].ring_next = lane->ring_next;
		penny_group_at(s, lane->ring_next)->lane[runner].ring_prev = lane->ring_prev;
	}
	lane->ring_next = lane->ring_prev = 0;
}

/* ---- queues ----------------------------------------------------------------------- */

static inline void
set_member(PennyQueueSet *set, uint32_t number, bool member)
{
	uint64_t bit = UINT64_C(1) << (number & 63);

	if (member)
		set->word[number >> 6] |= bit;
	else
		set->word[number >> 6] &= ~bit;
}

/* The sets that a queue is in, by whether it is open and has rings. */
static void
place_queue(PennySched *s, uint32_t number)
{
	PennySchedQueue *queue = &s->queues[number];

	for (int runner = 0; runner < PENNY_RUNNERS; runner++)
	{
		bool can = queue->closed == PENNY_OPEN && queue->ring[runner] != 0;

		set_member(&s->can_start[0][runner], number, can && queue->limits.urgent);
		set_member(&s->can_start[1][runner], number, can && !queue->limits.urgent);
	}
}

void
penny_sched_settle_queue(PennySched *s, uint32_t number)
{
	PennySchedQueue *queue = &s->queues[number];
	const PennyQueueLimits *limits = &queue->limits;
	PennyClosed closed = PENNY_OPEN;

	queue->opens = 0;
	if (limits->rate == 0 && queue->starts.count > 0)
		penny_limiter_clear(s, &queue->starts);
	if (!limits->exists || limits->paused)
		closed = PENNY_CLOSED_OFF;
	else if (limits->concurrency > 0 && queue->busy >= limits->concurrency)
		closed = PENNY_CLOSED_BUSY;
	else if (queue->blind > s->mono)
		queue->opens = queue->blind;
	else if (limits->rate > 0)
		queue->opens = penny_limiter_opens(s, &queue->starts, limits->rate, limits->window);
	if (queue->opens != 0)
		closed = PENNY_CLOSED_RATE;
	if (closed >= PENNY_CLOSED_BUSY && queue->closed == PENNY_OPEN &&
		(queue->ring[0] | queue->ring[1] | queue->ring[2]) != 0)
		queue->limited++;
	queue->closed = (uint8_t) closed;
	set_member(&s->rate_closed, number, closed == PENNY_CLOSED_RATE);
	place_queue(s, number);
}

/* ---- groups ----------------------------------------------------------------------- */

/* At a limit of its own?  Then `*opens` is when a rate allows a start, 0 if that is not it. */
static PennyClosed
closed_by(PennySched *s, PennyGroup *group, int64_t *opens)
{
	const PennyQueueLimits *limits = &s->queues[group->queue].limits;

	*opens = 0;
	if (limits->group_rate == 0 && group->starts.count > 0)
		penny_limiter_clear(s, &group->starts);
	if (limits->group_concurrency > 0 && group->busy >= limits->group_concurrency)
		return PENNY_CLOSED_BUSY;
	if (limits->group_rate > 0 &&
		(*opens =
			 penny_limiter_opens(s, &group->starts, limits->group_rate, limits->group_window)) != 0)
		return PENNY_CLOSED_RATE;
	return PENNY_OPEN;
}

static void
stop_waiting(PennySched *s, uint32_t slot)
{
	PennyGroup *group = penny_group_at(s, slot);

	if (group->wait == PENNY_WAIT_OPENING)
		group_heap_remove(s, &s->openings, slot);
	else if (group->wait == PENNY_WAIT_IDLE)
		group_heap_remove(s, &s->idle, slot);
	group->wait = PENNY_WAIT_NONE;
}

static void
free_group(PennySched *s, uint32_t slot)
{
	PennyGroup *group = penny_group_at(s, slot);
	uint32_t *link = hash_head(s, group->queue, group->key);

	while (*link != slot)
		link = &penny_group_at(s, *link)->same_hash;
	*link = group->same_hash;
	group->key = 0;
	group->same_hash = s->groups_free;
	s->groups_free = slot;
}

/* Into the heap in which it waits for a time, out of another; or gone. */
static void
wait_for(PennySched *s, uint32_t slot, PennyGroupWait wait, int64_t at)
{
	PennyGroup *group = penny_group_at(s, slot);

	if (group->wait == wait && (wait == PENNY_WAIT_NONE || group->at == at))
		return;
	stop_waiting(s, slot);
	group->wait = (uint8_t) wait;
	group->at = at;
	if (wait != PENNY_WAIT_NONE)
		group_heap_put(s, wait == PENNY_WAIT_OPENING ? &s->openings : &s->idle, slot);
}

void
penny_sched_settle_group(PennySched *s, uint32_t slot)
{
	PennyGroup *group = penny_group_at(s, slot);
	PennySchedQueue *queue = &s->queues[group->queue];
	bool waits = any_lane_waits(group);
	bool changed = false;
	int64_t opens = 0;
	PennyClosed closed = has_key(slot) ? closed_by(s, group, &opens) : PENNY_OPEN;

	if (closed != PENNY_OPEN && group->closed == PENNY_OPEN && waits)
		queue->limited++;
	group->closed = (uint8_t) closed;
	for (int runner = 0; runner < PENNY_RUNNERS; runner++)
	{
		PennyLane *lane = &group->lane[runner];
		bool wants = closed == PENNY_OPEN && lane_waits(lane);

		if (wants == (lane->ring_next != 0))
			continue;
		if (wants)
			ring_put(s, slot, runner);
		else
			ring_remove(s, slot, runner);
		changed = true;
	}
	if (changed)
		place_queue(s, group->queue);
	if (!has_key(slot))
		return;
	if (group->jobs > 0)
		wait_for(s, slot, opens != 0 && waits ? PENNY_WAIT_OPENING : PENNY_WAIT_NONE, opens);
	else if (group->starts.count > 0)
		wait_for(s, slot, PENNY_WAIT_IDLE,
				 penny_limiter_newest(s, &group->starts) + queue->limits.group_window);
	else
	{
		stop_waiting(s, slot);
		free_group(s, slot);
	}
}

void
penny_sched_settle_groups_of(PennySched *s, uint32_t number)
{
	for (uint32_t slot = 1; slot < s->groups_fresh; slot++)
	{
		PennyGroup *group = penny_group_at(s, slot);

		if (group->queue == number && (group->key != 0 || !has_key(slot)))
			penny_sched_settle_group(s, slot);
	}
}

/* The group of a job, made if need be; 0 of none. */
static uint32_t
group_of(PennySched *s, uint16_t queue, uint64_t key)
{
	uint32_t *head = hash_head(s, queue, key);
	uint32_t slot = *head;
	PennyGroup *group;

	while (slot != 0)
	{
		group = penny_group_at(s, slot);
		if (group->key == key && group->queue == queue)
			return slot;
		slot = group->same_hash;
	}
	slot = s->groups_free;
	if (slot != 0)
		s->groups_free = penny_group_at(s, slot)->same_hash;
	else
		slot = s->groups_fresh++;
	group = penny_group_at(s, slot);
	memset(group, 0, sizeof(*group));
	group->key = key;
	group->queue = queue;
	group->same_hash = *head;
	*head = slot;
	return slot;
}

void
penny_sched_join_group(PennySched *s, PennyJob *job)
{
	job->group_slot =
		job->group == 0 ? (uint32_t) job->queue + 1 : group_of(s, job->queue, job->group);
	penny_group_at(s, job->group_slot)->jobs++;
}

void
penny_sched_leave_group(PennySched *s, PennyJob *job)
{
	uint32_t slot = job->group_slot;

	job->group_slot = 0;
	if (slot == 0)
		return;
	if (--penny_group_at(s, slot)->jobs == 0)
		penny_sched_settle_group(s, slot);
}

/* ---- time ---------------------------------------------------------------------------- */

void
penny_sched_open_by_time(PennySched *s)
{
	for (int i = 0; i < PENNY_SCHED_QUEUES / 64; i++)
		for (uint64_t left = s->rate_closed.word[i]; left != 0; left &= left - 1)
		{
			uint32_t number = (uint32_t) (i * 64 + __builtin_ctzll(left));

			if (s->queues[number].opens <= s->mono)
				penny_sched_settle_queue(s, number);
		}
	while (s->openings != 0 && penny_group_at(s, s->openings)->at <= s->mono)
		penny_sched_settle_group(s, s->openings);
	while (s->idle != 0 && penny_group_at(s, s->idle)->at <= s->mono)
		penny_sched_settle_group(s, s->idle);
}

/* Count a start of which a receipt tells; false: there is no memory for it. */
static bool
tell(PennySched *s, PennyLimiter *limiter, int32_t rate, int64_t window, int64_t mono)
{
	if (rate == 0 || mono + window <= s->mono)
		return true;
	penny_limiter_opens(s, limiter, rate, window);
	if (!penny_limiter_has_room(s, limiter))
		return false;
	penny_limiter_add(s, limiter, mono);
	return true;
}

void
penny_sched_started(PennySched *s, uint16_t queue, uint64_t group, int64_t at, int64_t now)
{
	PennySchedQueue *of = &s->queues[queue % PENNY_SCHED_QUEUES];
	const PennyQueueLimits *limits = &of->limits;
	int64_t mono;
	int64_t blind = 0;

	penny_sched_clock(s, now);
	mono = at < now ? at + s->skew : s->mono;
	if (!tell(s, &of->starts, limits->rate, limits->window, mono))
		blind = mono + limits->window;
	if (group != 0 && limits->group_rate > 0)
	{
		uint32_t slot = group_of(s, queue % PENNY_SCHED_QUEUES, group);

		if (!tell(s, &penny_group_at(s, slot)->starts, limits->group_rate, limits->group_window,
				  mono) &&
			blind < mono + limits->group_window)
			blind = mono + limits->group_window;
		penny_sched_settle_group(s, slot);
	}
	if (of->blind < blind)
		of->blind = blind;
	penny_sched_settle_queue(s, queue % PENNY_SCHED_QUEUES);
}

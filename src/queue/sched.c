/*-------------------------------------------------------------------------
 *
 * sched.c
 *		The scheduler's life: its memory, clearing it, settings of queues, kinds.
 *
 * What is done here is done at the start, at a restore and when somebody
 * changes a setting, and may look at all entries or groups.
 *
 *-------------------------------------------------------------------------
 */
#include "queue/sched_private.h"

#include <string.h>

#include "plane/plane.h"

/* ---- memory ------------------------------------------------------------------------- */

static uint32_t
power_of_two(uint32_t least)
{
	uint32_t n = 64;

	while (n < least && n < UINT32_C(1) << 31)
		n *= 2;
	return n;
}

static uint64_t
reserve_bytes(uint64_t *end, uint64_t bytes)
{
	uint64_t at = *end;

	*end = (at + bytes + 127) / 128 * 128;
	return at;
}

/* Everything that follows from the number of entries; returns the bytes. */
static uint64_t
lay_out(PennySched *s, uint32_t entries)
{
	uint64_t end = (sizeof(PennySched) + 127) / 128 * 128;

	s->entries = entries;
	s->blocks = entries / 4 + 1024;
	s->groups = PENNY_SCHED_QUEUES + s->entries + s->blocks;
	s->id_mask = power_of_two(entries) - 1;
	s->group_mask = power_of_two(entries) - 1;
	s->jobs_at = reserve_bytes(&end, ((uint64_t) entries + 1) * sizeof(PennyJob));
	s->ids_at = reserve_bytes(&end, ((uint64_t) s->id_mask + 1) * sizeof(uint32_t));
	s->groups_at = reserve_bytes(&end, ((uint64_t) s->groups + 1) * sizeof(PennyGroup));
	s->group_hash_at = reserve_bytes(&end, ((uint64_t) s->group_mask + 1) * sizeof(uint32_t));
	s->blocks_at = reserve_bytes(&end, ((uint64_t) s->blocks + 1) * sizeof(PennyTimes));
	s->bits_at = reserve_bytes(&end, (uint64_t) PENNY_SEGMENTS * 2 * PENNY_SCHED_SEGMENT_WORDS *
										 sizeof(uint64_t));
	return end;
}

size_t
penny_sched_size(uint32_t entries)
{
	PennySched s;

	return (size_t) lay_out(&s, entries);
}

/* Nothing is in memory: all but settings, tokens, and entries that are somebody's. */
static void
empty(PennySched *s)
{
	memset((char *) s + s->ids_at, 0, ((size_t) s->id_mask + 1) * sizeof(uint32_t));
	penny_sched_groups_init(s);
	s->blocks_fresh = 1;
	s->blocks_free = s->blocks_used = 0;
	memset(s->delays, 0, sizeof(s->delays));
	s->leases = 0;
	s->lowest = -1;
	memset(s->can_start, 0, sizeof(s->can_start));
	memset(&s->rate_closed, 0, sizeof(s->rate_closed));
	memset(s->turns, 0, sizeof(s->turns));
	memset(s->holders, 0, sizeof(s->holders));
	for (int i = 0; i < PENNY_SEGMENTS; i++)
		s->segments[i] = (PennySegment){.number = -1};
	for (uint32_t number = 0; number < PENNY_SCHED_QUEUES; number++)
	{
		s->queues[number] = (PennySchedQueue){.limits = s->queues[number].limits};
		penny_sched_settle_queue(s, number);
	}
	atomic_store_explicit(&s->rescan, PENNY_SCHED_NEVER, memory_order_relaxed);
}

void
penny_sched_init(PennySched *s, uint32_t entries, uint64_t tokens)
{
	memset(s, 0, sizeof(*s));
	lay_out(s, entries);
	atomic_store_explicit(&s->fresh, 1, memory_order_relaxed);
	s->tokens = tokens > 0 ? tokens : 1;
	s->mono = INT64_MIN / 4;
	penny_job_set_link(s, 0, 0);
	/* who looks at all that were used must not find what lay there */
	for (uint32_t ref = 1; ref <= entries; ref++)
		penny_job_set_state(penny_job_at(s, ref), PENNY_JOB_FREE);
	empty(s);
}

void
penny_sched_clear(PennySched *s)
{
	uint32_t used = penny_sched_used(s);

	for (uint32_t ref = 1; ref < used; ref++)
	{
		uint8_t state = penny_job_state(penny_job_at(s, ref));

		if (state >= PENNY_JOB_DELAYED && state <= PENNY_JOB_ACTIVE)
			penny_sched_free(s, ref);
	}
	penny_sched_flush(s);
	atomic_fetch_add_explicit(&s->incarnation, 1, memory_order_acq_rel);
	empty(s);
}

uint64_t
penny_sched_incarnation(const PennySched *s)
{
	return atomic_load_explicit(&s->incarnation, memory_order_relaxed);
}

uint64_t
penny_sched_hash(const char *text, size_t len)
{
	uint64_t hash = penny_hash(text, len, 0);

	return hash != 0 ? hash : 1;
}

/* ---- settings --------------------------------------------------------------------------- */

static int32_t
not_negative(int32_t limit)
{
	return limit > 0 ? limit : 0;
}

/* A rate, or 0 when its window says nothing. */
static int32_t
rate_in(int32_t rate, int64_t *window)
{
	if (*window > PENNY_SCHED_LONGEST)
		*window = PENNY_SCHED_LONGEST;
	return *window > 0 ? not_negative(rate) : 0;
}

void
penny_sched_queue(PennySched *s, uint16_t queue, const PennyQueueLimits *limits, int64_t now)
{
	PennyQueueLimits *mine;

	if (queue >= PENNY_SCHED_QUEUES)
		return;
	penny_sched_clock(s, now);
	mine = &s->queues[queue].limits;
	*mine = *limits;
	mine->concurrency = not_negative(mine->concurrency);
	mine->group_concurrency = not_negative(mine->group_concurrency);
	mine->rate = rate_in(mine->rate, &mine->window);
	mine->group_rate = rate_in(mine->group_rate, &mine->group_window);
	penny_sched_settle_groups_of(s, queue);
	penny_sched_settle_queue(s, queue);
}

static void
put_kind(PennySched *s, const PennyKindRunner *kind)
{
	uint32_t at = (uint32_t) kind->kind % (2 * PENNY_SCHED_KINDS);

	while (s->kinds[at].kind != 0 && s->kinds[at].kind != kind->kind)
		at = (at + 1) % (2 * PENNY_SCHED_KINDS);
	s->kinds[at] = *kind;
}

void
penny_sched_kinds(PennySched *s, const PennyKindRunner *kinds, uint32_t n, int64_t now)
{
	uint32_t used = penny_sched_used(s);

	penny_sched_clock(s, now);
	memset(s->kinds, 0, sizeof(s->kinds));
	for (uint32_t i = 0; i < n && i < PENNY_SCHED_KINDS; i++)
		if (kinds[i].kind != 0 && kinds[i].runner < PENNY_RUNNERS)
			put_kind(s, &kinds[i]);
	for (uint32_t ref = 1; ref < used; ref++)
	{
		PennyJob *job = penny_job_at(s, ref);

		if (!penny_job_known(s, job) || penny_sched_runner(s, job->kind) == job->runner)
			continue;
		if (job->state == PENNY_JOB_READY)
		{
			penny_sched_unready(s, ref);
			penny_sched_ready(s, ref);
		}
		else if (job->state == PENNY_JOB_DELAYED)
		{
			penny_sched_undelay(s, ref);
			penny_sched_delay(s, ref);
		}
	}
}

/*-------------------------------------------------------------------------
 *
 * sched_limit.c
 *		Exact rolling limiters: the start times of a window, and the time that
 *		they are compared with.
 *
 * A start is allowed when fewer than `rate` times are younger than the window,
 * so no half-open window of that length holds more than `rate`.  Times lie in
 * blocks of a shared pool: a group that starts now and then costs one block, a
 * queue of 100 a minute costs 16.  Adding and dropping are O(1).
 *
 * When the pool is short, or a limiter holds more than twice what is left, it
 * counts as closed and is looked at again after PENNY_SCHED_SHORT: blocks come
 * back when those who hold them are looked at, or are idle for a window.
 *
 * When a window is made longer, starts that were dropped already do not count
 * in it: from then on it counts what is kept.
 *
 *-------------------------------------------------------------------------
 */
#include "queue/sched_private.h"

#include <string.h>

/* The time now, for limiters: see sched_private.h. */
void
penny_sched_clock(PennySched *s, int64_t now)
{
	if (now + s->skew >= s->mono)
		s->mono = now + s->skew;
	else if (s->mono - s->skew - now > PENNY_SCHED_STEP)
		s->skew = s->mono - now;
}

/* ---- blocks ------------------------------------------------------------------------ */

static uint32_t
take_block(PennySched *s)
{
	uint32_t block = s->blocks_free;

	if (block != 0)
		s->blocks_free = penny_times_at(s, block)->next;
	else
		block = s->blocks_fresh++;
	s->blocks_used++;
	penny_times_at(s, block)->next = 0;
	return block;
}

static void
drop_first_block(PennySched *s, PennyLimiter *limiter)
{
	PennyTimes *times = penny_times_at(s, limiter->first);
	uint32_t next = times->next;

	times->next = s->blocks_free;
	s->blocks_free = limiter->first;
	s->blocks_used--;
	limiter->first = next;
	limiter->head = 0;
	if (next == 0)
		memset(limiter, 0, sizeof(*limiter));
}

/* Is there memory for one more, and for one more of another limiter? */
bool
penny_limiter_has_room(const PennySched *s, const PennyLimiter *limiter)
{
	uint32_t left = s->blocks - s->blocks_used;

	if (limiter->count > 0 && limiter->tail < PENNY_SCHED_TIMES)
		return true;
	return left >= 2 && limiter->count / PENNY_SCHED_TIMES < 2 * left;
}

void
penny_limiter_clear(PennySched *s, PennyLimiter *limiter)
{
	while (limiter->first != 0)
		drop_first_block(s, limiter);
}

/* ---- times ---------------------------------------------------------------------------- */

static int64_t
oldest(const PennySched *s, const PennyLimiter *limiter)
{
	return penny_times_at(s, limiter->first)->at[limiter->head];
}

int64_t
penny_limiter_newest(const PennySched *s, const PennyLimiter *limiter)
{
	return penny_times_at(s, limiter->last)->at[limiter->tail - 1];
}

/* The time that has n before it. */
static int64_t
nth(const PennySched *s, const PennyLimiter *limiter, uint32_t n)
{
	uint32_t block = limiter->first;

	for (n += limiter->head; n >= PENNY_SCHED_TIMES; n -= PENNY_SCHED_TIMES)
		block = penny_times_at(s, block)->next;
	return penny_times_at(s, block)->at[n];
}

static void
drop_old(PennySched *s, PennyLimiter *limiter, int64_t window)
{
	while (limiter->count > 0 && oldest(s, limiter) + window <= s->mono)
	{
		limiter->count--;
		if (++limiter->head == PENNY_SCHED_TIMES || limiter->count == 0)
			drop_first_block(s, limiter);
	}
}

int64_t
penny_limiter_opens(PennySched *s, PennyLimiter *limiter, int32_t rate, int64_t window)
{
	drop_old(s, limiter, window);
	if (limiter->count >= (uint32_t) rate)
		return nth(s, limiter, limiter->count - (uint32_t) rate) + window;
	return penny_limiter_has_room(s, limiter) ? 0 : s->mono + PENNY_SCHED_SHORT;
}

static void
append(PennySched *s, PennyLimiter *limiter, int64_t at)
{
	if (limiter->count == 0)
	{
		limiter->first = limiter->last = take_block(s);
		limiter->head = limiter->tail = 0;
	}
	else if (limiter->tail == PENNY_SCHED_TIMES)
	{
		uint32_t block = take_block(s);

		penny_times_at(s, limiter->last)->next = block;
		limiter->last = block;
		limiter->tail = 0;
	}
	penny_times_at(s, limiter->last)->at[limiter->tail++] = at;
	limiter->count++;
}

/* Count a start, for which there is room; times that come late are put in order. */
void
penny_limiter_add(PennySched *s, PennyLimiter *limiter, int64_t at)
{
	uint32_t block = limiter->first;
	uint32_t place = limiter->head;

	if (limiter->count == 0 || penny_limiter_newest(s, limiter) <= at)
	{
		append(s, limiter, at);
		return;
	}
	for (uint32_t n = limiter->count; n > 0; n--)
	{
		PennyTimes *times = penny_times_at(s, block);

		if (times->at[place] > at)
		{
			int64_t later = times->at[place];

			times->at[place] = at;
			at = later;
		}
		if (++place == PENNY_SCHED_TIMES)
		{
			block = times->next;
			place = 0;
		}
	}
	append(s, limiter, at);
}

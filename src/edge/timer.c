/*-------------------------------------------------------------------------
 *
 * timer.c
 *		The timer wheel: 1024 slots of 64 ms, a list in each, and a bit map of
 *		the slots that hold something, so that the next look is found without
 *		walking the wheel.
 *
 * A timer due beyond the horizon is filed in the last slot before it and filed
 * again when that comes up.  Lists are circular with the slot as their head,
 * so that a timer leaves in constant time; a list that is being run is moved
 * to a private head first, so callbacks may set and stop any timer.
 *
 *-------------------------------------------------------------------------
 */
#include "edge/timer.h"

#include <string.h>

#define TICK_SHIFT 6
#define SLOTS 1024
#define WORDS (SLOTS / 64)

static PennyTimer wheel[SLOTS]; /* heads; next NULL = never used */
static uint64_t filled[WORDS];  /* slots that may hold timers */
static uint64_t current;        /* first tick that was not run yet */

static void
file_timer(PennyTimer *timer)
{
	uint64_t tick = (timer->due >> TICK_SHIFT) + 1; /* never early */
	PennyTimer *head;

	if (current == 0)
		current = penny_edge.now >> TICK_SHIFT;
	if (tick < current)
		tick = current;
	if (tick >= current + SLOTS)
		tick = current + SLOTS - 1;
	head = &wheel[tick % SLOTS];
	if (head->next == NULL)
		head->next = head->prev = head;
	timer->tick = tick;
	timer->next = head;
	timer->prev = head->prev;
	head->prev->next = timer;
	head->prev = timer;
	filled[tick % SLOTS / 64] |= UINT64_C(1) << (tick % 64);
}

void
penny_timer_init(PennyTimer *timer, PennyTimerCallback callback)
{
	memset(timer, 0, sizeof(*timer));
	timer->callback = callback;
}

/* Set or move the deadline. */
void
penny_timer_set(PennyTimer *timer, uint64_t due)
{
	timer->due = due;
	if (timer->next != NULL)
	{
		if ((due >> TICK_SHIFT) + 1 >= timer->tick)
			return; /* it is filed again when its place comes up */
		penny_timer_stop(timer);
	}
	file_timer(timer);
}

void
penny_timer_stop(PennyTimer *timer)
{
	if (timer->next == NULL)
		return;
	timer->prev->next = timer->next;
	timer->next->prev = timer->prev;
	timer->next = timer->prev = NULL;
}

bool
penny_timer_is_set(const PennyTimer *timer)
{
	return timer->next != NULL;
}

/* Call back the due timers of one slot; file the others again. */
static void
run_slot(uint64_t tick)
{
	PennyTimer *head = &wheel[tick % SLOTS];
	PennyTimer list;

	filled[tick % SLOTS / 64] &= ~(UINT64_C(1) << (tick % 64));
	if (head->next == NULL || head->next == head)
		return;
	list = *head;
	list.next->prev = &list;
	list.prev->next = &list;
	head->next = head->prev = head;
	while (list.next != &list)
	{
		PennyTimer *timer = list.next;

		penny_timer_stop(timer);
		if (timer->due > penny_edge.now)
			file_timer(timer);
		else
			timer->callback(timer);
	}
}

void
penny_timer_run(void)
{
	uint64_t now = penny_edge.now >> TICK_SHIFT;

	if (current == 0)
		return; /* nothing was ever filed */
	if (now >= current + SLOTS)
	{
		/* The process slept for longer than a turn: every slot is due once. */
		current = now - SLOTS + 1;
	}
	while (current <= now)
	{
		uint64_t tick = current++;

		if (filled[tick % SLOTS / 64] & (UINT64_C(1) << (tick % 64)))
			run_slot(tick);
	}
}

int64_t
penny_timer_wait(void)
{
	for (uint64_t ahead = 0; ahead < SLOTS;)
	{
		uint64_t slot = (current + ahead) % SLOTS;
		uint64_t word = filled[slot / 64] >> (slot % 64);

		if (word != 0)
		{
			uint64_t tick = current + ahead + (uint64_t) __builtin_ctzll(word);
			uint64_t due = tick << TICK_SHIFT;

			return due > penny_edge.now ? (int64_t) (due - penny_edge.now) : 0;
		}
		ahead += 64 - slot % 64;
	}
	return -1;
}

/*-------------------------------------------------------------------------
 *
 * wheel.c
 *		The timer wheel: slots with a list in each, and a bit map of the slots
 *		that hold something, so that the next look is found without walking
 *		the wheel.
 *
 * A timer due beyond the horizon is filed in the last slot before it and filed
 * again when that comes up.  Lists are circular with the slot as their head,
 * so that a timer leaves in constant time; a list that is being run is moved
 * to a private head first, so callbacks may set and stop any timer.
 *
 *-------------------------------------------------------------------------
 */
#include "edge/wheel.h"

#include <string.h>

#define SLOTS PENNY_WHEEL_SLOTS

/* The tick at which a deadline is past: never early. */
static uint64_t
tick_of(const PennyWheel *wheel, uint64_t due)
{
	return (due >> wheel->shift) + ((due & ((UINT64_C(1) << wheel->shift) - 1)) != 0);
}

static void
file_timer(PennyWheel *wheel, PennyTimer *timer, uint64_t now)
{
	uint64_t tick = tick_of(wheel, timer->due);
	PennyTimer *head;

	/* An empty wheel begins anew: nothing of the time until now has to be run. */
	if (wheel->set == 0 && now >> wheel->shift > wheel->current)
		wheel->current = now >> wheel->shift;
	if (tick < wheel->current)
		tick = wheel->current;
	if (tick >= wheel->current + SLOTS)
		tick = wheel->current + SLOTS - 1;
	head = &wheel->slot[tick % SLOTS];
	if (head->next == NULL)
		head->next = head->prev = head;
	timer->tick = tick;
	timer->next = head;
	timer->prev = head->prev;
	head->prev->next = timer;
	head->prev = timer;
	wheel->filled[tick % SLOTS / 64] |= UINT64_C(1) << (tick % 64);
	wheel->set++;
}

void
penny_timer_init(PennyTimer *timer, PennyTimerCallback callback)
{
	memset(timer, 0, sizeof(*timer));
	timer->callback = callback;
}

bool
penny_timer_is_set(const PennyTimer *timer)
{
	return timer->next != NULL;
}

/* Set or move the deadline. */
void
penny_wheel_set(PennyWheel *wheel, PennyTimer *timer, uint64_t due, uint64_t now)
{
	timer->due = due;
	if (timer->next != NULL)
	{
		if (tick_of(wheel, due) >= timer->tick)
			return; /* it is filed again when its place comes up */
		penny_wheel_stop(wheel, timer);
	}
	file_timer(wheel, timer, now);
}

void
penny_wheel_stop(PennyWheel *wheel, PennyTimer *timer)
{
	if (timer->next == NULL)
		return;
	timer->prev->next = timer->next;
	timer->next->prev = timer->prev;
	timer->next = timer->prev = NULL;
	wheel->set--;
}

/* Call back the due timers of one slot; file the others again. */
static void
run_slot(PennyWheel *wheel, uint64_t tick, uint64_t now)
{
	PennyTimer *head = &wheel->slot[tick % SLOTS];
	PennyTimer list;

	wheel->filled[tick % SLOTS / 64] &= ~(UINT64_C(1) << (tick % 64));
	if (head->next == NULL || head->next == head)
		return;
	list = *head;
	list.next->prev = &list;
	list.prev->next = &list;
	head->next = head->prev = head;
	while (list.next != &list)
	{
		PennyTimer *timer = list.next;

		penny_wheel_stop(wheel, timer);
		if (timer->due > now)
			file_timer(wheel, timer, now);
		else
			timer->callback(timer);
	}
}

void
penny_wheel_run(PennyWheel *wheel, uint64_t time)
{
	uint64_t now = time >> wheel->shift;

	if (wheel->set == 0)
		return;
	if (now >= wheel->current + SLOTS)
	{
		/* The caller slept for longer than a turn: every slot is due once. */
		wheel->current = now - SLOTS + 1;
	}
	while (wheel->current <= now)
	{
		uint64_t tick = wheel->current++;

		if (wheel->filled[tick % SLOTS / 64] & (UINT64_C(1) << (tick % 64)))
			run_slot(wheel, tick, time);
	}
}

uint64_t
penny_wheel_next(const PennyWheel *wheel)
{
	if (wheel->set == 0)
		return UINT64_MAX;
	for (uint64_t ahead = 0; ahead < SLOTS;)
	{
		uint64_t slot = (wheel->current + ahead) % SLOTS;
		uint64_t word = wheel->filled[slot / 64] >> (slot % 64);

		if (word != 0)
			return (wheel->current + ahead + (uint64_t) __builtin_ctzll(word)) << wheel->shift;
		ahead += 64 - slot % 64;
	}
	return UINT64_MAX;
}

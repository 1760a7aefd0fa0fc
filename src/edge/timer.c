/*-------------------------------------------------------------------------
 *
 * timer.c
 *		The edge's own timer wheel, by the clock of the turn: 1024 slots of
 *		64 ms, so that many deadlines are one wake.
 *
 *-------------------------------------------------------------------------
 */
#include "edge/timer.h"

#define TICK_SHIFT 6

static PennyWheel wheel = {.shift = TICK_SHIFT};

void
penny_timer_set(PennyTimer *timer, uint64_t due)
{
	penny_wheel_set(&wheel, timer, due, penny_edge.now);
}

void
penny_timer_stop(PennyTimer *timer)
{
	penny_wheel_stop(&wheel, timer);
}

void
penny_timer_run(void)
{
	penny_wheel_run(&wheel, penny_edge.now);
}

int64_t
penny_timer_wait(void)
{
	uint64_t next = penny_wheel_next(&wheel);

	if (next == UINT64_MAX)
		return -1;
	return next > penny_edge.now ? (int64_t) (next - penny_edge.now) : 0;
}

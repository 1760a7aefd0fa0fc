/*-------------------------------------------------------------------------
 *
 * wheel.c
 *		The timer wheel: never early, late by one slot at most, whatever is set,
 *		moved and stopped, and however long nobody looks.
 *
 *-------------------------------------------------------------------------
 */
#include "unit.h"

#include "edge/wheel.h"

#define TIMERS 64

static PennyWheel wheel;
static PennyTimer timer[TIMERS];
static uint64_t now;
static uint64_t looked; /* when it was run before this time */
static int fired;
static uint64_t random_state;
static bool again; /* callbacks set their timers again */

static void
on_timer(PennyTimer *it)
{
	uint64_t slot = UINT64_C(1) << wheel.shift;

	fired++;
	CHECK(it->due <= now);
	/* it was not due the last time that anybody looked */
	CHECK(it->due + slot > looked);
	if (again)
		penny_wheel_set(&wheel, it, now + 1 + (unit_random(&random_state) >> 20) % 3000, now);
}

static void
start(uint32_t shift)
{
	memset(&wheel, 0, sizeof(wheel));
	wheel.shift = shift;
	for (int i = 0; i < TIMERS; i++)
		penny_timer_init(&timer[i], on_timer);
	now = looked = 1000003;
	fired = 0;
	again = false;
}

static void
run(uint64_t ms)
{
	now += ms;
	penny_wheel_run(&wheel, now);
	looked = now;
}

TEST(one)
{
	start(0);
	CHECK(penny_wheel_next(&wheel) == UINT64_MAX);
	penny_wheel_set(&wheel, &timer[0], now + 10, now);
	CHECK(penny_wheel_next(&wheel) == now + 10);
	run(9);
	CHECK(fired == 0);
	run(1);
	CHECK(fired == 1 && !penny_timer_is_set(&timer[0]));
	CHECK(penny_wheel_next(&wheel) == UINT64_MAX);
	penny_wheel_set(&wheel, &timer[0], now + 10, now);
	penny_wheel_set(&wheel, &timer[0], now + 20, now);
	run(15);
	CHECK(fired == 1);
	penny_wheel_set(&wheel, &timer[0], now + 1, now);
	run(1);
	CHECK(fired == 2);
	penny_wheel_set(&wheel, &timer[0], now + 1, now);
	penny_wheel_stop(&wheel, &timer[0]);
	run(100);
	CHECK(fired == 2);
}

/* Beyond what the wheel spans, and after a long sleep. */
TEST(far)
{
	start(0);
	penny_wheel_set(&wheel, &timer[0], now + 5000, now);
	for (int i = 0; i < 4999; i++)
		run(1);
	CHECK(fired == 0);
	run(1);
	CHECK(fired == 1);
	penny_wheel_set(&wheel, &timer[0], now + 10, now);
	penny_wheel_set(&wheel, &timer[1], now + 2000, now);
	run(1000000);
	CHECK(fired == 3);
}

static void
randomly(uint32_t shift)
{
	start(shift);
	again = true;
	random_state = shift + 1;
	for (int step = 0; step < 20000; step++)
	{
		uint64_t random = unit_random(&random_state) >> 16;
		PennyTimer *it = &timer[random % TIMERS];

		if (random / 64 % 4 == 0)
			penny_wheel_stop(&wheel, it);
		else if (random / 64 % 4 == 1)
			penny_wheel_set(&wheel, it, now + 1 + random / 256 % 3000, now);
		else
			run(random / 256 % (random / 4096 % 50 == 0 ? 5000 : 20));
		for (int i = 0; i < TIMERS; i++)
		{
			if (penny_timer_is_set(&timer[i]) && timer[i].due + (UINT64_C(1) << shift) <= looked)
			{
				CHECK_ROW(false, "a timer is late");
				return;
			}
		}
	}
	CHECK(fired > 1000);
}

TEST(random_fine)
{
	randomly(0);
}

TEST(random_coarse)
{
	randomly(6);
}

int
main(void)
{
	RUN(one);
	RUN(far);
	RUN(random_fine);
	RUN(random_coarse);
	return unit_done();
}

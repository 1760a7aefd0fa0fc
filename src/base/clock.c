/*-------------------------------------------------------------------------
 *
 * clock.c
 *		Time for pauses and deadlines.  See clock.h.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>
#include <time.h>

#include "base/clock.h"

uint64
penny_clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64) now.tv_sec * UINT64CONST(1000000000) + (uint64) now.tv_nsec;
}

int64
penny_clock_ms(void)
{
	return (int64) (penny_clock_ns() / 1000000);
}

long
penny_clock_timeout(int64 now, int64 at)
{
	if (at == PENNY_NEVER)
		return -1;
	return (long) Max(Min(at - now, INT_MAX), 0);
}

double
penny_interval_us(const Interval *interval)
{
	return ((double) interval->month * DAYS_PER_MONTH + interval->day) * (double) USECS_PER_DAY +
		   (double) interval->time;
}

/*-------------------------------------------------------------------------
 *
 * clock.h
 *		Time for pauses and deadlines: milliseconds of a clock that nobody can
 *		set, so that a step of the wall clock neither stalls nor hurries them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_CLOCK_H
#define PENNY_CLOCK_H

#include "postgres.h"

#include "datatype/timestamp.h"

#define PENNY_NEVER PG_INT64_MAX

/* Now; the same scale in all processes of the machine. */
extern int64 penny_clock_ms(void);
/* Nanoseconds of the same clock, as events carry them. */
extern uint64 penny_clock_ns(void);
/* Timeout for a wait until `at`: at least 0, -1 for PENNY_NEVER. */
extern long penny_clock_timeout(int64 now, int64 at);
/* Microseconds of an interval; a month has 30 days, as where intervals are compared. */
extern double penny_interval_us(const Interval *interval);

#endif /* PENNY_CLOCK_H */

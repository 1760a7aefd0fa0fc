/*-------------------------------------------------------------------------
 *
 * cron.h
 *		When a schedule fires: cron text, and the next moment after another.
 *		Plain C: no PostgreSQL, no clock, no allocation.
 *
 * The text:
 *
 *		minute hour day month weekday
 *		second minute hour day month weekday		(six fields)
 *		@yearly @annually @monthly @weekly @daily @midnight @hourly
 *		@every 90s	@every 5m	@every 2h	30 seconds
 *
 * A field is a list of items with commas; an item is `*` or `?`, a number, a
 * range a-b, each with a step /n (a/n: from a to the end).  Months and weekdays
 * have names of three letters in any case; weekdays are 0-7, 0 and 7 Sunday.
 * Days may be L or $ (the last of the month), weekdays 5L (the last Friday) and
 * 5#3 (the third Friday).  Ranges do not wrap around.
 *
 * Day and weekday: when both are restricted (neither begins with `*` or `?`) a
 * day that matches either is one, as in Vixie's cron; else both must match.
 *
 * A text whose day never comes (30 February) is refused.
 *
 * Clocks that are changed.  Where second, minute or hour begins with `*`
 * ("every ten minutes"), the schedule goes by every moment whose local time
 * matches: what falls into a gap is left out, an hour that is repeated counts
 * twice.  Every other ("at half past two") fires once for each local time, at
 * the first moment at which the local clock shows that time or a later one: at
 * the end of the gap, at the first of two equal times.  @every counts from
 * 1970-01-01 UTC and knows no zone.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_CRON_H
#define PENNY_CRON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PENNY_CRON_TEXT_MAX 256 /* bytes of a text */
#define PENNY_CRON_NEVER INT64_MAX

typedef struct PennyCron
{
	int64_t every; /* seconds; 0 = by the calendar, as follows */
	uint64_t second;
	uint64_t minute;
	uint32_t hour;
	uint32_t day; /* bits 1 to 31 */
	uint32_t month;
	uint8_t weekday;      /* bits 0 to 6 */
	uint8_t last_weekday; /* the last of these in the month */
	uint8_t nth[7];       /* bits 1 to 5: the nth of this weekday */
	bool last_day;
	bool day_star; /* the field begins with a star */
	bool weekday_star;
	bool moving; /* goes by every moment: second, minute or hour begins with a star */
} PennyCron;

/*
 * A time zone: local = UTC + offset, in seconds, which holds at `at` and until
 * `*until` (PENNY_CRON_NEVER: for ever).
 */
typedef struct PennyCronZone
{
	void (*offset)(void *arg, int64_t at, int64_t *offset, int64_t *until);
	void *arg;
} PennyCronZone;

/*
 * Read a text.  NULL when it is good; else what is wrong with it, and where
 * (offset in bytes).
 */
extern const char *penny_cron_parse(const char *text, size_t len, PennyCron *cron, size_t *where);
/* The first moment after `after`, both in seconds since 1970-01-01 UTC; NEVER: none in 50 years. */
extern int64_t penny_cron_next(const PennyCron *cron, const PennyCronZone *zone, int64_t after);
/* The first local time at or after `at` (seconds since 1970-01-01 of a local calendar). */
extern int64_t penny_cron_match(const PennyCron *cron, int64_t at);
/* How many moments in (after, until] are there; the last `max` of them in ascending order. */
extern size_t penny_cron_last(const PennyCron *cron, const PennyCronZone *zone, int64_t after,
							  int64_t until, int64_t *moments, size_t max);

#endif /* PENNY_CRON_H */

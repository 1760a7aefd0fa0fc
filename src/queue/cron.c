/*-------------------------------------------------------------------------
 *
 * cron.c
 *		The next moment of a schedule; what it goes by is in cron.h.
 *
 * Two steps.  In a local calendar, which has every second once, the next match
 * is found field by field: months without the schedule are passed over, then
 * days, then hours.  Then local times become moments through the offsets of the
 * zone: the schedule that goes by moments looks for a match in each stretch of
 * time with one offset; the one that goes by local times fires for L at the
 * first moment at which the local clock shows L or more, which never decreases
 * with L, so the next is that of the first L beyond all that the clock has
 * shown until now.
 *
 *-------------------------------------------------------------------------
 */
#include "queue/cron.h"

#define DAY INT64_C(86400)
#define YEARS_AHEAD 50      /* the 29th of February is a Monday every 40 years at the least */
#define LOOK_BACK (3 * DAY) /* no clock was ever set back by more */
#define SECONDS_MAX (INT64_MAX / 4)

typedef struct Date
{
	int64_t year;
	int month;
	int day;
	int weekday; /* 0 = Sunday */
	int days;    /* of the month */
} Date;

static int64_t
floor_div(int64_t a, int64_t b)
{
	return a / b - (a % b < 0);
}

/* The date of a day since 1970-01-01, by eras of 400 years that begin in March. */
static void
date_of(int64_t number, Date *date)
{
	static const int days[] = {0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	int64_t z = number + 719468;
	int64_t era = floor_div(z, 146097);
	int64_t doe = z - era * 146097;
	int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	int64_t mp = (5 * doy + 2) / 153;

	date->day = (int) (doy - (153 * mp + 2) / 5 + 1);
	date->month = (int) (mp < 10 ? mp + 3 : mp - 9);
	date->year = yoe + era * 400 + (date->month <= 2);
	date->weekday = (int) (number + 4 - floor_div(number + 4, 7) * 7);
	date->days = days[date->month];
	if (date->month == 2 &&
		(date->year % 4 == 0 && (date->year % 100 != 0 || date->year % 400 == 0)))
		date->days++;
}

static bool
day_matches(const PennyCron *cron, const Date *date)
{
	bool by_day = (cron->day & 1u << date->day) != 0 || (cron->last_day && date->day == date->days);
	bool by_weekday =
		(cron->weekday & 1u << date->weekday) != 0 ||
		((cron->last_weekday & 1u << date->weekday) != 0 && date->day > date->days - 7) ||
		(cron->nth[date->weekday] & 1u << ((date->day - 1) / 7 + 1)) != 0;

	if (!cron->day_star && !cron->weekday_star)
		return by_day || by_weekday;
	return by_day && by_weekday;
}

/* The first bit at or after `from`, or -1. */
static int
first_bit(uint64_t bits, int from)
{
	if (from > 63 || (bits >> from) == 0)
		return -1;
	return from + __builtin_ctzll(bits >> from);
}

/* The first time of a day, in seconds, at or after `from`; -1: none. */
static int
time_matches(const PennyCron *cron, int from)
{
	int hour = first_bit(cron->hour, from / 3600);
	int minute = 0;
	int second = 0;

	if (hour < 0)
		return -1;
	if (hour == from / 3600)
	{
		minute = from / 60 % 60;
		if (first_bit(cron->minute, minute) == minute)
			second = from % 60;
		if (first_bit(cron->second, second) < 0)
		{
			minute++;
			second = 0;
		}
		minute = first_bit(cron->minute, minute);
		if (minute < 0)
		{
			hour = first_bit(cron->hour, hour + 1);
			if (hour < 0)
				return -1;
		}
		else if (minute != from / 60 % 60)
			second = 0;
	}
	else
		minute = -1;
	if (minute < 0)
	{
		minute = first_bit(cron->minute, 0);
		second = 0;
	}
	return hour * 3600 + minute * 60 + first_bit(cron->second, second);
}

/*
 * The first local time at or after `at`.
 */
int64_t
penny_cron_match(const PennyCron *cron, int64_t at)
{
	int64_t day, last;
	int from, found;
	Date date;

	if (at > SECONDS_MAX || at < -SECONDS_MAX)
		return PENNY_CRON_NEVER;
	day = floor_div(at, DAY);
	last = day + YEARS_AHEAD * 366;
	from = (int) (at - day * DAY);
	while (day <= last)
	{
		date_of(day, &date);
		if ((cron->month & 1u << date.month) == 0)
		{
			day += date.days - date.day + 1;
			from = 0;
			continue;
		}
		if (day_matches(cron, &date) && (found = time_matches(cron, from)) >= 0)
			return day * DAY + found;
		day++;
		from = 0;
	}
	return PENNY_CRON_NEVER;
}

/* By moments: a match in each stretch of one offset. */
static int64_t
next_moment(const PennyCron *cron, const PennyCronZone *zone, int64_t after)
{
	int64_t at = after + 1;
	int64_t last = after + YEARS_AHEAD * 366 * DAY;

	while (at <= last)
	{
		int64_t offset, until, local;

		zone->offset(zone->arg, at, &offset, &until);
		local = penny_cron_match(cron, at + offset);
		if (local == PENNY_CRON_NEVER)
			return PENNY_CRON_NEVER;
		if (until == PENNY_CRON_NEVER || local - offset < until)
			return local - offset;
		at = until > at ? until : at + 1;
	}
	return PENNY_CRON_NEVER;
}

/* By local times: the first that the clock has not shown yet, and when it will. */
static int64_t
next_local(const PennyCron *cron, const PennyCronZone *zone, int64_t after)
{
	int64_t at = after - LOOK_BACK;
	int64_t shown = INT64_MIN;
	int64_t offset, until, local;

	for (;;)
	{
		int64_t last;

		zone->offset(zone->arg, at, &offset, &until);
		last = (until <= after ? until - 1 : after) + offset;
		if (last > shown)
			shown = last;
		if (until > after)
			break;
		at = until;
	}
	local = penny_cron_match(cron, shown + 1);
	if (local == PENNY_CRON_NEVER)
		return PENNY_CRON_NEVER;
	for (at = after + 1;; at = until)
	{
		zone->offset(zone->arg, at, &offset, &until);
		if (until == PENNY_CRON_NEVER || local < until + offset)
			return local - offset > at ? local - offset : at;
	}
}

/*
 * The first moment after `after`.
 */
int64_t
penny_cron_next(const PennyCron *cron, const PennyCronZone *zone, int64_t after)
{
	if (after > SECONDS_MAX || after < -SECONDS_MAX)
		return PENNY_CRON_NEVER;
	if (cron->every > 0)
		return (floor_div(after, cron->every) + 1) * cron->every;
	return cron->moving ? next_moment(cron, zone, after) : next_local(cron, zone, after);
}

/* Moments in (after, until], the last `max` of them as a ring; how many there are. */
static size_t
collect(const PennyCron *cron, const PennyCronZone *zone, int64_t after, int64_t until,
		int64_t *moments, size_t max)
{
	size_t n = 0;
	int64_t at = after;

	while ((at = penny_cron_next(cron, zone, at)) <= until)
		moments[n++ % max] = at;
	return n;
}

static void
reverse(int64_t *moments, size_t n)
{
	for (size_t i = 0; i < n / 2; i++)
	{
		int64_t moment = moments[i];

		moments[i] = moments[n - 1 - i];
		moments[n - 1 - i] = moment;
	}
}

/*
 * The last `max` moments in (after, until].  Looks back in windows that double,
 * so that a short period over a long time costs what is returned and not what
 * was missed.
 */
size_t
penny_cron_last(const PennyCron *cron, const PennyCronZone *zone, int64_t after, int64_t until,
				int64_t *moments, size_t max)
{
	int64_t window = cron->every > 0 ? cron->every * (int64_t) max : (int64_t) max;
	size_t n, first;

	for (;; window *= 2)
	{
		int64_t from = until - after > window ? until - window : after;

		n = collect(cron, zone, from, until, moments, max);
		if (n >= max || from == after)
			break;
	}
	if (n <= max)
		return n;
	first = n % max; /* the eldest: turn the ring so that it comes first */
	reverse(moments, first);
	reverse(moments + first, max - first);
	reverse(moments, max);
	return max;
}

/*-------------------------------------------------------------------------
 *
 * cron.c
 *		Cron text: what is read and refused, and the moments that follow, over
 *		leap years, months of all lengths and clocks that are changed.
 *
 *-------------------------------------------------------------------------
 */
#include <time.h>

#include "unit.h"

#include "queue/cron.h"

/* ---- zones ------------------------------------------------------------------ */

typedef struct Change
{
	const char *at; /* UTC */
	int64_t offset; /* from then on */
} Change;

typedef struct Zone
{
	const char *name;
	int64_t first; /* offset before all changes */
	Change changes[5];
} Zone;

static const Zone zones[] = {
	{"UTC", 0, {{NULL, 0}}},
	{"Berlin",
	 3600,
	 {{"2026-03-29 01:00:00", 7200},
	  {"2026-10-25 01:00:00", 3600},
	  {"2027-03-28 01:00:00", 7200},
	  {"2027-10-31 01:00:00", 3600},
	  {NULL, 0}}},
	{"New_York",
	 -18000,
	 {{"2026-03-08 07:00:00", -14400}, {"2026-11-01 06:00:00", -18000}, {NULL, 0}}},
	{"Apia", -36000, {{"2011-12-30 10:00:00", 50400}, {NULL, 0}}},
	{"Lord_Howe",
	 39600,
	 {{"2026-04-04 15:00:00", 37800}, {"2026-10-03 15:30:00", 39600}, {NULL, 0}}},
};

static int64_t
moment(const char *text)
{
	struct tm tm;

	memset(&tm, 0, sizeof(tm));
	if (strptime(text, "%Y-%m-%d %H:%M:%S", &tm) == NULL)
	{
		fprintf(stderr, "no time: %s\n", text);
		exit(2);
	}
	return timegm(&tm);
}

static void
zone_offset(void *arg, int64_t at, int64_t *offset, int64_t *until)
{
	const Zone *zone = arg;

	*offset = zone->first;
	*until = PENNY_CRON_NEVER;
	for (const Change *change = zone->changes; change->at != NULL; change++)
	{
		*until = moment(change->at);
		if (at < *until)
			return;
		*offset = change->offset;
		*until = PENNY_CRON_NEVER;
	}
}

static PennyCronZone
zone_named(const char *name)
{
	for (size_t i = 0; i < sizeof(zones) / sizeof(zones[0]); i++)
		if (strcmp(zones[i].name, name) == 0)
			return (PennyCronZone){zone_offset, (void *) (uintptr_t) &zones[i]};
	exit(2);
}

/* ---- moments ---------------------------------------------------------------- */

typedef struct Row
{
	const char *text;
	const char *zone;
	const char *after; /* UTC */
	const char *next;  /* UTC, separated by commas */
} Row;

static const Row rows[] = {
	/* the calendar */
	{"* * * * *", "UTC", "2026-01-01 00:00:00", "2026-01-01 00:01:00,2026-01-01 00:02:00"},
	{"* * * * *", "UTC", "2026-12-31 23:59:59", "2027-01-01 00:00:00"},
	{"*/15 * * * *", "UTC", "2026-01-01 00:44:59", "2026-01-01 00:45:00,2026-01-01 01:00:00"},
	{"5/20 * * * *", "UTC", "2026-01-01 00:00:00",
	 "2026-01-01 00:05:00,2026-01-01 00:25:00,2026-01-01 00:45:00,2026-01-01 01:05:00"},
	{"0 9-17/4 * * mon-fri", "UTC", "2026-11-27 12:00:00",
	 "2026-11-27 13:00:00,2026-11-27 17:00:00,2026-11-30 09:00:00"},
	{"30 3 1,15 * *", "UTC", "2026-01-15 03:30:00", "2026-02-01 03:30:00,2026-02-15 03:30:00"},
	{"0 0 31 * *", "UTC", "2026-01-31 00:00:00", "2026-03-31 00:00:00,2026-05-31 00:00:00"},
	{"0 0 29 2 *", "UTC", "2026-01-01 00:00:00", "2028-02-29 00:00:00,2032-02-29 00:00:00"},
	{"0 0 29 2 *", "UTC", "2096-03-01 00:00:00", "2104-02-29 00:00:00"},
	{"0 0 29 2 */7", "UTC", "2004-03-01 00:00:00", "2032-02-29 00:00:00,2060-02-29 00:00:00"},
	{"0 0 29 2 */7", "UTC", "2088-03-01 00:00:00", "2128-02-29 00:00:00"},
	{"0 12 L * *", "UTC", "2028-01-31 12:00:00", "2028-02-29 12:00:00,2028-03-31 12:00:00"},
	{"0 12 $ 2 *", "UTC", "2026-01-01 00:00:00", "2026-02-28 12:00:00"},
	{"0 0 * * 5L", "UTC", "2026-11-01 00:00:00", "2026-11-27 00:00:00,2026-12-25 00:00:00"},
	{"0 0 ? * FRI#3", "UTC", "2026-11-01 00:00:00", "2026-11-20 00:00:00,2026-12-18 00:00:00"},
	{"0 0 ? * 1#5", "UTC", "2026-11-01 00:00:00", "2026-11-30 00:00:00,2027-03-29 00:00:00"},
	{"0 0 * * 7", "UTC", "2026-11-28 00:00:00", "2026-11-29 00:00:00,2026-12-06 00:00:00"},
	{"0 0 * * Fri-Sun", "UTC", "2026-11-26 00:00:00",
	 "2026-11-27 00:00:00,2026-11-28 00:00:00,2026-11-29 00:00:00,2026-12-04 00:00:00"},
	{"0 0 1 JAN-mar/2 *", "UTC", "2026-01-02 00:00:00", "2026-03-01 00:00:00,2027-01-01 00:00:00"},
	/* day or weekday when both are restricted, and when one begins with a star */
	{"0 0 13 * 5", "UTC", "2026-11-01 00:00:00",
	 "2026-11-06 00:00:00,2026-11-13 00:00:00,2026-11-20 00:00:00,2026-11-27 00:00:00,"
	 "2026-12-04 00:00:00,2026-12-11 00:00:00,2026-12-13 00:00:00"},
	{"0 0 */2 * 1", "UTC", "2026-11-01 00:00:00", "2026-11-09 00:00:00,2026-11-23 00:00:00"},
	{"0 0 30 2 1", "UTC", "2026-01-01 00:00:00", "2026-02-02 00:00:00"},
	/* seconds */
	{"*/30 * * * * *", "UTC", "2026-01-01 00:00:00", "2026-01-01 00:00:30,2026-01-01 00:01:00"},
	{"15 30 4 * * *", "UTC", "2026-01-01 04:30:15", "2026-01-02 04:30:15"},
	{"10,50 59 23 31 12 *", "UTC", "2026-12-31 23:59:10",
	 "2026-12-31 23:59:50,2027-12-31 23:59:10"},
	/* short for */
	{"@hourly", "UTC", "2026-01-01 00:00:00", "2026-01-01 01:00:00"},
	{"@Daily", "UTC", "2026-01-01 00:00:00", "2026-01-02 00:00:00"},
	{" @weekly ", "UTC", "2026-11-28 00:00:00", "2026-11-29 00:00:00"},
	{"@monthly", "UTC", "2026-11-28 00:00:00", "2026-12-01 00:00:00"},
	{"@yearly", "Berlin", "2026-11-28 00:00:00", "2026-12-31 23:00:00"},
	{"@every 90s", "UTC", "2026-01-01 00:00:00", "2026-01-01 00:01:30,2026-01-01 00:03:00"},
	{"@every 2h", "Berlin", "2026-03-29 00:30:00", "2026-03-29 02:00:00,2026-03-29 04:00:00"},
	{"30 seconds", "UTC", "2026-01-01 00:00:29", "2026-01-01 00:00:30,2026-01-01 00:01:00"},
	/* before 1970 */
	{"0 0 1 1 *", "UTC", "1965-06-01 00:00:00", "1966-01-01 00:00:00"},
	{"@every 7s", "UTC", "1969-12-31 23:59:50", "1969-12-31 23:59:53,1970-01-01 00:00:00"},
	/* Berlin, forward: 01:59:59 is followed by 03:00:00 (01:00 UTC) */
	{"30 2 * * *", "Berlin", "2026-03-28 00:00:00",
	 "2026-03-28 01:30:00,2026-03-29 01:00:00,2026-03-30 00:30:00"},
	{"0,30 2 * * *", "Berlin", "2026-03-28 12:00:00", "2026-03-29 01:00:00,2026-03-30 00:00:00"},
	{"0 3 * * *", "Berlin", "2026-03-28 12:00:00", "2026-03-29 01:00:00,2026-03-30 01:00:00"},
	{"0 2,3 * * *", "Berlin", "2026-03-28 12:00:00", "2026-03-29 01:00:00,2026-03-30 00:00:00"},
	{"*/20 * * * *", "Berlin", "2026-03-29 00:30:00", "2026-03-29 00:40:00,2026-03-29 01:00:00"},
	{"30 * * * *", "Berlin", "2026-03-29 00:00:00", "2026-03-29 00:30:00,2026-03-29 01:30:00"},
	{"*/30 2 * * *", "Berlin", "2026-03-28 12:00:00", "2026-03-30 00:00:00"},
	/* Berlin, back: 02:59:59 is followed by 02:00:00 (01:00 UTC) */
	{"30 2 * * *", "Berlin", "2026-10-24 12:00:00", "2026-10-25 00:30:00,2026-10-26 01:30:00"},
	{"30 2 * * *", "Berlin", "2026-10-25 01:10:00", "2026-10-26 01:30:00"},
	{"0 3 * * *", "Berlin", "2026-10-25 00:30:00", "2026-10-25 02:00:00"},
	{"0 2 * * *", "Berlin", "2026-10-24 12:00:00", "2026-10-25 00:00:00,2026-10-26 01:00:00"},
	{"30 * * * *", "Berlin", "2026-10-25 00:00:00",
	 "2026-10-25 00:30:00,2026-10-25 01:30:00,2026-10-25 02:30:00"},
	{"*/30 2 * * *", "Berlin", "2026-10-24 12:00:00",
	 "2026-10-25 00:00:00,2026-10-25 00:30:00,2026-10-25 01:00:00,2026-10-25 01:30:00,"
	 "2026-10-26 01:00:00"},
	/* west of Greenwich */
	{"0 2 * * *", "New_York", "2026-03-07 12:00:00", "2026-03-08 07:00:00,2026-03-09 06:00:00"},
	{"30 1 * * *", "New_York", "2026-10-31 12:00:00", "2026-11-01 05:30:00,2026-11-02 06:30:00"},
	{"0 20 * * *", "New_York", "2026-01-01 00:00:00", "2026-01-01 01:00:00,2026-01-02 01:00:00"},
	/* a day that was left out, half an hour */
	{"0 12 30 12 *", "Apia", "2011-12-01 00:00:00", "2011-12-30 10:00:00,2012-12-29 22:00:00"},
	{"0 12 * * *", "Apia", "2011-12-29 00:00:00",
	 "2011-12-29 22:00:00,2011-12-30 10:00:00,2011-12-30 22:00:00"},
	{"15 2 * * *", "Lord_Howe", "2026-10-03 00:00:00", "2026-10-03 15:30:00,2026-10-04 15:15:00"},
	{"45 1 * * *", "Lord_Howe", "2026-04-04 00:00:00", "2026-04-04 14:45:00,2026-04-05 15:15:00"},
};

TEST(moments)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
	{
		const Row *row = &rows[i];
		PennyCronZone zone = zone_named(row->zone);
		int64_t at = moment(row->after);
		PennyCron cron;
		size_t where;
		char list[1024];
		char *next;

		if (!CHECK_ROW(penny_cron_parse(row->text, strlen(row->text), &cron, &where) == NULL,
					   row->text))
			continue;
		strcpy(list, row->next);
		for (next = strtok(list, ","); next != NULL; next = strtok(NULL, ","))
		{
			char label[256];

			at = penny_cron_next(&cron, &zone, at);
			snprintf(label, sizeof(label), "%s in %s after %s: %s, not %lld s later", row->text,
					 row->zone, row->after, next, (long long) (at - moment(next)));
			CHECK_ROW(at == moment(next), label);
		}
	}
}

/* ---- what is refused --------------------------------------------------------- */

TEST(refused)
{
	static const struct
	{
		const char *text;
		size_t where;
	} bad[] = {{"", 0},
			   {"   ", 0},
			   {"* * * *", 0},
			   {"* * * * * * *", 0},
			   {"60 * * * *", 0},
			   {"* 24 * * *", 2},
			   {"* * 0 * *", 4},
			   {"* * 32 * *", 4},
			   {"* * * 0 *", 6},
			   {"* * * 13 *", 6},
			   {"* * * * 8", 8},
			   {"* * * * fry", 8},
			   {"* * * january *", 9},
			   {"5-1 * * * *", 3},
			   {"22-2 * * * *", 4},
			   {"* * * * sat-mon", 15},
			   {"*/0 * * * *", 3},
			   {"*/ * * * *", 2},
			   {"*/-1 * * * *", 2},
			   {"1,,2 * * * *", 2},
			   {"1, * * * *", 2},
			   {"1- * * * *", 2},
			   {"*x * * * *", 1},
			   {"1.5 * * * *", 1},
			   {"L * * * *", 0},
			   {"* * 15W * *", 6},
			   {"* * * * 5#6", 11},
			   {"* * * * 5#", 10},
			   {"99999999999999999999 * * * *", 0},
			   {"@often", 0},
			   {"@every", 0},
			   {"@every 0s", 7},
			   {"@every 5 weeks", 7},
			   {"@every 999999h", 7},
			   {"0 seconds", 0},
			   {"0 0 30 2 *", 0},
			   {"0 0 31 4,6,9,11 *", 0},
			   {"0 0 30-31 feb *", 0},
			   {"0 0 */20 2 1#2", 0},
			   {"* * * * *\n", 9}};
	PennyCron cron;
	size_t where;
	char big[PENNY_CRON_TEXT_MAX + 2];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
	{
		const char *why = penny_cron_parse(bad[i].text, strlen(bad[i].text), &cron, &where);
		char label[160];

		snprintf(label, sizeof(label), "\"%s\": %s at %zu", bad[i].text,
				 why != NULL ? why : "accepted", where);
		CHECK_ROW(why != NULL && where == bad[i].where, label);
	}
	memset(big, ' ', sizeof(big));
	CHECK(penny_cron_parse(big, sizeof(big), &cron, &where) != NULL);
}

/* ---- against a clock that ticks ------------------------------------------------ */

/* Does local second L match?  Slowly, by the C library. */
static bool
slow_match(const PennyCron *cron, int64_t local)
{
	return penny_cron_match(cron, local) == local;
}

/*
 * Ten days around each change, second by second of what the rules say.
 */
TEST(ticking)
{
	static const char *const texts[] = {"*/7 * * * *",  "13 * * * *",     "10,40 1-3 * * *",
										"0 2 * * *",    "59 1 * * *",     "0 3 * * *",
										"*/13 2 * * *", "30 0 2 * * sun", "@hourly"};

	for (size_t z = 1; z < sizeof(zones) / sizeof(zones[0]); z++)
		for (size_t t = 0; t < sizeof(texts) / sizeof(texts[0]); t++)
		{
			PennyCronZone zone = {zone_offset, (void *) (uintptr_t) &zones[z]};
			int64_t begin = moment(zones[z].changes[0].at) - 2 * 86400;
			int64_t next, offset, until, shown;
			PennyCron cron;
			size_t where;

			CHECK(penny_cron_parse(texts[t], strlen(texts[t]), &cron, &where) == NULL);
			zone_offset(zone.arg, begin, &offset, &until);
			shown = begin + offset;
			next = penny_cron_next(&cron, &zone, begin);
			for (int64_t at = begin + 1; at < begin + 4 * 86400; at++)
			{
				bool fires = false;

				zone_offset(zone.arg, at, &offset, &until);
				if (cron.moving)
					fires = slow_match(&cron, at + offset);
				else
					for (; shown < at + offset; shown++)
						fires = fires || slow_match(&cron, shown + 1);
				if (!CHECK_ROW(fires == (at == next), texts[t]))
					return;
				if (fires)
					next = penny_cron_next(&cron, &zone, at);
			}
		}
}

TEST(last)
{
	PennyCronZone zone = zone_named("Berlin");
	int64_t found[10], all[2000];
	int64_t after = moment("2026-03-01 00:00:00");
	int64_t until = moment("2026-04-10 07:00:00");
	static const char *const texts[] = {"0 * * * *", "@every 1h", "30 2 * * *", "0 0 1 3 *",
										"* * * * * *"};

	for (size_t t = 0; t < 5; t++)
	{
		size_t n = 0, got;
		PennyCron cron;
		size_t where;

		CHECK(penny_cron_parse(texts[t], strlen(texts[t]), &cron, &where) == NULL);
		got = penny_cron_last(&cron, &zone, after, until, found, 10);
		for (int64_t at = t == 4 ? until - 100 : after;
			 (at = penny_cron_next(&cron, &zone, at)) <= until;)
			all[n++] = at;
		CHECK_ROW(got == (n < 10 ? n : 10), texts[t]);
		for (size_t i = 0; i < got; i++)
			CHECK_ROW(found[i] == all[n - got + i], texts[t]);
	}
}

int
main(void)
{
	RUN(moments);
	RUN(refused);
	RUN(ticking);
	RUN(last);
	return unit_done();
}

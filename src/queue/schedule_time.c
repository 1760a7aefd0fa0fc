/*-------------------------------------------------------------------------
 *
 * schedule_time.c
 *		The clock of schedules: PostgreSQL's time zones for cron.c, and its
 *		timestamps.
 *
 * cron.c counts whole seconds since 1970; a timestamp is taken down to the second,
 * which loses nothing: what comes after it comes after its second, too.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "pgtime.h"
#include "utils/datetime.h"
#include "utils/timestamp.h"

#include "queue/schedule_private.h"

#define EPOCH_SECONDS (INT64CONST(86400) * (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE))

int64
penny_schedule_seconds(TimestampTz at)
{
	int64 seconds = at / USECS_PER_SEC;

	if (at % USECS_PER_SEC < 0)
		seconds--;
	return seconds + EPOCH_SECONDS;
}

TimestampTz
penny_schedule_timestamp(int64 seconds)
{
	int64 since = seconds - EPOCH_SECONDS;

	if (seconds == PENNY_CRON_NEVER || since > END_TIMESTAMP / USECS_PER_SEC - 1)
		return DT_NOEND;
	return since * USECS_PER_SEC;
}

static void
zone_offset(void *arg, int64_t at, int64_t *offset, int64_t *until)
{
	const pg_tz *zone = arg;
	pg_time_t moment = at;
	pg_time_t boundary = 0;
	long before = 0;
	long after = 0;
	int before_dst, after_dst;

	/* -1: a moment out of range, 0: no change after it, 1: at `boundary` */
	if (pg_next_dst_boundary(&moment, &before, &before_dst, &boundary, &after, &after_dst, zone) ==
			1 &&
		boundary > at)
		*until = boundary;
	else
		*until = PENNY_CRON_NEVER;
	*offset = before;
}

PennyCronZone
penny_schedule_zone(const char *name)
{
	pg_tz *zone = strlen(name) > TZ_STRLEN_MAX ? NULL : pg_tzset(name);

	if (zone == NULL || !pg_tz_acceptable(zone))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("time zone \"%s\" is not known", name),
						errhint("Names are in pg_timezone_names, such as Europe/Berlin.")));
	return (PennyCronZone){zone_offset, zone};
}

void
penny_schedule_parse(const char *text, PennyCron *cron)
{
	size_t where;
	const char *why = penny_cron_parse(text, strlen(text), cron, &where);

	if (why != NULL)
		ereport(
			ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("\"%s\" is no cron text", text),
			 errdetail("At character %zu: %s.", where + 1, why),
			 errhint("For example \"30 2 * * *\", minute hour day month weekday, or @hourly.")));
}

TimestampTz
penny_schedule_next(const char *cron_text, const char *timezone, TimestampTz after)
{
	PennyCronZone zone = penny_schedule_zone(timezone);
	PennyCron cron;

	penny_schedule_parse(cron_text, &cron);
	if (TIMESTAMP_NOT_FINITE(after))
		return DT_NOEND;
	return penny_schedule_timestamp(penny_cron_next(&cron, &zone, penny_schedule_seconds(after)));
}

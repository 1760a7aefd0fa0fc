/*-------------------------------------------------------------------------
 *
 * schedule_fire.c
 *		One schedule that is due: its jobs and its next time, in one transaction.
 *
 * The row is locked and next_at moves with the jobs that are enqueued, so a run
 * is made exactly once, whatever crashes, whoever else comes.
 *
 * What was missed.  Runs between next_at and now that are older than
 * PENNY_SCHEDULE_GRACE were missed (the server was down, or no worker was
 * there); a run that is late by less is made in any case:
 *
 *	skip	nothing for what was missed
 *	once	one job for all of it, for the last moment, unless one that is late comes
 *	all		one job for each moment, at most the last PENNY_SCHEDULE_MISSED_MAX
 *
 * A job of a schedule finds in its payload, if that is an object, "_schedule":
 * {"name", "at"}: the moment for which it was made.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "queue/keys.h"
#include "queue/queue.h"
#include "queue/schedule_private.h"
#include "queue/statements.h"

#define AGAIN_AFTER USECS_PER_HOUR /* when its time cannot be told */

static PennyQueueStatement due_schedule = {
	"SELECT s.name, s.cron, s.timezone, s.kind, s.payload, s.queue, s.priority, s.group_key, "
	"s.room, s.key, s.missed, s.user_id, s.next_at FROM _penny.schedules s "
	"WHERE s.enabled AND s.next_at" PENNY_SQL_LE "$1 ORDER BY s.next_at LIMIT 1 "
	"FOR UPDATE SKIP LOCKED",
	1,
	{TIMESTAMPTZOID},
	NULL};
static PennyQueueStatement fired = {
	"UPDATE _penny.schedules SET next_at = $2, last_at = coalesce($3, last_at), "
	"fired_at = coalesce($4, fired_at), last_job = coalesce($5, last_job), last_error = NULL "
	"WHERE name" PENNY_SQL_EQ "$1",
	5,
	{TEXTOID, TIMESTAMPTZOID, TIMESTAMPTZOID, TIMESTAMPTZOID, INT8OID},
	NULL};
static PennyQueueStatement failed = {"UPDATE _penny.schedules SET next_at = $4, last_error = $3 "
									 "WHERE name" PENNY_SQL_EQ "$1 AND next_at" PENNY_SQL_LE "$2",
									 4,
									 {TEXTOID, TIMESTAMPTZOID, TEXTOID, TIMESTAMPTZOID},
									 NULL};
static PennyQueueStatement earliest = {
	"SELECT s.next_at FROM _penny.schedules s WHERE s.enabled ORDER BY s.next_at LIMIT 1",
	0,
	{0},
	NULL};

typedef struct Schedule
{
	bool found;
	char *name;
	char *cron;
	char *timezone;
	char *kind;
	Jsonb *payload;
	char *queue;
	int32 priority;
	char *group_key;
	char *room;
	char *key;
	char *missed;
	pg_uuid_t *user_id;
	TimestampTz next_at;
} Schedule;

static char *
text_or_null(Datum value, bool isnull)
{
	return isnull ? NULL : TextDatumGetCString(value);
}

static void
read_schedule(const Datum *values, const bool *nulls, void *arg)
{
	Schedule *schedule = arg;

	schedule->found = true;
	schedule->name = TextDatumGetCString(values[0]);
	schedule->cron = TextDatumGetCString(values[1]);
	schedule->timezone = TextDatumGetCString(values[2]);
	schedule->kind = TextDatumGetCString(values[3]);
	schedule->payload = DatumGetJsonbPCopy(values[4]);
	schedule->queue = text_or_null(values[5], nulls[5]);
	schedule->priority = DatumGetInt32(values[6]);
	schedule->group_key = text_or_null(values[7], nulls[7]);
	schedule->room = text_or_null(values[8], nulls[8]);
	schedule->key = text_or_null(values[9], nulls[9]);
	schedule->missed = TextDatumGetCString(values[10]);
	if (!nulls[11])
	{
		schedule->user_id = palloc(sizeof(pg_uuid_t));
		*schedule->user_id = *DatumGetUUIDP(values[11]);
	}
	schedule->next_at = DatumGetTimestampTz(values[12]);
}

static void
push_text(JsonbParseState **state, JsonbIteratorToken token, const char *text)
{
	JsonbValue value = {.type = jbvString};

	value.val.string.val = unconstify(char *, text);
	value.val.string.len = (int) strlen(text);
	(void) pushJsonbValue(state, token, &value);
}

/* The payload with "_schedule"; what is not an object stays as it is. */
static Jsonb *
payload_at(const Schedule *schedule, TimestampTz at)
{
	JsonbParseState *state = NULL;
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue value;
	char text[MAXDATELEN + 1];
	int utc = 0;

	if (!JB_ROOT_IS_OBJECT(schedule->payload))
		return schedule->payload;
	(void) JsonEncodeDateTime(text, TimestampTzGetDatum(at), TIMESTAMPTZOID, &utc);
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	it = JsonbIteratorInit(&schedule->payload->root);
	(void) JsonbIteratorNext(&it, &value, true);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_END_OBJECT)
		(void) pushJsonbValue(&state, token, &value);
	push_text(&state, WJB_KEY, "_schedule");
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_text(&state, WJB_KEY, "name");
	push_text(&state, WJB_VALUE, schedule->name);
	push_text(&state, WJB_KEY, "at");
	push_text(&state, WJB_VALUE, text);
	(void) pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* The job for one moment; its id. */
static int64
enqueue(const Schedule *schedule, TimestampTz at, TimestampTz now)
{
	const PennyHandler *handler = penny_handler_find(schedule->kind);
	const char *queue = schedule->queue != NULL ? schedule->queue
						: handler != NULL       ? handler->queue
												: "normal";
	PennyJobRow row;

	memset(&row, 0, sizeof(row));
	row.queue = penny_queue_find(queue);
	row.priority = schedule->priority;
	row.backoff_ms = -1;
	row.due = now;
	row.enqueued_at = now;
	row.kind = schedule->kind;
	row.payload = payload_at(schedule, at);
	row.user_id = schedule->user_id;
	row.key = schedule->key;
	row.group_key = schedule->group_key;
	row.room = schedule->room;
	if (row.user_id != NULL || row.room != NULL)
		row.flags |= PENNY_JOB_TOLD;
	return row.key != NULL ? penny_job_insert_keyed(&row, PENNY_KEY_KEEP, false)
						   : penny_job_insert(&row);
}

/* Enqueue for the moments that are to be made up for; how many there were. */
static int
enqueue_missed(const Schedule *schedule, TimestampTz now, TimestampTz *last_at, int64 *last_job)
{
	bool all = strcmp(schedule->missed, "all") == 0;
	bool once = strcmp(schedule->missed, "once") == 0;
	int64_t *moments = palloc(PENNY_SCHEDULE_MISSED_MAX * sizeof(*moments));
	PennyCronZone zone = penny_schedule_zone(schedule->timezone);
	PennyCron cron;
	size_t n;
	int made = 0;

	penny_schedule_parse(schedule->cron, &cron);
	n = penny_cron_last(&cron, &zone, penny_schedule_seconds(schedule->next_at) - 1,
						penny_schedule_seconds(now), moments, PENNY_SCHEDULE_MISSED_MAX);
	for (size_t i = 0; i < n; i++)
	{
		TimestampTz at = penny_schedule_timestamp(moments[i]);

		if (at < now - PENNY_SCHEDULE_GRACE && !all && !(once && i == n - 1))
			continue;
		*last_at = at;
		*last_job = enqueue(schedule, at, now);
		made++;
	}
	return made;
}

bool
penny_schedule_fire(TimestampTz now, PennyScheduleRun *run)
{
	Schedule schedule = {.found = false};
	Datum values[5] = {TimestampTzGetDatum(now)};
	char nulls[6] = "     ";
	TimestampTz last_at = 0;
	int64 last_job = 0;

	(void) penny_queue_run(&due_schedule, values, NULL, false, read_schedule, &schedule);
	if (!schedule.found)
		return false;
	strlcpy(run->name, schedule.name, sizeof(run->name));
	run->next_at = now + AGAIN_AFTER;
	run->next_at = penny_schedule_next(schedule.cron, schedule.timezone, now);
	if (enqueue_missed(&schedule, now, &last_at, &last_job) == 0)
		memset(nulls + 2, 'n', 3);
	values[0] = CStringGetTextDatum(schedule.name);
	values[1] = TimestampTzGetDatum(run->next_at);
	values[2] = TimestampTzGetDatum(last_at);
	values[3] = TimestampTzGetDatum(now);
	values[4] = Int64GetDatum(last_job);
	(void) penny_queue_run(&fired, values, nulls, false, NULL, NULL);
	return true;
}

void
penny_schedule_failed(const PennyScheduleRun *run, const char *error, TimestampTz now)
{
	Datum values[4];

	values[0] = CStringGetTextDatum(run->name);
	values[1] = TimestampTzGetDatum(now);
	values[2] = CStringGetTextDatum(error);
	values[3] = TimestampTzGetDatum(run->next_at);
	(void) penny_queue_run(&failed, values, NULL, false, NULL, NULL);
}

static void
read_time(const Datum *values, const bool *nulls, void *arg)
{
	if (!nulls[0])
		*(TimestampTz *) arg = DatumGetTimestampTz(values[0]);
}

TimestampTz
penny_schedule_earliest(void)
{
	TimestampTz at = DT_NOEND;

	(void) penny_queue_run(&earliest, NULL, NULL, false, read_time, &at);
	return at;
}

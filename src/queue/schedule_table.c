/*-------------------------------------------------------------------------
 *
 * schedule_table.c
 *		Schedules as their users write them.
 *
 * The caller must be one who may enqueue the job now; the rows are written past
 * privileges.  A schedule that is given again as it is keeps
 * its next time, so that a program may state its schedules each time it starts
 * without losing what was missed meanwhile; with another cron text or zone it
 * begins anew from now.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "queue/enqueue.h"
#include "queue/schedule_private.h"
#include "queue/statements.h"

static PennyQueueStatement put = {
	"INSERT INTO _penny.schedules AS s (name, cron, timezone, kind, payload, queue, priority, "
	"group_key, room, key, missed, user_id, next_at) "
	"VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) "
	"ON CONFLICT (name) DO UPDATE SET cron = excluded.cron, timezone = excluded.timezone, "
	"kind = excluded.kind, payload = excluded.payload, queue = excluded.queue, "
	"priority = excluded.priority, group_key = excluded.group_key, room = excluded.room, "
	"key = excluded.key, missed = excluded.missed, user_id = excluded.user_id, "
	"next_at = CASE WHEN s.cron" PENNY_SQL_EQ "excluded.cron AND s.timezone" PENNY_SQL_EQ
	"excluded.timezone THEN s.next_at ELSE excluded.next_at END RETURNING s.next_at",
	13,
	{TEXTOID, TEXTOID, TEXTOID, TEXTOID, JSONBOID, TEXTOID, INT4OID, TEXTOID, TEXTOID, TEXTOID,
	 TEXTOID, UUIDOID, TIMESTAMPTZOID},
	NULL};
static PennyQueueStatement drop = {
	"DELETE FROM _penny.schedules WHERE name" PENNY_SQL_EQ "$1", 1, {TEXTOID}, NULL};
static PennyQueueStatement find = {
	"SELECT s.cron, s.timezone, s.enabled, s.next_at FROM _penny.schedules s "
	"WHERE s.name" PENNY_SQL_EQ "$1 FOR UPDATE",
	1,
	{TEXTOID},
	NULL};
static PennyQueueStatement enable = {
	"UPDATE _penny.schedules SET enabled = $2, next_at = $3 WHERE name" PENNY_SQL_EQ "$1",
	3,
	{TEXTOID, BOOLOID, TIMESTAMPTZOID},
	NULL};

typedef struct Found
{
	char *cron;
	char *timezone;
	bool enabled;
	TimestampTz next_at;
} Found;

/* What could not be enqueued now is refused now. */
static void
check(const PennySchedule *schedule)
{
	PennyEnqueue job = {.kind = schedule->kind,
						.payload = schedule->payload,
						.queue = schedule->queue,
						.priority = schedule->priority,
						.key = schedule->key,
						.group_key = schedule->group_key,
						.room = schedule->room};
	PennyJobRow row;

	if (schedule->name[0] == '\0' || strlen(schedule->name) > PENNY_SCHEDULE_NAME_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the name of a schedule has 1 to %d bytes", PENNY_SCHEDULE_NAME_MAX)));
	if (strcmp(schedule->missed, "skip") != 0 && strcmp(schedule->missed, "once") != 0 &&
		strcmp(schedule->missed, "all") != 0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("missed runs cannot be treated as \"%s\"", schedule->missed),
						errhint("It is skip, once or all.")));
	penny_enqueue_row(&job, &row);
}

static void
put_text(Datum *value, char *isnull, const char *text)
{
	*value = text != NULL ? CStringGetTextDatum(text) : (Datum) 0;
	*isnull = text != NULL ? ' ' : 'n';
}

static void
read_time(const Datum *values, const bool *nulls, void *arg)
{
	(void) nulls;
	*(TimestampTz *) arg = DatumGetTimestampTz(values[0]);
}

TimestampTz
penny_schedule_put(const PennySchedule *schedule)
{
	TimestampTz next_at = penny_schedule_next(schedule->cron, schedule->timezone,
											  GetCurrentTransactionStartTimestamp());
	Datum values[13];
	char nulls[14] = "             ";

	check(schedule);
	put_text(&values[0], &nulls[0], schedule->name);
	put_text(&values[1], &nulls[1], schedule->cron);
	put_text(&values[2], &nulls[2], schedule->timezone);
	put_text(&values[3], &nulls[3], schedule->kind);
	values[4] = JsonbPGetDatum(schedule->payload);
	put_text(&values[5], &nulls[5], schedule->queue);
	values[6] = Int32GetDatum(schedule->priority);
	put_text(&values[7], &nulls[7], schedule->group_key);
	put_text(&values[8], &nulls[8], schedule->room);
	put_text(&values[9], &nulls[9], schedule->key);
	put_text(&values[10], &nulls[10], schedule->missed);
	values[11] = UUIDPGetDatum(schedule->user_id);
	if (schedule->user_id == NULL)
		nulls[11] = 'n';
	values[12] = TimestampTzGetDatum(next_at);
	(void) penny_queue_run(&put, values, nulls, false, read_time, &next_at);
	return next_at;
}

bool
penny_schedule_drop(const char *name)
{
	Datum value = CStringGetTextDatum(name);

	return penny_queue_run(&drop, &value, NULL, false, NULL, NULL) > 0;
}

static void
read_found(const Datum *values, const bool *nulls, void *arg)
{
	Found *found = arg;

	(void) nulls;
	found->cron = TextDatumGetCString(values[0]);
	found->timezone = TextDatumGetCString(values[1]);
	found->enabled = DatumGetBool(values[2]);
	found->next_at = DatumGetTimestampTz(values[3]);
}

/*
 * Pause or resume.  What came to be due meanwhile was not missed: it was not
 * wanted; so the next time is one from now on.
 */
bool
penny_schedule_enable(const char *name, bool enabled)
{
	Datum values[3];
	Found found;

	values[0] = CStringGetTextDatum(name);
	if (penny_queue_run(&find, values, NULL, false, read_found, &found) == 0)
		return false;
	if (found.enabled == enabled)
		return true;
	if (enabled)
		found.next_at =
			penny_schedule_next(found.cron, found.timezone, GetCurrentTransactionStartTimestamp());
	values[1] = BoolGetDatum(enabled);
	values[2] = TimestampTzGetDatum(found.next_at);
	(void) penny_queue_run(&enable, values, NULL, false, NULL, NULL);
	return true;
}

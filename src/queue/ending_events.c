/*-------------------------------------------------------------------------
 *
 * ending_events.c
 *		A job has ended: whoever listens is told when the transaction commits.
 *
 *	the job's room, or
 *	user:<who enqueued it>	job.completed, job.failed, job.cancelled; job.progress,
 *							which does not wait for the commit: a handler's
 *							transaction ends when there is no more progress
 *
 * Requests that wait for the end of a job are told by wait.c.
 *
 * Frames are built when somebody may be in the room; else the commit looks once
 * more (realtime/publish.h).  A result that is too large for the ring is told by
 * the hint `missed`: penny.job() has it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/uuid.h"

#include "queue/ending.h"
#include "realtime/publish.h"

#define USER_ROOM "user:"

/* Where events of the job go, or NULL: nowhere. */
static char *
room_of(const PennyJobRow *row)
{
	if (row->room != NULL)
		return pstrdup(row->room);
	if (row->user_id != NULL)
		return psprintf(USER_ROOM "%s", DatumGetCString(DirectFunctionCall1(
											uuid_out, UUIDPGetDatum(row->user_id))));
	return NULL;
}

static void
begin(StringInfo frame, const char *room, const char *type, const PennyJobRow *row)
{
	initStringInfo(frame);
	appendStringInfoString(frame, "{\"type\":\"event\",\"room\":");
	escape_json(frame, room);
	appendStringInfo(
		frame, ",\"event\":{\"type\":\"%s\",\"id\":\"" INT64_FORMAT "\",\"kind\":", type, row->id);
	escape_json(frame, row->kind);
}

static void
add_json(StringInfo frame, const char *name, Jsonb *value)
{
	appendStringInfo(frame, ",\"%s\":", name);
	if (value == NULL)
		appendStringInfoString(frame, "null");
	else
		(void) JsonbToCString(frame, &value->root, VARSIZE(value));
}

static void
tell(const PennyEnding *ending, const char *room)
{
	static const char *const types[] = {[PENNY_OUTCOME_COMPLETED] = "job.completed",
										[PENNY_OUTCOME_FAILED] = "job.failed",
										[PENNY_OUTCOME_CANCELLED] = "job.cancelled"};
	const char *error = ending->error != NULL ? ending->error : "";
	StringInfoData frame;

	begin(&frame, room, types[ending->outcome], ending->row);
	if (ending->outcome == PENNY_OUTCOME_COMPLETED)
		add_json(&frame, "result", ending->result);
	if (ending->outcome == PENNY_OUTCOME_FAILED)
	{
		appendStringInfoString(&frame, ",\"error\":");
		/* its details may be of what a user may not read */
		escape_json(&frame, pnstrdup(error, strcspn(error, "\n")));
	}
	appendStringInfoString(&frame, "}}");
	penny_publish_hint(room, frame.data, frame.len);
	pfree(frame.data);
}

void
penny_ending_events(const PennyEnding *ending)
{
	const PennyJobRow *row = ending->row;
	char *room;

	if ((row->flags & PENNY_JOB_TOLD) == 0 || !penny_publish_active() ||
		(room = room_of(row)) == NULL)
		return;
	if (penny_publish_wanted(room, strlen(room)))
		tell(ending, room);
	else
		penny_publish_hint(room, NULL, 0);
	pfree(room);
}

void
penny_progress_event(const PennyJobRow *row, Jsonb *progress)
{
	StringInfoData frame;
	char *room = room_of(row);

	if (room == NULL || !penny_publish_active() || !penny_publish_wanted(room, strlen(room)))
		return;
	begin(&frame, room, "job.progress", row);
	add_json(&frame, "progress", progress);
	appendStringInfoString(&frame, "}}");
	penny_publish_now(room, frame.data, frame.len);
	pfree(frame.data);
}

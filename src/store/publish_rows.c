/*-------------------------------------------------------------------------
 *
 * publish_rows.c
 *		Changed rows as frames of their conversation's room.
 *
 * Called by the triggers after the row is written, so a frame shows what other
 * triggers made of it.  A frame is rendered past privileges and policies: who
 * may join the room may see it.
 *
 * Nobody can be in the room of a conversation that this very transaction has
 * made, so its changes are published as one version without a frame: an import
 * of twenty-four messages costs the realtime part one event.  And a frame is
 * built only when somebody may be in the room at this moment; who joins before
 * the commit reads the change from the table (plane/interest.h).
 *
 * A user's own room, user:<id>, gets hints about the list of conversations: one
 * was added, removed, or changed.  They carry what is needed to fetch it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"

#include "realtime/publish.h"
#include "store/execution.h"
#include "store/lookup.h"
#include "store/publish_rows.h"
#include "store/render.h"
#include "store/statement.h"
#include "store/stream.h"
#include "store/uuid.h"

#define ROOM_SIZE (sizeof(PENNY_CONVERSATION_ROOM) + PENNY_UUID_TEXT)
#define USER_ROOM_SIZE (sizeof(PENNY_USER_ROOM) + PENNY_UUID_TEXT)
#define MESSAGE_TOOLS 32 /* rows to begin with */

static PennyStatement make_tombstone = {
	"INSERT INTO chat.tombstones (conversation_id, version, kind, id) VALUES ($1, $2, $3, $4)",
	4,
	{UUIDOID, INT8OID, TEXTOID, UUIDOID}};

static PennyStatement clear_tombstones = {
	"DELETE FROM chat.tombstones WHERE conversation_id" PENNY_EQ "$1", 1, {UUIDOID}};

static const char *const tombstone_kinds[PENNY_TABLES] = {
	[PENNY_CONVERSATIONS] = "conversation", [PENNY_PARTICIPANTS] = "participant",
	[PENNY_MESSAGES] = "message",           [PENNY_TOOL_EXECUTIONS] = "tool_execution",
	[PENNY_ARTIFACTS] = "artifact",         [PENNY_ARTIFACT_VERSIONS] = "artifact_version",
};

static bool room_wanted(char *room, const pg_uuid_t *conversation);
static void frame_message_with_tools(StringInfo frame, PennyRow *row);
static void frame_artifact_with_number(StringInfo frame, PennyRow *row);
static void frame_with_user(StringInfo frame, PennyTable table, PennyRow *row, bool created);

/*
 * Begin a frame of a room, up to and with the version and a comma.
 */
void
penny_frame_begin(StringInfo out, const char *type, const pg_uuid_t *conversation, int64 version)
{
	char room[ROOM_SIZE];

	penny_room_write(room, conversation);
	appendStringInfo(out, "{\"type\":\"%s\",\"room\":\"%s\",\"version\":" INT64_FORMAT ",", type,
					 room, version);
}

/* Begin an event: the member that follows is the caller's. */
static void
begin_event(StringInfo out, const PennyRow *row, const char *event)
{
	penny_frame_begin(out, "event", PENNY_UUID(row, PENNY_CONVERSATION_ID),
					  DatumGetInt64(row->value[PENNY_ROW_VERSION]));
	appendStringInfo(out, "\"event\":{\"type\":\"%s\",", event);
}

void
penny_frame_message(StringInfo out, const PennyRow *row, bool created)
{
	if (created)
		penny_frame_begin(out, "message", PENNY_UUID(row, PENNY_CONVERSATION_ID),
						  DatumGetInt64(row->value[PENNY_ROW_VERSION]));
	else
		begin_event(out, row, "message.updated");
	appendStringInfoString(out, "\"message\":");
	penny_render_text(out, &penny_shape_message, row);
	appendStringInfoString(out, created ? "}" : "}}");
}

void
penny_frame_conversation(StringInfo out, const PennyRow *row)
{
	penny_frame_begin(out, "event", PENNY_UUID(row, PENNY_ID),
					  DatumGetInt64(row->value[PENNY_CONVERSATION_STATE_VERSION]));
	appendStringInfoString(out, "\"event\":{\"type\":\"conversation.updated\",\"conversation\":");
	penny_render_text(out, &penny_shape_conversation, row);
	appendStringInfoString(out, "}}");
}

void
penny_frame_participant(StringInfo out, const PennyRow *row)
{
	begin_event(out, row, "participant.added");
	appendStringInfoString(out, "\"user\":");
	penny_render_text(out, &penny_shape_user, row);
	appendStringInfoString(out, "}}");
}

void
penny_frame_tool_execution(StringInfo out, const PennyRow *row)
{
	begin_event(out, row, "tool_execution.changed");
	appendStringInfoString(out, "\"tool_execution\":");
	penny_render_text(out, &penny_shape_tool_execution, row);
	appendStringInfoString(out, "}}");
}

void
penny_frame_artifact(StringInfo out, const PennyRow *row)
{
	begin_event(out, row, "artifact.changed");
	appendStringInfoString(out, "\"artifact\":");
	penny_render_text(out, &penny_shape_artifact, row);
	appendStringInfoString(out, "}}");
}

void
penny_frame_artifact_version(StringInfo out, const PennyRow *row)
{
	begin_event(out, row, "artifact_version.changed");
	appendStringInfoString(out, "\"artifact_id\":");
	penny_render_uuid(out, PENNY_UUID(row, PENNY_ID));
	appendStringInfo(out, ",\"number\":%d}}",
					 DatumGetInt32(row->value[PENNY_ARTIFACT_VERSION_NUMBER]));
}

void
penny_frame_tombstone(StringInfo out, const PennyRow *row)
{
	text *kind = DatumGetTextPP(row->value[PENNY_TOMBSTONE_KIND]);
	int len = VARSIZE_ANY_EXHDR(kind);
	bool participant =
		len == strlen("participant") && memcmp(VARDATA_ANY(kind), "participant", len) == 0;

	penny_frame_begin(out, "event", PENNY_UUID(row, PENNY_CONVERSATION_ID),
					  DatumGetInt64(row->value[PENNY_ROW_VERSION]));
	appendStringInfo(out, "\"event\":{\"type\":\"%.*s.%s\",\"%s\":", len, VARDATA_ANY(kind),
					 participant ? "removed" : "deleted", participant ? "user_id" : "id");
	penny_render_uuid(out, PENNY_UUID(row, PENNY_ID));
	appendStringInfoString(out, "}}");
}

/*
 * Publish a row that was inserted or updated.
 */
void
penny_rows_publish(PennyChange *change, PennyTable table, PennyRow *row, bool created)
{
	int64 version =
		DatumGetInt64(row->value[table == PENNY_CONVERSATIONS ? PENNY_CONVERSATION_STATE_VERSION
															  : PENNY_ROW_VERSION]);
	char room[ROOM_SIZE];
	StringInfoData frame;

	penny_change_published(change, version);
	if (table == PENNY_MESSAGES && penny_stream_is_open(row))
		penny_publish_streaming();
	if (table == PENNY_TOOL_EXECUTIONS && penny_execution_is_open(row))
		penny_publish_executing();
	if (change->created_here)
		return;
	if (!room_wanted(room, &change->id))
	{
		penny_publish_change(room, version, NULL, 0);
		return;
	}
	initStringInfo(&frame);
	switch (table)
	{
		case PENNY_CONVERSATIONS:
			penny_frame_conversation(&frame, row);
			break;
		case PENNY_TOOL_EXECUTIONS:
			penny_frame_tool_execution(&frame, row);
			break;
		case PENNY_ARTIFACTS:
			frame_artifact_with_number(&frame, row);
			break;
		case PENNY_ARTIFACT_VERSIONS:
			penny_frame_artifact_version(&frame, row);
			break;
		default:
			frame_with_user(&frame, table, row, created);
			break;
	}
	penny_publish_change(room, version, frame.data, frame.len);
	pfree(frame.data);
}

/*
 * Leave a tombstone for a deleted row and publish it.
 */
void
penny_rows_publish_deleted(PennyChange *change, PennyTable table, const PennyRow *row)
{
	PennyRow tombstone;
	char room[ROOM_SIZE];
	StringInfoData frame;
	int64 version = penny_change_next_version(change);
	Datum values[4];

	penny_change_published(change, version);
	values[0] = UUIDPGetDatum(&change->id);
	values[1] = Int64GetDatum(version);
	values[2] = CStringGetTextDatum(tombstone_kinds[table]);
	values[3] = row->value[table == PENNY_PARTICIPANTS ? PENNY_USER_ID : PENNY_ID];
	if (table == PENNY_CONVERSATIONS)
		penny_statement_run_as(&clear_tombstones, penny_table_owner(PENNY_TOMBSTONES), values,
							   NULL);
	penny_statement_run_as(&make_tombstone, penny_table_owner(PENNY_TOMBSTONES), values, NULL);
	if (change->created_here)
		return;
	if (table == PENNY_CONVERSATIONS)
	{
		penny_room_write(room, &change->id);
		penny_publish_gone(room, version);
		return;
	}
	if (!room_wanted(room, &change->id))
	{
		penny_publish_change(room, version, NULL, 0);
		if (table == PENNY_PARTICIPANTS)
			penny_publish_left(room, version, PENNY_UUID(row, PENNY_USER_ID));
		return;
	}
	memset(tombstone.isnull, true, sizeof(tombstone.isnull));
	tombstone.value[PENNY_CONVERSATION_ID] = values[0];
	tombstone.value[PENNY_ROW_VERSION] = values[1];
	tombstone.value[PENNY_TOMBSTONE_KIND] = values[2];
	tombstone.value[PENNY_ID] = values[3];
	initStringInfo(&frame);
	penny_frame_tombstone(&frame, &tombstone);
	penny_publish_change(room, version, frame.data, frame.len);
	pfree(frame.data);
	if (table == PENNY_PARTICIPANTS)
		penny_publish_left(room, version, PENNY_UUID(row, PENNY_USER_ID));
}

/*
 * Publish what came by replication.  Every change of a conversation comes with
 * its row, whose version says all.
 */
void
penny_rows_publish_replicated(PennyTable table, const PennyRow *row, bool deleted)
{
	int64 version = DatumGetInt64(row->value[PENNY_ROW_VERSION]);
	char room[ROOM_SIZE];

	penny_room_write(
		room, PENNY_UUID(row, table == PENNY_CONVERSATIONS ? PENNY_ID : PENNY_CONVERSATION_ID));
	if (table == PENNY_CONVERSATIONS && deleted)
		penny_publish_gone(room, version + 1);
	else if (table == PENNY_CONVERSATIONS)
		penny_publish_change(room, version, NULL, 0);
	else if (table == PENNY_PARTICIPANTS && deleted)
		penny_publish_left(room, 0, PENNY_UUID(row, PENNY_USER_ID)); /* at any version */
}

void
penny_rows_publish_version(PennyChange *change, int64 version)
{
	char room[ROOM_SIZE];

	if (change->created_here)
		return;
	penny_room_write(room, &change->id);
	penny_publish_change(room, version, NULL, 0);
}

void
penny_rows_publish_created(PennyChange *change)
{
	char room[ROOM_SIZE];

	penny_room_write(room, &change->id);
	penny_publish_change(room, change->version, NULL, 0);
}

/*
 * The conversation that a room's name means: one name for one room.
 */
bool
penny_room_conversation(text *room, pg_uuid_t *conversation)
{
	int len = sizeof(PENNY_CONVERSATION_ROOM) - 1;

	return VARSIZE_ANY_EXHDR(room) == len + PENNY_UUID_TEXT &&
		   memcmp(VARDATA_ANY(room), PENNY_CONVERSATION_ROOM, len) == 0 &&
		   penny_uuid_read_exact(conversation, VARDATA_ANY(room) + len);
}

/*
 * Write the name of a conversation's room, with a terminator.
 */
void
penny_room_write(char *room, const pg_uuid_t *conversation)
{
	memcpy(room, PENNY_CONVERSATION_ROOM, sizeof(PENNY_CONVERSATION_ROOM) - 1);
	penny_uuid_write(room + sizeof(PENNY_CONVERSATION_ROOM) - 1, conversation);
	room[ROOM_SIZE - 1] = '\0';
}

/* Write the name of a room; may anybody be in it? */
static bool
room_wanted(char *room, const pg_uuid_t *conversation)
{
	penny_room_write(room, conversation);
	return penny_publish_wanted(room, ROOM_SIZE - 1);
}

/*
 * Tell a user, if one listens, what became of a conversation in the own list.
 */
void
penny_list_publish(const pg_uuid_t *user, const char *what, const pg_uuid_t *conversation)
{
	char room[USER_ROOM_SIZE];
	StringInfoData frame;

	memcpy(room, PENNY_USER_ROOM, sizeof(PENNY_USER_ROOM) - 1);
	penny_uuid_write(room + sizeof(PENNY_USER_ROOM) - 1, user);
	room[USER_ROOM_SIZE - 1] = '\0';
	if (!penny_publish_wanted(room, USER_ROOM_SIZE - 1))
	{
		penny_publish_hint(room, NULL, 0);
		return;
	}
	initStringInfo(&frame);
	appendStringInfo(&frame, "{\"type\":\"event\",\"room\":\"%s\",\"event\":{\"type\":\"%s\"", room,
					 what);
	if (conversation != NULL)
	{
		appendStringInfoString(&frame, ",\"conversation_id\":");
		penny_render_uuid(&frame, conversation);
	}
	appendStringInfoString(&frame, "}}");
	penny_publish_hint(room, frame.data, frame.len);
	pfree(frame.data);
}

/*
 * Tell all who take part that a conversation in their lists has changed.
 */
void
penny_lists_publish_changed(const pg_uuid_t *conversation)
{
	Datum key = UUIDPGetDatum(conversation);
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	PennyLookup lookup;

	penny_lookup_begin(&lookup, PENNY_KEY_PARTICIPANT, snapshot, AccessShareLock, 1, &key);
	while (penny_lookup_next(&lookup, ForwardScanDirection))
	{
		PennyRow row;

		penny_row_from_slot(&row, PENNY_PARTICIPANTS, lookup.slot);
		penny_list_publish(PENNY_UUID(&row, PENNY_USER_ID), PENNY_LIST_CHANGED, conversation);
	}
	penny_lookup_end(&lookup);
	UnregisterSnapshot(snapshot);
}

/* Render a row that shows a user's name. */
static void
frame_with_user(StringInfo frame, PennyTable table, PennyRow *row, bool created)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	PennyLookup lookup;
	bool looked_up = !row->isnull[PENNY_USER_ID];

	if (table == PENNY_MESSAGES && penny_stream_is_open(row))
		(void) penny_stream_complete(row, snapshot);
	if (looked_up)
	{
		penny_lookup_begin(&lookup, PENNY_KEY_USER_ID, snapshot, AccessShareLock, 1,
						   &row->value[PENNY_USER_ID]);
		if (penny_lookup_next(&lookup, ForwardScanDirection))
		{
			PennyRow user;

			penny_row_from_slot(&user, PENNY_USERS, lookup.slot);
			penny_row_take_user(row, &user);
		}
	}
	if (table == PENNY_PARTICIPANTS)
		penny_frame_participant(frame, row);
	else if (created)
		penny_frame_message(frame, row, true);
	else
		frame_message_with_tools(frame, row);
	if (looked_up)
		penny_lookup_end(&lookup);
	UnregisterSnapshot(snapshot);
}

/* Render a changed message with its tool executions. */
static void
frame_message_with_tools(StringInfo frame, PennyRow *row)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	int max = MESSAGE_TOOLS;
	PennyRow *tools = palloc(max * sizeof(PennyRow));
	int ntools = 0;
	PennyLookup lookup;

	penny_lookup_begin(&lookup, PENNY_KEY_MESSAGE_TOOLS, snapshot, AccessShareLock, 1,
					   &row->value[PENNY_ID]);
	while (penny_lookup_next(&lookup, ForwardScanDirection))
	{
		if (ntools == max)
		{
			max *= 2;
			tools = repalloc(tools, max * sizeof(PennyRow));
		}
		penny_row_from_tuple(&tools[ntools++], PENNY_TOOL_EXECUTIONS,
							 ExecCopySlotHeapTuple(lookup.slot), RelationGetDescr(lookup.table));
	}
	qsort(tools, ntools, sizeof(PennyRow), penny_row_by_version);
	row->list[0].rows = tools;
	row->list[0].n = ntools;
	penny_frame_message(frame, row, false);
	penny_lookup_end(&lookup);
	UnregisterSnapshot(snapshot);
	pfree(tools);
}

/* Render an artifact with the number of its newest version. */
static void
frame_artifact_with_number(StringInfo frame, PennyRow *row)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	PennyLookup lookup;

	penny_lookup_begin(&lookup, PENNY_KEY_ARTIFACT_NUMBER, snapshot, AccessShareLock, 1,
					   &row->value[PENNY_ID]);
	if (penny_lookup_next(&lookup, BackwardScanDirection))
	{
		PennyRow newest;

		penny_row_from_slot(&newest, PENNY_ARTIFACT_VERSIONS, lookup.slot);
		row->value[PENNY_ARTIFACT_NUMBER] =
			Int64GetDatum(DatumGetInt32(newest.value[PENNY_ARTIFACT_VERSION_NUMBER]));
		row->isnull[PENNY_ARTIFACT_NUMBER] = false;
	}
	penny_lookup_end(&lookup);
	UnregisterSnapshot(snapshot);
	penny_frame_artifact(frame, row);
}

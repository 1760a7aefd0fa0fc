/*-------------------------------------------------------------------------
 *
 * sql_store.c
 *		SQL entry points of the store: policies' questions, triggers, reads.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>

#include "access/htup_details.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "auth/identity.h"
#include "base/error.h"
#include "plane/event.h"
#include "realtime/publish.h"
#include "store/access.h"
#include "store/change.h"
#include "store/import.h"
#include "store/lookup.h"
#include "store/publish_rows.h"
#include "store/read.h"
#include "store/render.h"
#include "store/tables.h"
#include "store/triggers.h"
#include "store/uuid.h"

#define MAX_MESSAGES 200 /* of an eager fetch or a page */
#define MAX_LISTED 100

PG_FUNCTION_INFO_V1(penny_can_access);
PG_FUNCTION_INFO_V1(penny_can_manage);
PG_FUNCTION_INFO_V1(penny_can_see_user);
PG_FUNCTION_INFO_V1(penny_is_user);
PG_FUNCTION_INFO_V1(penny_is_agent);
PG_FUNCTION_INFO_V1(penny_is_admin);
PG_FUNCTION_INFO_V1(penny_order_change);
PG_FUNCTION_INFO_V1(penny_publish_row);
PG_FUNCTION_INFO_V1(penny_flush_changes);
PG_FUNCTION_INFO_V1(penny_routes_changed);
PG_FUNCTION_INFO_V1(penny_lock_conversation);
PG_FUNCTION_INFO_V1(penny_ensure_user);
PG_FUNCTION_INFO_V1(penny_import);
PG_FUNCTION_INFO_V1(penny_conversation);
PG_FUNCTION_INFO_V1(penny_conversation_json);
PG_FUNCTION_INFO_V1(penny_conversations_by_id);
PG_FUNCTION_INFO_V1(penny_messages);
PG_FUNCTION_INFO_V1(penny_message);
PG_FUNCTION_INFO_V1(penny_conversations);
PG_FUNCTION_INFO_V1(penny_join_room);
PG_FUNCTION_INFO_V1(penny_session);
PG_FUNCTION_INFO_V1(penny_publish_sql);

/* ---- questions of policies ------------------------------------------------- */

/* _penny.can_access(conversation uuid) */
Datum
penny_can_access(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(penny_access_conversation(PG_GETARG_UUID_P(0)));
}

/* _penny.can_manage(conversation uuid) */
Datum
penny_can_manage(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(penny_access_manage(PG_GETARG_UUID_P(0)));
}

/* _penny.can_see_user(user_id uuid) */
Datum
penny_can_see_user(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(penny_access_user(PG_GETARG_UUID_P(0)));
}

/* _penny.is_user() */
Datum
penny_is_user(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	PG_RETURN_BOOL(penny_access_is_user());
}

/* _penny.is_admin() */
Datum
penny_is_admin(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	PG_RETURN_BOOL(penny_access_is_admin());
}

/* _penny.is_agent() */
Datum
penny_is_agent(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	PG_RETURN_BOOL(penny_access_is_agent());
}

/* ---- triggers -------------------------------------------------------------- */

static TriggerData *
trigger_of(FunctionCallInfo fcinfo, bool before, bool row)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_BEFORE(trigger->tg_event) == before ||
		!TRIGGER_FIRED_FOR_ROW(trigger->tg_event) == row)
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("function was not called by a trigger of its kind")));
	return trigger;
}

/* _penny.order_change() */
Datum
penny_order_change(PG_FUNCTION_ARGS)
{
	return PointerGetDatum(penny_trigger_order(trigger_of(fcinfo, true, true)));
}

/* _penny.publish_change() */
Datum
penny_publish_row(PG_FUNCTION_ARGS)
{
	penny_trigger_publish(trigger_of(fcinfo, false, true));
	return PointerGetDatum(NULL);
}

/* _penny.flush_changes() */
Datum
penny_flush_changes(PG_FUNCTION_ARGS)
{
	penny_trigger_flush(trigger_of(fcinfo, false, false));
	return PointerGetDatum(NULL);
}

/* _penny.routes_changed() */
Datum
penny_routes_changed(PG_FUNCTION_ARGS)
{
	(void) trigger_of(fcinfo, false, false);
	penny_publish_routes();
	return PointerGetDatum(NULL);
}

/* ---- for functions in SQL -------------------------------------------------- */

/*
 * _penny.lock_conversation(conversation uuid): lock it before its rows, so
 * that writers queue up instead of meeting in a deadlock.  False where the
 * caller may not see it.
 */
Datum
penny_lock_conversation(PG_FUNCTION_ARGS)
{
	pg_uuid_t *conversation = PG_GETARG_UUID_P(0);

	if (!penny_access_is_above() && !penny_access_conversation(conversation))
		PG_RETURN_BOOL(false);
	PG_RETURN_BOOL(!penny_change_open(conversation)->gone);
}

/* _penny.ensure_user(user_id uuid) */
Datum
penny_ensure_user(PG_FUNCTION_ARGS)
{
	penny_change_ensure_user(PG_GETARG_UUID_P(0));
	PG_RETURN_VOID();
}

/* penny.import_chat(doc jsonb, owner uuid) */
Datum
penny_import(PG_FUNCTION_ARGS)
{
	const PennyIdentity *caller = penny_identity_get();
	pg_uuid_t *conversation = palloc(sizeof(pg_uuid_t));
	pg_uuid_t owner;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	if (PG_ARGISNULL(1) && !caller->has_user)
		ereport(ERROR, (errcode(ERRCODE_PENNY_UNAUTHORIZED),
						errmsg("an imported conversation needs an owner"),
						errhint("Pass one, or sign in.")));
	if (!penny_access_is_above() && !penny_access_is_agent())
		ereport(ERROR, (errcode(ERRCODE_PENNY_FORBIDDEN),
						errmsg("importing conversations needs penny_agent")));
	owner = PG_ARGISNULL(1) ? caller->user_id : *PG_GETARG_UUID_P(1);
	(void) penny_import_chat(PG_GETARG_JSONB_P(0), &owner, conversation);
	PG_RETURN_UUID_P(conversation);
}

/* ---- reads ----------------------------------------------------------------- */

static Datum
jsonb_of(StringInfo json)
{
	/* the renderer appends without a terminator; there is room for one */
	json->data[json->len] = '\0';
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json->data));
}

/* An argument that must lie within bounds. */
static int
bounded(int value, int least, int greatest, const char *name)
{
	if (value < least || value > greatest)
		ereport(ERROR,
				(errcode(ERRCODE_PENNY_BAD_REQUEST),
				 errmsg("%s must be between %d and %d, not %d", name, least, greatest, value)));
	return value;
}

/* penny.conversation(id uuid, messages int) */
Datum
penny_conversation(PG_FUNCTION_ARGS)
{
	int messages = bounded(PG_GETARG_INT32(1), 0, MAX_MESSAGES, "messages");
	StringInfoData json;

	initStringInfo(&json);
	if (!penny_read_conversation(&json, PG_GETARG_UUID_P(0), messages))
		PG_RETURN_NULL();
	return jsonb_of(&json);
}

/* _penny.conversation_json(id uuid, messages int): the same as text, for HTTP */
Datum
penny_conversation_json(PG_FUNCTION_ARGS)
{
	int messages = bounded(PG_GETARG_INT32(1), 0, MAX_MESSAGES, "messages");
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoSpaces(&json, VARHDRSZ);
	if (!penny_read_conversation(&json, PG_GETARG_UUID_P(0), messages))
		PG_RETURN_NULL();
	SET_VARSIZE(json.data, json.len);
	PG_RETURN_TEXT_P((text *) json.data);
}

/* penny.conversations_by_id(ids uuid[], messages int) */
Datum
penny_conversations_by_id(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *out = (ReturnSetInfo *) fcinfo->resultinfo;
	int messages = bounded(PG_GETARG_INT32(1), 0, MAX_MESSAGES, "messages");
	StringInfoData json;
	Datum *ids;
	bool *isnull;
	int n;
	int i;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), UUIDOID, UUID_LEN, false, TYPALIGN_CHAR, &ids,
					  &isnull, &n);
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	initStringInfo(&json);
	for (i = 0; i < n; i++)
	{
		Datum value = (Datum) 0;
		bool unseen = true;

		resetStringInfo(&json);
		if (!isnull[i] && penny_read_conversation(&json, DatumGetUUIDP(ids[i]), messages))
		{
			value = jsonb_of(&json);
			unseen = false;
		}
		tuplestore_putvalues(out->setResult, out->setDesc, &value, &unseen);
		if (!unseen)
			pfree(DatumGetPointer(value));
	}
	return (Datum) 0;
}

/* penny.messages(conversation uuid, before bigint, after bigint, limit int) */
Datum
penny_messages(PG_FUNCTION_ARGS)
{
	int64 before = PG_ARGISNULL(1) ? PG_INT64_MAX : PG_GETARG_INT64(1);
	int64 after = PG_ARGISNULL(2) ? -1 : Max(PG_GETARG_INT64(2), 0);
	StringInfoData json;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	initStringInfo(&json);
	if (!penny_read_messages(
			&json, PG_GETARG_UUID_P(0), before, after,
			bounded(PG_ARGISNULL(3) ? 50 : PG_GETARG_INT32(3), 1, MAX_MESSAGES, "limit")))
		PG_RETURN_NULL();
	return jsonb_of(&json);
}

/* _penny.message(id uuid) */
Datum
penny_message(PG_FUNCTION_ARGS)
{
	StringInfoData json;

	initStringInfo(&json);
	if (!penny_read_message(&json, PG_GETARG_UUID_P(0)))
		PG_RETURN_NULL();
	return jsonb_of(&json);
}

/* Read a cursor that render_cursor() wrote. */
static void
parse_cursor(text *text, PennyListCursor *cursor)
{
	char *string = text_to_cstring(text);
	char *separator = strchr(string, '_');
	char *end;

	errno = 0;
	if (separator != NULL && strlen(separator + 1) == PENNY_UUID_TEXT &&
		strspn(separator + 1, "0123456789abcdef-") == PENNY_UUID_TEXT &&
		(isdigit((unsigned char) string[0]) || string[0] == '-'))
	{
		int i;
		int at = 1;

		cursor->active_at = strtoll(string, &end, 10);
		for (i = 0; i < UUID_LEN && errno == 0 && end == separator; i++)
		{
			unsigned int byte;

			at += separator[at] == '-';
			if (sscanf(separator + at, "%2x", &byte) != 1)
				break;
			cursor->id.data[i] = byte;
			at += 2;
		}
		if (i == UUID_LEN)
		{
			char again[PENNY_UUID_TEXT];

			/* hyphens stand where they stand in what we wrote */
			penny_uuid_write(again, &cursor->id);
			cursor->valid = memcmp(again, separator + 1, PENNY_UUID_TEXT) == 0;
		}
	}
	if (!cursor->valid)
		ereport(ERROR, (errcode(ERRCODE_PENNY_BAD_REQUEST), errmsg("cursor is not one of penny's"),
						errhint("Pass next_cursor of the page before as it came.")));
}

/* penny.conversations(limit int, cursor text, archived boolean) */
Datum
penny_conversations(PG_FUNCTION_ARGS)
{
	const PennyIdentity *identity = penny_identity_get();
	PennyListCursor cursor;
	StringInfoData json;
	int limit = bounded(PG_ARGISNULL(0) ? 20 : PG_GETARG_INT32(0), 1, MAX_LISTED, "limit");

	memset(&cursor, 0, sizeof(cursor));
	if (!PG_ARGISNULL(1))
		parse_cursor(PG_GETARG_TEXT_PP(1), &cursor);
	if (!identity->has_user)
		ereport(ERROR,
				(errcode(ERRCODE_PENNY_UNAUTHORIZED),
				 errmsg("a list of conversations belongs to a user, and nobody is calling")));
	initStringInfo(&json);
	penny_read_list(&json, &identity->user_id, limit, &cursor,
					!PG_ARGISNULL(2) && PG_GETARG_BOOL(2));
	return jsonb_of(&json);
}

/* ---- for executors --------------------------------------------------------- */

/* The conversation that a room's name means; false: the room is no conversation's. */
static bool
conversation_of_room(text *room, pg_uuid_t *conversation)
{
	const char *prefix = PENNY_CONVERSATION_ROOM;
	int len = strlen(prefix);
	char again[PENNY_UUID_TEXT];
	char id[PENNY_UUID_TEXT + 1];
	int i;
	int at = 0;

	if (VARSIZE_ANY_EXHDR(room) != len + PENNY_UUID_TEXT ||
		memcmp(VARDATA_ANY(room), prefix, len) != 0)
		return false;
	memcpy(id, VARDATA_ANY(room) + len, PENNY_UUID_TEXT);
	id[PENNY_UUID_TEXT] = '\0';
	for (i = 0; i < UUID_LEN; i++)
	{
		unsigned int byte;

		at += id[at] == '-';
		if (sscanf(id + at, "%2x", &byte) != 1)
			return false;
		conversation->data[i] = byte;
		at += 2;
	}
	/* one name for one room: lower case, hyphens in their places */
	penny_uuid_write(again, conversation);
	return memcmp(again, id, PENNY_UUID_TEXT) == 0;
}

/* _penny.join_room(room text, since bigint) */
Datum
penny_join_room(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *out = (ReturnSetInfo *) fcinfo->resultinfo;
	int64 since = PG_ARGISNULL(1) ? -1 : Max(PG_GETARG_INT64(1), 0);
	StringInfoData frames;
	pg_uuid_t conversation;
	int64 version;
	bool told;
	Datum values[2];
	bool isnull[2] = {false, false};

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0) || !conversation_of_room(PG_GETARG_TEXT_PP(0), &conversation))
		return (Datum) 0;
	initStringInfo(&frames);
	if (!penny_read_changes(&frames, &conversation, since, &version, &told))
		return (Datum) 0;
	values[0] = Int64GetDatum(version);
	values[1] = PointerGetDatum(cstring_to_text_with_len(frames.data, frames.len));
	isnull[1] = !told;
	tuplestore_putvalues(out->setResult, out->setDesc, values, isnull);
	return (Datum) 0;
}

/* _penny.session(token_hash bytea): whose session, unless it has ended. */
Datum
penny_session(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *out = (ReturnSetInfo *) fcinfo->resultinfo;
	Datum key = PG_GETARG_DATUM(0);
	PennyLookup lookup;

	InitMaterializedSRF(fcinfo, 0);
	penny_lookup_begin(&lookup, PENNY_KEY_SESSION, GetActiveSnapshot(), AccessShareLock, 1, &key);
	if (penny_lookup_next(&lookup, ForwardScanDirection))
	{
		bool isnull[3] = {false, false, false};
		Datum values[3];
		PennyRow row;

		penny_row_from_slot(&row, PENNY_SESSIONS, lookup.slot);
		values[0] = row.value[PENNY_USER_ID];
		values[1] = row.value[PENNY_SESSION_ROLE];
		values[2] = row.value[PENNY_SESSION_EXPIRES_AT];
		if (DatumGetTimestampTz(values[2]) > GetCurrentTimestamp())
			tuplestore_putvalues(out->setResult, out->setDesc, values, isnull);
	}
	penny_lookup_end(&lookup);
	return (Datum) 0;
}

/* penny.publish(room text, event jsonb) */
Datum
penny_publish_sql(PG_FUNCTION_ARGS)
{
	text *room = PG_GETARG_TEXT_PP(0);
	Jsonb *event = PG_GETARG_JSONB_P(1);
	int len = VARSIZE_ANY_EXHDR(room);
	pg_uuid_t conversation;
	StringInfoData frame;

	if (len == 0 || len > PENNY_ROOM_NAME_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PENNY_BAD_REQUEST),
				 errmsg("a room's name has 1 to %d bytes, not %d", PENNY_ROOM_NAME_MAX, len)));
	if (!JB_ROOT_IS_OBJECT(event))
		ereport(ERROR,
				(errcode(ERRCODE_PENNY_BAD_REQUEST), errmsg("an event must be a JSON object")));
	if (conversation_of_room(room, &conversation))
	{
		if (!penny_access_is_above() && !penny_access_conversation(&conversation))
			ereport(ERROR, (errcode(ERRCODE_PENNY_NOT_FOUND), errmsg("room not found")));
	}
	else if (!penny_access_is_agent())
		ereport(ERROR, (errcode(ERRCODE_PENNY_FORBIDDEN),
						errmsg("publishing to this room needs role penny_agent")));
	initStringInfo(&frame);
	appendStringInfoString(&frame, "{\"type\":\"event\",\"room\":");
	penny_render_string(&frame, VARDATA_ANY(room), len);
	appendStringInfoString(&frame, ",\"event\":");
	(void) JsonbToCString(&frame, &event->root, VARSIZE(event));
	appendStringInfoChar(&frame, '}');
	penny_publish_event(text_to_cstring(room), frame.data, frame.len);
	PG_RETURN_VOID();
}

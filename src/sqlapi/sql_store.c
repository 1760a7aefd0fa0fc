/*-------------------------------------------------------------------------
 *
 * sql_store.c
 *		SQL entry points of the store: policies' questions, triggers, what
 *		functions in SQL and executors ask.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "auth/identity.h"
#include "base/error.h"
#include "cache/cache.h"
#include "plane/event.h"
#include "realtime/publish.h"
#include "store/access.h"
#include "store/change.h"
#include "store/execution.h"
#include "store/import.h"
#include "store/lookup.h"
#include "store/publish_rows.h"
#include "store/render.h"
#include "store/room.h"
#include "store/stream.h"
#include "store/tables.h"
#include "store/triggers.h"
#include "store/uuid.h"

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
PG_FUNCTION_INFO_V1(penny_session);
PG_FUNCTION_INFO_V1(penny_publish_sql);
PG_FUNCTION_INFO_V1(penny_room_recheck);
PG_FUNCTION_INFO_V1(penny_stream_append_sql);
PG_FUNCTION_INFO_V1(penny_stream_lock_sql);
PG_FUNCTION_INFO_V1(penny_stream_save_sql);
PG_FUNCTION_INFO_V1(penny_stream_sweep_sql);
PG_FUNCTION_INFO_V1(penny_execution_sweep_sql);
PG_FUNCTION_INFO_V1(penny_stream_writable_sql);
PG_FUNCTION_INFO_V1(penny_room_policies_changed);

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
	penny_cache_invalidate_all(); /* answers of other handlers, for other times */
	return PointerGetDatum(NULL);
}

/* _penny.room_policies_changed() */
Datum
penny_room_policies_changed(PG_FUNCTION_ARGS)
{
	(void) trigger_of(fcinfo, false, false);
	penny_publish_resync();
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

/* ---- for executors --------------------------------------------------------- */

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
	StringInfoData frame;

	if (len == 0 || len > PENNY_ROOM_NAME_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PENNY_BAD_REQUEST),
				 errmsg("a room's name has 1 to %d bytes, not %d", PENNY_ROOM_NAME_MAX, len)));
	if (!JB_ROOT_IS_OBJECT(event))
		ereport(ERROR,
				(errcode(ERRCODE_PENNY_BAD_REQUEST), errmsg("an event must be a JSON object")));
	penny_room_check_write(room);
	initStringInfo(&frame);
	appendStringInfoString(&frame, "{\"type\":\"event\",\"room\":");
	penny_render_string(&frame, VARDATA_ANY(room), len);
	appendStringInfoString(&frame, ",\"event\":");
	(void) JsonbToCString(&frame, &event->root, VARSIZE(event));
	appendStringInfoChar(&frame, '}');
	penny_publish_event(text_to_cstring(room), frame.data, frame.len);
	PG_RETURN_VOID();
}

/* penny.room_recheck(room text) */
Datum
penny_room_recheck(PG_FUNCTION_ARGS)
{
	text *room = PG_GETARG_TEXT_PP(0);
	int len = VARSIZE_ANY_EXHDR(room);

	if (len == 0 || len > PENNY_ROOM_NAME_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PENNY_BAD_REQUEST),
				 errmsg("a room's name has 1 to %d bytes, not %d", PENNY_ROOM_NAME_MAX, len)));
	penny_publish_recheck(text_to_cstring(room));
	PG_RETURN_VOID();
}

/* ---- messages that grow ------------------------------------------------------ */

/* penny.stream_append(message uuid, chunk text, index bigint) */
Datum
penny_stream_append_sql(PG_FUNCTION_ARGS)
{
	int64 wanted = PG_ARGISNULL(2) ? 0 : PG_GETARG_INT64(2);

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_PENNY_BAD_REQUEST),
						errmsg("a piece of a message needs the message and a text")));
	if (!PG_ARGISNULL(2) && wanted < 1)
		ereport(ERROR, (errcode(ERRCODE_PENNY_BAD_REQUEST),
						errmsg("the index of a piece is 1 or more, not " INT64_FORMAT, wanted)));
	PG_RETURN_INT64(penny_stream_append(PG_GETARG_UUID_P(0), PG_GETARG_TEXT_PP(1), wanted));
}

/* _penny.stream_lock(message uuid) */
Datum
penny_stream_lock_sql(PG_FUNCTION_ARGS)
{
	penny_stream_lock(PG_GETARG_UUID_P(0));
	PG_RETURN_VOID();
}

/* _penny.stream_writable(conversation uuid): always false */
Datum
penny_stream_writable_sql(PG_FUNCTION_ARGS)
{
	penny_stream_note_writable(PG_GETARG_UUID_P(0));
	PG_RETURN_BOOL(false);
}

/* _penny.stream_save(message uuid) */
Datum
penny_stream_save_sql(PG_FUNCTION_ARGS)
{
	penny_stream_save(PG_GETARG_UUID_P(0));
	PG_RETURN_VOID();
}

/* _penny.stream_sweep() */
Datum
penny_stream_sweep_sql(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	PG_RETURN_INT32(penny_stream_sweep());
}

/* _penny.execution_sweep(at timestamptz) */
Datum
penny_execution_sweep_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(penny_execution_sweep(PG_GETARG_TIMESTAMPTZ(0)) ? 1 : 0);
}

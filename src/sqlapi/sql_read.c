/*-------------------------------------------------------------------------
 *
 * sql_read.c
 *		SQL entry points of reads: conversations, messages, lists, rooms.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/uuid.h"

#include "auth/identity.h"
#include "base/error.h"
#include "store/publish_rows.h"
#include "store/read.h"
#include "store/render.h"
#include "store/room.h"

#define MAX_MESSAGES 200 /* of an eager fetch or a page */
#define MAX_LISTED 100

PG_FUNCTION_INFO_V1(penny_conversation);
PG_FUNCTION_INFO_V1(penny_conversation_json);
PG_FUNCTION_INFO_V1(penny_conversations_by_id);
PG_FUNCTION_INFO_V1(penny_messages);
PG_FUNCTION_INFO_V1(penny_message);
PG_FUNCTION_INFO_V1(penny_conversations);
PG_FUNCTION_INFO_V1(penny_join_room);

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
	if (!penny_read_conversation(&json, penny_render_jsonb, PG_GETARG_UUID_P(0), messages))
		PG_RETURN_NULL();
	PG_RETURN_POINTER(json.data);
}

/* _penny.conversation_json(id uuid, messages int): the same as text, for HTTP */
Datum
penny_conversation_json(PG_FUNCTION_ARGS)
{
	int messages = bounded(PG_GETARG_INT32(1), 0, MAX_MESSAGES, "messages");
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoSpaces(&json, VARHDRSZ);
	if (!penny_read_conversation(&json, penny_render_text, PG_GETARG_UUID_P(0), messages))
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
		if (!isnull[i] &&
			penny_read_conversation(&json, penny_render_jsonb, DatumGetUUIDP(ids[i]), messages))
		{
			value = PointerGetDatum(json.data);
			unseen = false;
		}
		tuplestore_putvalues(out->setResult, out->setDesc, &value, &unseen);
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
			&json, penny_render_jsonb, PG_GETARG_UUID_P(0), before, after,
			bounded(PG_ARGISNULL(3) ? 50 : PG_GETARG_INT32(3), 1, MAX_MESSAGES, "limit")))
		PG_RETURN_NULL();
	PG_RETURN_POINTER(json.data);
}

/* _penny.message(id uuid) */
Datum
penny_message(PG_FUNCTION_ARGS)
{
	StringInfoData json;

	initStringInfo(&json);
	if (!penny_read_message(&json, penny_render_jsonb, PG_GETARG_UUID_P(0)))
		PG_RETURN_NULL();
	PG_RETURN_POINTER(json.data);
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
	if (!PG_ARGISNULL(1) && !penny_read_cursor(&cursor, text_to_cstring(PG_GETARG_TEXT_PP(1))))
		ereport(ERROR, (errcode(ERRCODE_PENNY_BAD_REQUEST), errmsg("cursor is not one of penny's"),
						errhint("Pass next_cursor of the page before as it came.")));
	if (!identity->has_user)
		ereport(ERROR,
				(errcode(ERRCODE_PENNY_UNAUTHORIZED),
				 errmsg("a list of conversations belongs to a user, and nobody is calling")));
	initStringInfo(&json);
	penny_read_list(&json, penny_render_jsonb, &identity->user_id, limit, &cursor,
					!PG_ARGISNULL(2) && PG_GETARG_BOOL(2));
	PG_RETURN_POINTER(json.data);
}

/* _penny.join_room(room text, since bigint) */
Datum
penny_join_room(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *out = (ReturnSetInfo *) fcinfo->resultinfo;
	int64 since = PG_ARGISNULL(1) ? -1 : Max(PG_GETARG_INT64(1), 0);
	StringInfoData frames;
	pg_uuid_t conversation;
	PennyRoomRight right = {true, true};
	int64 version = 0;
	bool more = false;
	Datum values[4];
	bool isnull[4] = {false, false, false, false};

	InitMaterializedSRF(fcinfo, 0);
	if (PG_ARGISNULL(0))
		return (Datum) 0;
	initStringInfo(&frames);
	if (!penny_room_conversation(PG_GETARG_TEXT_PP(0), &conversation))
		right = penny_room_right(PG_GETARG_TEXT_PP(0));
	else
		right.read = penny_read_changes(&frames, &conversation, since, &version, &more);
	if (!right.read)
		return (Datum) 0;
	values[0] = Int64GetDatum(version);
	values[1] = PointerGetDatum(cstring_to_text_with_len(frames.data, frames.len));
	values[2] = BoolGetDatum(more);
	values[3] = BoolGetDatum(right.write);
	tuplestore_putvalues(out->setResult, out->setDesc, values, isnull);
	return (Datum) 0;
}

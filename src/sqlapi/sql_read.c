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
#include "store/cached.h"
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
PG_FUNCTION_INFO_V1(penny_artifacts);
PG_FUNCTION_INFO_V1(penny_models);
PG_FUNCTION_INFO_V1(penny_sessions);
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

/* Read through the cache; SQL null where there is nothing to be seen. */
static Datum
read_value(FunctionCallInfo fcinfo, PennyStoreRead what, const PennyReadArgs *args)
{
	struct varlena *value = penny_cached_read(what, args);

	if (value == NULL)
		PG_RETURN_NULL();
	PG_RETURN_POINTER(value);
}

/* Arguments of a read of one conversation. */
static void
take_conversation(PennyReadArgs *args, const pg_uuid_t *id, int messages)
{
	memset(args, 0, sizeof(*args));
	args->id = *id;
	args->limit = messages;
}

/* penny.conversation(id uuid, messages int) */
Datum
penny_conversation(PG_FUNCTION_ARGS)
{
	PennyReadArgs args;

	take_conversation(&args, PG_GETARG_UUID_P(0),
					  bounded(PG_GETARG_INT32(1), 0, MAX_MESSAGES, "messages"));
	return read_value(fcinfo, PENNY_READ_CONVERSATION, &args);
}

/* _penny.conversation_json(id uuid, messages int): the same as text, for HTTP */
Datum
penny_conversation_json(PG_FUNCTION_ARGS)
{
	PennyReadArgs args;

	take_conversation(&args, PG_GETARG_UUID_P(0),
					  bounded(PG_GETARG_INT32(1), 0, MAX_MESSAGES, "messages"));
	return read_value(fcinfo, PENNY_READ_CONVERSATION_TEXT, &args);
}

/* penny.conversations_by_id(ids uuid[], messages int) */
Datum
penny_conversations_by_id(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *out = (ReturnSetInfo *) fcinfo->resultinfo;
	int messages = bounded(PG_GETARG_INT32(1), 0, MAX_MESSAGES, "messages");
	Datum *ids;
	bool *isnull;
	int n;
	int i;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), UUIDOID, UUID_LEN, false, TYPALIGN_CHAR, &ids,
					  &isnull, &n);
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	for (i = 0; i < n; i++)
	{
		struct varlena *value = NULL;
		PennyReadArgs args;
		Datum column;
		bool unseen;

		if (!isnull[i])
		{
			take_conversation(&args, DatumGetUUIDP(ids[i]), messages);
			value = penny_cached_read(PENNY_READ_CONVERSATION, &args);
		}
		column = PointerGetDatum(value);
		unseen = value == NULL;
		tuplestore_putvalues(out->setResult, out->setDesc, &column, &unseen);
		if (value != NULL)
			pfree(value);
	}
	return (Datum) 0;
}

/* penny.messages(conversation uuid, before bigint, after bigint, limit int) */
Datum
penny_messages(PG_FUNCTION_ARGS)
{
	PennyReadArgs args;

	if (PG_ARGISNULL(0))
		PG_RETURN_NULL();
	memset(&args, 0, sizeof(args));
	args.id = *PG_GETARG_UUID_P(0);
	args.before = PG_ARGISNULL(1) ? PG_INT64_MAX : PG_GETARG_INT64(1);
	args.after = PG_ARGISNULL(2) ? -1 : Max(PG_GETARG_INT64(2), 0);
	args.limit = bounded(PG_ARGISNULL(3) ? 50 : PG_GETARG_INT32(3), 1, MAX_MESSAGES, "limit");
	return read_value(fcinfo, PENNY_READ_MESSAGES, &args);
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
	PennyReadArgs args;

	memset(&args, 0, sizeof(args));
	args.limit = bounded(PG_ARGISNULL(0) ? 20 : PG_GETARG_INT32(0), 1, MAX_LISTED, "limit");
	if (!PG_ARGISNULL(1) && !penny_read_cursor(&args.cursor, text_to_cstring(PG_GETARG_TEXT_PP(1))))
		ereport(ERROR, (errcode(ERRCODE_PENNY_BAD_REQUEST), errmsg("cursor is not one of penny's"),
						errhint("Pass next_cursor of the page before as it came.")));
	if (!identity->has_user)
		ereport(ERROR,
				(errcode(ERRCODE_PENNY_UNAUTHORIZED),
				 errmsg("a list of conversations belongs to a user, and nobody is calling")));
	args.id = identity->user_id;
	args.archived = !PG_ARGISNULL(2) && PG_GETARG_BOOL(2);
	return read_value(fcinfo, PENNY_READ_LIST, &args);
}

/* penny.artifacts(conversation_id uuid) */
Datum
penny_artifacts(PG_FUNCTION_ARGS)
{
	PennyReadArgs args;

	take_conversation(&args, PG_GETARG_UUID_P(0), 0);
	return read_value(fcinfo, PENNY_READ_ARTIFACTS, &args);
}

/* penny.models() */
Datum
penny_models(PG_FUNCTION_ARGS)
{
	PennyReadArgs args;

	memset(&args, 0, sizeof(args));
	return read_value(fcinfo, PENNY_READ_MODELS, &args);
}

/* penny.sessions() */
Datum
penny_sessions(PG_FUNCTION_ARGS)
{
	const PennyIdentity *identity = penny_identity_get();
	PennyReadArgs args;

	if (!identity->has_user)
		ereport(ERROR, (errcode(ERRCODE_PENNY_UNAUTHORIZED),
						errmsg("sessions belong to a user, and nobody is calling")));
	memset(&args, 0, sizeof(args));
	args.id = identity->user_id;
	return read_value(fcinfo, PENNY_READ_SESSIONS, &args);
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
		right.read = penny_cached_changes(&frames, &conversation, since, &version, &more);
	if (!right.read)
		return (Datum) 0;
	values[0] = Int64GetDatum(version);
	values[1] = PointerGetDatum(cstring_to_text_with_len(frames.data, frames.len));
	values[2] = BoolGetDatum(more);
	values[3] = BoolGetDatum(right.write);
	tuplestore_putvalues(out->setResult, out->setDesc, values, isnull);
	return (Datum) 0;
}

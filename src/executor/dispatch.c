/*-------------------------------------------------------------------------
 *
 * dispatch.c
 *		What each kind of call does, inside its transaction.
 *
 * HTTP requests are in http.c.  The other kinds are the edge's own questions:
 * each is one statement of penny, run as the caller.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"

#include "base/clock.h"
#include "base/epoch.h"
#include "base/error.h"
#include "executor/caller.h"
#include "executor/dispatch.h"
#include "executor/http.h"
#include "executor/params.h"
#include "executor/rate.h"
#include "executor/routes.h"
#include "executor/plans.h"
#include "plane/event.h"
#include "plane/presence.h"
#include "realtime/publish.h"

static void run_ready(PennyRun *run);
static void run_routes(PennyRun *run);
static void run_auth(PennyRun *run);
static void run_join(PennyRun *run);
static void run_message(PennyRun *run);
static void run_signal(PennyRun *run);
static void run_presence(PennyRun *run);

bool
penny_dispatch_writes(const PennyRequest *request)
{
	switch (request->op)
	{
		case PENNY_OP_HTTP:
			return request->method != PENNY_GET && request->method != PENNY_HEAD;
		case PENNY_OP_MESSAGE:
			return true;
		default:
			return false;
	}
}

void
penny_dispatch(PennyRun *run)
{
	switch (run->request.op)
	{
		case PENNY_OP_HTTP:
			penny_http_run(run);
			break;
		case PENNY_OP_READY:
			run_ready(run);
			break;
		case PENNY_OP_ROUTES:
			run_routes(run);
			break;
		case PENNY_OP_AUTH:
			run_auth(run);
			break;
		case PENNY_OP_JOIN:
			run_join(run);
			break;
		case PENNY_OP_MESSAGE:
			run_message(run);
			break;
		case PENNY_OP_SIGNAL:
			run_signal(run);
			break;
		case PENNY_OP_PRESENCE:
			run_presence(run);
			break;
		case PENNY_OPS:
			break;
	}
}

/* A JSON answer built in the call's context. */
static void
answer_json(PennyRun *run, uint32 status, StringInfo json)
{
	run->answer.status = status;
	penny_answer_json(&run->answer, json->data, json->len);
}

static void
init_json(PennyRun *run, StringInfo json)
{
	MemoryContext old = MemoryContextSwitchTo(run->context);

	initStringInfo(json);
	MemoryContextSwitchTo(old);
}

/* Is penny ready?  An executor runs this, and the store is there. */
static void
run_ready(PennyRun *run)
{
	StringInfoData json;
	Oid schema;
	bool store;

	penny_run_show(run, "READY");
	schema = get_namespace_oid("chat", true);
	store = OidIsValid(schema) && OidIsValid(get_relname_relid("conversations", schema));
	init_json(run, &json);
	appendStringInfo(&json, "{\"status\":\"%s\",\"checks\":{\"executor\":\"ok\",\"store\":\"%s\"}}",
					 store ? "ready" : "not ready",
					 store ? "ok" : "missing: run SELECT penny.create_store()");
	answer_json(run, store ? 200 : 503, &json);
	penny_answer_header(&run->answer, "content-type", "application/json");
}

/* The route table, for the edge. */
static void
run_routes(PennyRun *run)
{
	const PennyRouteTable *table;
	StringInfoData text;

	penny_run_show(run, "ROUTES");
	table = penny_routes_get(run->plane, run->routes_stamp);
	init_json(run, &text);
	appendBinaryStringInfo(&text, table->text.data, (int) table->text.len);
	answer_json(run, 200, &text);
	penny_answer_header(&run->answer, "content-type", "text/plain");
}

static void
append_user_id(StringInfo json, const PennyRun *run)
{
	appendStringInfo(json, "\"user_id\":\"%s\"",
					 DatumGetCString(DirectFunctionCall1(
						 uuid_out, UUIDPGetDatum(&run->caller.identity.user_id))));
}

/* Who is this token? */
static void
run_auth(PennyRun *run)
{
	StringInfoData json;

	penny_run_show(run, "AUTH");
	penny_caller_find(run);
	penny_caller_check(run, PENNY_ACCESS_USER);
	init_json(run, &json);
	appendStringInfoChar(&json, '{');
	append_user_id(&json, run);
	appendStringInfoString(&json, ",\"role\":");
	escape_json(&json, run->caller.role);
	if (run->caller.exp != 0)
		appendStringInfo(&json, ",\"exp\":" INT64_FORMAT "}", run->caller.exp);
	else
		appendStringInfoString(&json, ",\"exp\":null}");
	answer_json(run, 200, &json);
	penny_answer_header(&run->answer, "content-type", "application/json");
}

/* Name of the room that a call is about. */
static Datum
room_of(const PennyRun *run)
{
	PennySpan room = run->request.field[PENNY_FIELD_TARGET];

	if (room.len == 0 || room.len > PENNY_ROOM_NAME_MAX)
		ereport(ERROR, (errcode(ERRCODE_PENNY_BAD_REQUEST),
						errmsg("name of a room must have 1 to %d bytes", PENNY_ROOM_NAME_MAX)));
	return CStringGetTextDatum(penny_params_text(room, "room"));
}

static JsonbValue *
member_of(JsonbContainer *object, const char *name)
{
	return getKeyJsonValueFromContainer(object, name, (int) strlen(name), NULL);
}

/* A position from which somebody joins. */
typedef struct Since
{
	bool given;
	bool epoch; /* it is of this epoch: what changed after it can be told */
	int64 version;
} Since;

/* "since" of a join. */
static Since
since_of(const PennyRun *run)
{
	PennySpan body = run->request.field[PENNY_FIELD_BODY];
	Jsonb *json;
	JsonbValue *since;
	JsonbValue *epoch;
	JsonbValue *number;
	const char *now = penny_epoch_text();
	Since result = {false, false, 0};

	if (body.len == 0)
		return result;
	json = DatumGetJsonbP(penny_params_json(body, "join"));
	since = JB_ROOT_IS_OBJECT(json) ? member_of(&json->root, "since") : NULL;
	if (since == NULL || since->type == jbvNull)
		return result;
	epoch = since->type == jbvBinary && JsonContainerIsObject(since->val.binary.data)
				? member_of(since->val.binary.data, "epoch")
				: NULL;
	number = epoch != NULL ? member_of(since->val.binary.data, "version") : NULL;
	if (epoch == NULL || epoch->type != jbvString || number == NULL || number->type != jbvNumeric)
		ereport(ERROR, (errcode(ERRCODE_PENNY_BAD_REQUEST),
						errmsg("since must be an object with epoch and version")));
	result.version =
		DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(number->val.numeric)));
	result.given = true;
	result.epoch = epoch->val.string.len == (int) strlen(now) &&
				   memcmp(epoch->val.string.val, now, strlen(now)) == 0;
	return result;
}

/* What _penny.join_room() gives. */
typedef struct Joined
{
	int64 version;
	text *frames;
	bool more;
	bool write;
} Joined;

/* Ask for a room; an error when the caller may not see it. */
static Joined
ask_for_room(PennyRun *run, Datum room, bool since, int64 version)
{
	static const char query[] =
		"SELECT j.version, j.frames, j.more, j.writable FROM _penny.join_room($1, $2) j";
	static const Oid types[] = {TEXTOID, INT8OID};
	Datum values[2] = {room, Int64GetDatum(version)};
	Joined joined;
	HeapTuple row;
	TupleDesc desc;
	bool isnull;

	penny_caller_become(run);
	penny_plan_run(query, 2, types, values, since ? NULL : " n", 1);
	if (SPI_processed == 0)
		ereport(ERROR, (errcode(ERRCODE_PENNY_NOT_FOUND), errmsg("room not found")));
	row = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	joined.version = DatumGetInt64(SPI_getbinval(row, desc, 1, &isnull));
	joined.frames = DatumGetTextPP(SPI_getbinval(row, desc, 2, &isnull));
	joined.more = DatumGetBool(SPI_getbinval(row, desc, 3, &isnull));
	joined.write = DatumGetBool(SPI_getbinval(row, desc, 4, &isnull));
	return joined;
}

/*
 * Join a room: may the caller see it, where does it stand, and what changed
 * since.  See call.h for the form of the answer.  A position that is ahead of
 * the room is of another history.
 */
static void
run_join(PennyRun *run)
{
	const char *reset = NULL;
	StringInfo head = &run->answer.head;
	StringInfoData body;
	Joined joined;
	Since since;
	Datum room;

	penny_run_show(run, "JOIN");
	penny_caller_find(run);
	penny_caller_check(run, PENNY_ACCESS_USER);
	room = room_of(run);
	since = since_of(run);
	joined = ask_for_room(run, room, since.epoch, since.version);
	if (since.given && !since.epoch)
		reset = "\"epoch\"";
	else if (since.given && since.version > joined.version)
		reset = "\"position\"";

	appendStringInfo(head, "{\"position\":{\"epoch\":\"%s\",\"version\":" INT64_FORMAT "},",
					 penny_epoch_text(), joined.version);
	appendStringInfo(head, "\"recovered\":%s,\"reset\":%s,\"more\":%s,\"write\":%s,",
					 since.given && reset == NULL ? "true" : "false",
					 reset != NULL ? reset : "null", joined.more ? "true" : "false",
					 joined.write ? "true" : "false");
	append_user_id(head, run);
	appendStringInfoChar(head, '}');
	init_json(run, &body);
	appendBinaryStringInfo(&body, VARDATA_ANY(joined.frames),
						   (int) VARSIZE_ANY_EXHDR(joined.frames));
	answer_json(run, 200, &body);
}

/* A message that came by WebSocket. */
static void
run_message(PennyRun *run)
{
	static const char query[] = "SELECT _penny.websocket_message($1, $2)";
	static const Oid types[] = {TEXTOID, JSONBOID};
	Datum values[2];
	StringInfoData json;
	JsonbValue *created;
	Jsonb *result;
	bool isnull;
	Datum value;

	penny_run_show(run, "MESSAGE");
	penny_caller_find(run);
	penny_caller_check(run, PENNY_ACCESS_USER);
	penny_rate_check(run);
	values[0] = room_of(run);
	values[1] = penny_params_json(run->request.field[PENNY_FIELD_BODY], "message");
	penny_caller_become(run);
	penny_plan_run(query, 2, types, values, NULL, 1);
	value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	if (isnull)
		ereport(ERROR, (errcode(ERRCODE_PENNY_NOT_FOUND), errmsg("room not found")));
	result = DatumGetJsonbP(value);
	created = JB_ROOT_IS_OBJECT(result) ? member_of(&result->root, "created") : NULL;
	init_json(run, &json);
	JsonbToCString(&json, &result->root, VARSIZE(result));
	answer_json(run,
				created != NULL && created->type == jbvBool && created->val.boolean ? 201 : 200,
				&json);
	penny_answer_header(&run->answer, "content-type", "application/json");
}

/* The number of the sender at its edge; that edge alone uses it. */
static uint64
sender_of(const PennyRun *run)
{
	PennySpan digits = run->request.field[PENNY_FIELD_HEADERS];
	char text[32];

	if (digits.len >= sizeof(text))
		ereport(ERROR,
				(errcode(ERRCODE_PENNY_BAD_REQUEST), errmsg("number of a sender is too long")));
	memcpy(text, digits.data, digits.len);
	text[digits.len] = '\0';
	return strtoull(text, NULL, 10);
}

/*
 * A signal for the others in a room, wherever they are.  Who may publish to
 * the room may signal, as at the edge, where only members may.
 */
static void
run_signal(PennyRun *run)
{
	Datum name;
	char *room;
	Jsonb *event;
	StringInfoData frame;
	char *utf8;

	penny_run_show(run, "SIGNAL");
	penny_caller_find(run);
	penny_caller_check(run, PENNY_ACCESS_USER);
	name = room_of(run);
	room = TextDatumGetCString(name);
	event = DatumGetJsonbP(penny_params_json(run->request.field[PENNY_FIELD_BODY], "event"));
	if (!JB_ROOT_IS_OBJECT(event))
		ereport(ERROR, (errcode(ERRCODE_PENNY_BAD_REQUEST), errmsg("event must be an object")));
	if (!ask_for_room(run, name, false, 0).write)
		ereport(ERROR, (errcode(ERRCODE_PENNY_FORBIDDEN),
						errmsg("the caller may read this room and not write to it")));

	initStringInfo(&frame);
	appendStringInfoString(&frame, "{\"type\":\"event\",\"room\":");
	escape_json(&frame, room);
	appendStringInfoChar(&frame, ',');
	append_user_id(&frame, run);
	appendStringInfoString(&frame, ",\"event\":");
	JsonbToCString(&frame, &event->root, VARSIZE(event));
	appendStringInfoChar(&frame, '}');
	utf8 = pg_server_to_any(frame.data, frame.len, PG_UTF8);
	penny_publish_signal(room, utf8, (int) strlen(utf8), run->call.edge, sender_of(run));
	run->answer.status = 204;
}

/*
 * What an edge says about who is in rooms, for the other edges.  It is that
 * edge's word, of no caller, and changes nothing here: so no transaction has to
 * commit first, and it is published at once.
 */
static void
run_presence(PennyRun *run)
{
	PennyEventSender sender = {.edge = (uint64) run->call.edge + 1,
							   .member = run->call.incarnation};
	PennySpan body = run->request.field[PENNY_FIELD_BODY];
	PennyEventOut events[PENNY_PRESENCE_ROOMS];
	PennyPresenceHead head;
	PennySpan statement;
	PennySpan room;
	int n = 0;

	penny_run_show(run, "PRESENCE");
	while (n < PENNY_PRESENCE_ROOMS && penny_presence_record(&body, &room, &statement))
	{
		PennyEventOut *event = &events[n++];

		if (!penny_presence_head(statement, &head))
			ereport(ERROR, (errcode(ERRCODE_PENNY_BAD_REQUEST), errmsg("malformed presence")));
		memset(event, 0, sizeof(*event));
		event->kind = PENNY_EVENT_PRESENCE;
		event->room = room.data;
		event->room_len = (uint32) room.len;
		event->frame = statement.data;
		event->frame_len = (uint32) statement.len;
		memcpy(event->user, &sender, sizeof(sender));
	}
	if (body.len > 0)
		ereport(ERROR, (errcode(ERRCODE_PENNY_BAD_REQUEST), errmsg("malformed presence")));
	penny_event_publish(run->plane, events, n, penny_clock_ns());
	penny_wake_edges(run->plane);
	run->answer.status = 204;
}

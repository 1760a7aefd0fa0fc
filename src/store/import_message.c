/*-------------------------------------------------------------------------
 *
 * import_message.c
 *		Messages of a chat document and their calls of tools, into columns.
 *
 * A call of a tool becomes a tool execution; the first message of role "tool"
 * after it that names its id is its result.  That message is kept as well, and
 * names the call in its parts.  Arguments and results that are JSON objects or
 * arrays are kept as such, anything else as a JSON string.  What a message has
 * beyond the known members is kept in its metadata.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "store/import_private.h"
#include "store/uuid.h"

static void take_message(PennyImport *import, JsonbContainer *message);
static void take_calls(PennyImport *import, JsonbContainer *calls);
static void take_call(PennyImport *import, int number, JsonbValue *call);
static void take_result(PennyImport *import, const JsonbValue *id, Datum content, bool isnull);

static void
put(PennyImport *import, PennyImportColumn column, int row, Datum value)
{
	import->value[column][row] = value;
	import->isnull[column][row] = false;
}

/* A new array of each column of a range. */
static void
make_columns(PennyImport *import, int from, int to, int rows, int old)
{
	int i;

	for (i = from; i <= to; i++)
	{
		Datum *value = palloc0(rows * sizeof(Datum));
		bool *isnull = palloc(rows * sizeof(bool));

		memset(isnull, true, rows * sizeof(bool));
		if (old > 0)
		{
			memcpy(value, import->value[i], old * sizeof(Datum));
			memcpy(isnull, import->isnull[i], old * sizeof(bool));
		}
		import->value[i] = value;
		import->isnull[i] = isnull;
	}
}

/*
 * Take the messages apart.
 */
void
penny_import_take(PennyImport *import, JsonbContainer *messages)
{
	int i;

	import->nmessages = JsonContainerSize(messages);
	make_columns(import, PENNY_IMPORT_MESSAGE_ID, PENNY_IMPORT_MESSAGE_TIME,
				 Max(import->nmessages, 1), 0);
	for (i = 0; i < import->nmessages; i++)
	{
		JsonbValue *message = getIthJsonbValueFromContainer(messages, i);

		import->message = i;
		if (!penny_import_is_container(message, false))
			penny_import_refuse(import, "a message must be an object", "");
		take_message(import, message->val.binary.data);
	}
	import->message = -1;
}

/* Members of a message that have columns of their own. */
static bool
is_known_member(const JsonbValue *key)
{
	static const char *const known[] = {"role",  "content",    "tool_calls", "tool_call_id",
										"model", "created_at", "create_time"};
	int i;

	for (i = 0; i < lengthof(known); i++)
		if (penny_import_is_word(key, known[i]))
			return true;
	return false;
}

/* What a message has beyond the known members, as an object; false: nothing. */
static bool
further_members(JsonbContainer *message, Datum *object)
{
	JsonbIterator *iterator = JsonbIteratorInit(message);
	JsonbParseState *state = NULL;
	JsonbIteratorToken token;
	JsonbValue key;
	JsonbValue value;
	bool any = false;

	(void) JsonbIteratorNext(&iterator, &key, true);
	while ((token = JsonbIteratorNext(&iterator, &key, true)) == WJB_KEY)
	{
		(void) JsonbIteratorNext(&iterator, &value, true);
		if (is_known_member(&key))
			continue;
		if (!any)
			(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
		any = true;
		(void) pushJsonbValue(&state, WJB_KEY, &key);
		(void) pushJsonbValue(&state, WJB_VALUE, &value);
	}
	if (any)
		*object = JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
	return any;
}

/* The parts of a message that answers a call: which one. */
static Datum
result_parts(const JsonbValue *id)
{
	JsonbParseState *state = NULL;
	JsonbValue key = {.type = jbvString};
	JsonbValue copy = *id;

	(void) pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	key.val.string.val = "type";
	key.val.string.len = strlen("type");
	(void) pushJsonbValue(&state, WJB_KEY, &key);
	key.val.string.val = "tool_result";
	key.val.string.len = strlen("tool_result");
	(void) pushJsonbValue(&state, WJB_VALUE, &key);
	key.val.string.val = "tool_call_id";
	key.val.string.len = strlen("tool_call_id");
	(void) pushJsonbValue(&state, WJB_KEY, &key);
	(void) pushJsonbValue(&state, WJB_VALUE, &copy);
	(void) pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return JsonbPGetDatum(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL)));
}

/* The role of a message. */
static void
take_role(PennyImport *import, JsonbContainer *message)
{
	static const char *const roles[] = {"user", "assistant", "system", "developer", "tool"};
	JsonbValue buffer;
	JsonbValue *role = penny_import_string(import, message, "role", &buffer);
	int i;

	if (role == NULL)
		penny_import_refuse(import, "\"role\" is missing", ".role");
	for (i = 0; i < lengthof(roles); i++)
		if (penny_import_is_word(role, roles[i]))
		{
			put(import, PENNY_IMPORT_MESSAGE_ROLE, import->message, penny_import_text(role));
			if (i == 0)
				put(import, PENNY_IMPORT_MESSAGE_USER, import->message,
					UUIDPGetDatum(import->owner));
			return;
		}
	if (penny_import_is_word(role, "function")) /* as results of tools were called once */
		put(import, PENNY_IMPORT_MESSAGE_ROLE, import->message, CStringGetTextDatum("tool"));
	else
		penny_import_refuse(import,
							psprintf("there is no role \"%s\"",
									 pnstrdup(role->val.string.val, role->val.string.len)),
							".role");
}

static void
take_message(PennyImport *import, JsonbContainer *message)
{
	int row = import->message;
	pg_uuid_t *id = palloc(sizeof(pg_uuid_t));
	JsonbValue buffer;
	JsonbValue *value;
	TimestampTz at;
	Datum json;

	penny_uuid_make(id);
	put(import, PENNY_IMPORT_MESSAGE_ID, row, UUIDPGetDatum(id));
	take_role(import, message);
	if (!penny_import_time(import, message, &at))
		at = GetCurrentTransactionStartTimestamp();
	put(import, PENNY_IMPORT_MESSAGE_TIME, row, TimestampTzGetDatum(at));
	value = penny_import_member(message, "content", &buffer);
	if (value != NULL && value->type == jbvString)
		put(import, PENNY_IMPORT_MESSAGE_CONTENT, row, penny_import_text(value));
	else if (penny_import_is_container(value, true))
		put(import, PENNY_IMPORT_MESSAGE_PARTS, row, JsonbPGetDatum(JsonbValueToJsonb(value)));
	else if (value != NULL)
		penny_import_refuse(import, "\"content\" must be a string or an array", ".content");
	value = penny_import_string(import, message, "model", &buffer);
	if (value != NULL)
		put(import, PENNY_IMPORT_MESSAGE_MODEL, row, penny_import_text(value));
	if (further_members(message, &json))
		put(import, PENNY_IMPORT_MESSAGE_METADATA, row, json);
	value = penny_import_string(import, message, "tool_call_id", &buffer);
	if (value != NULL)
	{
		bool some = penny_import_json(message, "content", &json);

		take_result(import, value, some ? json : (Datum) 0, !some);
		if (import->isnull[PENNY_IMPORT_MESSAGE_PARTS][row])
			put(import, PENNY_IMPORT_MESSAGE_PARTS, row, result_parts(value));
	}
	value = penny_import_member(message, "tool_calls", &buffer);
	if (value != NULL && !penny_import_is_container(value, true))
		penny_import_refuse(import, "\"tool_calls\" must be an array", ".tool_calls");
	if (value != NULL)
		take_calls(import, value->val.binary.data);
}

/* The calls of a message. */
static void
take_calls(PennyImport *import, JsonbContainer *calls)
{
	int n = JsonContainerSize(calls);
	int i;

	if (import->ncalls + n > import->maxcalls)
	{
		import->maxcalls = Max(16, (import->ncalls + n) * 2);
		make_columns(import, PENNY_IMPORT_CALL_ID, PENNY_IMPORT_CALL_FINISHED, import->maxcalls,
					 import->ncalls);
	}
	for (i = 0; i < n; i++)
		take_call(import, i, getIthJsonbValueFromContainer(calls, i));
}

static void
take_call(PennyImport *import, int number, JsonbValue *call)
{
	int row = import->ncalls;
	char *where = psprintf(".tool_calls[%d]", number);
	pg_uuid_t *id = palloc(sizeof(pg_uuid_t));
	JsonbValue buffer;
	JsonbValue name;
	JsonbValue *function;
	JsonbValue *value;
	Datum json;

	if (!penny_import_is_container(call, false))
		penny_import_refuse(import, "a tool call must be an object", where);
	function = penny_import_member(call->val.binary.data, "function", &buffer);
	value = penny_import_is_container(function, false)
				? penny_import_member(function->val.binary.data, "name", &name)
				: NULL;
	if (value == NULL || value->type != jbvString || value->val.string.len == 0)
		penny_import_refuse(import, "a tool call needs a function with a name", where);
	penny_uuid_make(id);
	put(import, PENNY_IMPORT_CALL_ID, row, UUIDPGetDatum(id));
	put(import, PENNY_IMPORT_CALL_MESSAGE, row,
		import->value[PENNY_IMPORT_MESSAGE_ID][import->message]);
	put(import, PENNY_IMPORT_CALL_TOOL, row, penny_import_text(value));
	put(import, PENNY_IMPORT_CALL_STATUS, row, CStringGetTextDatum("pending"));
	put(import, PENNY_IMPORT_CALL_STARTED, row,
		import->value[PENNY_IMPORT_MESSAGE_TIME][import->message]);
	if (penny_import_json(function->val.binary.data, "arguments", &json))
		put(import, PENNY_IMPORT_CALL_INPUT, row, json);
	value = penny_import_string(import, call->val.binary.data, "id", &buffer);
	if (value != NULL)
		put(import, PENNY_IMPORT_CALL_CALL, row, penny_import_text(value));
	import->ncalls++;
}

/* The result of the first unanswered call of this id. */
static void
take_result(PennyImport *import, const JsonbValue *id, Datum content, bool isnull)
{
	int i;

	for (i = 0; i < import->ncalls; i++)
	{
		text *call;

		if (import->isnull[PENNY_IMPORT_CALL_CALL][i] ||
			!import->isnull[PENNY_IMPORT_CALL_FINISHED][i])
			continue;
		call = DatumGetTextPP(import->value[PENNY_IMPORT_CALL_CALL][i]);
		if (VARSIZE_ANY_EXHDR(call) != id->val.string.len ||
			memcmp(VARDATA_ANY(call), id->val.string.val, id->val.string.len) != 0)
			continue;
		import->value[PENNY_IMPORT_CALL_OUTPUT][i] = content;
		import->isnull[PENNY_IMPORT_CALL_OUTPUT][i] = isnull;
		put(import, PENNY_IMPORT_CALL_STATUS, i, CStringGetTextDatum("completed"));
		put(import, PENNY_IMPORT_CALL_FINISHED, i,
			import->value[PENNY_IMPORT_MESSAGE_TIME][import->message]);
		return;
	}
}

/*-------------------------------------------------------------------------
 *
 * import.c
 *		Conversations in OpenAI chat form.
 *
 * A document is checked and taken apart here, into one array for each column,
 * and written with one statement for each table: the conversation, all of its
 * messages, all of its tool calls.  The statements run with the rights and
 * policies of the caller.
 *
 * A call of a tool becomes a tool execution; the first message of role "tool"
 * after it that names its id is its result.  That message is kept as well, and
 * names the call in its parts.  Arguments and results that are JSON objects or
 * arrays are kept as such, anything else as a JSON string.  What a message has
 * beyond the known members is kept in its metadata.
 *
 * A conversation is known by its owner and its id in the document; one without
 * an id by the SHA-256 of the document.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "common/jsonapi.h"
#include "common/sha2.h"
#include "executor/spi.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/error.h"
#include "store/change.h"
#include "store/import.h"
#include "store/statement.h"
#include "store/uuid.h"

#define MAX_ID 500      /* bytes of a document's id */
#define MAX_DIGITS 1000 /* of a number, and its greatest exponent */

/* Columns of messages, then of tool executions, as arrays. */
typedef enum ImportColumn
{
	MESSAGE_ID,
	MESSAGE_USER,
	MESSAGE_ROLE,
	MESSAGE_CONTENT,
	MESSAGE_PARTS,
	MESSAGE_MODEL,
	MESSAGE_METADATA,
	MESSAGE_TIME,
	CALL_ID,
	CALL_MESSAGE,
	CALL_TOOL,
	CALL_CALL,
	CALL_STATUS,
	CALL_INPUT,
	CALL_OUTPUT,
	CALL_STARTED,
	CALL_FINISHED,
	IMPORT_COLUMNS
} ImportColumn;

static const struct
{
	Oid type;
	int16 len;
	char align;
} column_types[IMPORT_COLUMNS] = {
	[MESSAGE_ID] = {UUIDOID, UUID_LEN, TYPALIGN_CHAR},
	[MESSAGE_USER] = {UUIDOID, UUID_LEN, TYPALIGN_CHAR},
	[MESSAGE_ROLE] = {TEXTOID, -1, TYPALIGN_INT},
	[MESSAGE_CONTENT] = {TEXTOID, -1, TYPALIGN_INT},
	[MESSAGE_PARTS] = {JSONBOID, -1, TYPALIGN_INT},
	[MESSAGE_MODEL] = {TEXTOID, -1, TYPALIGN_INT},
	[MESSAGE_METADATA] = {JSONBOID, -1, TYPALIGN_INT},
	[MESSAGE_TIME] = {TIMESTAMPTZOID, sizeof(TimestampTz), TYPALIGN_DOUBLE},
	[CALL_ID] = {UUIDOID, UUID_LEN, TYPALIGN_CHAR},
	[CALL_MESSAGE] = {UUIDOID, UUID_LEN, TYPALIGN_CHAR},
	[CALL_TOOL] = {TEXTOID, -1, TYPALIGN_INT},
	[CALL_CALL] = {TEXTOID, -1, TYPALIGN_INT},
	[CALL_STATUS] = {TEXTOID, -1, TYPALIGN_INT},
	[CALL_INPUT] = {JSONBOID, -1, TYPALIGN_INT},
	[CALL_OUTPUT] = {JSONBOID, -1, TYPALIGN_INT},
	[CALL_STARTED] = {TIMESTAMPTZOID, sizeof(TimestampTz), TYPALIGN_DOUBLE},
	[CALL_FINISHED] = {TIMESTAMPTZOID, sizeof(TimestampTz), TYPALIGN_DOUBLE},
};

typedef struct Import
{
	const pg_uuid_t *owner;
	int nmessages;
	int ncalls;
	int maxcalls;
	int message; /* number of the message at hand, for error messages */
	Datum *value[IMPORT_COLUMNS];
	bool *isnull[IMPORT_COLUMNS];
} Import;

static PennyStatement insert_conversation = {
	"INSERT INTO chat.conversations (id, owner_id, title, metadata, external_id, created_at)"
	" VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (owner_id, external_id) DO NOTHING",
	6,
	{UUIDOID, UUIDOID, TEXTOID, JSONBOID, TEXTOID, TIMESTAMPTZOID}};

static PennyStatement find_conversation = {
	"SELECT id FROM chat.conversations WHERE owner_id" PENNY_EQ "$1 AND external_id" PENNY_EQ "$2",
	2,
	{UUIDOID, TEXTOID}};

/* unnest() of several arrays is only known without its schema: one each */
static PennyStatement insert_messages = {
	"INSERT INTO chat.messages (conversation_id, id, user_id, role, content, parts, model,"
	" metadata, created_at)"
	" SELECT $1, m.* FROM ROWS FROM (pg_catalog.unnest($2), pg_catalog.unnest($3),"
	" pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6),"
	" pg_catalog.unnest($7), pg_catalog.unnest($8), pg_catalog.unnest($9)) m",
	9,
	{UUIDOID, UUIDARRAYOID, UUIDARRAYOID, TEXTARRAYOID, TEXTARRAYOID, JSONBARRAYOID, TEXTARRAYOID,
	 JSONBARRAYOID, TIMESTAMPTZARRAYOID}};

static PennyStatement insert_tools = {
	"INSERT INTO chat.tools (id) SELECT DISTINCT t.id FROM pg_catalog.unnest($1) t (id)"
	" WHERE NOT EXISTS (SELECT FROM chat.tools k WHERE k.id" PENNY_EQ "t.id)"
	" ORDER BY t.id ON CONFLICT DO NOTHING",
	1,
	{TEXTARRAYOID}};

static PennyStatement insert_calls = {
	"INSERT INTO chat.tool_executions (conversation_id, user_id, id, message_id, tool_id,"
	" tool_call_id, status, input, output, started_at, finished_at, created_at)"
	" SELECT $1, $2, c.*, c.started FROM ROWS FROM (pg_catalog.unnest($3),"
	" pg_catalog.unnest($4), pg_catalog.unnest($5), pg_catalog.unnest($6),"
	" pg_catalog.unnest($7), pg_catalog.unnest($8), pg_catalog.unnest($9),"
	" pg_catalog.unnest($10), pg_catalog.unnest($11))"
	" c (id, message, tool, call, status, input, output, started, finished)",
	11,
	{UUIDOID, UUIDOID, UUIDARRAYOID, UUIDARRAYOID, TEXTARRAYOID, TEXTARRAYOID, TEXTARRAYOID,
	 JSONBARRAYOID, JSONBARRAYOID, TIMESTAMPTZARRAYOID, TIMESTAMPTZARRAYOID}};

static void take_message(Import *import, JsonbContainer *message);
static void take_calls(Import *import, JsonbContainer *calls);
static void take_call(Import *import, int number, JsonbValue *call);
static void take_result(Import *import, const JsonbValue *id, Datum content, bool isnull);
static bool write_conversation(Jsonb *doc, Import *import, pg_uuid_t *conversation);

/* Raise PY400 about a place in the document. */
static void
refuse(const Import *import, const char *what, const char *where)
{
	if (import->message < 0)
		ereport(ERROR, (errcode(ERRCODE_PENNY_BAD_REQUEST), errmsg("%s", what),
						errdetail("It is at $%s.", where)));
	ereport(ERROR, (errcode(ERRCODE_PENNY_BAD_REQUEST), errmsg("%s", what),
					errdetail("It is at $.messages[%d]%s.", import->message, where)));
}

static void
put(Import *import, ImportColumn column, int row, Datum value)
{
	import->value[column][row] = value;
	import->isnull[column][row] = false;
}

static Datum
text_of(const JsonbValue *string)
{
	return PointerGetDatum(
		cstring_to_text_with_len(string->val.string.val, string->val.string.len));
}

static bool
is_word(const JsonbValue *string, const char *word)
{
	return string->val.string.len == strlen(word) &&
		   memcmp(string->val.string.val, word, string->val.string.len) == 0;
}

static bool
is_container(const JsonbValue *value, bool array)
{
	return value != NULL && value->type == jbvBinary &&
		   (array ? JsonContainerIsArray(value->val.binary.data) &&
						!JsonContainerIsScalar(value->val.binary.data)
				  : JsonContainerIsObject(value->val.binary.data));
}

/* A member; NULL where it is missing or null. */
static JsonbValue *
member(JsonbContainer *object, const char *name, JsonbValue *buffer)
{
	JsonbValue *found = getKeyJsonValueFromContainer(object, name, strlen(name), buffer);

	return found == NULL || found->type == jbvNull ? NULL : found;
}

/* A member that must be a string if it is there. */
static JsonbValue *
string_member(const Import *import, JsonbContainer *object, const char *name, JsonbValue *buffer)
{
	JsonbValue *found = member(object, name, buffer);

	if (found != NULL && found->type != jbvString)
		refuse(import, psprintf("\"%s\" must be a string", name), psprintf(".%s", name));
	return found;
}

/* When it was written: seconds since 1970, or a timestamp as text. */
static bool
time_member(const Import *import, JsonbContainer *object, TimestampTz *at)
{
	JsonbValue buffer;
	JsonbValue *found = member(object, "created_at", &buffer);

	if (found == NULL)
		found = member(object, "create_time", &buffer);
	if (found == NULL)
		return false;
	if (found->type == jbvNumeric)
		*at = DatumGetTimestampTz(DirectFunctionCall1(
			float8_timestamptz,
			DirectFunctionCall1(numeric_float8, NumericGetDatum(found->val.numeric))));
	else if (found->type == jbvString)
		*at = DatumGetTimestampTz(DirectFunctionCall3(
			timestamptz_in, CStringGetDatum(pnstrdup(found->val.string.val, found->val.string.len)),
			ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	else
		refuse(import, "\"created_at\" must be a number or a string", ".created_at");
	if (TIMESTAMP_NOT_FINITE(*at))
		refuse(import, "\"created_at\" must be finite", ".created_at");
	return true;
}

/* Is a number one that jsonb, which keeps every digit, can keep? */
static PENNY_JSON_ACTION
check_number(void *state, char *token, JsonTokenType type)
{
	bool *fits = state;
	const char *exponent = strpbrk(token, "eE");

	if (type == JSON_TOKEN_NUMBER &&
		(strlen(token) > MAX_DIGITS ||
		 (exponent != NULL && labs(strtol(exponent + 1, NULL, 10)) > MAX_DIGITS)))
		*fits = false;
	PENNY_JSON_ACTION_DONE;
}

/* JSON if the text is an object or an array that jsonb can keep, else a JSON string. */
static Datum
json_or_string(const JsonbValue *string)
{
	const char *text = string->val.string.val;
	int len = string->val.string.len;
	int at = 0;
	JsonbValue copy = *string;

	while (at < len && strchr(" \t\r\n", text[at]) != NULL)
		at++;
	if (at < len && (text[at] == '{' || text[at] == '['))
	{
		char *json = pnstrdup(text, len);
		JsonLexContext *lexer = penny_json_lexer(json, len, GetDatabaseEncoding());
		bool fits = true;
		JsonSemAction action = {.semstate = &fits, .scalar = check_number};

		if (pg_parse_json(lexer, &action) == JSON_SUCCESS && fits)
			return DirectFunctionCall1(jsonb_in, CStringGetDatum(json));
	}
	return JsonbPGetDatum(JsonbValueToJsonb(&copy));
}

/* A member as JSON: strings as json_or_string() does, others as they are. */
static bool
json_member(JsonbContainer *object, const char *name, Datum *json)
{
	JsonbValue buffer;
	JsonbValue *found = member(object, name, &buffer);

	if (found == NULL)
		return false;
	*json =
		found->type == jbvString ? json_or_string(found) : JsonbPGetDatum(JsonbValueToJsonb(found));
	return true;
}

/* A new array of each column of a range. */
static void
make_columns(Import *import, int from, int to, int rows, int old)
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

static Datum
column_array(const Import *import, ImportColumn column, int rows)
{
	int dims[1] = {rows};
	int lower[1] = {1};

	return PointerGetDatum(construct_md_array(
		import->value[column], import->isnull[column], 1, dims, lower, column_types[column].type,
		column_types[column].len, column_types[column].type == TIMESTAMPTZOID && FLOAT8PASSBYVAL,
		column_types[column].align));
}

/*
 * Import a conversation for an owner.
 */
bool
penny_import_chat(Jsonb *doc, const pg_uuid_t *owner, pg_uuid_t *conversation)
{
	Import import;
	JsonbValue buffer;
	JsonbValue *messages;
	Datum values[11];
	int i;

	memset(&import, 0, sizeof(import));
	import.owner = owner;
	import.message = -1;
	if (!JB_ROOT_IS_OBJECT(doc))
		refuse(&import, "a conversation must be a JSON object", "");
	messages = member(&doc->root, "messages", &buffer);
	if (!is_container(messages, true))
		refuse(&import, "\"messages\" must be an array", ".messages");
	import.nmessages = JsonContainerSize(messages->val.binary.data);
	make_columns(&import, MESSAGE_ID, MESSAGE_TIME, Max(import.nmessages, 1), 0);
	for (i = 0; i < import.nmessages; i++)
	{
		JsonbValue *message = getIthJsonbValueFromContainer(messages->val.binary.data, i);

		import.message = i;
		if (!is_container(message, false))
			refuse(&import, "a message must be an object", "");
		take_message(&import, message->val.binary.data);
	}
	import.message = -1;
	SPI_connect();
	if (!write_conversation(doc, &import, conversation))
	{
		SPI_finish();
		return false;
	}
	values[0] = UUIDPGetDatum(conversation);
	if (import.nmessages > 0)
	{
		for (i = MESSAGE_ID; i <= MESSAGE_TIME; i++)
			values[1 + i - MESSAGE_ID] = column_array(&import, i, import.nmessages);
		(void) penny_statement_run(&insert_messages, values, NULL, false);
	}
	if (import.ncalls > 0)
	{
		values[0] = column_array(&import, CALL_TOOL, import.ncalls);
		(void) penny_statement_run(&insert_tools, values, NULL, false);
		values[0] = UUIDPGetDatum(conversation);
		values[1] = UUIDPGetDatum(owner);
		for (i = CALL_ID; i <= CALL_FINISHED; i++)
			values[2 + i - CALL_ID] = column_array(&import, i, import.ncalls);
		(void) penny_statement_run(&insert_calls, values, NULL, false);
	}
	SPI_finish();
	return true;
}

/* The name under which a document is known. */
static Datum
document_name(const Import *import, Jsonb *doc)
{
	JsonbValue buffer;
	JsonbValue *id = member(&doc->root, "id", &buffer);

	if (id == NULL)
	{
		char *json = JsonbToCString(NULL, &doc->root, VARSIZE(doc));
		bytea *digest = DatumGetByteaPP(
			DirectFunctionCall1(sha256_bytea, PointerGetDatum(cstring_to_text(json))));
		char name[] = "sha256:0123456701234567012345670123456701234567012345670123456701234567";

		(void) hex_encode(VARDATA_ANY(digest), PG_SHA256_DIGEST_LENGTH, name + strlen("sha256:"));
		return CStringGetTextDatum(name);
	}
	if (id->type == jbvNumeric)
		return CStringGetTextDatum(
			DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(id->val.numeric))));
	if (id->type != jbvString || id->val.string.len < 1 || id->val.string.len > MAX_ID)
		refuse(import, psprintf("\"id\" must be a string of 1 to %d bytes", MAX_ID), ".id");
	return text_of(id);
}

/* The conversation's own row; false if the owner has imported it before. */
static bool
write_conversation(Jsonb *doc, Import *import, pg_uuid_t *conversation)
{
	JsonbValue other;
	JsonbValue *value;
	char nulls[7] = "      ";
	Datum values[6];
	TimestampTz at;
	bool isnull;

	values[4] = document_name(import, doc);
	value = string_member(import, &doc->root, "title", &other);
	nulls[2] = value == NULL ? 'n' : ' ';
	values[2] = value == NULL ? (Datum) 0 : text_of(value);
	value = member(&doc->root, "metadata", &other);
	if (value != NULL && !is_container(value, false))
		refuse(import, "\"metadata\" must be an object", ".metadata");
	values[3] = value == NULL ? DirectFunctionCall1(jsonb_in, CStringGetDatum("{}"))
							  : JsonbPGetDatum(JsonbValueToJsonb(value));
	if (!time_member(import, &doc->root, &at))
		at = GetCurrentTransactionStartTimestamp();
	penny_uuid_make(conversation);
	penny_change_ensure_user(import->owner);
	values[0] = UUIDPGetDatum(conversation);
	values[1] = UUIDPGetDatum(import->owner);
	values[5] = TimestampTzGetDatum(at);
	if (penny_statement_run(&insert_conversation, values, nulls, false) > 0)
		return true;
	values[0] = values[1];
	values[1] = values[4];
	if (penny_statement_run(&find_conversation, values, NULL, false) == 0)
		ereport(ERROR, (errcode(ERRCODE_PENNY_CONFLICT),
						errmsg("the conversation has just been imported by another transaction"),
						errhint("Try again.")));
	*conversation =
		*DatumGetUUIDP(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	return false;
}

/* Members of a message that have columns of their own. */
static bool
is_known_member(const JsonbValue *key)
{
	static const char *const known[] = {"role",  "content",    "tool_calls", "tool_call_id",
										"model", "created_at", "create_time"};
	int i;

	for (i = 0; i < lengthof(known); i++)
		if (is_word(key, known[i]))
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
take_role(Import *import, JsonbContainer *message)
{
	static const char *const roles[] = {"user", "assistant", "system", "developer", "tool"};
	JsonbValue buffer;
	JsonbValue *role = string_member(import, message, "role", &buffer);
	int i;

	if (role == NULL)
		refuse(import, "\"role\" is missing", ".role");
	for (i = 0; i < lengthof(roles); i++)
		if (is_word(role, roles[i]))
		{
			put(import, MESSAGE_ROLE, import->message, text_of(role));
			if (i == 0)
				put(import, MESSAGE_USER, import->message, UUIDPGetDatum(import->owner));
			return;
		}
	if (is_word(role, "function")) /* as results of tools were called once */
		put(import, MESSAGE_ROLE, import->message, CStringGetTextDatum("tool"));
	else
		refuse(import,
			   psprintf("there is no role \"%s\"",
						pnstrdup(role->val.string.val, role->val.string.len)),
			   ".role");
}

static void
take_message(Import *import, JsonbContainer *message)
{
	int row = import->message;
	pg_uuid_t *id = palloc(sizeof(pg_uuid_t));
	JsonbValue buffer;
	JsonbValue *value;
	TimestampTz at;
	Datum json;

	penny_uuid_make(id);
	put(import, MESSAGE_ID, row, UUIDPGetDatum(id));
	take_role(import, message);
	if (!time_member(import, message, &at))
		at = GetCurrentTransactionStartTimestamp();
	put(import, MESSAGE_TIME, row, TimestampTzGetDatum(at));
	value = member(message, "content", &buffer);
	if (value != NULL && value->type == jbvString)
		put(import, MESSAGE_CONTENT, row, text_of(value));
	else if (is_container(value, true))
		put(import, MESSAGE_PARTS, row, JsonbPGetDatum(JsonbValueToJsonb(value)));
	else if (value != NULL)
		refuse(import, "\"content\" must be a string or an array", ".content");
	value = string_member(import, message, "model", &buffer);
	if (value != NULL)
		put(import, MESSAGE_MODEL, row, text_of(value));
	if (further_members(message, &json))
		put(import, MESSAGE_METADATA, row, json);
	value = string_member(import, message, "tool_call_id", &buffer);
	if (value != NULL)
	{
		bool some = json_member(message, "content", &json);

		take_result(import, value, some ? json : (Datum) 0, !some);
		if (import->isnull[MESSAGE_PARTS][row])
			put(import, MESSAGE_PARTS, row, result_parts(value));
	}
	value = member(message, "tool_calls", &buffer);
	if (value != NULL && !is_container(value, true))
		refuse(import, "\"tool_calls\" must be an array", ".tool_calls");
	if (value != NULL)
		take_calls(import, value->val.binary.data);
}

/* The calls of a message. */
static void
take_calls(Import *import, JsonbContainer *calls)
{
	int n = JsonContainerSize(calls);
	int i;

	if (import->ncalls + n > import->maxcalls)
	{
		import->maxcalls = Max(16, (import->ncalls + n) * 2);
		make_columns(import, CALL_ID, CALL_FINISHED, import->maxcalls, import->ncalls);
	}
	for (i = 0; i < n; i++)
		take_call(import, i, getIthJsonbValueFromContainer(calls, i));
}

static void
take_call(Import *import, int number, JsonbValue *call)
{
	int row = import->ncalls;
	char *where = psprintf(".tool_calls[%d]", number);
	pg_uuid_t *id = palloc(sizeof(pg_uuid_t));
	JsonbValue buffer;
	JsonbValue name;
	JsonbValue *function;
	JsonbValue *value;
	Datum json;

	if (!is_container(call, false))
		refuse(import, "a tool call must be an object", where);
	function = member(call->val.binary.data, "function", &buffer);
	value = is_container(function, false) ? member(function->val.binary.data, "name", &name) : NULL;
	if (value == NULL || value->type != jbvString || value->val.string.len == 0)
		refuse(import, "a tool call needs a function with a name", where);
	penny_uuid_make(id);
	put(import, CALL_ID, row, UUIDPGetDatum(id));
	put(import, CALL_MESSAGE, row, import->value[MESSAGE_ID][import->message]);
	put(import, CALL_TOOL, row, text_of(value));
	put(import, CALL_STATUS, row, CStringGetTextDatum("pending"));
	put(import, CALL_STARTED, row, import->value[MESSAGE_TIME][import->message]);
	if (json_member(function->val.binary.data, "arguments", &json))
		put(import, CALL_INPUT, row, json);
	value = string_member(import, call->val.binary.data, "id", &buffer);
	if (value != NULL)
		put(import, CALL_CALL, row, text_of(value));
	import->ncalls++;
}

/* The result of the first unanswered call of this id. */
static void
take_result(Import *import, const JsonbValue *id, Datum content, bool isnull)
{
	int i;

	for (i = 0; i < import->ncalls; i++)
	{
		text *call;

		if (import->isnull[CALL_CALL][i] || !import->isnull[CALL_FINISHED][i])
			continue;
		call = DatumGetTextPP(import->value[CALL_CALL][i]);
		if (VARSIZE_ANY_EXHDR(call) != id->val.string.len ||
			memcmp(VARDATA_ANY(call), id->val.string.val, id->val.string.len) != 0)
			continue;
		import->value[CALL_OUTPUT][i] = content;
		import->isnull[CALL_OUTPUT][i] = isnull;
		put(import, CALL_STATUS, i, CStringGetTextDatum("completed"));
		put(import, CALL_FINISHED, i, import->value[MESSAGE_TIME][import->message]);
		return;
	}
}

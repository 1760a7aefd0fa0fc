/*-------------------------------------------------------------------------
 *
 * import.c
 *		Conversations in OpenAI chat form.
 *
 * A document is checked and taken apart (import_json.c, import_message.c) into
 * one array for each column, and written with one statement for each table:
 * the conversation, all of its messages, all of its tool calls.  The
 * statements run with the rights and policies of the caller.
 *
 * A conversation is known by its owner and its id in the document; one without
 * an id by the SHA-256 of the document.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "common/sha2.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "base/error.h"
#include "store/change.h"
#include "store/import.h"
#include "store/import_private.h"
#include "store/statement.h"
#include "store/uuid.h"

#define MAX_ID 500 /* bytes of a document's id */

/* How arrays of the columns are made. */
static const struct
{
	Oid type;
	int16 len;
	char align;
} column_types[PENNY_IMPORT_COLUMNS] = {
	[PENNY_IMPORT_MESSAGE_ID] = {UUIDOID, UUID_LEN, TYPALIGN_CHAR},
	[PENNY_IMPORT_MESSAGE_USER] = {UUIDOID, UUID_LEN, TYPALIGN_CHAR},
	[PENNY_IMPORT_MESSAGE_ROLE] = {TEXTOID, -1, TYPALIGN_INT},
	[PENNY_IMPORT_MESSAGE_CONTENT] = {TEXTOID, -1, TYPALIGN_INT},
	[PENNY_IMPORT_MESSAGE_PARTS] = {JSONBOID, -1, TYPALIGN_INT},
	[PENNY_IMPORT_MESSAGE_MODEL] = {TEXTOID, -1, TYPALIGN_INT},
	[PENNY_IMPORT_MESSAGE_METADATA] = {JSONBOID, -1, TYPALIGN_INT},
	[PENNY_IMPORT_MESSAGE_TIME] = {TIMESTAMPTZOID, sizeof(TimestampTz), TYPALIGN_DOUBLE},
	[PENNY_IMPORT_CALL_ID] = {UUIDOID, UUID_LEN, TYPALIGN_CHAR},
	[PENNY_IMPORT_CALL_MESSAGE] = {UUIDOID, UUID_LEN, TYPALIGN_CHAR},
	[PENNY_IMPORT_CALL_TOOL] = {TEXTOID, -1, TYPALIGN_INT},
	[PENNY_IMPORT_CALL_CALL] = {TEXTOID, -1, TYPALIGN_INT},
	[PENNY_IMPORT_CALL_STATUS] = {TEXTOID, -1, TYPALIGN_INT},
	[PENNY_IMPORT_CALL_INPUT] = {JSONBOID, -1, TYPALIGN_INT},
	[PENNY_IMPORT_CALL_OUTPUT] = {JSONBOID, -1, TYPALIGN_INT},
	[PENNY_IMPORT_CALL_STARTED] = {TIMESTAMPTZOID, sizeof(TimestampTz), TYPALIGN_DOUBLE},
	[PENNY_IMPORT_CALL_FINISHED] = {TIMESTAMPTZOID, sizeof(TimestampTz), TYPALIGN_DOUBLE},
};

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
static bool write_conversation(Jsonb *doc, PennyImport *import, pg_uuid_t *conversation);
static void write_messages(PennyImport *import, const pg_uuid_t *conversation);
static void write_calls(PennyImport *import, const pg_uuid_t *conversation);

/*
 * PennyImport a conversation for an owner.
 */
bool
penny_import_chat(Jsonb *doc, const pg_uuid_t *owner, pg_uuid_t *conversation)
{
	PennyImport import;
	JsonbValue buffer;
	JsonbValue *messages;
	bool new;

	memset(&import, 0, sizeof(import));
	import.owner = owner;
	import.message = -1;
	if (!JB_ROOT_IS_OBJECT(doc))
		penny_import_refuse(&import, "a conversation must be a JSON object", "");
	messages = penny_import_member(&doc->root, "messages", &buffer);
	if (!penny_import_is_container(messages, true))
		penny_import_refuse(&import, "\"messages\" must be an array", ".messages");
	penny_import_take(&import, messages->val.binary.data);
	SPI_connect();
	new = write_conversation(doc, &import, conversation);
	if (new &&import.nmessages > 0)
		write_messages(&import, conversation);
	if (new &&import.ncalls > 0)
		write_calls(&import, conversation);
	SPI_finish();
	return new;
}

/* The name under which a document is known. */
static Datum
document_name(const PennyImport *import, Jsonb *doc)
{
	JsonbValue buffer;
	JsonbValue *id = penny_import_member(&doc->root, "id", &buffer);

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
		penny_import_refuse(import, psprintf("\"id\" must be a string of 1 to %d bytes", MAX_ID),
							".id");
	return penny_import_text(id);
}

/* The conversation's own row; false if the owner has imported it before. */
static bool
write_conversation(Jsonb *doc, PennyImport *import, pg_uuid_t *conversation)
{
	JsonbValue other;
	JsonbValue *value;
	char nulls[7] = "      ";
	Datum values[6];
	TimestampTz at;
	bool isnull;

	values[4] = document_name(import, doc);
	value = penny_import_string(import, &doc->root, "title", &other);
	nulls[2] = value == NULL ? 'n' : ' ';
	values[2] = value == NULL ? (Datum) 0 : penny_import_text(value);
	value = penny_import_member(&doc->root, "metadata", &other);
	if (value != NULL && !penny_import_is_container(value, false))
		penny_import_refuse(import, "\"metadata\" must be an object", ".metadata");
	values[3] = value == NULL ? DirectFunctionCall1(jsonb_in, CStringGetDatum("{}"))
							  : JsonbPGetDatum(JsonbValueToJsonb(value));
	if (!penny_import_time(import, &doc->root, &at))
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

static Datum
column_array(const PennyImport *import, PennyImportColumn column, int rows)
{
	int dims[1] = {rows};
	int lower[1] = {1};

	return PointerGetDatum(construct_md_array(
		import->value[column], import->isnull[column], 1, dims, lower, column_types[column].type,
		column_types[column].len, column_types[column].type == TIMESTAMPTZOID && FLOAT8PASSBYVAL,
		column_types[column].align));
}

static void
write_messages(PennyImport *import, const pg_uuid_t *conversation)
{
	Datum values[9];
	int i;

	values[0] = UUIDPGetDatum(conversation);
	for (i = PENNY_IMPORT_MESSAGE_ID; i <= PENNY_IMPORT_MESSAGE_TIME; i++)
		values[1 + i - PENNY_IMPORT_MESSAGE_ID] = column_array(import, i, import->nmessages);
	(void) penny_statement_run(&insert_messages, values, NULL, false);
}

/* The calls, and the tools that are not known yet before them. */
static void
write_calls(PennyImport *import, const pg_uuid_t *conversation)
{
	Datum values[11];
	int i;

	values[0] = column_array(import, PENNY_IMPORT_CALL_TOOL, import->ncalls);
	(void) penny_statement_run(&insert_tools, values, NULL, false);
	values[0] = UUIDPGetDatum(conversation);
	values[1] = UUIDPGetDatum(import->owner);
	for (i = PENNY_IMPORT_CALL_ID; i <= PENNY_IMPORT_CALL_FINISHED; i++)
		values[2 + i - PENNY_IMPORT_CALL_ID] = column_array(import, i, import->ncalls);
	(void) penny_statement_run(&insert_calls, values, NULL, false);
}

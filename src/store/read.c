/*-------------------------------------------------------------------------
 *
 * read.c
 *		Reading conversations as JSON text, under the caller's policies.
 *
 * Each of the reads below is one SQL statement, whatever the number of rows,
 * so one snapshot.  It runs with the caller's rights and policies; its result
 * is a union of rows of several kinds in the generic columns of tables.h, and
 * the JSON is put together here.  Measured with fifty messages, that costs a
 * third of what jsonb_build_object() and jsonb_agg() cost for the same text.
 *
 * The users of a page come as rows of their own, each once, and are joined to
 * the messages here: their policy is a costly question, and a join planned as
 * a hash would ask it of everybody in the table.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/snapmgr.h"

#include "base/epoch.h"
#include "store/access.h"
#include "store/publish_rows.h"
#include "store/read.h"
#include "store/render.h"
#include "store/statement.h"
#include "store/tables.h"
#include "store/uuid.h"

/* Kinds of rows in a result, in the order in which they come. */
typedef enum RowKind
{
	ROW_CONVERSATION = 1,
	ROW_MESSAGE,
	ROW_TOOL_EXECUTION,
	ROW_ARTIFACT,
	ROW_ARTIFACT_VERSION,
	ROW_PARTICIPANT,
	ROW_TOMBSTONE,
	ROW_USER,
	ROW_KINDS
} RowKind;

/* A result taken apart: the rows of each kind. */
typedef struct FetchResult
{
	PennyRow *rows;
	int first[ROW_KINDS + 1];
	int n[ROW_KINDS + 1];
} FetchResult;

#define MAX_CHANGES 5000            /* told to one who was away */
#define MAX_CHANGES_BYTES (6 << 20) /* of their frames: an edge queues 8 MB for one client */

#define TEXT_NULL "NULL::pg_catalog.text"
#define JSON_NULL "NULL::pg_catalog.jsonb"
#define TIME_NULL "NULL::pg_catalog.timestamptz"
#define UUID_NULL "NULL::pg_catalog.uuid"
#define INT_NULL "NULL::pg_catalog.int8"

/* The generic columns, in their order, of each kind. */
#define CONVERSATION_COLUMNS                                                                       \
	"1, c.id, c.owner_id, c.head_message_id, " UUID_NULL                                           \
	", c.version, c.last_seq, c.message_count, c.state_version, " INT_NULL ", c.title, " TEXT_NULL \
	", " TEXT_NULL ", " TEXT_NULL ", " TEXT_NULL ", " TEXT_NULL ", " TEXT_NULL                     \
	", c.metadata, " JSON_NULL                                                                     \
	", c.created_at, c.updated_at, c.last_message_at, c.archived_at, c.pinned_at"

#define MESSAGE_COLUMNS                                                                          \
	"2, m.id, m.conversation_id, m.parent_id, m.user_id, m.version, m.seq, m.created_version,"   \
	" m.input_tokens, m.output_tokens, m.role, m.status, m.content, m.model, m.client_id,"       \
	" " TEXT_NULL ", " TEXT_NULL ", m.parts, m.metadata, m.created_at, m.updated_at, " TIME_NULL \
	", " TIME_NULL ", " TIME_NULL

#define TOOL_COLUMNS                                                                          \
	"3, t.id, t.conversation_id, t.message_id, t.user_id, t.version, " INT_NULL ", " INT_NULL \
	", " INT_NULL ", " INT_NULL ", t.tool_id, t.status, t.tool_call_id, t.error, " TEXT_NULL  \
	", " TEXT_NULL ", " TEXT_NULL ", t.input, t.output, t.created_at, t.started_at,"          \
	" t.finished_at, " TIME_NULL ", " TIME_NULL

#define ARTIFACT_COLUMNS                                                                      \
	"4, a.id, a.conversation_id, a.message_id, a.user_id, a.version,"                         \
	" (SELECT v.number::pg_catalog.int8 FROM chat.artifact_versions v"                        \
	"   WHERE v.artifact_id" PENNY_EQ "a.id ORDER BY v.number DESC LIMIT 1), " INT_NULL       \
	", " INT_NULL ", " INT_NULL ", a.kind, a.title, " TEXT_NULL ", " TEXT_NULL ", " TEXT_NULL \
	", " TEXT_NULL ", " TEXT_NULL ", a.metadata, " JSON_NULL                                  \
	", a.created_at, a.updated_at, " TIME_NULL ", " TIME_NULL ", " TIME_NULL

#define ARTIFACT_VERSION_COLUMNS                                                               \
	"5, v.artifact_id, v.conversation_id, " UUID_NULL                                          \
	", v.user_id, v.version, v.number::pg_catalog.int8, " INT_NULL ", " INT_NULL ", " INT_NULL \
	", " TEXT_NULL ", " TEXT_NULL ", " TEXT_NULL ", " TEXT_NULL ", " TEXT_NULL ", " TEXT_NULL  \
	", " TEXT_NULL ", " JSON_NULL ", " JSON_NULL ", v.created_at, " TIME_NULL ", " TIME_NULL   \
	", " TIME_NULL ", " TIME_NULL

#define PARTICIPANT_COLUMNS                                                                   \
	"6, " UUID_NULL ", p.conversation_id, " UUID_NULL ", p.user_id, p.version, " INT_NULL     \
	", " INT_NULL ", " INT_NULL ", " INT_NULL ", " TEXT_NULL ", " TEXT_NULL ", " TEXT_NULL    \
	", " TEXT_NULL ", " TEXT_NULL ", " TEXT_NULL ", " TEXT_NULL ", " JSON_NULL ", " JSON_NULL \
	", p.created_at, " TIME_NULL ", p.active_at, " TIME_NULL ", " TIME_NULL

#define TOMBSTONE_COLUMNS                                                                          \
	"7, d.id, d.conversation_id, " UUID_NULL ", " UUID_NULL ", d.version, " INT_NULL ", " INT_NULL \
	", " INT_NULL ", " INT_NULL ", d.kind, " TEXT_NULL ", " TEXT_NULL ", " TEXT_NULL               \
	", " TEXT_NULL ", " TEXT_NULL ", " TEXT_NULL ", " JSON_NULL ", " JSON_NULL                     \
	", d.created_at, " TIME_NULL ", " TIME_NULL ", " TIME_NULL ", " TIME_NULL

#define USER_COLUMNS                                                                              \
	"8, u.id, " UUID_NULL ", " UUID_NULL ", " UUID_NULL ", " INT_NULL ", " INT_NULL ", " INT_NULL \
	", " INT_NULL ", " INT_NULL ", " TEXT_NULL ", " TEXT_NULL ", " TEXT_NULL ", " TEXT_NULL       \
	", " TEXT_NULL ", u.name, u.avatar_url, " JSON_NULL ", " JSON_NULL ", " TIME_NULL             \
	", " TIME_NULL ", " TIME_NULL ", " TIME_NULL ", " TIME_NULL

/* What a page of messages is made of: columns of the owner's own stay out. */
#define PAGE_COLUMNS                                                                        \
	"m.id, m.conversation_id, m.parent_id, m.user_id, m.version, m.seq, m.created_version," \
	" m.input_tokens, m.output_tokens, m.role, m.status, m.content, m.model, m.client_id, " \
	"m.parts,"                                                                              \
	" m.metadata, m.created_at, m.updated_at"

#define MESSAGES_OF_PAGE "SELECT " MESSAGE_COLUMNS " FROM m"

#define USERS_OF_PAGE                           \
	"SELECT " USER_COLUMNS " FROM chat.users u" \
	" WHERE u.id" PENNY_EQ "ANY (ARRAY(SELECT m.user_id FROM m))"

/* By seq: one range of an index instead of a look-up for each message. */
#define TOOLS_OF_PAGE                                                                      \
	"SELECT " TOOL_COLUMNS " FROM chat.tool_executions t WHERE t.conversation_id" PENNY_EQ \
	"$1 AND t.message_seq" PENNY_GE "(SELECT pg_catalog.min(m.seq) FROM m)"                \
	" AND t.message_seq" PENNY_LE "(SELECT pg_catalog.max(m.seq) FROM m)"

#define TOOLS_OF_MESSAGES                                 \
	"SELECT " TOOL_COLUMNS " FROM chat.tool_executions t" \
	" WHERE t.message_id" PENNY_EQ "ANY (ARRAY(SELECT m.id FROM m))"

/*
 * $3 is 0.  The bound on seq, whose value the planner cannot know, makes it
 * walk the index of seq backwards even where an average conversation is so
 * short that reading all of it and sorting would seem as good.
 */
static PennyStatement eager_fetch = {
	"WITH m AS MATERIALIZED (SELECT " PAGE_COLUMNS
	" FROM chat.messages m WHERE m.conversation_id" PENNY_EQ "$1 AND m.seq" PENNY_GT
	"$3 ORDER BY m.seq DESC LIMIT $2)"
	" SELECT " CONVERSATION_COLUMNS " FROM chat.conversations c WHERE c.id" PENNY_EQ
	"$1 UNION ALL " MESSAGES_OF_PAGE " UNION ALL " TOOLS_OF_PAGE " UNION ALL " USERS_OF_PAGE
	" UNION ALL SELECT " ARTIFACT_COLUMNS " FROM chat.artifacts a WHERE a.conversation_id" PENNY_EQ
	"$1",
	3,
	{UUIDOID, INT8OID, INT8OID}};

#define MESSAGE_PAGE(direction)                                                      \
	"WITH m AS MATERIALIZED (SELECT " PAGE_COLUMNS                                   \
	" FROM chat.messages m WHERE m.conversation_id" PENNY_EQ "$1 AND m.seq" PENNY_GT \
	"$2 AND m.seq" PENNY_LT "$3 ORDER BY m.seq " direction " LIMIT $4)"              \
	" SELECT " CONVERSATION_COLUMNS " FROM chat.conversations c WHERE c.id" PENNY_EQ \
	"$1 UNION ALL " MESSAGES_OF_PAGE " UNION ALL " TOOLS_OF_PAGE " UNION ALL " USERS_OF_PAGE

/* Before a message, and after one. */
static PennyStatement older_page = {MESSAGE_PAGE("DESC"), 4, {UUIDOID, INT8OID, INT8OID, INT8OID}};
static PennyStatement newer_page = {MESSAGE_PAGE("ASC"), 4, {UUIDOID, INT8OID, INT8OID, INT8OID}};

static PennyStatement one_message = {
	"WITH m AS MATERIALIZED (SELECT " PAGE_COLUMNS " FROM chat.messages m WHERE m.id" PENNY_EQ "$1)"
	" " MESSAGES_OF_PAGE " UNION ALL " TOOLS_OF_MESSAGES " UNION ALL " USERS_OF_PAGE,
	1,
	{UUIDOID}};

#define CONVERSATION_KEPT                                                                   \
	"c.id, c.owner_id, c.head_message_id, c.version, c.last_seq, c.message_count,"          \
	" c.state_version, c.title, c.metadata, c.created_at, c.updated_at, c.last_message_at," \
	" c.archived_at, c.pinned_at"

/*
 * The participants' rows carry the order of the list (active_at).  The first
 * page comes after a place that is before all: with a bound whose value it
 * cannot know, the planner walks the index instead of sorting all that the user
 * takes part in, which an agent does in everything.
 */
static PennyStatement list_page = {
	"WITH c AS MATERIALIZED (SELECT " CONVERSATION_KEPT ", p.active_at FROM chat.participants p"
	"  JOIN chat.conversations c ON c.id" PENNY_EQ "p.conversation_id"
	"  WHERE p.user_id" PENNY_EQ "$1 AND (c.archived_at IS NOT NULL)" PENNY_EQ "$3"
	"  AND (p.active_at, p.conversation_id)" PENNY_LT "($4, $5)"
	"  ORDER BY p.active_at DESC, p.conversation_id DESC LIMIT $2),"
	" m AS MATERIALIZED (SELECT " PAGE_COLUMNS " FROM c JOIN chat.messages m ON m.id" PENNY_EQ
	"c.head_message_id)"
	" SELECT " CONVERSATION_COLUMNS " FROM c"
	" UNION ALL " MESSAGES_OF_PAGE " UNION ALL SELECT 6, c.id, " UUID_NULL ", " UUID_NULL
	", " UUID_NULL ", " INT_NULL ", " INT_NULL ", " INT_NULL ", " INT_NULL ", " INT_NULL
	", " TEXT_NULL ", " TEXT_NULL ", " TEXT_NULL ", " TEXT_NULL ", " TEXT_NULL ", " TEXT_NULL
	", " TEXT_NULL ", " JSON_NULL ", " JSON_NULL ", " TIME_NULL ", " TIME_NULL
	", c.active_at, " TIME_NULL ", " TIME_NULL " FROM c UNION ALL " TOOLS_OF_MESSAGES
	" UNION ALL " USERS_OF_PAGE,
	5,
	{UUIDOID, INT8OID, BOOLOID, TIMESTAMPTZOID, UUIDOID}};

/* $2 is the version since which, $3 how many changes are told at most. */
#define SINCE(alias)                                                                \
	" WHERE " alias ".conversation_id" PENNY_EQ "$1 AND " alias ".version" PENNY_GT \
	"(SELECT CASE WHEN (c.version OPERATOR(pg_catalog.-) $2)" PENNY_GT              \
	"$3 THEN c.version ELSE $2 END FROM c)"

static PennyStatement changes = {
	"WITH c AS MATERIALIZED (SELECT " CONVERSATION_KEPT
	" FROM chat.conversations c WHERE c.id" PENNY_EQ "$1),"
	" m AS MATERIALIZED (SELECT " PAGE_COLUMNS " FROM chat.messages m" SINCE(
		"m") ")"
			 " SELECT " CONVERSATION_COLUMNS " FROM c UNION ALL " MESSAGES_OF_PAGE
			 /* all of the messages that changed, and what else changed */
			 " UNION ALL " TOOLS_OF_MESSAGES " UNION ALL SELECT " TOOL_COLUMNS
			 " FROM chat.tool_executions t" SINCE(
				 "t") " AND (t.message_id" PENNY_EQ "ANY (ARRAY(SELECT m.id FROM m))) IS NOT TRUE"
					  " UNION ALL SELECT " ARTIFACT_COLUMNS " FROM chat.artifacts a" SINCE(
						  "a") " UNION ALL SELECT " ARTIFACT_VERSION_COLUMNS
							   " FROM chat.artifact_versions v" SINCE(
								   "v") " UNION ALL SELECT " PARTICIPANT_COLUMNS
										" FROM chat.participants p" SINCE(
											"p") " UNION ALL SELECT " TOMBSTONE_COLUMNS
												 " FROM chat.tombstones d" SINCE(
													 "d") " UNION ALL SELECT " USER_COLUMNS
														  " FROM chat.users u WHERE u.id" PENNY_EQ
														  "ANY (ARRAY(SELECT m.user_id FROM m "
														  "UNION SELECT p.user_id FROM "
														  "chat.participants p" SINCE("p") "))",
	3,
	{UUIDOID, INT8OID, INT8OID}};

static void run(PennyStatement *statement, const Datum *values, FetchResult *result);
static void sort_kind(FetchResult *result, RowKind kind,
					  int (*compare)(const void *, const void *));
static int by_seq_descending(const void *a, const void *b);
static int by_seq(const void *a, const void *b);
static int by_id(const void *a, const void *b);
static int by_message(const void *a, const void *b);
static int by_version(const void *a, const void *b);
static void name_users(FetchResult *result, RowKind kind);
static void find_user(PennyRow *row, const PennyRow *before);
static void render_messages(StringInfo out, FetchResult *result, int first, int n);
static void render_position(StringInfo out, const PennyRow *conversation);
static void render_cursor(StringInfo out, const PennyRow *row);
static bool render_changes(StringInfo out, FetchResult *result, int64 since);

/* The rows of a kind. */
static inline PennyRow *
rows_of(FetchResult *result, RowKind kind)
{
	return result->rows + result->first[kind];
}

/*
 * The eager fetch: {conversation's members, "messages", "artifacts",
 * "position"}, messages newest first.
 */
bool
penny_read_conversation(StringInfo out, const pg_uuid_t *id, int messages)
{
	Datum values[3];
	FetchResult result;
	int i;

	values[0] = UUIDPGetDatum(id);
	values[1] = Int64GetDatum(messages);
	values[2] = Int64GetDatum(0);
	SPI_connect();
	run(&eager_fetch, values, &result);
	if (result.n[ROW_CONVERSATION] == 0)
	{
		SPI_finish();
		return false;
	}
	sort_kind(&result, ROW_MESSAGE, by_seq_descending);
	sort_kind(&result, ROW_TOOL_EXECUTION, by_message);
	sort_kind(&result, ROW_ARTIFACT, by_version);
	appendStringInfoChar(out, '{');
	penny_render_conversation(out, rows_of(&result, ROW_CONVERSATION));
	appendStringInfoString(out, ",\"messages\":");
	render_messages(out, &result, 0, result.n[ROW_MESSAGE]);
	appendStringInfoString(out, ",\"artifacts\":[");
	for (i = 0; i < result.n[ROW_ARTIFACT]; i++)
	{
		if (i > 0)
			appendStringInfoChar(out, ',');
		penny_render_artifact(out, rows_of(&result, ROW_ARTIFACT) + i);
	}
	appendStringInfoString(out, "],\"position\":");
	render_position(out, rows_of(&result, ROW_CONVERSATION));
	appendStringInfoChar(out, '}');
	SPI_finish();
	return true;
}

/*
 * A page of history: {"data", "has_more"}, ascending.  The newest messages
 * before `before`, or, when only `after` is given (not negative), the oldest
 * after it.
 */
bool
penny_read_messages(StringInfo out, const pg_uuid_t *id, int64 before, int64 after, int limit)
{
	bool newer = before == PG_INT64_MAX && after >= 0;
	Datum values[4];
	FetchResult result;
	int n;

	values[0] = UUIDPGetDatum(id);
	values[1] = Int64GetDatum(after);
	values[2] = Int64GetDatum(before);
	values[3] = Int64GetDatum(limit + 1);
	SPI_connect();
	run(newer ? &newer_page : &older_page, values, &result);
	if (result.n[ROW_CONVERSATION] == 0)
	{
		SPI_finish();
		return false;
	}
	n = result.n[ROW_MESSAGE];
	sort_kind(&result, ROW_MESSAGE, by_seq);
	sort_kind(&result, ROW_TOOL_EXECUTION, by_message);
	appendStringInfoString(out, "{\"data\":");
	render_messages(out, &result, !newer && n > limit ? n - limit : 0, Min(n, limit));
	appendStringInfo(out, ",\"has_more\":%s}", n > limit ? "true" : "false");
	SPI_finish();
	return true;
}

/*
 * One message.
 */
bool
penny_read_message(StringInfo out, const pg_uuid_t *id)
{
	Datum value = UUIDPGetDatum(id);
	FetchResult result;
	bool found;

	SPI_connect();
	run(&one_message, &value, &result);
	found = result.n[ROW_MESSAGE] > 0;
	sort_kind(&result, ROW_TOOL_EXECUTION, by_version);
	if (found)
		penny_render_message(out, rows_of(&result, ROW_MESSAGE),
							 rows_of(&result, ROW_TOOL_EXECUTION), result.n[ROW_TOOL_EXECUTION]);
	SPI_finish();
	return found;
}

/* The row with an identifier among sorted or unsorted few. */
static PennyRow *
find_row(PennyRow *rows, int n, PennyColumn column, const pg_uuid_t *id)
{
	int i;

	for (i = 0; i < n; i++)
		if (!rows[i].isnull[column] && penny_uuid_equal(PENNY_UUID(&rows[i], column), id))
			return &rows[i];
	return NULL;
}

/* A conversation of a list, with its newest message. */
static void
render_listed(StringInfo out, FetchResult *result, PennyRow *conversation)
{
	PennyRow *tools = rows_of(result, ROW_TOOL_EXECUTION);
	int ntools = result->n[ROW_TOOL_EXECUTION];
	PennyRow *message = find_row(rows_of(result, ROW_MESSAGE), result->n[ROW_MESSAGE],
								 PENNY_CONVERSATION_ID, PENNY_UUID(conversation, PENNY_ID));

	appendStringInfoChar(out, '{');
	penny_render_conversation(out, conversation);
	appendStringInfoString(out, ",\"last_message\":");
	if (message == NULL)
		appendStringInfoString(out, "null");
	else
	{
		PennyRow *first =
			find_row(tools, ntools, PENNY_TOOL_MESSAGE, PENNY_UUID(message, PENNY_ID));
		int n = 0;

		while (first != NULL && first + n < tools + ntools &&
			   penny_uuid_equal(PENNY_UUID(first + n, PENNY_TOOL_MESSAGE),
								PENNY_UUID(message, PENNY_ID)))
			n++;
		penny_render_message(out, message, first, n);
	}
	appendStringInfoChar(out, '}');
}

/*
 * A page of a user's conversations: {"data", "has_more", "next_cursor"}.
 */
void
penny_read_list(StringInfo out, const pg_uuid_t *user, int limit, const PennyListCursor *cursor,
				bool archived)
{
	pg_uuid_t last;
	Datum values[5];
	FetchResult result;
	int n;
	int i;

	values[0] = UUIDPGetDatum(user);
	values[1] = Int64GetDatum(limit + 1);
	values[2] = BoolGetDatum(archived);
	memset(&last, 0xff, sizeof(last));
	values[3] = TimestampTzGetDatum(cursor->valid ? cursor->active_at : DT_NOEND);
	values[4] = UUIDPGetDatum(cursor->valid ? &cursor->id : &last);
	SPI_connect();
	run(&list_page, values, &result);
	sort_kind(&result, ROW_TOOL_EXECUTION, by_message);
	n = Min(result.n[ROW_CONVERSATION], limit);
	appendStringInfoString(out, "{\"data\":[");
	for (i = 0; i < n; i++)
	{
		if (i > 0)
			appendStringInfoChar(out, ',');
		render_listed(out, &result, rows_of(&result, ROW_CONVERSATION) + i);
	}
	if (result.n[ROW_CONVERSATION] > limit)
	{
		appendStringInfoString(out, "],\"has_more\":true,\"next_cursor\":");
		render_cursor(out, rows_of(&result, ROW_PARTICIPANT) + n - 1);
		appendStringInfoChar(out, '}');
	}
	else
		appendStringInfoString(out, "],\"has_more\":false,\"next_cursor\":null}");
	SPI_finish();
}

/*
 * What a watcher has missed.  Where that is too much to be told, `told` is
 * false: fetching the conversation anew is less.
 */
bool
penny_read_changes(StringInfo out, const pg_uuid_t *id, int64 since, int64 *version, bool *told)
{
	Datum values[3];
	FetchResult result;

	values[0] = UUIDPGetDatum(id);
	values[1] = Int64GetDatum(since < 0 ? PG_INT64_MAX : since);
	values[2] = Int64GetDatum(MAX_CHANGES);
	(void) penny_table_oid(PENNY_TOMBSTONES); /* its columns are what they were */
	SPI_connect();
	run(&changes, values, &result);
	if (result.n[ROW_CONVERSATION] == 0)
	{
		SPI_finish();
		return false;
	}
	*version = DatumGetInt64(rows_of(&result, ROW_CONVERSATION)->value[PENNY_ROW_VERSION]);
	*told = since < 0 || *version - since <= MAX_CHANGES;
	if (since >= 0 && *told)
		*told = render_changes(out, &result, since);
	SPI_finish();
	return true;
}

/* Run a statement and take its result apart; lives as long as the connection. */
static void
run(PennyStatement *statement, const Datum *values, FetchResult *result)
{
	uint64 n = penny_statement_run(statement, values, NULL, true);
	TupleDesc desc = SPI_tuptable->tupdesc;
	Datum columns[PENNY_COLUMNS + 1];
	bool isnull[PENNY_COLUMNS + 1];
	uint64 i;

	memset(result, 0, sizeof(*result));
	if (desc->natts != PENNY_COLUMNS + 1)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR),
						errmsg("a statement gave %d columns instead of %d", desc->natts,
							   PENNY_COLUMNS + 1)));
	result->rows = MemoryContextAllocHuge(CurrentMemoryContext, Max(n, 1) * sizeof(PennyRow));
	for (i = 0; i < n; i++)
	{
		PennyRow *row = &result->rows[i];
		RowKind kind;

		heap_deform_tuple(SPI_tuptable->vals[i], desc, columns, isnull);
		memcpy(row->value, &columns[1], sizeof(row->value));
		memcpy(row->isnull, &isnull[1], sizeof(row->isnull));
		kind = DatumGetInt32(columns[0]);
		if (result->n[kind]++ == 0)
			result->first[kind] = i;
	}
	sort_kind(result, ROW_USER, by_id);
	name_users(result, ROW_MESSAGE);
	name_users(result, ROW_PARTICIPANT);
}

/* Put the names of users into the rows of theirs. */
static void
name_users(FetchResult *result, RowKind kind)
{
	PennyRow *users = rows_of(result, ROW_USER);
	int i;

	for (i = 0; i < result->n[kind]; i++)
	{
		PennyRow *row = rows_of(result, kind) + i;
		PennyRow *user = NULL;
		PennyRow key;

		if (row->isnull[PENNY_USER_ID])
			continue;
		key.value[PENNY_ID] = row->value[PENNY_USER_ID];
		if (result->n[ROW_USER] > 0)
			user = bsearch(&key, users, result->n[ROW_USER], sizeof(PennyRow), by_id);
		if (user == NULL)
		{
			find_user(row, i > 0 ? row - 1 : NULL);
			continue;
		}
		row->value[PENNY_USER_NAME] = user->value[PENNY_USER_NAME];
		row->isnull[PENNY_USER_NAME] = user->isnull[PENNY_USER_NAME];
		row->value[PENNY_USER_AVATAR] = user->value[PENNY_USER_AVATAR];
		row->isnull[PENNY_USER_AVATAR] = user->isnull[PENNY_USER_AVATAR];
	}
}

static void
copy_text(PennyRow *row, PennyColumn column, const PennyRow *from)
{
	row->isnull[column] = from->isnull[column];
	if (!row->isnull[column])
		row->value[column] = datumCopy(from->value[column], false, -1);
}

/*
 * The name of a user who left the conversation, and whom the policy of users
 * hides therefore.  Who may see a message may see whose it is, as its frame
 * showed it.  The row before may be of the same user.
 */
static void
find_user(PennyRow *row, const PennyRow *before)
{
	PennyLookup lookup;

	if (before != NULL && !before->isnull[PENNY_USER_ID] &&
		penny_uuid_equal(PENNY_UUID(before, PENNY_USER_ID), PENNY_UUID(row, PENNY_USER_ID)))
	{
		copy_text(row, PENNY_USER_NAME, before);
		copy_text(row, PENNY_USER_AVATAR, before);
		return;
	}
	penny_lookup_begin(&lookup, PENNY_KEY_USER_ID, GetActiveSnapshot(), AccessShareLock, 1,
					   &row->value[PENNY_USER_ID]);
	if (penny_lookup_next(&lookup, ForwardScanDirection))
	{
		PennyRow user;

		penny_row_from_slot(&user, PENNY_USERS, lookup.slot);
		copy_text(row, PENNY_USER_NAME, &user);
		copy_text(row, PENNY_USER_AVATAR, &user);
	}
	penny_lookup_end(&lookup);
}

/* Sort the rows of a kind, which stand together, unless they are in order. */
static void
sort_kind(FetchResult *result, RowKind kind, int (*compare)(const void *, const void *))
{
	PennyRow *rows = rows_of(result, kind);
	int i;

	for (i = 1; i < result->n[kind]; i++)
		if (compare(&rows[i - 1], &rows[i]) > 0)
		{
			qsort(rows, result->n[kind], sizeof(PennyRow), compare);
			return;
		}
}

static int
compare_numbers(const void *a, const void *b, PennyColumn column)
{
	int64 va = DatumGetInt64(((const PennyRow *) a)->value[column]);
	int64 vb = DatumGetInt64(((const PennyRow *) b)->value[column]);

	return va < vb ? -1 : va > vb;
}

static int
by_seq(const void *a, const void *b)
{
	return compare_numbers(a, b, PENNY_MESSAGE_SEQ);
}

static int
by_seq_descending(const void *a, const void *b)
{
	return compare_numbers(b, a, PENNY_MESSAGE_SEQ);
}

static int
by_version(const void *a, const void *b)
{
	return compare_numbers(a, b, PENNY_ROW_VERSION);
}

static int
by_id(const void *a, const void *b)
{
	return memcmp(PENNY_UUID((const PennyRow *) a, PENNY_ID),
				  PENNY_UUID((const PennyRow *) b, PENNY_ID), UUID_LEN);
}

/* Tool executions: by message, then in the order of their change. */
static int
by_message(const void *a, const void *b)
{
	const PennyRow *ra = a;
	const PennyRow *rb = b;
	int order;

	if (ra->isnull[PENNY_TOOL_MESSAGE] || rb->isnull[PENNY_TOOL_MESSAGE])
		return (int) rb->isnull[PENNY_TOOL_MESSAGE] - (int) ra->isnull[PENNY_TOOL_MESSAGE];
	order =
		memcmp(PENNY_UUID(ra, PENNY_TOOL_MESSAGE), PENNY_UUID(rb, PENNY_TOOL_MESSAGE), UUID_LEN);
	return order != 0 ? order : by_version(a, b);
}

/* The executions of a message among those sorted by message. */
static PennyRow *
tools_of_message(FetchResult *result, const PennyRow *message, int *ntools)
{
	PennyRow *tools = rows_of(result, ROW_TOOL_EXECUTION);
	int low = 0;
	int high = result->n[ROW_TOOL_EXECUTION];
	int end;

	while (low < high)
	{
		int middle = (low + high) / 2;

		if (tools[middle].isnull[PENNY_TOOL_MESSAGE] ||
			memcmp(PENNY_UUID(&tools[middle], PENNY_TOOL_MESSAGE), PENNY_UUID(message, PENNY_ID),
				   UUID_LEN) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	for (end = low; end < result->n[ROW_TOOL_EXECUTION]; end++)
		if (!penny_uuid_equal(PENNY_UUID(&tools[end], PENNY_TOOL_MESSAGE),
							  PENNY_UUID(message, PENNY_ID)))
			break;
	*ntools = end - low;
	return &tools[low];
}

/* The array of n messages of a result from the first on. */
static void
render_messages(StringInfo out, FetchResult *result, int first, int n)
{
	PennyRow *messages = rows_of(result, ROW_MESSAGE) + first;
	int i;

	appendStringInfoChar(out, '[');
	for (i = 0; i < n; i++)
	{
		int ntools;
		PennyRow *tools = tools_of_message(result, &messages[i], &ntools);

		if (i > 0)
			appendStringInfoChar(out, ',');
		penny_render_message(out, &messages[i], tools, ntools);
	}
	appendStringInfoChar(out, ']');
}

static void
render_position(StringInfo out, const PennyRow *conversation)
{
	const char *epoch = penny_epoch_text();

	appendStringInfoString(out, "{\"epoch\":");
	penny_render_string(out, epoch, strlen(epoch));
	appendStringInfoString(out, ",\"version\":");
	penny_render_int(out, DatumGetInt64(conversation->value[PENNY_ROW_VERSION]));
	appendStringInfoChar(out, '}');
}

/* A cursor: microseconds and UUID, opaque to the client. */
static void
render_cursor(StringInfo out, const PennyRow *row)
{
	char id[PENNY_UUID_TEXT];

	penny_uuid_write(id, PENNY_UUID(row, PENNY_ID));
	appendStringInfo(out, "\"" INT64_FORMAT "_%.*s\"",
					 DatumGetTimestampTz(row->value[PENNY_PARTICIPANT_ACTIVE_AT]), PENNY_UUID_TEXT,
					 id);
}

/* One change among those to be told, by version. */
typedef struct ChangeLine
{
	int64 version;
	RowKind kind;
	PennyRow *row;
} ChangeLine;

static int
by_line(const void *a, const void *b)
{
	int64 va = ((const ChangeLine *) a)->version;
	int64 vb = ((const ChangeLine *) b)->version;

	return va < vb ? -1 : va > vb;
}

static void
render_line(StringInfo out, FetchResult *result, const ChangeLine *line, int64 since)
{
	PennyRow *tools;
	int ntools;

	appendStringInfo(out, INT64_FORMAT " ", line->version);
	switch (line->kind)
	{
		case ROW_CONVERSATION:
			penny_frame_conversation(out, line->row);
			break;
		case ROW_MESSAGE:
			tools = tools_of_message(result, line->row, &ntools);
			penny_frame_message(out, line->row,
								DatumGetInt64(line->row->value[PENNY_MESSAGE_CREATED_VERSION]) >
									since,
								tools, ntools);
			break;
		case ROW_TOOL_EXECUTION:
			penny_frame_tool_execution(out, line->row);
			break;
		case ROW_ARTIFACT:
			penny_frame_artifact(out, line->row);
			break;
		case ROW_ARTIFACT_VERSION:
			penny_frame_artifact_version(out, line->row);
			break;
		case ROW_PARTICIPANT:
			penny_frame_participant(out, line->row);
			break;
		default:
			penny_frame_tombstone(out, line->row);
			break;
	}
	appendStringInfoChar(out, '\n');
}

/* Lines of version and frame, ascending; false: too many bytes. */
static bool
render_changes(StringInfo out, FetchResult *result, int64 since)
{
	PennyRow *row = result->rows;
	PennyRow *end = rows_of(result, ROW_TOMBSTONE) + result->n[ROW_TOMBSTONE];
	ChangeLine *lines;
	int kind;
	int n = 0;
	int i;

	sort_kind(result, ROW_TOOL_EXECUTION, by_message);
	for (kind = 1; kind <= ROW_KINDS; kind++)
		end = Max(end, rows_of(result, kind) + result->n[kind]);
	lines = palloc((end - row) * sizeof(ChangeLine));
	for (kind = 1; kind < ROW_KINDS; kind++)
		for (i = 0; kind != ROW_USER && i < result->n[kind]; i++)
		{
			row = rows_of(result, kind) + i;
			lines[n].version =
				DatumGetInt64(row->value[kind == ROW_CONVERSATION ? PENNY_CONVERSATION_STATE_VERSION
																  : PENNY_ROW_VERSION]);
			lines[n].kind = kind;
			lines[n].row = row;
			n += lines[n].version > since;
		}
	qsort(lines, n, sizeof(ChangeLine), by_line);
	for (i = 0; i < n && out->len <= MAX_CHANGES_BYTES; i++)
		if (i == 0 || lines[i].version != lines[i - 1].version)
			render_line(out, result, &lines[i], since);
	pfree(lines);
	return out->len <= MAX_CHANGES_BYTES;
}

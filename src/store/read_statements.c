/*-------------------------------------------------------------------------
 *
 * read_statements.c
 *		The statements that read conversations.
 *
 * Each read is one SQL statement, whatever the number of rows, so one
 * snapshot.  It runs with the caller's rights and policies; its result is a
 * union of rows of several kinds in the generic columns of tables.h, the kind
 * before them.
 *
 * The users of a page come as rows of their own, each once, and are joined to
 * the messages in C (read_rows.c): their policy is a costly question, and a
 * join planned as a hash would ask it of everybody in the table.
 *
 * A page of messages (m) and the conversations of a list (c) are materialized:
 * what follows in the union asks them several times.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"

#include "store/read_statements.h"

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
PennyStatement penny_read_eager_fetch = {
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
PennyStatement penny_read_older_page = {
	MESSAGE_PAGE("DESC"), 4, {UUIDOID, INT8OID, INT8OID, INT8OID}};
PennyStatement penny_read_newer_page = {
	MESSAGE_PAGE("ASC"), 4, {UUIDOID, INT8OID, INT8OID, INT8OID}};

/* Of an artifact its newest version, should there be one. */
PennyStatement penny_read_artifact_bodies = {
	"SELECT " CONVERSATION_COLUMNS " FROM chat.conversations c WHERE c.id" PENNY_EQ
	"$1 UNION ALL SELECT 4, a.id, a.conversation_id, a.message_id, a.user_id, a.version,"
	" v.number::pg_catalog.int8, " INT_NULL ", " INT_NULL ", " INT_NULL
	", a.kind, a.title, v.content, v.file_id::pg_catalog.text, " TEXT_NULL ", " TEXT_NULL
	", " TEXT_NULL ", a.metadata, v.data, a.created_at, a.updated_at, " TIME_NULL ", " TIME_NULL
	", " TIME_NULL " FROM chat.artifacts a LEFT JOIN LATERAL"
	" (SELECT v.number, v.content, v.file_id, v.data FROM chat.artifact_versions v"
	"   WHERE v.artifact_id" PENNY_EQ "a.id ORDER BY v.number DESC LIMIT 1) v ON true"
	" WHERE a.conversation_id" PENNY_EQ "$1",
	1,
	{UUIDOID}};

/* All of them, by the index: without a condition the planner would see none. */
PennyStatement penny_read_all_models = {
	"SELECT 9, " UUID_NULL ", " UUID_NULL ", " UUID_NULL ", " UUID_NULL ", " INT_NULL
	", m.context_tokens::pg_catalog.int8, " INT_NULL ", " INT_NULL ", " INT_NULL
	", m.id, m.provider, m.name, " TEXT_NULL ", " TEXT_NULL ", " TEXT_NULL ", " TEXT_NULL
	", m.metadata, " JSON_NULL ", m.created_at, " TIME_NULL ", " TIME_NULL ", " TIME_NULL
	", " TIME_NULL " FROM chat.models m WHERE m.id" PENNY_GE "''",
	0,
	{0}};

PennyStatement penny_read_one_message = {
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
PennyStatement penny_read_list_page = {
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

/*
 * $2 is the version since which, $3 how many changes a page tells at most.
 * Where there may be more (every change has a version, but some are over), b
 * is the version of the last row of the page; else it is beyond all.
 */
#define VERSIONS_AFTER(table)                                                  \
	"(SELECT x.version FROM chat." table " x WHERE x.conversation_id" PENNY_EQ \
	"$1 AND x.version" PENNY_GT "$2 ORDER BY x.version LIMIT $3)"

#define PAGE_BOUND                                                                                                                                        \
	"b AS MATERIALIZED (SELECT CASE WHEN (c.version OPERATOR(pg_catalog.-) $2)" PENNY_GT                                                                  \
	"$3 THEN (SELECT y.version FROM (" VERSIONS_AFTER("messages") " UNION ALL " VERSIONS_AFTER(                                                           \
		"t"                                                                                                                                               \
		"o"                                                                                                                                               \
		"o"                                                                                                                                               \
		"l"                                                                                                                                               \
		"_"                                                                                                                                               \
		"e"                                                                                                                                               \
		"x"                                                                                                                                               \
		"e"                                                                                                                                               \
		"c"                                                                                                                                               \
		"u"                                                                                                                                               \
		"t"                                                                                                                                               \
		"i"                                                                                                                                               \
		"o"                                                                                                                                               \
		"n"                                                                                                                                               \
		"s") " UNION ALL " VERSIONS_AFTER("artifacts") " UNION ALL " VERSIONS_AFTER("artifact_"                                                           \
																					"versions") " UNION "                                                 \
																								"ALL " VERSIONS_AFTER(                                    \
																									"par"                                                 \
																									"tic"                                                 \
																									"ipa"                                                 \
																									"nt"                                                  \
																									"s") " UNION ALL " VERSIONS_AFTER("tombstones") ") y" \
																																					" ORDER BY y.version OFFSET $3 OPERATOR(pg_catalog.-) 1 LIMIT 1) END AS version FROM c)"

#define SINCE(alias)                                                                \
	" WHERE " alias ".conversation_id" PENNY_EQ "$1 AND " alias ".version" PENNY_GT \
	"$2 AND " alias ".version" PENNY_LE "(SELECT COALESCE(b.version, 9223372036854775807) FROM b)"

PennyStatement penny_read_changes_since = {
	"WITH c AS MATERIALIZED (SELECT " CONVERSATION_KEPT
	" FROM chat.conversations c WHERE c.id" PENNY_EQ "$1), " PAGE_BOUND ","
	" m AS MATERIALIZED (SELECT " PAGE_COLUMNS " FROM chat.messages m" SINCE(
		"m") ")"
			 " SELECT " CONVERSATION_COLUMNS " FROM c UNION ALL " MESSAGES_OF_PAGE
			 /* and those that grow, for their state */
			 " UNION ALL SELECT " MESSAGE_COLUMNS
			 " FROM chat.messages m WHERE m.conversation_id" PENNY_EQ "$1 AND m.status" PENNY_EQ
			 "'streaming'"
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

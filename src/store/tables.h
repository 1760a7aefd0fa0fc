/*-------------------------------------------------------------------------
 *
 * tables.h
 *		The tables of schema chat as penny's C code sees them: identity,
 *		owner and columns.
 *
 * A row is carried as a PennyRow: one array of generic columns, given meaning
 * by the kind of row.  Triggers fill it from a tuple, the readers' statements
 * select in this very order, and one description of what becomes of a row as
 * JSON (shape.c) serves both.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_TABLES_H
#define PENNY_TABLES_H

#include "postgres.h"

#include "executor/tuptable.h"

typedef enum PennyTable
{
	PENNY_USERS,
	PENNY_CONVERSATIONS,
	PENNY_PARTICIPANTS,
	PENNY_MESSAGES,
	PENNY_TOOL_EXECUTIONS,
	PENNY_ARTIFACTS,
	PENNY_ARTIFACT_VERSIONS,
	PENNY_TOMBSTONES,
	PENNY_SESSIONS,
	PENNY_MODELS,
	PENNY_TABLES
} PennyTable;

/* Generic columns: U uuid, N bigint, S text, J jsonb, T timestamptz. */
typedef enum PennyColumn
{
	PENNY_U0,
	PENNY_U1,
	PENNY_U2,
	PENNY_U3,
	PENNY_N0,
	PENNY_N1,
	PENNY_N2,
	PENNY_N3,
	PENNY_N4,
	PENNY_S0,
	PENNY_S1,
	PENNY_S2,
	PENNY_S3,
	PENNY_S4,
	PENNY_S5,
	PENNY_S6,
	PENNY_J0,
	PENNY_J1,
	PENNY_T0,
	PENNY_T1,
	PENNY_T2,
	PENNY_T3,
	PENNY_T4,
	PENNY_COLUMNS
} PennyColumn;

/* Of every row that belongs to a conversation (but conversations' own). */
#define PENNY_ID PENNY_U0
#define PENNY_CONVERSATION_ID PENNY_U1
#define PENNY_USER_ID PENNY_U3
#define PENNY_ROW_VERSION PENNY_N0
#define PENNY_CREATED_AT PENNY_T0
#define PENNY_UPDATED_AT PENNY_T1

/* Of users, and of rows that carry their user along. */
#define PENNY_USER_NAME PENNY_S5
#define PENNY_USER_AVATAR PENNY_S6

#define PENNY_CONVERSATION_OWNER PENNY_U1
#define PENNY_CONVERSATION_HEAD PENNY_U2
#define PENNY_CONVERSATION_LAST_SEQ PENNY_N1
#define PENNY_CONVERSATION_COUNT PENNY_N2
#define PENNY_CONVERSATION_STATE_VERSION PENNY_N3
#define PENNY_CONVERSATION_TITLE PENNY_S0
#define PENNY_CONVERSATION_METADATA PENNY_J0
#define PENNY_CONVERSATION_LAST_MESSAGE_AT PENNY_T2
#define PENNY_CONVERSATION_ARCHIVED_AT PENNY_T3
#define PENNY_CONVERSATION_PINNED_AT PENNY_T4

#define PENNY_PARTICIPANT_ACTIVE_AT PENNY_T2

#define PENNY_MESSAGE_PARENT PENNY_U2
#define PENNY_MESSAGE_SEQ PENNY_N1
#define PENNY_MESSAGE_CREATED_VERSION PENNY_N2
#define PENNY_MESSAGE_INPUT_TOKENS PENNY_N3
#define PENNY_MESSAGE_OUTPUT_TOKENS PENNY_N4
#define PENNY_MESSAGE_ROLE PENNY_S0
#define PENNY_MESSAGE_STATUS PENNY_S1
#define PENNY_MESSAGE_CONTENT PENNY_S2
#define PENNY_MESSAGE_MODEL PENNY_S3
#define PENNY_MESSAGE_CLIENT_ID PENNY_S4
#define PENNY_MESSAGE_PARTS PENNY_J0
#define PENNY_MESSAGE_METADATA PENNY_J1

#define PENNY_TOOL_MESSAGE PENNY_U2
#define PENNY_TOOL_MESSAGE_SEQ PENNY_N1
#define PENNY_TOOL_TOOL PENNY_S0
#define PENNY_TOOL_STATUS PENNY_S1
#define PENNY_TOOL_CALL PENNY_S2
#define PENNY_TOOL_ERROR PENNY_S3
#define PENNY_TOOL_INPUT PENNY_J0
#define PENNY_TOOL_OUTPUT PENNY_J1
#define PENNY_TOOL_STARTED_AT PENNY_T1
#define PENNY_TOOL_FINISHED_AT PENNY_T2

#define PENNY_ARTIFACT_MESSAGE PENNY_U2
#define PENNY_ARTIFACT_KIND PENNY_S0
#define PENNY_ARTIFACT_TITLE PENNY_S1
#define PENNY_ARTIFACT_METADATA PENNY_J0
#define PENNY_ARTIFACT_NUMBER PENNY_N1 /* this and below: of its newest version */
#define PENNY_ARTIFACT_CONTENT PENNY_S2
#define PENNY_ARTIFACT_FILE PENNY_S3 /* a UUID as text */
#define PENNY_ARTIFACT_DATA PENNY_J1

#define PENNY_ARTIFACT_VERSION_NUMBER PENNY_N1 /* integer in the table */

#define PENNY_TOMBSTONE_KIND PENNY_S0

#define PENNY_SESSION_HASH PENNY_S1 /* bytea */
#define PENNY_SESSION_ROLE PENNY_S0
#define PENNY_SESSION_EXPIRES_AT PENNY_T1
#define PENNY_SESSION_ID PENNY_S2 /* made of the hash; not a column of the table */

#define PENNY_MODEL_ID PENNY_S0
#define PENNY_MODEL_PROVIDER PENNY_S1
#define PENNY_MODEL_NAME PENNY_S2
#define PENNY_MODEL_TOKENS PENNY_N1 /* integer in the table */
#define PENNY_MODEL_METADATA PENNY_J0

/* Rows that belong to a row, where a reader has put them together. */
typedef struct PennyRowList
{
	struct PennyRow *rows;
	int n;
} PennyRowList;

#define PENNY_ROW_LISTS 2

typedef struct PennyRow
{
	Datum value[PENNY_COLUMNS];
	bool isnull[PENNY_COLUMNS];
	PennyRowList list[PENNY_ROW_LISTS];
} PennyRow;

#define PENNY_UUID(row, column) DatumGetUUIDP((row)->value[column])

/* The table's OID, or an error that tells to lay the store. */
extern Oid penny_table_oid(PennyTable table);
extern Oid penny_table_owner(PennyTable table);
/* Which table a relation is; PENNY_TABLES = none. */
extern PennyTable penny_table_of(Oid relid);
/* Attribute number of a generic column, 0 = the table has none. */
extern AttrNumber penny_table_attribute(PennyTable table, PennyColumn column);
extern const char *penny_table_name(PennyTable table);

extern void penny_row_from_slot(PennyRow *row, PennyTable table, TupleTableSlot *slot);
extern void penny_row_from_tuple(PennyRow *row, PennyTable table, HeapTuple tuple, TupleDesc desc);

/* The names of a user, for a row that shows whose it is. */
extern void penny_row_take_user(PennyRow *row, const PennyRow *user);
/* Orders of messages, and of rows that have a version. */
extern int penny_row_by_seq(const void *a, const void *b);
extern int penny_row_by_seq_descending(const void *a, const void *b);
extern int penny_row_by_version(const void *a, const void *b);

#endif /* PENNY_TABLES_H */

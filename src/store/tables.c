/*-------------------------------------------------------------------------
 *
 * tables.c
 *		Identity and columns of the tables of schema chat.
 *
 * The tables belong to their owner, who may add columns, rename indexes and
 * move the schema's tables about, so nothing is found by number: tables and
 * columns by name, indexes by their leading columns (lookup.c).  What was found
 * is remembered in this process and forgotten as a whole at any invalidation of
 * pg_class, pg_namespace or the relation cache entry of one of them.
 *
 * Values are taken from tuples by the type that a column had when the store was
 * laid, so a column whose type was changed, or whose NOT NULL was dropped where
 * penny relies on it, makes the table unusable to penny: an error that names
 * the column instead of a wild pointer.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_type.h"
#include "parser/parse_coerce.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "store/lookup.h"
#include "store/tables.h"

typedef struct ColumnName
{
	PennyColumn column;
	const char *name;
} ColumnName;

#define END_OF_COLUMNS      \
	{                       \
		PENNY_COLUMNS, NULL \
	}

static const ColumnName user_columns[] = {
	{PENNY_ID, "id"}, {PENNY_USER_NAME, "name"}, {PENNY_USER_AVATAR, "avatar_url"}, END_OF_COLUMNS};

static const ColumnName conversation_columns[] = {
	{PENNY_ID, "id"},
	{PENNY_CONVERSATION_OWNER, "owner_id"},
	{PENNY_CONVERSATION_HEAD, "head_message_id"},
	{PENNY_ROW_VERSION, "version"},
	{PENNY_CONVERSATION_LAST_SEQ, "last_seq"},
	{PENNY_CONVERSATION_COUNT, "message_count"},
	{PENNY_CONVERSATION_STATE_VERSION, "state_version"},
	{PENNY_CONVERSATION_TITLE, "title"},
	{PENNY_CONVERSATION_METADATA, "metadata"},
	{PENNY_CREATED_AT, "created_at"},
	{PENNY_UPDATED_AT, "updated_at"},
	{PENNY_CONVERSATION_LAST_MESSAGE_AT, "last_message_at"},
	{PENNY_CONVERSATION_ARCHIVED_AT, "archived_at"},
	{PENNY_CONVERSATION_PINNED_AT, "pinned_at"},
	END_OF_COLUMNS};

static const ColumnName participant_columns[] = {{PENNY_CONVERSATION_ID, "conversation_id"},
												 {PENNY_USER_ID, "user_id"},
												 {PENNY_ROW_VERSION, "version"},
												 {PENNY_CREATED_AT, "created_at"},
												 {PENNY_PARTICIPANT_ACTIVE_AT, "active_at"},
												 END_OF_COLUMNS};

static const ColumnName message_columns[] = {{PENNY_ID, "id"},
											 {PENNY_CONVERSATION_ID, "conversation_id"},
											 {PENNY_MESSAGE_PARENT, "parent_id"},
											 {PENNY_USER_ID, "user_id"},
											 {PENNY_ROW_VERSION, "version"},
											 {PENNY_MESSAGE_SEQ, "seq"},
											 {PENNY_MESSAGE_CREATED_VERSION, "created_version"},
											 {PENNY_MESSAGE_INPUT_TOKENS, "input_tokens"},
											 {PENNY_MESSAGE_OUTPUT_TOKENS, "output_tokens"},
											 {PENNY_MESSAGE_ROLE, "role"},
											 {PENNY_MESSAGE_STATUS, "status"},
											 {PENNY_MESSAGE_CONTENT, "content"},
											 {PENNY_MESSAGE_MODEL, "model"},
											 {PENNY_MESSAGE_CLIENT_ID, "client_id"},
											 {PENNY_MESSAGE_PARTS, "parts"},
											 {PENNY_MESSAGE_METADATA, "metadata"},
											 {PENNY_CREATED_AT, "created_at"},
											 {PENNY_UPDATED_AT, "updated_at"},
											 END_OF_COLUMNS};

static const ColumnName tool_columns[] = {{PENNY_ID, "id"},
										  {PENNY_CONVERSATION_ID, "conversation_id"},
										  {PENNY_TOOL_MESSAGE, "message_id"},
										  {PENNY_TOOL_MESSAGE_SEQ, "message_seq"},
										  {PENNY_USER_ID, "user_id"},
										  {PENNY_ROW_VERSION, "version"},
										  {PENNY_TOOL_TOOL, "tool_id"},
										  {PENNY_TOOL_STATUS, "status"},
										  {PENNY_TOOL_CALL, "tool_call_id"},
										  {PENNY_TOOL_ERROR, "error"},
										  {PENNY_TOOL_INPUT, "input"},
										  {PENNY_TOOL_OUTPUT, "output"},
										  {PENNY_CREATED_AT, "created_at"},
										  {PENNY_TOOL_STARTED_AT, "started_at"},
										  {PENNY_TOOL_FINISHED_AT, "finished_at"},
										  END_OF_COLUMNS};

static const ColumnName artifact_columns[] = {{PENNY_ID, "id"},
											  {PENNY_CONVERSATION_ID, "conversation_id"},
											  {PENNY_ARTIFACT_MESSAGE, "message_id"},
											  {PENNY_USER_ID, "user_id"},
											  {PENNY_ROW_VERSION, "version"},
											  {PENNY_ARTIFACT_KIND, "kind"},
											  {PENNY_ARTIFACT_TITLE, "title"},
											  {PENNY_ARTIFACT_METADATA, "metadata"},
											  {PENNY_CREATED_AT, "created_at"},
											  {PENNY_UPDATED_AT, "updated_at"},
											  END_OF_COLUMNS};

static const ColumnName artifact_version_columns[] = {{PENNY_ID, "artifact_id"},
													  {PENNY_CONVERSATION_ID, "conversation_id"},
													  {PENNY_USER_ID, "user_id"},
													  {PENNY_ROW_VERSION, "version"},
													  {PENNY_ARTIFACT_VERSION_NUMBER, "number"},
													  {PENNY_CREATED_AT, "created_at"},
													  END_OF_COLUMNS};

static const ColumnName tombstone_columns[] = {{PENNY_ID, "id"},
											   {PENNY_CONVERSATION_ID, "conversation_id"},
											   {PENNY_ROW_VERSION, "version"},
											   {PENNY_TOMBSTONE_KIND, "kind"},
											   END_OF_COLUMNS};

static const ColumnName session_columns[] = {{PENNY_USER_ID, "user_id"},
											 {PENNY_SESSION_ROLE, "role"},
											 {PENNY_SESSION_HASH, "token_hash"},
											 {PENNY_CREATED_AT, "created_at"},
											 {PENNY_SESSION_EXPIRES_AT, "expires_at"},
											 END_OF_COLUMNS};

static const ColumnName model_columns[] = {
	{PENNY_MODEL_ID, "id"},           {PENNY_MODEL_PROVIDER, "provider"},
	{PENNY_MODEL_NAME, "name"},       {PENNY_MODEL_METADATA, "metadata"},
	{PENNY_CREATED_AT, "created_at"}, END_OF_COLUMNS};

static const struct
{
	const char *name;
	const ColumnName *columns;
} table_names[PENNY_TABLES] = {
	[PENNY_USERS] = {"users", user_columns},
	[PENNY_CONVERSATIONS] = {"conversations", conversation_columns},
	[PENNY_PARTICIPANTS] = {"participants", participant_columns},
	[PENNY_MESSAGES] = {"messages", message_columns},
	[PENNY_TOOL_EXECUTIONS] = {"tool_executions", tool_columns},
	[PENNY_ARTIFACTS] = {"artifacts", artifact_columns},
	[PENNY_ARTIFACT_VERSIONS] = {"artifact_versions", artifact_version_columns},
	[PENNY_TOMBSTONES] = {"tombstones", tombstone_columns},
	[PENNY_SESSIONS] = {"sessions", session_columns},
	[PENNY_MODELS] = {"models", model_columns},
};

typedef struct TableInfo
{
	Oid relid; /* InvalidOid: not looked up */
	Oid owner;
	AttrNumber attribute[PENNY_COLUMNS];
} TableInfo;

static TableInfo tables[PENNY_TABLES];

static void find_table(PennyTable table);
static void check_column(PennyTable table, PennyColumn column, Form_pg_attribute attribute);

/* Forget everything. */
static void
forget_tables(void)
{
	int i;

	for (i = 0; i < PENNY_TABLES; i++)
		tables[i].relid = InvalidOid;
	penny_lookup_forget();
}

static void
relcache_changed(Datum arg, Oid relid)
{
	int i;

	(void) arg;
	for (i = 0; i < PENNY_TABLES; i++)
		if (!OidIsValid(relid) || tables[i].relid == relid)
		{
			forget_tables();
			return;
		}
}

static void
catalog_changed(Datum arg, int cacheid, uint32 hash)
{
	(void) arg;
	(void) cacheid;
	(void) hash;
	forget_tables();
}

static inline TableInfo *
table_info(PennyTable table)
{
	if (unlikely(!OidIsValid(tables[table].relid)))
		find_table(table);
	return &tables[table];
}

Oid
penny_table_oid(PennyTable table)
{
	return table_info(table)->relid;
}

Oid
penny_table_owner(PennyTable table)
{
	return table_info(table)->owner;
}

AttrNumber
penny_table_attribute(PennyTable table, PennyColumn column)
{
	return table_info(table)->attribute[column];
}

const char *
penny_table_name(PennyTable table)
{
	return table_names[table].name;
}

/*
 * Which table a relation is.
 */
PennyTable
penny_table_of(Oid relid)
{
	int i;

	for (i = 0; i < PENNY_TABLES; i++)
		if (tables[i].relid == relid)
			return i;
	for (i = 0; i < PENNY_TABLES; i++)
	{
		Oid schema = get_namespace_oid("chat", true);

		if (OidIsValid(schema) && get_relname_relid(table_names[i].name, schema) == relid)
		{
			find_table(i);
			return i;
		}
	}
	return PENNY_TABLES;
}

/* Look a table up by name, with its columns. */
static void
find_table(PennyTable table)
{
	static bool registered = false;
	Oid schema = get_namespace_oid("chat", true);
	Oid relid =
		OidIsValid(schema) ? get_relname_relid(table_names[table].name, schema) : InvalidOid;
	const ColumnName *column;
	TableInfo info;
	Relation relation;

	if (!registered)
	{
		CacheRegisterRelcacheCallback(relcache_changed, (Datum) 0);
		CacheRegisterSyscacheCallback(RELOID, catalog_changed, (Datum) 0);
		CacheRegisterSyscacheCallback(NAMESPACEOID, catalog_changed, (Datum) 0);
		registered = true;
	}
	if (!OidIsValid(relid))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
						errmsg("table \"chat.%s\" does not exist", table_names[table].name),
						errhint("Lay the conversation store with SELECT penny.create_store().")));
	relation = relation_open(relid, AccessShareLock);
	if (relation->rd_rel->relkind != RELKIND_RELATION)
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
						errmsg("\"chat.%s\" is not a table", table_names[table].name)));
	memset(&info, 0, sizeof(info));
	info.relid = relid;
	info.owner = relation->rd_rel->relowner;
	for (column = table_names[table].columns; column->name != NULL; column++)
	{
		AttrNumber attribute = get_attnum(relid, column->name);

		if (attribute == InvalidAttrNumber)
			ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
							errmsg("table \"chat.%s\" has no column \"%s\"",
								   table_names[table].name, column->name),
							errhint("Bring the store up to date with "
									"SELECT penny.upgrade_store().")));
		check_column(table, column->column,
					 TupleDescAttr(RelationGetDescr(relation), attribute - 1));
		info.attribute[column->column] = attribute;
	}
	relation_close(relation, AccessShareLock);
	tables[table] = info;
}

/* Is a value of the type what the generic column stands for? */
static bool
type_fits(PennyTable table, PennyColumn column, Oid type)
{
	if (column <= PENNY_U3)
		return type == UUIDOID;
	if (table == PENNY_ARTIFACT_VERSIONS && column == PENNY_ARTIFACT_VERSION_NUMBER)
		return type == INT4OID;
	if (column <= PENNY_N4)
		return type == INT8OID;
	if (table == PENNY_SESSIONS && column == PENNY_SESSION_HASH)
		return type == BYTEAOID;
	if (column <= PENNY_S6) /* every string of variable length is laid out as text is */
		return TypeCategory(type) == TYPCATEGORY_STRING && get_typlen(type) == -1;
	if (column <= PENNY_J1)
		return type == JSONBOID;
	return type == TIMESTAMPTZOID;
}

/* Where penny takes a value without asking whether it is null. */
static bool
is_required(PennyTable table, PennyColumn column)
{
	return column == PENNY_ID || column == PENNY_CONVERSATION_ID || table == PENNY_SESSIONS ||
		   (table == PENNY_PARTICIPANTS && column == PENNY_USER_ID) ||
		   (table == PENNY_TOMBSTONES && column == PENNY_TOMBSTONE_KIND);
}

/* Refuse to work with a column that is no longer what it was. */
static void
check_column(PennyTable table, PennyColumn column, Form_pg_attribute attribute)
{
	if (!type_fits(table, column, getBaseType(attribute->atttypid)))
		ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
						errmsg("column \"%s\" of table \"chat.%s\" is of type %s, which penny "
							   "cannot work with",
							   NameStr(attribute->attname), table_names[table].name,
							   format_type_be(attribute->atttypid)),
						errhint("Give the column back the type that penny.create_store() gives.")));
	if (is_required(table, column) && !attribute->attnotnull)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("column \"%s\" of table \"chat.%s\" may be null",
							   NameStr(attribute->attname), table_names[table].name),
						errhint("Make it NOT NULL again.")));
}

/*
 * Fill a row from a slot.
 */
void
penny_row_from_slot(PennyRow *row, PennyTable table, TupleTableSlot *slot)
{
	const TableInfo *info = table_info(table);
	int i;

	slot_getallattrs(slot);
	memset(row->list, 0, sizeof(row->list));
	for (i = 0; i < PENNY_COLUMNS; i++)
	{
		AttrNumber attribute = info->attribute[i];

		row->isnull[i] = attribute == 0 || slot->tts_isnull[attribute - 1];
		row->value[i] = row->isnull[i] ? (Datum) 0 : slot->tts_values[attribute - 1];
	}
}

/*
 * Fill a row from a tuple.
 */
void
penny_row_from_tuple(PennyRow *row, PennyTable table, HeapTuple tuple, TupleDesc desc)
{
	const TableInfo *info = table_info(table);
	Datum values[MaxHeapAttributeNumber];
	bool isnull[MaxHeapAttributeNumber];
	int i;

	heap_deform_tuple(tuple, desc, values, isnull);
	memset(row->list, 0, sizeof(row->list));
	for (i = 0; i < PENNY_COLUMNS; i++)
	{
		AttrNumber attribute = info->attribute[i];

		row->isnull[i] = attribute == 0 || isnull[attribute - 1];
		row->value[i] = row->isnull[i] ? (Datum) 0 : values[attribute - 1];
	}
}

/*
 * Take the names of a user along; they lie where the user's row lies.
 */
void
penny_row_take_user(PennyRow *row, const PennyRow *user)
{
	row->value[PENNY_USER_NAME] = user->value[PENNY_USER_NAME];
	row->isnull[PENNY_USER_NAME] = user->isnull[PENNY_USER_NAME];
	row->value[PENNY_USER_AVATAR] = user->value[PENNY_USER_AVATAR];
	row->isnull[PENNY_USER_AVATAR] = user->isnull[PENNY_USER_AVATAR];
}

static int
compare_numbers(const void *a, const void *b, PennyColumn column)
{
	int64 va = DatumGetInt64(((const PennyRow *) a)->value[column]);
	int64 vb = DatumGetInt64(((const PennyRow *) b)->value[column]);

	return va < vb ? -1 : va > vb;
}

int
penny_row_by_seq(const void *a, const void *b)
{
	return compare_numbers(a, b, PENNY_MESSAGE_SEQ);
}

int
penny_row_by_seq_descending(const void *a, const void *b)
{
	return compare_numbers(b, a, PENNY_MESSAGE_SEQ);
}

int
penny_row_by_version(const void *a, const void *b)
{
	return compare_numbers(a, b, PENNY_ROW_VERSION);
}

/*-------------------------------------------------------------------------
 *
 * invalidate.c
 *		penny.invalidate(): from changed rows to tags.
 *
 *	CREATE TRIGGER .. AFTER INSERT OR UPDATE OR DELETE ON t FOR EACH ROW
 *		EXECUTE FUNCTION penny.invalidate('project', 'project_id', ..)
 *	ALTER TABLE t ENABLE ALWAYS TRIGGER ..
 *
 * raises "project:<value>" for the old and the new value of the column.  For
 * each statement with transition tables it does the same for all its rows;
 * without the table that it needs it cannot know them, and raises the stamp of
 * everything, as does TRUNCATE.  Without arguments it raises the tag of the
 * whole table, "<schema>.<table>"; a row of a partition also those of the tables
 * that it is a partition of, for which its trigger stands in.
 *
 * The text of a value must not depend on settings of the session, since
 * readers write it by hand.  So columns of dates and floating point, among
 * others, are refused.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "executor/tuptable.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/tuplestore.h"
#include "utils/uuid.h"

#include "cache/cache_private.h"
#include "cache/invalidate.h"

#define FUNCTION_SYMBOL "penny_invalidate"
#define GENERATED_WHEN_READ 'v' /* from PostgreSQL 18 on: it is not in the row */

static void check_call(const TriggerData *trigger);
static void table_tags(Oid relation);
static void rows(const TriggerData *trigger);
static void statement(const TriggerData *trigger);
static bool store_rows(const TriggerData *trigger, Tuplestorestate *store);
static void slot_tags(const TriggerData *trigger, TupleTableSlot *slot);
static char *value_text(Datum value, Oid type, Form_pg_attribute column);

void
penny_invalidate_by_trigger(const TriggerData *trigger)
{
	check_call(trigger);
	if (!penny_cache_is_on())
		return;
	if (trigger->tg_trigger->tgnargs == 0 || TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
		table_tags(RelationGetRelid(trigger->tg_relation));
	if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
		penny_cache_invalidate_all();
	else if (trigger->tg_trigger->tgnargs == 0)
		return;
	else if (TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		rows(trigger);
	else
		statement(trigger);
}

static void
check_call(const TriggerData *trigger)
{
	if (!TRIGGER_FIRED_AFTER(trigger->tg_event))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("function \"penny.invalidate\" must be fired by an AFTER trigger")));
	if (trigger->tg_trigger->tgnargs % 2 != 0)
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("function \"penny.invalidate\" takes pairs of a tag's name and a "
							   "column"),
						errdetail("Trigger \"%s\" gives it %d arguments.",
								  trigger->tg_trigger->tgname, trigger->tg_trigger->tgnargs)));
}

/* The tags of the whole table, and of those that a partition belongs to. */
static void
table_tags(Oid relation)
{
	ListCell *lc;

	foreach (lc, penny_tags_of_table(relation))
		penny_cache_invalidate(lfirst(lc), NULL);
}

static void
rows(const TriggerData *trigger)
{
	slot_tags(trigger, trigger->tg_trigslot);
	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		slot_tags(trigger, trigger->tg_newslot);
}

/* All rows of a statement; if they are not there to be seen, everything. */
static void
statement(const TriggerData *trigger)
{
	bool seen = true;

	if (!TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		seen = store_rows(trigger, trigger->tg_oldtable);
	if (seen && !TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
		seen = store_rows(trigger, trigger->tg_newtable);
	if (!seen)
		penny_cache_invalidate_all();
}

/* The store is shared by all triggers, so it is read by a pointer of our own. */
static bool
store_rows(const TriggerData *trigger, Tuplestorestate *store)
{
	TupleTableSlot *slot;
	int pointer;

	if (store == NULL)
		return false;
	pointer = tuplestore_alloc_read_pointer(store, EXEC_FLAG_REWIND);
	tuplestore_select_read_pointer(store, pointer);
	tuplestore_rescan(store);
	slot = MakeSingleTupleTableSlot(RelationGetDescr(trigger->tg_relation), &TTSOpsMinimalTuple);
	for (;;)
	{
		/* who reads by another pointer selects it before each row, and so do we */
		tuplestore_select_read_pointer(store, pointer);
		if (!tuplestore_gettupleslot(store, true, false, slot))
			break;
		slot_tags(trigger, slot);
	}
	ExecDropSingleTupleTableSlot(slot);
	return true;
}

/* A reader gets the text of char(n) with its blanks from format(), and without them from a cast. */
static void
unpadded_tag(const char *name, char *text)
{
	int len = (int) strlen(text);
	int bare = bpchartruelen(text, len);

	if (bare == len)
		return;
	text[bare] = '\0';
	penny_cache_invalidate(name, text);
}

/* The tags of one row. */
static void
slot_tags(const TriggerData *trigger, TupleTableSlot *slot)
{
	Trigger *made = trigger->tg_trigger;
	TupleDesc desc = RelationGetDescr(trigger->tg_relation);

	for (int i = 0; i < made->tgnargs; i += 2)
	{
		const char *name = made->tgargs[i + 1];
		AttrNumber number = 0;
		bool isnull;
		Datum value;
		Oid type;
		char *text;

		for (int a = 0; a < desc->natts && number == 0; a++)
			if (!TupleDescAttr(desc, a)->attisdropped &&
				strcmp(NameStr(TupleDescAttr(desc, a)->attname), name) == 0)
				number = a + 1;
		if (number == 0)
			ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
							errmsg("column \"%s\" of relation \"%s\" does not exist", name,
								   RelationGetRelationName(trigger->tg_relation)),
							errdetail("Trigger \"%s\" names it.", made->tgname)));
		if (TupleDescAttr(desc, number - 1)->attgenerated == GENERATED_WHEN_READ)
			ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
							errmsg("column \"%s\" cannot be the value of a tag", name),
							errdetail("It is generated when it is read."),
							errhint("Use a column that it is generated from.")));
		value = slot_getattr(slot, number, &isnull);
		if (isnull)
			continue;
		type = getBaseType(TupleDescAttr(desc, number - 1)->atttypid);
		text = value_text(value, type, TupleDescAttr(desc, number - 1));
		penny_cache_invalidate(made->tgargs[i], text);
		if (type == BPCHAROID)
			unpadded_tag(made->tgargs[i], text);
		pfree(text);
	}
}

static char *
bytea_text(bytea *value)
{
	Size len = VARSIZE_ANY_EXHDR(value);
	char *text = palloc(2 * len + 1);

	text[hex_encode(VARDATA_ANY(value), len, text)] = '\0';
	return text;
}

static char *
value_text(Datum value, Oid type, Form_pg_attribute column)
{
	char *made;

	switch (type)
	{
		case UUIDOID:
			made = palloc(UUID_LEN * 2 + 5);
			penny_tag_write_uuid(made, DatumGetUUIDP(value));
			return made;
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
			return TextDatumGetCString(value);
		case NAMEOID:
			return pstrdup(NameStr(*DatumGetName(value)));
		case INT2OID:
			return psprintf("%d", DatumGetInt16(value));
		case INT4OID:
			return psprintf("%d", DatumGetInt32(value));
		case INT8OID:
			return psprintf(INT64_FORMAT, DatumGetInt64(value));
		case OIDOID:
			return psprintf("%u", DatumGetObjectId(value));
		case BOOLOID:
			return pstrdup(DatumGetBool(value) ? "true" : "false");
		case BYTEAOID:
			return bytea_text(DatumGetByteaPP(value));
		default:
			break;
	}
	if (type_is_enum(type))
	{
		Oid output;
		bool varlena;

		getTypeOutputInfo(type, &output, &varlena);
		return OidOutputFunctionCall(output, value);
	}
	ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					errmsg("column \"%s\" of type %s cannot be the value of a tag",
						   NameStr(column->attname), format_type_be(column->atttypid)),
					errdetail("Its text depends on settings of the session."),
					errhint("Use a column of a number, text, uuid, bytea, boolean or enum type.")));
}

/* The function is known by its symbol: its schema may belong to no extension yet. */
bool
penny_invalidate_is(Oid function)
{
	HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	bool is = false;

	if (!HeapTupleIsValid(tuple))
		return false;
	if (((Form_pg_proc) GETSTRUCT(tuple))->prorettype == TRIGGEROID)
	{
		bool isnull;
		Datum symbol = SysCacheGetAttr(PROCOID, tuple, Anum_pg_proc_prosrc, &isnull);

		is = !isnull && strcmp(TextDatumGetCString(symbol), FUNCTION_SYMBOL) == 0;
	}
	ReleaseSysCache(tuple);
	return is;
}

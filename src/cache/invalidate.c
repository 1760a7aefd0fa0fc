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
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/tuplestore.h"
#include "utils/uuid.h"

#include "cache/cache_private.h"
#include "cache/invalidate.h"

#define SMALL_TEXT 40 /* a uuid's, and that of any number */
#define FUNCTION_SYMBOL "penny_invalidate"
#define GENERATED_WHEN_READ 'v' /* from PostgreSQL 18 on: it is not in the row */

static void check_call(const TriggerData *trigger);
static void table_tags(Oid relation);
static void rows(const TriggerData *trigger);
static void statement(const TriggerData *trigger);
static bool store_rows(const TriggerData *trigger, Tuplestorestate *store);
static void slot_tags(const TriggerData *trigger, TupleTableSlot *slot, TupleTableSlot *told);
static const char *value_text(Datum value, Oid type, Form_pg_attribute column, char *small);

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
	slot_tags(trigger, trigger->tg_trigslot, NULL);
	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		slot_tags(trigger, trigger->tg_newslot, trigger->tg_trigslot);
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
		slot_tags(trigger, slot, NULL);
	}
	ExecDropSingleTupleTableSlot(slot);
	return true;
}

/* Is it char(n), or a domain over it?  Types of PostgreSQL itself are not looked up. */
static bool
is_padded(Oid type)
{
	return type == BPCHAROID || (type >= FirstNormalObjectId && getBaseType(type) == BPCHAROID);
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

/* Of a column by its name; it must be there. */
static AttrNumber
column_number(const TriggerData *trigger, const char *name)
{
	TupleDesc desc = RelationGetDescr(trigger->tg_relation);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute column = TupleDescAttr(desc, i);

		if (column->attisdropped || strcmp(NameStr(column->attname), name) != 0)
			continue;
		if (column->attgenerated == GENERATED_WHEN_READ)
			ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
							errmsg("column \"%s\" cannot be the value of a tag", name),
							errdetail("It is generated when it is read."),
							errhint("Use a column that it is generated from.")));
		return i + 1;
	}
	ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
					errmsg("column \"%s\" of relation \"%s\" does not exist", name,
						   RelationGetRelationName(trigger->tg_relation)),
					errdetail("Trigger \"%s\" names it.", trigger->tg_trigger->tgname)));
}

/* The tags of one row, but for those that it has in common with one whose were raised. */
static void
slot_tags(const TriggerData *trigger, TupleTableSlot *slot, TupleTableSlot *told)
{
	Trigger *made = trigger->tg_trigger;

	for (int i = 0; i < made->tgnargs; i += 2)
	{
		AttrNumber number = column_number(trigger, made->tgargs[i + 1]);
		Form_pg_attribute column =
			TupleDescAttr(RelationGetDescr(trigger->tg_relation), number - 1);
		bool isnull;
		Datum value = slot_getattr(slot, number, &isnull);
		char small[SMALL_TEXT];
		const char *text;

		if (isnull)
			continue;
		if (told != NULL)
		{
			Datum before = slot_getattr(told, number, &isnull);

			if (!isnull && datumIsEqual(value, before, column->attbyval, column->attlen))
				continue;
		}
		text = value_text(value, column->atttypid, column, small);
		penny_cache_invalidate(made->tgargs[i], text);
		if (is_padded(column->atttypid))
			unpadded_tag(made->tgargs[i], unconstify(char *, text));
		if (text != small)
			pfree(unconstify(char *, text));
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

/* In `small` where it fits by its type, else palloc'd. */
static const char *
value_text(Datum value, Oid type, Form_pg_attribute column, char *small)
{
	switch (type)
	{
		case UUIDOID:
			penny_tag_write_uuid(small, DatumGetUUIDP(value));
			return small;
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
			return TextDatumGetCString(value);
		case NAMEOID:
			return pstrdup(NameStr(*DatumGetName(value)));
		case INT2OID:
			pg_itoa(DatumGetInt16(value), small);
			return small;
		case INT4OID:
			pg_ltoa(DatumGetInt32(value), small);
			return small;
		case INT8OID:
			pg_lltoa(DatumGetInt64(value), small);
			return small;
		case OIDOID:
			pg_lltoa((int64) DatumGetObjectId(value), small);
			return small;
		case BOOLOID:
			return pstrdup(DatumGetBool(value) ? "true" : "false");
		case BYTEAOID:
			return bytea_text(DatumGetByteaPP(value));
		default:
			break;
	}
	if (getBaseType(type) != type)
		return value_text(value, getBaseType(type), column, small);
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

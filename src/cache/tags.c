/*-------------------------------------------------------------------------
 *
 * tags.c
 *		Tags: their texts, their slots, and whether somebody keeps them.
 *
 * A tag is "name:value".  Who changes rows raises the stamps of tags by
 * penny.invalidate() triggers; a trigger that does not fire always (disabled,
 * or not in sessions that replicate) does not, and nothing that depends on a
 * name that it should raise is kept.  The names of such triggers are read from
 * the catalog when the stamp of everything has moved, since every change of a
 * trigger moves it.
 *
 * A user's tag may have no trigger at all: then time alone ends what depends on
 * it.  What must not be kept without one is asked by penny_cache_is_told().
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
#include "catalog/partition.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "cache/cache_private.h"
#include "cache/invalidate.h"

#define TAG_TEXT 256 /* longer ones are made in memory of their own */
#define UUID_TEXT 36

/*
 * Names that a trigger raises that does not fire always, "table name" of
 * triggers that tell of every row, and the seq of everything at which they were
 * read.
 */
static List *idle_names = NIL;
static List *kept_names = NIL;
static uint64 names_seq = 0;
static bool names_known = false;
static MemoryContext names_context = NULL;

static void read_names(void);
static void add_names_of(HeapTuple trigger, TupleDesc desc);
static bool tells_of_every_row(HeapTuple trigger, TupleDesc desc);
static void add_kept_names_of(HeapTuple trigger, TupleDesc desc);

/* ---- texts and slots ----------------------------------------------------- */

uint32
penny_fence_slot(const char *name, const char *value)
{
	char small[TAG_TEXT];
	char *text = small;
	Size name_len = strlen(name);
	Size value_len = value != NULL ? strlen(value) + 1 : 0;
	uint32 slot;

	if (name_len + value_len > sizeof(small))
		text = palloc(name_len + value_len);
	memcpy(text, name, name_len);
	if (value != NULL)
	{
		text[name_len] = ':';
		memcpy(text + name_len + 1, value, value_len - 1);
	}
	slot = penny_stamp_slot(penny_plane(), text, name_len + value_len);
	if (text != small)
		pfree(text);
	return slot;
}

void
penny_tag_write_uuid(char *to, const pg_uuid_t *uuid)
{
	static const char digits[] = "0123456789abcdef";

	for (int i = 0; i < UUID_LEN; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*to++ = '-';
		*to++ = digits[uuid->data[i] >> 4];
		*to++ = digits[uuid->data[i] & 15];
	}
	*to = '\0';
}

void
penny_cache_invalidate_uuid(const char *name, const pg_uuid_t *id)
{
	char text[UUID_TEXT + 1];

	penny_tag_write_uuid(text, id);
	penny_cache_invalidate(name, text);
}

void
penny_cache_depend(const char *name, const char *value)
{
	const char *colon;

	if (!penny_cache_collecting())
		return;
	colon = strchr(name, ':');
	if (!penny_collector_is_refused() &&
		penny_tag_is_idle(name, colon != NULL ? (Size) (colon - name) : strlen(name)))
		penny_cache_refuse(PENNY_CACHE_REFUSED_POLICY);
	penny_collector_depend(penny_fence_slot(name, value));
}

void
penny_cache_depend_uuid(const char *name, const pg_uuid_t *id)
{
	char text[UUID_TEXT + 1];

	if (!penny_cache_collecting())
		return;
	penny_tag_write_uuid(text, id);
	penny_cache_depend(name, text);
}

/* ---- who keeps them ------------------------------------------------------ */

bool
penny_tag_is_idle(const char *name, Size len)
{
	ListCell *lc;

	read_names();
	foreach (lc, idle_names)
	{
		const char *idle = lfirst(lc);

		if (strlen(idle) == len && memcmp(idle, name, len) == 0)
			return true;
	}
	return false;
}

int
penny_tag_idle_count(void)
{
	read_names();
	return list_length(idle_names);
}

bool
penny_cache_is_told(const char *table, const char *name)
{
	ListCell *lc;
	char wanted[2 * NAMEDATALEN + TAG_TEXT];

	snprintf(wanted, sizeof(wanted), "%s %s", table, name);
	read_names();
	foreach (lc, kept_names)
		if (strcmp(lfirst(lc), wanted) == 0)
			return true;
	return false;
}

/*
 * What is read is remembered only if nobody was changing catalogs meanwhile, as
 * a fill (fence.c).  Otherwise what is being built would not be kept either, so
 * it is refused now, and need not come here with each of its tags.
 */
static void
read_names(void)
{
	PennyCacheToken all = {.slot = PENNY_STAMP_ALL};
	Snapshot snapshot;
	Relation relation;
	SysScanDesc scan;
	HeapTuple tuple;

	all.seq = penny_stamp_seq(penny_plane(), PENNY_STAMP_ALL);
	if (names_known && names_seq == all.seq)
		return;
	names_known = false;
	if (names_context == NULL)
		names_context =
			AllocSetContextCreate(TopMemoryContext, "names of triggers", ALLOCSET_SMALL_SIZES);
	idle_names = kept_names = NIL;
	MemoryContextReset(names_context);

	snapshot = RegisterSnapshot(GetLatestSnapshot());
	relation = table_open(TriggerRelationId, AccessShareLock);
	scan = systable_beginscan(relation, InvalidOid, false, snapshot, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_trigger trigger = (Form_pg_trigger) GETSTRUCT(tuple);

		if (trigger->tgisinternal || !penny_invalidate_is(trigger->tgfoid))
			continue;
		if (trigger->tgenabled != TRIGGER_FIRES_ALWAYS)
			add_names_of(tuple, RelationGetDescr(relation));
		else if (tells_of_every_row(tuple, RelationGetDescr(relation)))
			add_kept_names_of(tuple, RelationGetDescr(relation));
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	if (penny_cache_catalogs_still() && penny_fence_token(&all, snapshot) == PENNY_FENCE_CLEAR)
	{
		names_seq = all.seq;
		names_known = true;
	}
	else
		penny_cache_refuse(PENNY_CACHE_REFUSED_FENCE);
	UnregisterSnapshot(snapshot);
}

static List *
add_name(List *names, const char *name)
{
	MemoryContext old = MemoryContextSwitchTo(names_context);

	names = lappend(names, pstrdup(name));
	MemoryContextSwitchTo(old);
	return names;
}

/* The first of each pair of arguments. */
static List *
raised_names(HeapTuple tuple, TupleDesc desc)
{
	Form_pg_trigger trigger = (Form_pg_trigger) GETSTRUCT(tuple);
	List *names = NIL;
	bool isnull;
	Datum value = heap_getattr(tuple, Anum_pg_trigger_tgargs, desc, &isnull);

	if (!isnull)
	{
		const char *at = VARDATA_ANY(DatumGetByteaPP(value));

		for (int i = 0; i < trigger->tgnargs; i++)
		{
			if (i % 2 == 0)
				names = lappend(names, unconstify(char *, at));
			at += strlen(at) + 1;
		}
	}
	return names;
}

/* Names that it raises, and those of the table. */
static void
add_names_of(HeapTuple tuple, TupleDesc desc)
{
	Form_pg_trigger trigger = (Form_pg_trigger) GETSTRUCT(tuple);
	ListCell *lc;

	foreach (lc, penny_tags_of_table(trigger->tgrelid))
		idle_names = add_name(idle_names, lfirst(lc));
	foreach (lc, raised_names(tuple, desc))
		idle_names = add_name(idle_names, lfirst(lc));
}

/* For each row, however it is written, without a condition? */
static bool
tells_of_every_row(HeapTuple tuple, TupleDesc desc)
{
	const int16 type =
		TRIGGER_TYPE_ROW | TRIGGER_TYPE_INSERT | TRIGGER_TYPE_UPDATE | TRIGGER_TYPE_DELETE;
	Form_pg_trigger trigger = (Form_pg_trigger) GETSTRUCT(tuple);

	return trigger->tgtype == type && trigger->tgattr.dim1 == 0 &&
		   heap_attisnull(tuple, Anum_pg_trigger_tgqual, desc);
}

static void
add_kept_names_of(HeapTuple tuple, TupleDesc desc)
{
	Form_pg_trigger trigger = (Form_pg_trigger) GETSTRUCT(tuple);
	char *table = penny_tag_of_table(trigger->tgrelid);
	ListCell *lc;

	if (table == NULL)
		return;
	foreach (lc, raised_names(tuple, desc))
		kept_names = add_name(kept_names, psprintf("%s %s", table, (char *) lfirst(lc)));
}

/* "schema.table"; NULL when there is no such table. */
char *
penny_tag_of_table(Oid relation)
{
	char *name = get_rel_name(relation);
	char *schema = get_namespace_name(get_rel_namespace(relation));

	if (name == NULL || schema == NULL)
		return NULL;
	return psprintf("%s.%s", schema, name);
}

List *
penny_tags_of_table(Oid relation)
{
	List *tables = list_make1_oid(relation);
	List *tags = NIL;
	ListCell *lc;

	if (get_rel_relispartition(relation))
		tables = list_concat(tables, get_partition_ancestors(relation));
	foreach (lc, tables)
	{
		char *tag = penny_tag_of_table(lfirst_oid(lc));

		if (tag != NULL)
			tags = lappend(tags, tag);
	}
	return tags;
}

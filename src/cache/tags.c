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
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/indexing.h"
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

/* Names that no trigger keeps always, and the seq of everything at which they were read. */
static List *idle_names = NIL;
static uint64 idle_seq = 0;
static bool idle_known = false;
static MemoryContext idle_context = NULL;

static void read_idle_names(void);
static void add_names_of(HeapTuple trigger, TupleDesc desc);

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
	if (penny_tag_is_idle(name, colon != NULL ? (Size) (colon - name) : strlen(name)))
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

	read_idle_names();
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
	read_idle_names();
	return list_length(idle_names);
}

/*
 * What is read is remembered only if nobody was changing catalogs meanwhile, as
 * a fill (fence.c).
 */
static void
read_idle_names(void)
{
	PennyCacheToken all = {.slot = PENNY_STAMP_ALL};
	Snapshot snapshot;
	Relation relation;
	SysScanDesc scan;
	HeapTuple tuple;

	all.seq = penny_stamp_seq(penny_plane(), PENNY_STAMP_ALL);
	if (idle_known && idle_seq == all.seq)
		return;
	idle_known = false;
	if (idle_context == NULL)
		idle_context =
			AllocSetContextCreate(TopMemoryContext, "names of idle triggers", ALLOCSET_SMALL_SIZES);
	idle_names = NIL;
	MemoryContextReset(idle_context);

	snapshot = RegisterSnapshot(GetLatestSnapshot());
	relation = table_open(TriggerRelationId, AccessShareLock);
	scan = systable_beginscan(relation, InvalidOid, false, snapshot, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_trigger trigger = (Form_pg_trigger) GETSTRUCT(tuple);

		if (!trigger->tgisinternal && trigger->tgenabled != TRIGGER_FIRES_ALWAYS &&
			penny_invalidate_is(trigger->tgfoid))
			add_names_of(tuple, RelationGetDescr(relation));
	}
	systable_endscan(scan);
	table_close(relation, AccessShareLock);
	if (penny_cache_catalogs_still() && penny_fence_token(&all, snapshot) == PENNY_FENCE_CLEAR)
	{
		idle_seq = all.seq;
		idle_known = true;
	}
	UnregisterSnapshot(snapshot);
}

static void
add_name(const char *name)
{
	MemoryContext old = MemoryContextSwitchTo(idle_context);

	idle_names = lappend(idle_names, pstrdup(name));
	MemoryContextSwitchTo(old);
}

/* The first of each pair of arguments, and the name of the table. */
static void
add_names_of(HeapTuple tuple, TupleDesc desc)
{
	Form_pg_trigger trigger = (Form_pg_trigger) GETSTRUCT(tuple);
	char *wide = penny_tag_of_table(trigger->tgrelid);
	bool isnull;
	Datum value = heap_getattr(tuple, Anum_pg_trigger_tgargs, desc, &isnull);

	if (wide != NULL)
		add_name(wide);
	if (!isnull)
	{
		bytea *arguments = DatumGetByteaPP(value);
		const char *at = VARDATA_ANY(arguments);

		for (int i = 0; i < trigger->tgnargs; i++)
		{
			if (i % 2 == 0)
				add_name(at);
			at += strlen(at) + 1;
		}
	}
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

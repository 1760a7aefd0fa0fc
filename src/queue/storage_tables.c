/*-------------------------------------------------------------------------
 *
 * storage_tables.c
 *		Opening the queue's tables, and writing rows into heap and indexes.
 *
 * Oids are looked up by name once in a session, with what is known of the
 * indexes, and forgotten when the relation cache is told of a change (DROP
 * EXTENSION, REINDEX, ALTER).  A lock is taken before anything is believed: if
 * an invalidation came with it, the look-up is done again.
 *
 * Indexes of these tables are on plain columns, with a predicate at most
 * (jobs_deferred).  An index that somebody added is kept up to date as well, if
 * it is of that kind; otherwise the table is refused: rows would be missing in
 * it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/relscan.h"
#include "access/skey.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_index.h"
#include "catalog/pg_type_d.h"
#include "executor/executor.h"
#include "nodes/execnodes.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "queue/storage.h"

/* What is known of a table; `relid` Invalid: nothing. */
typedef struct Known
{
	Oid relid;
	int nindexes; /* -1: not looked at */
	PennyIndexShape shape[PENNY_TABLE_INDEXES];
} Known;

struct PennyTableScan
{
	IndexScanDesc scan;
	TupleTableSlot *slot;
};

static Known known[PENNY_TABLES];

static void look_at_indexes(Known *table, Relation relation);

/* ---- what is known ---------------------------------------------------------------- */

static void
table_name(PennyQueueTable table, char name[NAMEDATALEN])
{
	static const char *const others[] = {"jobs_deferred", "jobs_dead", "jobs_history",
										 "job_keys",      "job_edges", "jobs_restored",
										 "job_id"};

	if (table < PENNY_TABLE_RECEIPT)
		snprintf(name, NAMEDATALEN, "job_%d", (int) (table - PENNY_TABLE_JOB));
	else if (table < PENNY_TABLE_DEFERRED)
		snprintf(name, NAMEDATALEN, "receipt_%d", (int) (table - PENNY_TABLE_RECEIPT));
	else
		strlcpy(name, others[table - PENNY_TABLE_DEFERRED], NAMEDATALEN);
}

static int
columns_of(PennyQueueTable table)
{
	static const int others[] = {DEFERRED_COLUMNS, 20, 14, 0, 0, 0, 0};

	if (table < PENNY_TABLE_RECEIPT)
		return JOB_COLUMNS;
	if (table < PENNY_TABLE_DEFERRED)
		return RECEIPT_COLUMNS;
	return others[table - PENNY_TABLE_DEFERRED];
}

static void
forget(Datum arg, Oid relid)
{
	(void) arg;
	for (int i = 0; i < PENNY_TABLES; i++)
	{
		if (!OidIsValid(known[i].relid))
			continue;
		if (OidIsValid(relid) && known[i].relid != relid)
			continue;
		known[i].relid = InvalidOid;
	}
}

Oid
penny_queue_table_oid(PennyQueueTable table)
{
	static bool registered = false;
	char name[NAMEDATALEN];
	Oid schema;

	if (OidIsValid(known[table].relid))
		return known[table].relid;
	if (!registered)
	{
		CacheRegisterRelcacheCallback(forget, (Datum) 0);
		registered = true;
	}
	schema = get_namespace_oid("_penny", true);
	if (!OidIsValid(schema))
		return InvalidOid;
	table_name(table, name);
	known[table].relid = get_relname_relid(name, schema);
	known[table].nindexes = -1;
	return known[table].relid;
}

static void
refuse(PennyQueueTable table, const char *detail)
{
	char name[NAMEDATALEN];

	table_name(table, name);
	ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					errmsg("table \"_penny.%s\" is not as penny made it", name),
					errdetail("%s", detail), errhint("Undo what was done to the table.")));
}

/* ---- opening ------------------------------------------------------------------------- */

void
penny_table_open(PennyOpenTable *open, PennyQueueTable table, LOCKMODE mode)
{
	Known *it = &known[table];
	Oid relid;

	do
	{
		relid = penny_queue_table_oid(table);
		if (!OidIsValid(relid))
			ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
							errmsg("the job queue is not in this database"),
							errhint("Make it with CREATE EXTENSION penny.")));
		open->relation = try_table_open(relid, mode);
		if (open->relation != NULL && !OidIsValid(it->relid))
		{
			/* told of something on the way: what is known of it may be another table */
			table_close(open->relation, mode);
			open->relation = NULL;
		}
		else if (open->relation == NULL)
			it->relid = InvalidOid;
	} while (open->relation == NULL);

	if (it->nindexes < 0)
	{
		if (open->relation->rd_rel->relam != HEAP_TABLE_AM_OID ||
			(columns_of(table) != 0 &&
			 RelationGetDescr(open->relation)->natts != columns_of(table)))
			refuse(table, "It is no heap, or its columns are others.");
		look_at_indexes(it, open->relation);
	}
	open->table = table;
	open->nindexes = it->nindexes;
	memcpy(open->shape, it->shape, sizeof(open->shape));
	for (int i = 0; i < open->nindexes; i++)
		open->index[i] = index_open(open->shape[i].oid, mode);
}

void
penny_table_close(PennyOpenTable *open)
{
	for (int i = 0; i < open->nindexes; i++)
		index_close(open->index[i], NoLock);
	table_close(open->relation, NoLock);
}

/* Remember the indexes. */
static void
look_at_indexes(Known *table, Relation relation)
{
	PennyQueueTable number = (PennyQueueTable) (table - known);
	List *list = RelationGetIndexList(relation);
	ListCell *cell;
	int n = 0;

	if (list_length(list) > PENNY_TABLE_INDEXES)
		refuse(number, "It has indexes that penny did not make.");
	foreach (cell, list)
	{
		Relation index = index_open(lfirst_oid(cell), AccessShareLock);
		Form_pg_index form = index->rd_index;
		PennyIndexShape *shape = &table->shape[n++];

		shape->oid = lfirst_oid(cell);
		shape->unique = form->indisunique;
		shape->ready = form->indisready;
		shape->valid = form->indisvalid;
		shape->partial = !heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL);
		shape->ncolumns = form->indnatts;
		if (index->rd_rel->relam != BTREE_AM_OID || form->indnatts > PENNY_INDEX_COLUMNS ||
			!heap_attisnull(index->rd_indextuple, Anum_pg_index_indexprs, NULL) ||
			(shape->partial && number != PENNY_TABLE_DEFERRED))
			refuse(number, "It has an index that penny did not make.");
		for (int i = 0; i < form->indnatts; i++)
			shape->column[i] = form->indkey.values[i];
		index_close(index, NoLock);
	}
	list_free(list);
	table->nindexes = n;
}

/* ---- writing --------------------------------------------------------------------------- */

/* The one predicate is `pending = 0`. */
void
penny_table_index(PennyOpenTable *open, HeapTuple row, Datum *values, bool *isnull)
{
	static IndexInfo info = {.type = T_IndexInfo};

	for (int i = 0; i < open->nindexes; i++)
	{
		PennyIndexShape *shape = &open->shape[i];
		Datum key[PENNY_INDEX_COLUMNS];
		bool key_null[PENNY_INDEX_COLUMNS];

		if (!shape->ready || (shape->partial && DatumGetInt32(values[JOB_PENDING]) != 0))
			continue;
		for (int k = 0; k < shape->ncolumns; k++)
		{
			key[k] = values[shape->column[k] - 1];
			key_null[k] = isnull[shape->column[k] - 1];
		}
		(void) index_insert(open->index[i], key, key_null, &row->t_self, open->relation,
							shape->unique ? UNIQUE_CHECK_YES : UNIQUE_CHECK_NO, false, &info);
	}
}

HeapTuple
penny_table_insert(PennyOpenTable *open, Datum *values, bool *isnull)
{
	HeapTuple row = heap_form_tuple(RelationGetDescr(open->relation), values, isnull);

	heap_insert(open->relation, row, GetCurrentCommandId(true), 0, NULL);
	penny_table_index(open, row, values, isnull);
	return row;
}

void
penny_table_update(PennyOpenTable *open, HeapTuple old, Datum *values, bool *isnull)
{
	TupleDesc desc = RelationGetDescr(open->relation);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(desc, table_slot_callbacks(open->relation));
	HeapTuple row = heap_form_tuple(desc, values, isnull);
	PennyUpdatedIndexes indexes;

	ExecForceStoreHeapTuple(row, slot, true);
	simple_table_tuple_update(open->relation, &old->t_self, slot, GetLatestSnapshot(), &indexes);
	if (penny_indexes_updated(indexes))
	{
		row = ExecFetchSlotHeapTuple(slot, false, NULL);
		row->t_self = slot->tts_tid;
		penny_table_index(open, row, values, isnull);
	}
	ExecDropSingleTupleTableSlot(slot);
}

void
penny_table_delete(PennyOpenTable *open, HeapTuple old)
{
	simple_heap_delete(open->relation, &old->t_self);
}

/* ---- reading --------------------------------------------------------------------------- */

Relation
penny_table_index_on(PennyOpenTable *open, int column)
{
	for (int i = 0; i < open->nindexes; i++)
		if (open->shape[i].valid && open->shape[i].column[0] == column + 1)
			return open->index[i];
	refuse(open->table, "It lacks an index.");
	return NULL;
}

PennyTableScan *
penny_table_scan(PennyOpenTable *open, int column, Snapshot snapshot, int nkeys, const Datum *keys)
{
	PennyTableScan *scan = palloc(sizeof(*scan));
	Relation index = penny_table_index_on(open, column);
	TupleDesc desc = RelationGetDescr(index);
	ScanKeyData key[2];

	for (int i = 0; i < nkeys; i++)
	{
		Oid type = TupleDescAttr(desc, i)->atttypid;

		ScanKeyInit(&key[i], (AttrNumber) (i + 1), BTEqualStrategyNumber,
					type == INT8OID   ? F_INT8EQ
					: type == INT2OID ? F_INT2EQ
									  : F_TEXTEQ,
					keys[i]);
		key[i].sk_collation = TupleDescAttr(desc, i)->attcollation;
	}
	scan->slot = table_slot_create(open->relation, NULL);
	scan->scan = penny_index_beginscan(open->relation, index, snapshot, nkeys);
	index_rescan(scan->scan, key, nkeys, NULL, 0);
	return scan;
}

/* A range of a bigint or timestamp. */
static PennyTableScan *
scan_range(PennyOpenTable *open, int column, Snapshot snapshot, StrategyNumber strategy, int64 edge)
{
	PennyTableScan *scan = palloc(sizeof(*scan));
	Relation index = penny_table_index_on(open, column);
	bool number = TupleDescAttr(RelationGetDescr(index), 0)->atttypid == INT8OID;
	RegProcedure function;
	ScanKeyData key;

	if (strategy == BTGreaterEqualStrategyNumber)
		function = number ? F_INT8GE : F_TIMESTAMPTZ_GE;
	else
		function = number ? F_INT8LE : F_TIMESTAMPTZ_LE;
	ScanKeyInit(&key, 1, strategy, function, Int64GetDatum(edge));
	scan->slot = table_slot_create(open->relation, NULL);
	scan->scan = penny_index_beginscan(open->relation, index, snapshot, 1);
	index_rescan(scan->scan, &key, 1, NULL, 0);
	return scan;
}

PennyTableScan *
penny_table_scan_from(PennyOpenTable *open, int column, Snapshot snapshot, int64 from)
{
	return scan_range(open, column, snapshot, BTGreaterEqualStrategyNumber, from);
}

PennyTableScan *
penny_table_scan_to(PennyOpenTable *open, int column, Snapshot snapshot, int64 to)
{
	return scan_range(open, column, snapshot, BTLessEqualStrategyNumber, to);
}

static bool
get_row(PennyTableScan *scan, ScanDirection direction, HeapTuple *row)
{
	if (!index_getnext_slot(scan->scan, direction, scan->slot))
		return false;
	*row = ExecFetchSlotHeapTuple(scan->slot, false, NULL);
	return true;
}

bool
penny_table_next(PennyTableScan *scan, HeapTuple *row)
{
	return get_row(scan, ForwardScanDirection, row);
}

bool
penny_table_previous(PennyTableScan *scan, HeapTuple *row)
{
	return get_row(scan, BackwardScanDirection, row);
}

void
penny_table_scan_end(PennyTableScan *scan)
{
	index_endscan(scan->scan);
	ExecDropSingleTupleTableSlot(scan->slot);
	pfree(scan);
}

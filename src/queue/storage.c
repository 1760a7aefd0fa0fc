/*-------------------------------------------------------------------------
 *
 * storage.c
 *		Writing rows of new jobs.
 *
 * A row goes straight into heap and index, and the entry that the commit will
 * post is noted (enqueue_commit.c).  Ids come from the sequence; the id says which
 * table.  Where that table holds another segment still, and for jobs that are due
 * late or wait for children, the row goes to jobs_deferred.
 *
 * Many rows are written with heap_multi_insert(), table by table.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/xact.h"
#include "commands/sequence.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "queue/pending.h"
#include "queue/shared.h"
#include "queue/storage.h"

#define MANY 500 /* rows at once */

static bool is_late(const PennyJobRow *row);
static void prepare(PennyJobRow *row);
static void note(const PennyJobRow *row, HeapTuple tuple);
static void insert_deferred(PennyJobRow *row);
static int insert_run(PennyJobRow *rows, int n);

int64
penny_job_next_id(void)
{
	return nextval_internal(penny_queue_table_oid(PENNY_TABLE_ID), false);
}

static bool
is_late(const PennyJobRow *row)
{
	return row->pending != 0 ||
		   row->due > GetCurrentTransactionStartTimestamp() + PENNY_JOB_DEFER_AFTER;
}

/* What a row says of itself. */
static void
prepare(PennyJobRow *row)
{
	row->flags = (row->flags & PENNY_JOB_REDRIVEN) | (row->key != NULL ? PENNY_JOB_KEYED : 0) |
				 (row->parent != 0 ? PENNY_JOB_CHILD : 0) |
				 (row->user_id != NULL || row->room != NULL ? PENNY_JOB_TOLD : 0);
	if (row->id == 0)
		row->id = penny_job_next_id();
}

static PennyRunner
runner_of(const char *kind)
{
	const PennyHandler *handler = penny_handler_find(kind);

	return handler == NULL ? PENNY_RUNNER_EXTERNAL : handler->runner;
}

static void
note(const PennyJobRow *row, HeapTuple tuple)
{
	PennyJob job;

	if (!penny_queue_here())
		return;
	penny_job_entry(row, &tuple->t_self, &job);
	penny_pending_job(&job, runner_of(row->kind));
}

static void
insert_deferred(PennyJobRow *row)
{
	Datum values[DEFERRED_COLUMNS];
	bool isnull[DEFERRED_COLUMNS];
	PennyOpenTable open;
	HeapTuple tuple;

	row->flags |= PENNY_JOB_DEFERRED;
	penny_job_values(row, values, isnull, DEFERRED_COLUMNS);
	penny_table_open(&open, PENNY_TABLE_DEFERRED, RowExclusiveLock);
	tuple = penny_table_insert(&open, values, isnull);
	penny_table_close(&open);
	if (!is_late(row))
	{
		penny_queue_count(PENNY_QUEUE_SPILLED, 1);
		note(row, tuple);
	}
	else if (row->pending == 0)
		penny_pending_deferred(row->due);
	heap_freetuple(tuple);
}

int64
penny_job_insert(PennyJobRow *row)
{
	Datum values[JOB_COLUMNS];
	bool isnull[JOB_COLUMNS];
	PennyOpenTable open;
	HeapTuple tuple;

	prepare(row);
	/* the rows of segments have no room for what a parent is */
	if (is_late(row) || row->on_child_failure != '\0')
	{
		insert_deferred(row);
		return row->id;
	}
	penny_table_open(&open, penny_job_table(row->id), RowExclusiveLock);
	if (penny_segment_usable(&open, row->id))
	{
		penny_job_values(row, values, isnull, JOB_COLUMNS);
		tuple = penny_table_insert(&open, values, isnull);
		note(row, tuple);
		heap_freetuple(tuple);
	}
	else
		insert_deferred(row);
	penny_table_close(&open);
	return row->id;
}

void
penny_job_offer(const PennyJobRow *row)
{
	ItemPointerData nowhere;
	PennyJob job;

	if (!penny_queue_here())
		return;
	ItemPointerSet(&nowhere, 0, FirstOffsetNumber);
	penny_job_entry(row, &nowhere, &job);
	job.flags |= PENNY_JOB_DEFERRED;
	if (is_late(row))
		penny_pending_deferred(row->due);
	else
		penny_pending_job(&job, runner_of(row->kind));
}

/* ---- many -------------------------------------------------------------------------- */

/* Put rows of one table into it; all have ids. */
static void
write_run(PennyOpenTable *open, PennyJobRow *rows, int n)
{
	TupleDesc desc = RelationGetDescr(open->relation);
	TupleTableSlot **slot = palloc((Size) n * sizeof(*slot));
	Datum values[JOB_COLUMNS];
	bool isnull[JOB_COLUMNS];

	for (int i = 0; i < n; i++)
	{
		penny_job_values(&rows[i], values, isnull, JOB_COLUMNS);
		slot[i] = MakeSingleTupleTableSlot(desc, &TTSOpsHeapTuple);
		ExecStoreHeapTuple(heap_form_tuple(desc, values, isnull), slot[i], false);
	}
	heap_multi_insert(open->relation, slot, n, GetCurrentCommandId(true), 0, NULL);
	for (int i = 0; i < n; i++)
	{
		HeapTuple tuple = ExecFetchSlotHeapTuple(slot[i], false, NULL);

		memset(isnull, 0, sizeof(isnull));
		values[JOB_ID] = Int64GetDatum(rows[i].id);
		if (open->nindexes > 1)
			penny_job_values(&rows[i], values, isnull, JOB_COLUMNS);
		tuple->t_self = slot[i]->tts_tid;
		penny_table_index(open, tuple, values, isnull);
		note(&rows[i], tuple);
		ExecDropSingleTupleTableSlot(slot[i]);
	}
}

/* The rows at the beginning that go to one place; how many. */
static int
insert_run(PennyJobRow *rows, int n)
{
	PennyOpenTable open;
	int run = 1;

	if (is_late(&rows[0]))
	{
		insert_deferred(&rows[0]);
		return 1;
	}
	while (run < n && run < MANY && !is_late(&rows[run]) &&
		   penny_segment_of(rows[run].id) == penny_segment_of(rows[0].id))
		run++;
	penny_table_open(&open, penny_job_table(rows[0].id), RowExclusiveLock);
	if (penny_segment_usable(&open, rows[0].id))
		write_run(&open, rows, run);
	else
		for (int i = 0; i < run; i++)
			insert_deferred(&rows[i]);
	penny_table_close(&open);
	return run;
}

void
penny_job_insert_many(PennyJobRow *rows, int n)
{
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "penny jobs", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);

	for (int i = 0; i < n; i++)
		prepare(&rows[i]);
	for (int i = 0; i < n;)
	{
		CHECK_FOR_INTERRUPTS();
		i += insert_run(&rows[i], n - i);
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

/*-------------------------------------------------------------------------
 *
 * load.c
 *		The scheduler's memory from the tables.
 *
 * After a start, a crash, or when the extension was made anew.  First which segment
 * each table holds, so that jobs can be enqueued and run while the rest is read.
 * Then, under one snapshot, the receipts: final ones set `done` bits, those of
 * failed attempts are kept in a table by id, and starts within a queue's window
 * count for its limits.  Then the rows, a sequential scan that offers what is not
 * done.  What commits meanwhile comes by itself; a row that comes both ways is taken
 * once, by its `seen` bit.
 *
 * Rows of another segment than their table's, such as those of a dump that was
 * restored beside others, become deferred jobs.
 *
 * penny.load_jobs() has the same done again: it adds what is missing and changes
 * nothing else.
 *
 * What finds no room is left for rescans (rescan.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "queue/ending_private.h"
#include "queue/load.h"
#include "queue/shared.h"
#include "queue/storage.h"

#define CHUNK 2048 /* under one hold of the lock */

/* A job that failed and is to be run again. */
typedef struct Retry
{
	int64 id; /* key */
	int64 due;
	int attempts;
} Retry;

typedef struct Start
{
	int64 at;
	uint64 group;
	uint16 queue;
} Start;

typedef struct Loading
{
	int64 now;
	Snapshot snapshot;
	HTAB *retries;
	int64 done[CHUNK];
	int ndone;
	Start *start;
	int nstarts;
	int space;
	int64 window[PENNY_SCHED_QUEUES]; /* of a queue with a limit; -1: not asked */
} Loading;

static void find_segments(int64 now);
static void read_receipts(Loading *loading, PennyQueueTable table);
static void read_jobs(Loading *loading, PennyQueueTable table, PennyOffers *offers);
static void count_starts(Loading *loading);

/* ---- receipts ---------------------------------------------------------------------- */

static void
flush_done(Loading *loading)
{
	PennySched *sched = penny_queue_sched();

	penny_queue_lock();
	for (int i = 0; i < loading->ndone; i++)
		penny_sched_mark_done(sched, loading->done[i]);
	penny_queue_unlock();
	loading->ndone = 0;
}

static void
add_done(int64 id, void *arg)
{
	Loading *loading = arg;

	loading->done[loading->ndone++] = id;
	if (loading->ndone == CHUNK)
		flush_done(loading);
}

static void
add_retry(Loading *loading, int64 id, int attempt, int64 due)
{
	bool found;
	Retry *retry = hash_search(loading->retries, &id, HASH_ENTER, &found);

	if (found && retry->attempts >= attempt)
		return;
	retry->attempts = attempt;
	retry->due = due;
}

/* The longest window of the queue's limits, 0: none. */
static int64
window_of(Loading *loading, uint16 queue)
{
	PennyQueueConfig config;
	int64 *window = &loading->window[queue % PENNY_SCHED_QUEUES];

	if (*window >= 0)
		return *window;
	*window = 0;
	if (penny_queue_by_id(queue, &config))
	{
		if (config.limits.rate > 0)
			*window = config.limits.window;
		if (config.limits.group_rate > 0)
			*window = Max(*window, config.limits.group_window);
	}
	return *window;
}

static void
add_start(Loading *loading, uint16 queue, int64 at, uint64 group, int jobs)
{
	int64 window = window_of(loading, queue);

	if (window == 0 || at < loading->now - window)
		return;
	for (int i = 0; i < jobs; i++)
	{
		if (loading->nstarts == loading->space)
		{
			loading->space *= 2;
			loading->start = repalloc_huge(loading->start, (Size) loading->space * sizeof(Start));
		}
		loading->start[loading->nstarts++] = (Start){.at = at, .group = group, .queue = queue};
	}
}

static void
read_receipt(Loading *loading, HeapTuple tuple, TupleDesc desc)
{
	Datum value[RECEIPT_COLUMNS];
	bool isnull[RECEIPT_COLUMNS];
	int64 id;
	int outcome;

	heap_deform_tuple(tuple, desc, value, isnull);
	id = DatumGetInt64(value[RECEIPT_ID]);
	outcome = DatumGetInt16(value[RECEIPT_OUTCOME]);
	if (outcome == PENNY_OUTCOME_RETRY)
		add_retry(loading, id, DatumGetInt16(value[RECEIPT_ATTEMPT]),
				  isnull[RECEIPT_DUE] ? 0 : DatumGetTimestampTz(value[RECEIPT_DUE]));
	else if (outcome == PENNY_OUTCOME_BATCH && !isnull[RECEIPT_IDS])
	{
		bytea *ids = DatumGetByteaPP(value[RECEIPT_IDS]);

		penny_receipt_unpack(id, ids, add_done, loading);
		if ((Pointer) ids != DatumGetPointer(value[RECEIPT_IDS]))
			pfree(ids);
	}
	else
		add_done(id, loading);
	add_start(loading, (uint16) DatumGetInt16(value[RECEIPT_QUEUE]),
			  DatumGetTimestampTz(value[RECEIPT_STARTED]),
			  isnull[RECEIPT_GROUP] ? 0 : (uint64) DatumGetInt64(value[RECEIPT_GROUP]),
			  DatumGetInt32(value[RECEIPT_JOBS]));
}

static void
read_receipts(Loading *loading, PennyQueueTable table)
{
	PennyOpenTable open;
	TableScanDesc scan;
	HeapTuple tuple;

	penny_table_open(&open, table, AccessShareLock);
	scan = table_beginscan_strat(open.relation, loading->snapshot, 0, NULL, true, false);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		read_receipt(loading, tuple, RelationGetDescr(open.relation));
	}
	table_endscan(scan);
	penny_table_close(&open);
}

static int
compare_starts(const void *a, const void *b)
{
	int64 x = ((const Start *) a)->at;
	int64 y = ((const Start *) b)->at;

	return x < y ? -1 : x > y ? 1 : 0;
}

/* In the order in which they happened. */
static void
count_starts(Loading *loading)
{
	PennySched *sched = penny_queue_sched();

	qsort(loading->start, (size_t) loading->nstarts, sizeof(Start), compare_starts);
	for (int i = 0; i < loading->nstarts;)
	{
		int end = Min(i + CHUNK, loading->nstarts);

		penny_queue_lock();
		for (; i < end; i++)
			penny_sched_started(sched, loading->start[i].queue, loading->start[i].group,
								loading->start[i].at, loading->now);
		penny_queue_unlock();
	}
}

/* ---- rows ---------------------------------------------------------------------------- */

/*
 * Rows of another segment than their table's, such as those of a dump that was
 * restored beside others: they become deferred jobs.
 */
static void
move_strays(PennyQueueTable table, List *strays)
{
	PennyOpenTable open;
	ListCell *cell;

	if (strays == NIL)
		return;
	penny_table_open(&open, table, RowExclusiveLock);
	foreach (cell, strays)
	{
		HeapTuple tuple = lfirst(cell);
		PennyJobRow row;
		int64 due;
		int attempts;

		CHECK_FOR_INTERRUPTS();
		penny_job_from_tuple(tuple, RelationGetDescr(open.relation), false, &row);
		attempts = penny_load_attempts(row.id, &due);
		if (!penny_receipt_tells_end(row.id))
			penny_deferred_move(&row, Max(row.due, due), attempts, penny_job_errors(&row));
		penny_table_delete(&open, tuple);
		penny_queue_count(PENNY_QUEUE_MOVED, 1);
	}
	penny_table_close(&open);
}

static void
read_jobs(Loading *loading, PennyQueueTable table, PennyOffers *offers)
{
	PennyOpenTable open;
	TableScanDesc scan;
	HeapTuple tuple;
	bool any_retries = hash_get_num_entries(loading->retries) > 0;
	pg_atomic_uint64 *open_segment = &penny_queue_shared->open[table - PENNY_TABLE_JOB];
	List *strays = NIL;

	penny_table_open(&open, table, AccessShareLock);
	scan = table_beginscan_strat(open.relation, loading->snapshot, 0, NULL, true, false);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		PennyJob job;
		Retry *retry = NULL;

		CHECK_FOR_INTERRUPTS();
		penny_job_entry_from_tuple(tuple, RelationGetDescr(open.relation), false, &job);
		if (pg_atomic_read_u64(open_segment) != (uint64) penny_segment_of(job.id) + 1)
		{
			strays = lappend(strays, heap_copytuple(tuple));
			continue;
		}
		if (any_retries)
			retry = hash_search(loading->retries, &job.id, HASH_FIND, NULL);
		if (retry != NULL)
		{
			job.attempt = (uint16) retry->attempts;
			job.due = Max(job.due, retry->due);
		}
		(void) penny_offers_add(offers, &job);
	}
	table_endscan(scan);
	penny_table_close(&open);
	move_strays(table, strays);
}

/* Which segment each table holds, in the order of the segments. */
static void
find_segments(int64 now)
{
	PennyQueueShared *s = penny_queue_shared;
	int64 segment[PENNY_SEGMENTS];

	for (int i = 0; i < PENNY_SEGMENTS; i++)
	{
		PennyOpenTable open;

		penny_table_open(&open, (PennyQueueTable) (PENNY_TABLE_JOB + i), AccessShareLock);
		segment[i] = penny_segment_in_table(&open);
		penny_table_close(&open);
	}
	penny_queue_lock();
	for (int i = 0; i < PENNY_SEGMENTS; i++)
		if (pg_atomic_read_u64(&s->open[i]) == 0)
			s->empty[i] = true;
	for (int done = 0; done < PENNY_SEGMENTS; done++)
	{
		int least = -1;

		for (int i = 0; i < PENNY_SEGMENTS; i++)
			if (segment[i] >= 0 && (least < 0 || segment[i] < segment[least]))
				least = i;
		if (least < 0)
			break;
		(void) penny_segment_open(segment[least], now);
		segment[least] = -1;
	}
	penny_queue_unlock();
}

/* ---- all of it -------------------------------------------------------------------------- */

static Loading *
begin(int64 now)
{
	Loading *loading = palloc(sizeof(Loading));
	HASHCTL control = {
		.keysize = sizeof(int64), .entrysize = sizeof(Retry), .hcxt = CurrentMemoryContext};

	loading->now = now;
	loading->snapshot = RegisterSnapshot(GetLatestSnapshot());
	loading->retries =
		hash_create("penny retries", 256, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	loading->ndone = 0;
	loading->nstarts = 0;
	loading->space = 256;
	loading->start = palloc((Size) loading->space * sizeof(Start));
	for (int i = 0; i < PENNY_SCHED_QUEUES; i++)
		loading->window[i] = -1;
	return loading;
}

/* The memory is to be about these tables now. */
static void
take_over(Oid relation, int64 now)
{
	PennyQueueShared *s = penny_queue_shared;

	penny_queue_lock();
	if (OidIsValid(s->relation))
		penny_sched_clear(penny_queue_sched());
	pg_atomic_write_u32(&s->load, PENNY_QUEUE_EMPTY);
	s->database = MyDatabaseId;
	s->relation = relation;
	for (int i = 0; i < PENNY_SEGMENTS; i++)
	{
		pg_atomic_write_u64(&s->open[i], 0);
		s->empty[i] = false;
	}
	penny_queue_unlock();
	find_segments(now);
	penny_queue_lock();
	pg_atomic_write_u32(&s->load, PENNY_QUEUE_LOADING);
	penny_queue_unlock();
}

void
penny_load_all(int64 now)
{
	Oid relation = penny_queue_table_oid(PENNY_TABLE_DEFERRED);
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "penny load", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Loading *loading;
	PennyOffers *offers;
	bool again = penny_queue_current();
	bool counted = pg_atomic_read_u32(&penny_queue_shared->load) == PENNY_QUEUE_LOADED;

	if (again)
		find_segments(now);
	else
		take_over(relation, now);
	/* after it was said that memory is in use: who did not see that is noted as missed */
	penny_prepared_begin();
	loading = begin(now);
	for (int i = 0; i < PENNY_SEGMENTS; i++)
		read_receipts(loading, (PennyQueueTable) (PENNY_TABLE_RECEIPT + i));
	flush_done(loading);
	/* twice, if the first time came to nothing after it, which is on the safe side */
	if (!again || !counted)
		count_starts(loading);
	offers = penny_offers_begin();
	/* what was restored waits, who enqueues now is served */
	for (int i = 0; i < PENNY_SEGMENTS && !penny_jobs_held(); i++)
		read_jobs(loading, (PennyQueueTable) (PENNY_TABLE_JOB + i), offers);
	penny_queue_count(PENNY_QUEUE_LOADED_ROWS, penny_offers_end(offers));
	if (hash_get_num_entries(loading->retries) > 0)
		pg_atomic_write_u32(&penny_queue_shared->old_retries, 1);
	UnregisterSnapshot(loading->snapshot);
	CommandCounterIncrement();
	pg_atomic_write_u64(&penny_queue_shared->deferred_due, 0);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
}

bool
penny_jobs_held(void)
{
	PennyOpenTable open;
	TableScanDesc scan;
	Snapshot snapshot;
	bool held;

	penny_table_open(&open, PENNY_TABLE_RESTORED, AccessShareLock);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan = table_beginscan_strat(open.relation, snapshot, 0, NULL, true, false);
	held = heap_getnext(scan, ForwardScanDirection) != NULL;
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	penny_table_close(&open);
	return held;
}

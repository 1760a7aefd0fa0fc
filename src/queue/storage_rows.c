/*-------------------------------------------------------------------------
 *
 * storage_rows.c
 *		Rows of jobs between the tables, C and the scheduler.
 *
 * jobs_deferred begins with the columns of a segment, so one description does for
 * both.  What the scheduler's memory wants (storage order, kind, group) is read
 * from a tuple without making a row of it: that is what loading a million jobs
 * costs.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "executor/tuptable.h"
#include "storage/bufmgr.h"
#include "storage/proc.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/uuid.h"

#include "queue/shared.h"
#include "queue/storage.h"

#define STORED_FLAGS (PENNY_JOB_KEYED | PENNY_JOB_CHILD | PENNY_JOB_TOLD | PENNY_JOB_REDRIVEN)

static void
put_text(Datum *value, bool *isnull, const char *text)
{
	*isnull = text == NULL;
	*value = text != NULL ? CStringGetTextDatum(text) : (Datum) 0;
}

void
penny_job_values(const PennyJobRow *row, Datum *values, bool *isnull, int columns)
{
	memset(isnull, 0, (size_t) columns * sizeof(bool));
	values[JOB_ID] = Int64GetDatum(row->id);
	values[JOB_QUEUE] = Int16GetDatum((int16) row->queue);
	values[JOB_FLAGS] = Int16GetDatum((int16) (row->flags & STORED_FLAGS));
	values[JOB_PRIORITY] = Int32GetDatum(row->priority);
	values[JOB_ATTEMPTS] = Int16GetDatum((int16) row->attempts);
	values[JOB_TIMEOUT] = Int32GetDatum(row->timeout_ms);
	values[JOB_BACKOFF] = Int32GetDatum(row->backoff_ms);
	values[JOB_DUE] = TimestampTzGetDatum(row->due);
	values[JOB_ENQUEUED] = TimestampTzGetDatum(row->enqueued_at);
	put_text(&values[JOB_KIND], &isnull[JOB_KIND], row->kind);
	values[JOB_PAYLOAD] = JsonbPGetDatum(row->payload);
	values[JOB_USER] = UUIDPGetDatum(row->user_id);
	isnull[JOB_USER] = row->user_id == NULL;
	values[JOB_PARENT] = Int64GetDatum(row->parent);
	isnull[JOB_PARENT] = row->parent == 0;
	put_text(&values[JOB_KEY], &isnull[JOB_KEY], row->key);
	put_text(&values[JOB_GROUP], &isnull[JOB_GROUP], row->group_key);
	put_text(&values[JOB_ROOM], &isnull[JOB_ROOM], row->room);
	if (columns == JOB_COLUMNS)
		return;
	values[JOB_MADE] = Int16GetDatum((int16) row->made);
	values[JOB_ERRORS] = row->errors != NULL ? JsonbPGetDatum(row->errors)
											 : DirectFunctionCall1(jsonb_in, CStringGetDatum("[]"));
	values[JOB_PENDING] = Int32GetDatum(row->pending);
	if (row->on_child_failure == '\0')
		isnull[JOB_ON_CHILD_FAILURE] = true;
	else
		put_text(&values[JOB_ON_CHILD_FAILURE], &isnull[JOB_ON_CHILD_FAILURE],
				 row->on_child_failure == 'i'   ? "ignore"
				 : row->on_child_failure == 'w' ? "wait"
												: "fail");
}

static const char *
get_text(Datum value, bool isnull)
{
	return isnull ? NULL : TextDatumGetCString(value);
}

/* All of it, copied into the current context. */
void
penny_job_from_tuple(HeapTuple tuple, TupleDesc desc, bool deferred, PennyJobRow *row)
{
	Datum values[DEFERRED_COLUMNS];
	bool isnull[DEFERRED_COLUMNS];

	memset(row, 0, sizeof(*row));
	heap_deform_tuple(tuple, desc, values, isnull);
	row->id = DatumGetInt64(values[JOB_ID]);
	row->queue = (uint16) DatumGetInt16(values[JOB_QUEUE]);
	row->flags = (uint16) DatumGetInt16(values[JOB_FLAGS]) & STORED_FLAGS;
	row->priority = DatumGetInt32(values[JOB_PRIORITY]);
	row->attempts = DatumGetInt16(values[JOB_ATTEMPTS]);
	row->timeout_ms = DatumGetInt32(values[JOB_TIMEOUT]);
	row->backoff_ms = DatumGetInt32(values[JOB_BACKOFF]);
	row->due = DatumGetTimestampTz(values[JOB_DUE]);
	row->enqueued_at = DatumGetTimestampTz(values[JOB_ENQUEUED]);
	row->kind = TextDatumGetCString(values[JOB_KIND]);
	row->payload = DatumGetJsonbPCopy(values[JOB_PAYLOAD]);
	if (!isnull[JOB_USER])
	{
		pg_uuid_t *user = palloc(sizeof(*user));

		*user = *DatumGetUUIDP(values[JOB_USER]);
		row->user_id = user;
	}
	row->parent = isnull[JOB_PARENT] ? 0 : DatumGetInt64(values[JOB_PARENT]);
	row->key = get_text(values[JOB_KEY], isnull[JOB_KEY]);
	row->group_key = get_text(values[JOB_GROUP], isnull[JOB_GROUP]);
	row->room = get_text(values[JOB_ROOM], isnull[JOB_ROOM]);
	if (!deferred)
		return;
	row->flags |= PENNY_JOB_DEFERRED;
	row->made = DatumGetInt16(values[JOB_MADE]);
	row->errors = DatumGetJsonbPCopy(values[JOB_ERRORS]);
	row->pending = DatumGetInt32(values[JOB_PENDING]);
	if (!isnull[JOB_ON_CHILD_FAILURE])
		row->on_child_failure = *TextDatumGetCString(values[JOB_ON_CHILD_FAILURE]);
}

/* ---- for the scheduler --------------------------------------------------------- */

static uint64
text_hash(Datum value)
{
	text *packed = DatumGetTextPP(value);

	return penny_sched_hash(VARDATA_ANY(packed), VARSIZE_ANY_EXHDR(packed));
}

void
penny_job_entry(const PennyJobRow *row, ItemPointer tid, PennyJob *job)
{
	memset(job, 0, sizeof(*job));
	job->id = row->id;
	job->due = row->due;
	job->kind = penny_sched_hash(row->kind, strlen(row->kind));
	job->group =
		row->group_key == NULL ? 0 : penny_sched_hash(row->group_key, strlen(row->group_key));
	job->block = ItemPointerGetBlockNumber(tid);
	job->offset = ItemPointerGetOffsetNumber(tid);
	job->queue = row->queue;
	job->priority = row->priority;
	job->flags = row->flags;
	job->attempt = (uint16) row->made;
}

void
penny_job_entry_from_tuple(HeapTuple tuple, TupleDesc desc, bool deferred, PennyJob *job)
{
	bool isnull;
	Datum group;

	memset(job, 0, sizeof(*job));
	job->id = DatumGetInt64(heap_getattr(tuple, JOB_ID + 1, desc, &isnull));
	job->queue = (uint16) DatumGetInt16(heap_getattr(tuple, JOB_QUEUE + 1, desc, &isnull));
	job->flags =
		(uint16) DatumGetInt16(heap_getattr(tuple, JOB_FLAGS + 1, desc, &isnull)) & STORED_FLAGS;
	job->priority = DatumGetInt32(heap_getattr(tuple, JOB_PRIORITY + 1, desc, &isnull));
	job->due = DatumGetTimestampTz(heap_getattr(tuple, JOB_DUE + 1, desc, &isnull));
	job->kind = text_hash(heap_getattr(tuple, JOB_KIND + 1, desc, &isnull));
	group = heap_getattr(tuple, JOB_GROUP + 1, desc, &isnull);
	job->group = isnull ? 0 : text_hash(group);
	job->block = ItemPointerGetBlockNumber(&tuple->t_self);
	job->offset = ItemPointerGetOffsetNumber(&tuple->t_self);
	if (!deferred)
		return;
	job->flags |= PENNY_JOB_DEFERRED;
	job->attempt = (uint16) DatumGetInt16(heap_getattr(tuple, JOB_MADE + 1, desc, &isnull));
}

/* ---- reading -------------------------------------------------------------------- */

/*
 * Is there such a block?  A superuser may have truncated the table; within this
 * transaction, which has a lock on it now, it does not shrink.
 */
static bool
has_block(Relation relation, BlockNumber block)
{
	static Oid known = InvalidOid;
	static LocalTransactionId when = InvalidLocalTransactionId;
	static BlockNumber blocks = 0;

	if (known != RelationGetRelid(relation) || when != MyProc->lxid || block >= blocks)
	{
		known = RelationGetRelid(relation);
		when = MyProc->lxid;
		blocks = RelationGetNumberOfBlocks(relation);
	}
	return block < blocks;
}

/* By its place; false: another row, or none. */
static bool
read_at(const PennyJob *job, Snapshot snapshot, PennyJobRow *row)
{
	PennyOpenTable open;
	TupleTableSlot *slot;
	ItemPointerData tid;
	bool found;

	penny_table_open(&open, penny_job_table(job->id), AccessShareLock);
	slot = table_slot_create(open.relation, NULL);
	ItemPointerSet(&tid, job->block, job->offset);
	found = has_block(open.relation, job->block) &&
			table_tuple_fetch_row_version(open.relation, &tid, snapshot, slot);
	if (found)
	{
		penny_job_from_tuple(ExecFetchSlotHeapTuple(slot, false, NULL),
							 RelationGetDescr(open.relation), false, row);
		found = row->id == job->id;
	}
	ExecDropSingleTupleTableSlot(slot);
	penny_table_close(&open);
	return found;
}

static bool
read_by_id(PennyQueueTable table, int64 id, Snapshot snapshot, PennyJobRow *row)
{
	bool deferred = table == PENNY_TABLE_DEFERRED;
	Datum key = Int64GetDatum(id);
	PennyOpenTable open;
	PennyTableScan *scan;
	HeapTuple tuple;
	bool found;

	penny_table_open(&open, table, AccessShareLock);
	scan = penny_table_scan(&open, JOB_ID, snapshot, 1, &key);
	found = penny_table_next(scan, &tuple);
	if (found)
		penny_job_from_tuple(tuple, RelationGetDescr(open.relation), deferred, row);
	penny_table_scan_end(scan);
	penny_table_close(&open);
	return found;
}

/*
 * A snapshot of now: the job may have been committed after the caller's statement
 * or transaction took its own.
 */
bool
penny_job_read(const PennyJob *job, PennyJobRow *row)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	bool found = penny_queue_current();

	if (found && (job->flags & PENNY_JOB_DEFERRED))
		found = read_by_id(PENNY_TABLE_DEFERRED, job->id, snapshot, row);
	else if (found)
		/* the table may have been written anew (VACUUM FULL, CLUSTER): by id then */
		found = read_at(job, snapshot, row) ||
				read_by_id(penny_job_table(job->id), job->id, snapshot, row);
	UnregisterSnapshot(snapshot);
	if (!found)
		penny_queue_count(PENNY_QUEUE_GONE_ROWS, 1);
	else if (!(row->flags & PENNY_JOB_DEFERRED))
		row->made = job->attempt;
	return found;
}

bool
penny_job_read_id(int64 id, PennyJobRow *row)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	bool found = read_by_id(PENNY_TABLE_DEFERRED, id, snapshot, row) ||
				 read_by_id(penny_job_table(id), id, snapshot, row);

	UnregisterSnapshot(snapshot);
	return found;
}

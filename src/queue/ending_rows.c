/*-------------------------------------------------------------------------
 *
 * ending_rows.c
 *		Rows of deferred jobs, dead letters and the history, as jobs end.
 *
 * A deferred job is in one place at a time: its row.  Who ends it deletes the row,
 * so of two who would, the second meets the first one's delete and fails.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "queue/ending_private.h"
#include "queue/load.h"
#include "queue/storage.h"

enum
{
	DEAD_ID,
	DEAD_QUEUE,
	DEAD_FLAGS,
	DEAD_PRIORITY,
	DEAD_ATTEMPTS,
	DEAD_TIMEOUT,
	DEAD_BACKOFF,
	DEAD_ENQUEUED,
	DEAD_KIND,
	DEAD_PAYLOAD,
	DEAD_USER,
	DEAD_PARENT,
	DEAD_KEY,
	DEAD_GROUP,
	DEAD_ROOM,
	DEAD_MADE,
	DEAD_REASON,
	DEAD_ERRORS,
	DEAD_AT,
	DEAD_REDRIVEN,
	DEAD_COLUMNS
};

enum
{
	HISTORY_ID,
	HISTORY_QUEUE,
	HISTORY_KIND,
	HISTORY_PAYLOAD,
	HISTORY_USER,
	HISTORY_KEY,
	HISTORY_GROUP,
	HISTORY_OUTCOME,
	HISTORY_ATTEMPT,
	HISTORY_ENQUEUED,
	HISTORY_STARTED,
	HISTORY_ENDED,
	HISTORY_RESULT,
	HISTORY_WORKER,
	HISTORY_COLUMNS
};

static void
insert_row(PennyQueueTable table, Datum *values, bool *isnull)
{
	PennyOpenTable open;

	penny_table_open(&open, table, RowExclusiveLock);
	heap_freetuple(penny_table_insert(&open, values, isnull));
	penny_table_close(&open);
}

void
penny_deferred_move(const PennyJobRow *row, int64 due, int made, Jsonb *errors)
{
	PennyJobRow moved = *row;
	Datum values[DEFERRED_COLUMNS];
	bool isnull[DEFERRED_COLUMNS];

	moved.due = due;
	moved.made = made;
	moved.errors = errors;
	penny_job_values(&moved, values, isnull, DEFERRED_COLUMNS);
	insert_row(PENNY_TABLE_DEFERRED, values, isnull);
}

/* Find the row and delete it, or update it to `row`. */
static void
change_row(PennyQueueTable table, int64 id, const PennyJobRow *row)
{
	Snapshot snapshot;
	Datum key = Int64GetDatum(id);
	Datum values[DEFERRED_COLUMNS];
	bool isnull[DEFERRED_COLUMNS];
	PennyOpenTable open;
	PennyTableScan *scan;
	HeapTuple tuple;

	/* what this transaction wrote counts */
	CommandCounterIncrement();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	penny_table_open(&open, table, RowExclusiveLock);
	scan = penny_table_scan(&open, JOB_ID, snapshot, 1, &key);
	if (!penny_table_next(scan, &tuple))
		ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
						errmsg("job " INT64_FORMAT " has ended by other hands", id)));
	if (row == NULL)
		penny_table_delete(&open, tuple);
	else
	{
		penny_job_values(row, values, isnull, DEFERRED_COLUMNS);
		penny_table_update(&open, tuple, values, isnull);
	}
	penny_table_scan_end(scan);
	penny_table_close(&open);
	UnregisterSnapshot(snapshot);
}

void
penny_deferred_retry(const PennyJobRow *row, int64 due, int made, Jsonb *errors)
{
	PennyJobRow next = *row;

	next.due = due;
	next.made = made;
	next.errors = errors;
	change_row(PENNY_TABLE_DEFERRED, row->id, &next);
}

void
penny_deferred_delete(int64 id)
{
	change_row(PENNY_TABLE_DEFERRED, id, NULL);
}

void
penny_job_delete(int64 id)
{
	change_row(penny_job_table(id), id, NULL);
}

/* ---- what is kept ------------------------------------------------------------------ */

void
penny_dead_insert(const PennyJobRow *row, int made, const char *reason, Jsonb *errors,
				  TimestampTz at)
{
	Datum job[JOB_COLUMNS];
	bool job_null[JOB_COLUMNS];
	Datum values[DEAD_COLUMNS];
	bool isnull[DEAD_COLUMNS] = {false};

	penny_job_values(row, job, job_null, JOB_COLUMNS);
	/* the same columns, but for when it is due */
	for (int i = 0; i < JOB_DUE; i++)
		values[i] = job[i];
	for (int i = JOB_ENQUEUED; i < JOB_COLUMNS; i++)
	{
		values[i - 1] = job[i];
		isnull[i - 1] = job_null[i];
	}
	values[DEAD_MADE] = Int16GetDatum((int16) made);
	values[DEAD_REASON] = CStringGetTextDatum(reason);
	values[DEAD_ERRORS] = JsonbPGetDatum(errors);
	values[DEAD_AT] = TimestampTzGetDatum(at);
	values[DEAD_REDRIVEN] = PointerGetDatum(construct_empty_array(INT8OID));
	insert_row(PENNY_TABLE_DEAD, values, isnull);
}

void
penny_history_insert(const PennyJobRow *row, const PennyReceipt *receipt)
{
	Datum job[JOB_COLUMNS];
	bool job_null[JOB_COLUMNS];
	Datum values[HISTORY_COLUMNS];
	bool isnull[HISTORY_COLUMNS] = {false};

	penny_job_values(row, job, job_null, JOB_COLUMNS);
	values[HISTORY_ID] = job[JOB_ID];
	values[HISTORY_QUEUE] = job[JOB_QUEUE];
	values[HISTORY_KIND] = job[JOB_KIND];
	values[HISTORY_PAYLOAD] = job[JOB_PAYLOAD];
	values[HISTORY_USER] = job[JOB_USER];
	isnull[HISTORY_USER] = job_null[JOB_USER];
	values[HISTORY_KEY] = job[JOB_KEY];
	isnull[HISTORY_KEY] = job_null[JOB_KEY];
	values[HISTORY_GROUP] = job[JOB_GROUP];
	isnull[HISTORY_GROUP] = job_null[JOB_GROUP];
	values[HISTORY_OUTCOME] = Int16GetDatum((int16) receipt->outcome);
	values[HISTORY_ATTEMPT] = Int16GetDatum((int16) receipt->attempt);
	values[HISTORY_ENQUEUED] = job[JOB_ENQUEUED];
	values[HISTORY_STARTED] = TimestampTzGetDatum(receipt->started);
	values[HISTORY_ENDED] = TimestampTzGetDatum(receipt->ended);
	isnull[HISTORY_RESULT] = receipt->result == NULL;
	values[HISTORY_RESULT] = PointerGetDatum(receipt->result);
	isnull[HISTORY_WORKER] = receipt->worker == NULL;
	values[HISTORY_WORKER] =
		receipt->worker == NULL ? (Datum) 0 : CStringGetTextDatum(receipt->worker);
	insert_row(PENNY_TABLE_HISTORY, values, isnull);
	penny_history_added(row->queue);
}

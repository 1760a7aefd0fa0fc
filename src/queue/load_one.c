/*-------------------------------------------------------------------------
 *
 * load_one.c
 *		One job from its table into memory: one that somebody wants to cancel and for
 *		which there was no room.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "queue/load.h"
#include "queue/shared.h"
#include "queue/storage.h"

int
penny_load_attempts(int64 id, int64 *due)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	Datum key = Int64GetDatum(id);
	PennyOpenTable open;
	PennyTableScan *scan;
	HeapTuple tuple;
	int attempts = 0;

	*due = 0;
	penny_table_open(&open, penny_receipt_table(id), AccessShareLock);
	scan = penny_table_scan(&open, RECEIPT_ID, snapshot, 1, &key);
	while (penny_table_next(scan, &tuple))
	{
		TupleDesc desc = RelationGetDescr(open.relation);
		bool isnull;
		Datum at = heap_getattr(tuple, RECEIPT_DUE + 1, desc, &isnull);
		int attempt = DatumGetInt16(heap_getattr(tuple, RECEIPT_ATTEMPT + 1, desc, &isnull));

		if (DatumGetInt16(heap_getattr(tuple, RECEIPT_OUTCOME + 1, desc, &isnull)) !=
				PENNY_OUTCOME_RETRY ||
			attempt < attempts)
			continue;
		attempts = attempt;
		*due = DatumGetTimestampTz(at);
	}
	penny_table_scan_end(scan);
	penny_table_close(&open);
	UnregisterSnapshot(snapshot);
	return attempts;
}

bool
penny_load_job(int64 id)
{
	Snapshot snapshot;
	Datum key = Int64GetDatum(id);
	PennyOpenTable open;
	PennyTableScan *scan;
	HeapTuple tuple;
	PennyJob job;
	PennyJobRef ref = 0;
	int64 due;

	if (pg_atomic_read_u32(&penny_queue_shared->load) != PENNY_QUEUE_LOADED)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("the job queue is still being read"),
						errhint("Try it again in a moment.")));
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	penny_table_open(&open, penny_job_table(id), AccessShareLock);
	scan = penny_table_scan(&open, JOB_ID, snapshot, 1, &key);
	if (penny_table_next(scan, &tuple))
	{
		penny_job_entry_from_tuple(tuple, RelationGetDescr(open.relation), false, &job);
		job.attempt = (uint16) penny_load_attempts(id, &due);
		job.due = Max(job.due, due);
		penny_queue_lock();
		ref = penny_sched_offer(penny_queue_sched(), &job, penny_queue_now());
		penny_queue_unlock();
	}
	penny_table_scan_end(scan);
	penny_table_close(&open);
	UnregisterSnapshot(snapshot);
	return ref != 0 && ref != PENNY_SCHED_ANY;
}

bool
penny_load_row(const PennyJobRow *row)
{
	ItemPointerData nowhere; /* deferred jobs are read by their id */
	PennyJob job;
	PennyJobRef ref;

	ItemPointerSet(&nowhere, 0, FirstOffsetNumber);
	penny_job_entry(row, &nowhere, &job);
	job.flags |= PENNY_JOB_DEFERRED;
	penny_queue_lock();
	ref = penny_sched_offer(penny_queue_sched(), &job, penny_queue_now());
	penny_queue_unlock();
	return ref != PENNY_SCHED_ANY;
}

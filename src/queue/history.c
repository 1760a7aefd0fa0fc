/*-------------------------------------------------------------------------
 *
 * history.c
 *		How many of the jobs that completed are kept.
 *
 * Who adds a row to jobs_history marks its queue; once a minute the oldest rows of
 * marked queues go, beyond keep_completed.  So a queue may have some more for a
 * minute, and nothing is deleted job by job.  (Dead letters: dead.c.)
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "queue/load.h"
#include "queue/shared.h"
#include "queue/storage.h"

#define PAUSE (60 * USECS_PER_SEC)
#define MOST 10000 /* rows to delete at once */
#define QUEUE_COLUMN 1

void
penny_history_added(uint16 queue)
{
	pg_atomic_uint64 *word;
	uint64 bit = UINT64CONST(1) << (queue % 64);

	if (penny_queue_shared == NULL)
		return;
	word = &penny_queue_shared->trim[queue % PENNY_SCHED_QUEUES / 64];
	if (pg_atomic_read_u64(word) & bit)
		return;
	pg_atomic_fetch_or_u64(word, bit);
	penny_queue_upkeep_by(GetCurrentTimestamp() + PAUSE);
}

/* False: there is more to delete. */
static bool
trim(PennyQueueTable table, uint16 queue, int keep)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	Datum key = Int16GetDatum((int16) queue);
	PennyOpenTable open;
	PennyTableScan *scan;
	HeapTuple tuple;
	int deleted = 0;

	penny_table_open(&open, table, RowExclusiveLock);
	scan = penny_table_scan(&open, QUEUE_COLUMN, snapshot, 1, &key);
	while (deleted < MOST && penny_table_previous(scan, &tuple))
	{
		CHECK_FOR_INTERRUPTS();
		if (keep-- > 0)
			continue;
		penny_table_delete(&open, tuple);
		deleted++;
	}
	penny_table_scan_end(scan);
	penny_table_close(&open);
	UnregisterSnapshot(snapshot);
	return deleted < MOST;
}

int64
penny_history_trim(int64 now)
{
	static int64 trimmed_at = 0;
	PennyQueueShared *s = penny_queue_shared;
	bool all = true;

	if (now - trimmed_at < PAUSE && now >= trimmed_at)
	{
		for (int i = 0; i < PENNY_SCHED_QUEUES / 64; i++)
			if (pg_atomic_read_u64(&s->trim[i]) != 0)
				return trimmed_at + PAUSE;
		return PENNY_SCHED_NEVER;
	}
	trimmed_at = now;
	for (int q = 0; q < PENNY_SCHED_QUEUES; q++)
	{
		uint64 bit = UINT64CONST(1) << (q % 64);
		PennyQueueConfig config;

		if (!(pg_atomic_fetch_and_u64(&s->trim[q / 64], ~bit) & bit) ||
			!penny_queue_by_id((uint16) q, &config))
			continue;
		if (trim(PENNY_TABLE_HISTORY, (uint16) q, config.keep_completed))
			continue;
		pg_atomic_fetch_or_u64(&s->trim[q / 64], bit);
		all = false;
	}
	return all ? PENNY_SCHED_NEVER : now + PAUSE;
}

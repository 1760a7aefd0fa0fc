/*-------------------------------------------------------------------------
 *
 * segment.c
 *		Which segment a table of jobs holds, and when it takes the next.
 *
 * Eight tables take turns: the jobs of an id lie in table (id >> 20) % 8, so a
 * table must have been emptied (rotate.c) when ids come round to it again.  Where
 * it has not, jobs go to jobs_deferred: slower, but nothing is refused.  In
 * memory `open` says it (shared.h).  Where there is no such memory (another
 * database, no preload, nothing loaded yet), the table itself is asked: the
 * greatest id in its index, of rows dead or alive.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "queue/shared.h"
#include "queue/storage.h"

int64
penny_segment_in_table(PennyOpenTable *open)
{
	Relation index = penny_table_index_on(open, JOB_ID);
	IndexScanDesc scan = penny_index_beginscan(open->relation, index, SnapshotAny, 0);
	int64 segment = -1;
	bool isnull;

	scan->xs_want_itup = true;
	index_rescan(scan, NULL, 0, NULL, 0);
	if (index_getnext_tid(scan, BackwardScanDirection) != NULL)
		segment = penny_segment_of(
			DatumGetInt64(index_getattr(scan->xs_itup, 1, RelationGetDescr(index), &isnull)));
	index_endscan(scan);
	return segment;
}

bool
penny_segment_open(int64 segment, int64 now)
{
	PennyQueueShared *s = penny_queue_shared;
	int n = (int) (segment % PENNY_SEGMENTS);

	if (pg_atomic_read_u64(&s->open[n]) == (uint64) segment + 1)
		return true;
	if (pg_atomic_read_u64(&s->open[n]) != 0 || !s->empty[n] ||
		!penny_sched_open_segment(penny_queue_sched(), segment))
		return false;
	s->empty[n] = false;
	s->opened_at[n] = now;
	s->left_at[n] = 0;
	penny_queue_upkeep_by(now + PENNY_ROTATE_PAUSE);
	pg_atomic_write_u64(&s->open[n], (uint64) segment + 1);
	return true;
}

bool
penny_segment_usable(PennyOpenTable *open, int64 id)
{
	int64 segment = penny_segment_of(id);
	int n = (int) (segment % PENNY_SEGMENTS);
	int64 held;
	int64 now;
	bool opened;

	if (!penny_queue_current())
	{
		held = penny_segment_in_table(open);
		return held < 0 || held == segment;
	}
	if (pg_atomic_read_u64(&penny_queue_shared->open[n]) == (uint64) segment + 1)
		return true;
	now = penny_queue_now();
	penny_queue_lock();
	opened = penny_segment_open(segment, now);
	penny_queue_unlock();
	return opened;
}

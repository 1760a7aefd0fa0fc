/*-------------------------------------------------------------------------
 *
 * rescan.c
 *		Jobs that are not in memory: those for which there was no room, and deferred
 *		ones that come due.
 *
 * For each queue the smallest id is known that was left out.  Where such a queue
 * has room again, rows are read from there on, by index, and offered: what was
 * seen is dropped.  A pass ends at the last row, or when none of its queues has
 * room left, or after so many rows; a queue that did not get to the end keeps the
 * id at which it stopped.  The ids are taken before the snapshot, so what a commit
 * notes meanwhile is either visible or noted anew.
 *
 * A queue is read again when an eighth of its share is free or it has nothing left:
 * not for each job that ends.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "miscadmin.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "config/config.h"
#include "queue/load.h"
#include "queue/shared.h"
#include "queue/storage.h"

#define PASS_ROWS 50000
#define LOOK_AGAIN 1000000      /* us, while a queue has no room; ends of jobs make it sooner */
#define DEFERRED_PAUSE 1000000  /* us, between passes over deferred jobs */
#define DEFERRED_AHEAD 60000000 /* us, more than is needed */

typedef struct Pass
{
	bool wanted[PENNY_SCHED_QUEUES];
	int64 from[PENNY_SCHED_QUEUES];
	int64 least;
	int nwanted;
	int rows;
	Snapshot snapshot;
	PennyOffers *offers;
} Pass;

static bool choose(Pass *pass, bool *any);
static bool read_segment(Pass *pass, int n);

/* Is it worth reading for this queue?  Under the lock. */
static bool
has_room(uint16 queue, int64 now)
{
	PennySched *sched = penny_queue_sched();
	uint32 room = penny_sched_room(sched, queue);
	PennyQueueCounts counts;

	if (room == 0)
		return false;
	if (room >= (uint32) penny_jobs_in_memory / 8)
		return true;
	penny_sched_counts(sched, queue, now, &counts);
	return counts.ready[0] + counts.ready[1] + counts.ready[2] + counts.delayed + counts.active +
			   counts.ending <=
		   room;
}

/* Queues to be read for, and from where; `any`: something is left out. */
static bool
choose(Pass *pass, bool *any)
{
	PennyQueueShared *s = penny_queue_shared;
	int64 now = penny_queue_now();
	int64 of_all;

	memset(pass, 0, sizeof(*pass));
	pass->least = PENNY_QUEUE_NOT_MISSED;
	*any = false;
	penny_queue_lock();
	of_all = penny_sched_rescan(penny_queue_sched());
	penny_sched_drain(penny_queue_sched(), now);
	for (int q = 0; q < PENNY_SCHED_QUEUES; q++)
	{
		if (of_all != PENNY_SCHED_NEVER)
			penny_queue_lower(&s->missed[q], of_all);
		if ((int64) pg_atomic_read_u64(&s->missed[q]) == PENNY_QUEUE_NOT_MISSED)
			continue;
		*any = true;
		if (!has_room((uint16) q, now))
			continue;
		pass->wanted[q] = true;
		pass->nwanted++;
		pass->from[q] = (int64) pg_atomic_exchange_u64(&s->missed[q], PENNY_QUEUE_NOT_MISSED);
		pass->least = Min(pass->least, pass->from[q]);
	}
	penny_queue_unlock();
	return pass->nwanted > 0;
}

/* Queues that found no room are done with. */
static void
look_who_is_full(Pass *pass)
{
	for (int q = 0; q < PENNY_SCHED_QUEUES; q++)
		if (pass->wanted[q] &&
			(int64) pg_atomic_read_u64(&penny_queue_shared->missed[q]) != PENNY_QUEUE_NOT_MISSED)
		{
			pass->wanted[q] = false;
			pass->nwanted--;
		}
}

/* A row that was left out in an earlier life of the server may have failed then. */
static void
look_at_attempts(PennyJob *job)
{
	bool seen;
	int64 due;

	if (pg_atomic_read_u32(&penny_queue_shared->old_retries) == 0)
		return;
	penny_queue_lock();
	seen = penny_sched_seen(penny_queue_sched(), job->id);
	penny_queue_unlock();
	if (seen)
		return;
	job->attempt = (uint16) penny_load_attempts(job->id, &due);
	job->due = Max(job->due, due);
}

/* Rows of one table; false: enough for now. */
static bool
read_segment(Pass *pass, int n)
{
	PennyOpenTable open;
	PennyTableScan *scan;
	HeapTuple tuple;
	bool go_on = true;

	penny_table_open(&open, (PennyQueueTable) (PENNY_TABLE_JOB + n), AccessShareLock);
	scan = penny_table_scan_from(&open, JOB_ID, pass->snapshot, pass->least);
	while (go_on && penny_table_next(scan, &tuple))
	{
		PennyJob job;

		CHECK_FOR_INTERRUPTS();
		penny_job_entry_from_tuple(tuple, RelationGetDescr(open.relation), false, &job);
		if (++pass->rows >= PASS_ROWS)
		{
			for (int q = 0; q < PENNY_SCHED_QUEUES; q++)
				if (pass->wanted[q])
					penny_queue_missed((uint16) q, job.id);
			go_on = false;
		}
		else if (pass->wanted[job.queue % PENNY_SCHED_QUEUES] &&
				 job.id >= pass->from[job.queue % PENNY_SCHED_QUEUES])
		{
			look_at_attempts(&job);
			if (penny_offers_add(pass->offers, &job))
				look_who_is_full(pass);
			go_on = pass->nwanted > 0;
		}
	}
	penny_table_scan_end(scan);
	penny_table_close(&open);
	return go_on;
}

/* Tables that hold a segment of `least` or later, in the order of the segments. */
static void
read_segments(Pass *pass)
{
	PennyQueueShared *s = penny_queue_shared;
	int64 at = Max(penny_segment_of(pass->least), 0);
	bool go_on = true;

	for (;;)
	{
		int64 next = PG_INT64_MAX;

		for (int n = 0; n < PENNY_SEGMENTS; n++)
		{
			int64 number = (int64) pg_atomic_read_u64(&s->open[n]) - 1;

			if (number >= at && number < next)
				next = number;
		}
		if (next == PG_INT64_MAX || !go_on)
			break;
		go_on = read_segment(pass, (int) (next % PENNY_SEGMENTS));
		at = next + 1;
	}
}

/* Rows may have come without memory into a table that nobody opened for them. */
static void
open_segments(int64 from)
{
	int64 now = penny_queue_now();

	for (int n = 0; n < PENNY_SEGMENTS; n++)
	{
		PennyOpenTable open;
		int64 segment;

		if (pg_atomic_read_u64(&penny_queue_shared->open[n]) != 0)
			continue;
		penny_table_open(&open, (PennyQueueTable) (PENNY_TABLE_JOB + n), AccessShareLock);
		segment = penny_segment_in_table(&open);
		penny_table_close(&open);
		if (segment < penny_segment_of(from))
			continue;
		penny_queue_lock();
		(void) penny_segment_open(segment, now);
		penny_queue_unlock();
	}
}

int64
penny_rescan(int64 now)
{
	PennyQueueShared *s = penny_queue_shared;
	Pass *pass;
	bool any;
	bool chosen;
	uint64 came;

	if (s->rescanning)
		penny_queue_missed_all(1); /* one was cut short: what it took is not known */
	if (pg_atomic_read_u32(&penny_queue_shared->any_missed) == 0 || penny_jobs_held())
		return PENNY_SCHED_NEVER;
	s->rescanning = true;
	(void) pg_atomic_exchange_u32(&penny_queue_shared->any_missed, 0); /* a barrier, too */
	pass = palloc(sizeof(Pass));
	chosen = choose(pass, &any);
	if (!chosen)
	{
		pfree(pass);
		s->rescanning = false;
		if (!any)
			return PENNY_SCHED_NEVER;
		pg_atomic_write_u32(&penny_queue_shared->any_missed, 1);
		return now + LOOK_AGAIN;
	}
	open_segments(pass->least);
	pass->snapshot = RegisterSnapshot(GetLatestSnapshot());
	pass->offers = penny_offers_begin();
	read_segments(pass);
	came = penny_offers_end(pass->offers);
	UnregisterSnapshot(pass->snapshot);
	penny_queue_count(PENNY_QUEUE_RESCANS, 1);
	penny_queue_count(PENNY_QUEUE_RESCANNED, came);
	/* queues that were not chosen, or not read to the end */
	pg_atomic_write_u32(&penny_queue_shared->any_missed, 1);
	s->rescanning = false;
	pfree(pass);
	return came > 0 ? 0 : now + LOOK_AGAIN;
}

/* ---- deferred jobs ------------------------------------------------------------------- */

int64
penny_load_deferred(int64 now)
{
	PennyQueueShared *s = penny_queue_shared;
	int64 due = s->reading_deferred ? 0 : (int64) pg_atomic_read_u64(&s->deferred_due);
	int64 horizon = now + PENNY_JOB_DEFER_AFTER + DEFERRED_AHEAD;
	PennyOpenTable open;
	PennyTableScan *scan;
	PennyOffers *offers;
	HeapTuple tuple;
	Snapshot snapshot;
	bool last = false;

	if (due == PENNY_SCHED_NEVER || due - PENNY_JOB_DEFER_AFTER > now)
		return due == PENNY_SCHED_NEVER ? due : due - PENNY_JOB_DEFER_AFTER;
	if (penny_jobs_held())
		return PENNY_SCHED_NEVER; /* penny.load_jobs() calls */
	s->reading_deferred = true;
	pg_atomic_write_u64(&s->deferred_due, PENNY_SCHED_NEVER);
	pg_memory_barrier();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	penny_table_open(&open, PENNY_TABLE_DEFERRED, AccessShareLock);
	offers = penny_offers_begin();
	scan = penny_table_scan_from(&open, JOB_DUE, snapshot, PG_INT64_MIN);
	while (!last && penny_table_next(scan, &tuple))
	{
		PennyJob job;

		CHECK_FOR_INTERRUPTS();
		penny_job_entry_from_tuple(tuple, RelationGetDescr(open.relation), true, &job);
		last = job.due > horizon;
		if (last)
			penny_queue_lower(&s->deferred_due, job.due);
		else
			(void) penny_offers_add(offers, &job);
	}
	penny_table_scan_end(scan);
	penny_queue_count(PENNY_QUEUE_DEFERRED_LOADED, penny_offers_end(offers));
	penny_table_close(&open);
	UnregisterSnapshot(snapshot);
	s->reading_deferred = false;
	due = (int64) pg_atomic_read_u64(&s->deferred_due);
	return due == PENNY_SCHED_NEVER ? due : Max(due - PENNY_JOB_DEFER_AFTER, now + DEFERRED_PAUSE);
}

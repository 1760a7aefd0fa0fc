/*-------------------------------------------------------------------------
 *
 * upkeep.c
 *		What has to be done now and then, by one process at a time.
 *
 * Any penny worker does it when it comes by and the time is there; the time is
 * lowered by whoever makes work for it (shared.h).  While all workers run jobs, and
 * it is due, the supervisor starts a spare one that does nothing else
 * (gateway/spare_worker.c).  Each part does a bounded piece
 * in a transaction and says when to go on.  An error ends the piece, is reported by
 * the worker, and the next try is a second later; where the process ends another
 * one begins anew.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "queue/claim.h"
#include "queue/dead.h"
#include "queue/load.h"
#include "queue/schedule.h"
#include "queue/shared.h"
#include "queue/storage.h"

#define BUSY_PAUSE 100000   /* us, while another process does it */
#define ERROR_PAUSE 1000000 /* us, after an error, or without the extension */

static void abandon(int code, Datum arg);
static int64 attend(int64 now, volatile bool *ready, volatile bool *held);

/* One process at a time; false: another does it. */
static bool
take_turn(void)
{
	static bool registered = false;
	uint32 nobody = 0;

	if (!registered)
	{
		before_shmem_exit(abandon, (Datum) 0);
		registered = true;
	}
	if (!pg_atomic_compare_exchange_u32(&penny_queue_shared->upkeep, &nobody,
										(uint32) PENNY_MY_PROC_NUMBER + 1))
		return false;
	pg_atomic_fetch_add_u32(&penny_queue_shared->upkeep_turns, 1);
	return true;
}

static void
leave(void)
{
	pg_atomic_write_u32(&penny_queue_shared->upkeep, 0);
}

/* The process ends in the middle of it: another begins anew. */
static void
abandon(int code, Datum arg)
{
	(void) code;
	(void) arg;
	if (pg_atomic_read_u32(&penny_queue_shared->upkeep) != (uint32) PENNY_MY_PROC_NUMBER + 1)
		return;
	penny_queue_upkeep_by(0);
	leave();
	penny_queue_wake(PENNY_RUNNER_SQL, 0);
}

/* The extension is not here (any more): nothing is to be kept of it. */
static void
forget_tables(void)
{
	PennyQueueShared *s = penny_queue_shared;

	if (!OidIsValid(s->relation))
		return;
	penny_queue_lock();
	penny_sched_clear(penny_queue_sched());
	pg_atomic_write_u32(&s->load, PENNY_QUEUE_EMPTY);
	s->relation = InvalidOid;
	for (int i = 0; i < PENNY_SEGMENTS; i++)
		pg_atomic_write_u64(&s->open[i], 0);
	penny_queue_unlock();
}

/* In a transaction; when to go on. */
static int64
attend(int64 now, volatile bool *ready, volatile bool *held)
{
	PennyQueueShared *s = penny_queue_shared;
	uint32 reload = pg_atomic_read_u32(&s->reload);
	int64 next;

	if (!OidIsValid(penny_queue_table_oid(PENNY_TABLE_DEFERRED)))
	{
		forget_tables();
		return now + ERROR_PAUSE;
	}
	if (!penny_queue_current() || pg_atomic_read_u32(&s->load) != PENNY_QUEUE_LOADED ||
		reload != pg_atomic_read_u32(&s->reloaded))
	{
		penny_load_all(now);
		/* what it moved is to be there for others before it is offered */
		CommitTransactionCommand();
		StartTransactionCommand();
		pg_atomic_write_u32(&s->load, PENNY_QUEUE_LOADED);
		pg_atomic_write_u32(&s->reloaded, reload);
	}
	next = penny_prepared_settle(now);
	next = Min(next, penny_load_deferred(now));
	next = Min(next, penny_history_trim(now));
	next = Min(next, penny_claims_upkeep());
	*held = penny_jobs_held();
	*ready = true;
	return Min(next, penny_rescan(now));
}

/* Outside a transaction: schedules, and dead letters that are too many. */
static int64
attend_clock(int64 now, bool held)
{
	int64 schedules = PENNY_SCHED_NEVER;
	int64 dead;

	if (!held)
		(void) penny_schedules_run(now, &schedules);
	penny_dead_trim(now, &dead);
	return Min(schedules, dead);
}

int64
penny_queue_upkeep_at(void)
{
	return (int64) pg_atomic_read_u64(&penny_queue_shared->upkeep_at);
}

bool
penny_queue_upkeep_due(uint32 *turns)
{
	*turns = pg_atomic_read_u32(&penny_queue_shared->upkeep_turns);
	return penny_queue_upkeep_at() <= penny_queue_now() &&
		   pg_atomic_read_u32(&penny_queue_shared->upkeep) == 0;
}

bool
penny_queue_upkeep(int64 now, int64 *again_at)
{
	PennyQueueShared *s = penny_queue_shared;
	static bool begun = false;
	volatile int64 next = now + ERROR_PAUSE;
	volatile bool ready = false;
	volatile bool held = false; /* nothing is to run from a restore by itself */

	*again_at = PENNY_SCHED_NEVER;
	if (s == NULL || RecoveryInProgress())
		return false;
	/* a process that begins looks in any case: the extension may be a new one */
	if (!begun)
		penny_queue_upkeep_by(0);
	begun = true;
	*again_at = (int64) pg_atomic_read_u64(&s->upkeep_at);
	if (now < *again_at)
		return false;
	if (!take_turn())
	{
		*again_at = now + BUSY_PAUSE;
		return false;
	}
	/* what is lowered from now on is for the next time */
	pg_atomic_write_u64(&s->upkeep_at, PENNY_SCHED_NEVER);
	pg_memory_barrier();
	PG_TRY();
	{
		StartTransactionCommand();
		if (penny_queue_here())
			next = attend(now, &ready, &held);
		CommitTransactionCommand();
		if (ready)
		{
			next = Min(next, penny_rotate(now));
			next = Min(next, attend_clock(now, held));
		}
	}
	PG_FINALLY();
	{
		penny_queue_upkeep_by(next);
		leave();
	}
	PG_END_TRY();
	*again_at = (int64) pg_atomic_read_u64(&s->upkeep_at);
	return *again_at <= now;
}

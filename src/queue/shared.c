/*-------------------------------------------------------------------------
 *
 * shared.c
 *		The scheduler's memory, its lock, and who is woken.  See shared.h.
 *
 * Waking.  A process that has found nothing says that it sleeps, and looks once
 * more before it does; who posts jobs looks who sleeps after that.  Both write,
 * then fence, then read, so either the sleeper sees the job or the poster the
 * sleeper.  The poster wakes one and takes its mark away, so the next job wakes
 * the next one; of workers the lowest number, so that those above may end when
 * there is little to do.  Nobody is waited for.
 *
 * A crash of any process makes all of this anew (PostgreSQL restarts), so a mark
 * never outlives its process: a worker that exits takes it away itself.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/twophase.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/error.h"
#include "base/registry.h"
#include "base/shmem.h"
#include "config/config.h"
#include "queue/cancel.h"
#include "queue/claim.h"
#include "queue/claimers.h"
#include "queue/crew.h"
#include "queue/dead.h"
#include "queue/pending.h"
#include "queue/progress.h"
#include "queue/schedule.h"
#include "queue/shared.h"
#include "queue/storage.h"
#include "queue/wait.h"

PennyQueueShared *penny_queue_shared = NULL;
pg_atomic_uint32 *penny_queue_claimer = NULL;
PennyQueuePrepared *penny_queue_prepared = NULL;

static PennySched *sched = NULL;

static Size sched_size(void);
static void sched_make(void);
static Size shared_size(void);
static void shared_make(void);
static Size claimer_size(void);
static Size prepared_size(void);

static const PennyShmemPart sched_part = {.name = "penny_queue_jobs",
										  .size = sched_size,
										  .area = (void **) &sched,
										  .init = sched_make,
										  .locks = 2};
static const PennyShmemPart shared_part = {.name = "penny_queue",
										   .size = shared_size,
										   .area = (void **) &penny_queue_shared,
										   .init = shared_make};
static const PennyShmemPart claimer_part = {
	.name = "penny_queue_claimers", .size = claimer_size, .area = (void **) &penny_queue_claimer};
static const PennyShmemPart prepared_part = {
	.name = "penny_queue_prepared", .size = prepared_size, .area = (void **) &penny_queue_prepared};

/* ---- memory ----------------------------------------------------------------- */

void
penny_queue_init(void)
{
	penny_shmem_register(&sched_part);
	penny_shmem_register(&shared_part);
	penny_shmem_register(&claimer_part);
	penny_shmem_register(&prepared_part);
	penny_pending_init();
	penny_claim_init(); /* before endings: rolled back after them */
	penny_cancel_init();
	penny_ending_init();
	penny_wait_init();
	penny_claimers_init();
	penny_progress_init();
	penny_schedules_init();
	penny_dead_init();
}

static Size
sched_size(void)
{
	return penny_sched_size((uint32) penny_jobs_in_memory) + PG_CACHE_LINE_SIZE;
}

/* Tokens begin at the time: greater than any that was given before. */
static void
sched_make(void)
{
	penny_sched_init(penny_queue_sched(), (uint32) penny_jobs_in_memory,
					 (uint64) GetCurrentTimestamp());
}

static Size
shared_size(void)
{
	return sizeof(PennyQueueShared);
}

static void
shared_make(void)
{
	PennyQueueShared *s = penny_queue_shared;

	for (int i = 0; i < PENNY_SCHED_QUEUES; i++)
		pg_atomic_init_u64(&s->missed[i], PENNY_QUEUE_NOT_MISSED);
	pg_atomic_init_u64(&s->deferred_due, 0);
	pg_atomic_init_u64(&s->upkeep_at, 0);
	s->prepared_size = (int) (prepared_size() / sizeof(PennyQueuePrepared));
}

/* MaxBackends is known; one place for each process that may have a PGPROC. */
static Size
claimer_size(void)
{
	return (Size) (MaxBackends + NUM_AUXILIARY_PROCS + max_prepared_xacts) *
		   sizeof(pg_atomic_uint32);
}

int
penny_queue_claimers_max(void)
{
	return (int) (claimer_size() / sizeof(pg_atomic_uint32));
}

static Size
prepared_size(void)
{
	return (Size) (max_prepared_xacts == 0 ? 0 : max_prepared_xacts + MaxBackends) *
			   sizeof(PennyQueuePrepared) +
		   sizeof(PennyQueuePrepared);
}

PennySched *
penny_queue_sched(void)
{
	return sched == NULL ? NULL : (PennySched *) TYPEALIGN(PG_CACHE_LINE_SIZE, sched);
}

static LWLock *
lock_number(int number)
{
	static LWLockPadded *locks = NULL;

	if (locks == NULL)
		locks = GetNamedLWLockTranche(sched_part.name);
	return &locks[number].lock;
}

void
penny_queue_lock(void)
{
	LWLockAcquire(lock_number(0), LW_EXCLUSIVE);
}

void
penny_queue_unlock(void)
{
	LWLockRelease(lock_number(0));
}

LWLock *
penny_queue_prepared_lock(void)
{
	return lock_number(1);
}

int64
penny_queue_now(void)
{
	return GetCurrentTimestamp();
}

void
penny_queue_count(PennyQueueCounter counter, uint64 n)
{
	if (penny_queue_shared != NULL)
		pg_atomic_fetch_add_u64(&penny_queue_shared->counter[counter], n);
}

/* ---- whose memory it is -------------------------------------------------------- */

bool
penny_queue_here(void)
{
	static Oid asked = InvalidOid;
	static bool ours = false;

	if (penny_queue_shared == NULL || !OidIsValid(MyDatabaseId))
		return false;
	if (asked != MyDatabaseId)
	{
		const char *name = get_database_name(MyDatabaseId);

		ours = name != NULL && strcmp(name, penny_database) == 0;
		asked = MyDatabaseId;
	}
	return ours;
}

void
penny_queue_require(void)
{
	penny_require_preload();
	if (!penny_queue_here())
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("jobs are given out in the database of penny alone"),
						errdetail("This session is in another database than \"penny.database\"."),
						errhint("Connect to the database that \"penny.database\" names.")));
}

bool
penny_queue_current(void)
{
	PennyQueueShared *s = penny_queue_shared;

	return s != NULL && s->database == MyDatabaseId && OidIsValid(s->relation) &&
		   pg_atomic_read_u32(&s->load) != PENNY_QUEUE_EMPTY &&
		   s->relation == penny_queue_table_oid(PENNY_TABLE_DEFERRED);
}

/* ---- what is not in memory -------------------------------------------------------- */

bool
penny_queue_lower(pg_atomic_uint64 *min, int64 value)
{
	uint64 old = pg_atomic_read_u64(min);

	while ((int64) old > value)
		if (pg_atomic_compare_exchange_u64(min, &old, (uint64) value))
			return true;
	return false;
}

bool
penny_queue_missed(uint16 queue, int64 id)
{
	(void) penny_queue_lower(&penny_queue_shared->missed[queue], id);
	/* if it was so already, a rescan will see this one (rescan.c) */
	if (pg_atomic_exchange_u32(&penny_queue_shared->any_missed, 1) != 0)
		return false;
	penny_queue_upkeep_by(0);
	return true;
}

void
penny_queue_missed_all(int64 id)
{
	penny_sched_missed(penny_queue_sched(), id);
	pg_atomic_write_u32(&penny_queue_shared->any_missed, 1);
	penny_queue_upkeep_by(0);
}

/* A worker that sleeps minds the time, and has to learn of an earlier one. */
void
penny_queue_upkeep_by(int64 at)
{
	if (!penny_queue_lower(&penny_queue_shared->upkeep_at, at))
		return;
	penny_queue_wake(PENNY_RUNNER_SQL, 0);
	/* it has no mark, since it does not sleep for jobs */
	penny_staff_wake(&penny_registry()->spare_worker);
}

void
penny_queue_mind(int64 at)
{
	if ((int64) pg_atomic_read_u64(&penny_queue_shared->upkeep_at) <= at)
		return;
	penny_queue_upkeep_by(at);
	penny_queue_wake(PENNY_RUNNER_SQL, 0);
}

/* ---- waking ------------------------------------------------------------------------ */

static void
wake_proc(uint32 number)
{
	SetLatch(&ProcGlobal->allProcs[number].procLatch);
}

static void
wake_worker(void)
{
	PennyQueueShared *s = penny_queue_shared;
	uint64 asleep = pg_atomic_read_u64(&s->workers_asleep);

	while (asleep != 0)
	{
		int number = pg_rightmost_one_pos64(asleep);

		if (!pg_atomic_compare_exchange_u64(&s->workers_asleep, &asleep,
											asleep & ~(UINT64CONST(1) << number)))
			continue;
		/* whose mark was taken away: it was written before the mark */
		wake_proc(pg_atomic_read_u32(&s->worker_proc[number]));
		return;
	}
	penny_crew_short();
}

void
penny_queue_wake_worker(int number)
{
	PennyQueueShared *s = penny_queue_shared;

	if (pg_atomic_read_u64(&s->workers_asleep) & (UINT64CONST(1) << number))
		wake_proc(pg_atomic_read_u32(&s->worker_proc[number]));
}

void
penny_queue_wake(PennyRunner runner, uint16 queue)
{
	uint32 courier;

	if (penny_queue_shared == NULL)
		return;
	pg_memory_barrier();
	switch (runner)
	{
		case PENNY_RUNNER_SQL:
			wake_worker();
			break;
		case PENNY_RUNNER_WEBHOOK:
			courier = pg_atomic_exchange_u32(&penny_queue_shared->courier, 0);
			if (courier != 0)
				wake_proc(courier - 1);
			break;
		default:
			penny_claimers_wake(queue);
			break;
	}
}

void
penny_queue_asleep(PennyRunner runner, uint32 number)
{
	PennyQueueShared *s = penny_queue_shared;
	uint32 me = (uint32) PENNY_MY_PROC_NUMBER;

	switch (runner)
	{
		case PENNY_RUNNER_SQL:
			pg_atomic_write_u32(&s->worker_proc[number], me);
			pg_atomic_fetch_or_u64(&s->workers_asleep, UINT64CONST(1) << number);
			break;
		case PENNY_RUNNER_WEBHOOK:
			pg_atomic_write_u32(&s->courier, me + 1);
			break;
		default:
			if (pg_atomic_exchange_u32(&penny_queue_claimer[me], number + 1) == 0)
				pg_atomic_fetch_add_u32(&s->claimers, 1);
			break;
	}
	pg_memory_barrier();
}

void
penny_queue_awake(PennyRunner runner, uint32 number)
{
	PennyQueueShared *s = penny_queue_shared;
	uint32 me = (uint32) PENNY_MY_PROC_NUMBER;

	switch (runner)
	{
		case PENNY_RUNNER_SQL:
			pg_atomic_fetch_and_u64(&s->workers_asleep, ~(UINT64CONST(1) << number));
			break;
		case PENNY_RUNNER_WEBHOOK:
			me++;
			(void) pg_atomic_compare_exchange_u32(&s->courier, &me, 0);
			break;
		default:
			if (pg_atomic_exchange_u32(&penny_queue_claimer[me], 0) != 0)
				pg_atomic_fetch_sub_u32(&s->claimers, 1);
			break;
	}
}

/* ---- for who looks ---------------------------------------------------------------- */

int64
penny_queue_counts_all(PennyQueueCounts *counts)
{
	int64 now = penny_queue_now();

	penny_queue_lock();
	penny_sched_drain(penny_queue_sched(), now);
	for (uint16 q = 0; q < PENNY_SCHED_QUEUES; q++)
		penny_sched_counts(penny_queue_sched(), q, now, &counts[q]);
	penny_queue_unlock();
	return now;
}

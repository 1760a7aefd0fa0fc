/*-------------------------------------------------------------------------
 *
 * crew.c
 *		What penny's workers are to each other.
 *
 * Time.  Jobs come due, and one sleeping worker is to wake for them, not all:
 * the first that goes to sleep minds the time, and the others sleep until they
 * are woken.  One that is woken for a time earlier than what is minded tells who
 * minds it (penny_crew_next()).  When that goes to work it hands the time over: it
 * wakes a sleeper, who minds it from then on; should that one go to work instead, it wakes the
 * next.  When there is none, the supervisor is told: it minds the time as far as another worker
 * may be started (gateway/job_workers.c), and has upkeep done by the spare worker
 * (gateway/spare_worker.c), which takes no part in all this.
 *
 * More hands.  Who makes a job ready and finds no sleeping worker tells the
 * supervisor, once: the supervisor then looks for itself until somebody sleeps,
 * and asks to be told again (penny_crew_rearm()).
 *
 * Cancelling.  A worker shows which job it runs.  Who cancels one writes its id
 * beside that and sends SIGINT; the worker's signal handler compares, so a
 * signal that comes too late hits nobody.  The worker shows its job before it looks
 * whether that is to be cancelled, and who cancels writes before he looks, so one of
 * them sees the other.
 *
 * Giving.  A worker whose job runs long keeps none of its batch behind it waiting:
 * its tick (run_job.c), a signal handler, writes from which token on it gives up what
 * it took, sets its bit and wakes a sleeper, or tells the supervisor.  Tokens of a
 * batch ascend, and its worker goes no further than that from before the word is
 * written.  Whoever takes or looks next puts back, under the queue's lock, what that
 * worker still holds of them (penny_sched_give_up()).  The worker itself may come
 * first, when its job ends: it, too, puts back only what has the token of its batch
 * (run_settle.c), so each goes back once.  A word is about one batch: it is taken away
 * under that same lock, before its worker takes the next.
 *
 * All of it is words in shared memory, each written by atomic operations.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "port/atomics.h"
#include "port/pg_bitutils.h"
#include "storage/spin.h"

#include "base/registry.h"
#include "base/shmem.h"
#include "base/staff.h"
#include "queue/crew.h"
#include "queue/queue.h"

typedef struct Crew
{
	pg_atomic_uint32 minder; /* number of the worker that minds the time plus one, 0 = none */
	pg_atomic_uint64 minds;  /* until when that one sleeps */
	pg_atomic_uint32 told;   /* the supervisor was told that hands are short */
	pg_atomic_uint64 runs[PENNY_MAX_WORKERS];   /* id of the job that runs */
	pg_atomic_uint64 cancel[PENNY_MAX_WORKERS]; /* id of the job to cancel */
	pg_atomic_uint64 giving;                    /* bit for each worker that gives */
	pg_atomic_uint64 gives[PENNY_MAX_WORKERS];  /* from this token on; 0 = nothing */
} Crew;

StaticAssertDecl(PENNY_MAX_WORKERS == PENNY_SCHED_HOLDERS, "a worker's number is its holder");

static Crew *crew = NULL;

static Size
crew_size(void)
{
	return sizeof(Crew);
}

static void
crew_create(void)
{
	pg_atomic_init_u32(&crew->minder, 0);
	pg_atomic_init_u64(&crew->minds, PENNY_SCHED_NEVER);
	pg_atomic_init_u32(&crew->told, 0);
	for (int i = 0; i < PENNY_MAX_WORKERS; i++)
	{
		pg_atomic_init_u64(&crew->runs[i], 0);
		pg_atomic_init_u64(&crew->cancel[i], 0);
		pg_atomic_init_u64(&crew->gives[i], 0);
	}
	pg_atomic_init_u64(&crew->giving, 0);
}

static const PennyShmemPart crew_part = {
	.name = "penny workers", .size = crew_size, .area = (void **) &crew, .init = crew_create};

void
penny_crew_init(void)
{
	penny_shmem_register(&crew_part);
}

/* ---- time ------------------------------------------------------------------------ */

bool
penny_crew_mind(int number)
{
	uint32 none = 0;

	if (pg_atomic_read_u32(&crew->minder) != (uint32) number + 1 &&
		!pg_atomic_compare_exchange_u32(&crew->minder, &none, (uint32) number + 1))
		return false;
	/* until the look that follows has said when, everybody is to tell */
	pg_atomic_write_u64(&crew->minds, PENNY_SCHED_NEVER);
	pg_memory_barrier();
	return true;
}

void
penny_crew_next(int number, int64 next)
{
	uint32 minder = pg_atomic_read_u32(&crew->minder);

	if (minder == (uint32) number + 1)
		pg_atomic_write_u64(&crew->minds, (uint64) next);
	else if (minder != 0 && next < (int64) pg_atomic_read_u64(&crew->minds))
		penny_queue_wake_worker((int) minder - 1);
}

bool
penny_crew_unmind(int number)
{
	uint32 self = (uint32) number + 1;
	uint32 minder = pg_atomic_read_u32(&crew->minder);

	if (minder == self)
		pg_atomic_write_u32(&crew->minder, 0); /* nobody else takes it from us */
	return minder == self || minder == 0;
}

bool
penny_crew_minded(void)
{
	return pg_atomic_read_u32(&crew->minder) != 0;
}

/* ---- cancelling ------------------------------------------------------------------ */

/* What was asked for another job is over: that one looks at its entry. */
bool
penny_crew_runs(int number, int64 id)
{
	uint64 cancel;

	pg_atomic_write_u64(&crew->runs[number], (uint64) id);
	pg_memory_barrier();
	cancel = pg_atomic_read_u64(&crew->cancel[number]);
	if (cancel != 0 && (cancel != (uint64) id || id == 0))
		(void) pg_atomic_compare_exchange_u64(&crew->cancel[number], &cancel, 0);
	return id != 0 && cancel == (uint64) id;
}

int64
penny_crew_to_cancel(int number)
{
	return (int64) pg_atomic_read_u64(&crew->cancel[number]);
}

void
penny_worker_cancel(uint32 holder, int64 id)
{
	PennyStaffEntry *entry;
	int pid;

	if (holder >= PENNY_MAX_WORKERS)
	{
		penny_queue_wake(PENNY_RUNNER_WEBHOOK, 0); /* the courier looks at its entries */
		return;
	}
	entry = &penny_registry()->worker[holder];
	pg_atomic_write_u64(&crew->cancel[holder], (uint64) id);
	pg_memory_barrier();
	if ((int64) pg_atomic_read_u64(&crew->runs[holder]) != id)
		return; /* it looks at the entry before it begins */
	SpinLockAcquire(&penny_registry()->mutex);
	pid = entry->pid;
	SpinLockRelease(&penny_registry()->mutex);
	if (pid != 0)
		kill(pid, SIGINT);
}

/* ---- giving ---------------------------------------------------------------------- */

/* The word is there before its bit: setting that is a barrier, as is taking it. */
void
penny_crew_give(int number, uint64 token)
{
	pg_atomic_write_u64(&crew->gives[number], token);
	pg_atomic_fetch_or_u64(&crew->giving, UINT64CONST(1) << number);
	penny_queue_wake(PENNY_RUNNER_SQL, 0);
}

void
penny_crew_collect(int64 now)
{
	uint64 giving = pg_atomic_read_u64(&crew->giving);

	if (giving == 0)
		return;
	giving = pg_atomic_exchange_u64(&crew->giving, 0);
	for (; giving != 0; giving &= giving - 1)
	{
		int number = pg_rightmost_one_pos64(giving);
		uint64 token = pg_atomic_read_u64(&crew->gives[number]);

		if (token != 0)
			(void) penny_sched_give_up(penny_queue_sched(), (uint32) number, token, now);
	}
}

void
penny_crew_forget(int number)
{
	pg_atomic_write_u64(&crew->gives[number], 0);
}

/* ---- more hands -------------------------------------------------------------------- */

void
penny_crew_short(void)
{
	if (pg_atomic_read_u32(&crew->told) == 0 && pg_atomic_exchange_u32(&crew->told, 1) == 0)
		penny_supervisor_wake();
}

void
penny_crew_rearm(void)
{
	pg_atomic_write_u32(&crew->told, 0);
	pg_memory_barrier();
}

bool
penny_crew_waits(int64 *next)
{
	PennySched *sched = penny_queue_sched();
	bool waits;
	int64 now;

	penny_queue_lock();
	now = penny_queue_now();
	penny_crew_collect(now);
	waits = penny_sched_waits(sched, PENNY_RUNNER_SQL, PENNY_SCHED_ANY, now);
	*next = penny_sched_next(sched, PENNY_RUNNER_SQL, now);
	penny_queue_unlock();
	return waits;
}

void
penny_crew_count(int *running, int *busy)
{
	PennyRegistry *registry = penny_registry();

	*running = *busy = 0;
	SpinLockAcquire(&registry->mutex);
	for (int i = 0; i < PENNY_MAX_WORKERS; i++)
	{
		PennyStaffEntry *entry = &registry->worker[i];

		if (entry->pid == 0)
			continue;
		(*running)++;
		*busy +=
			pg_atomic_read_u32(&entry->busy) != 0 || pg_atomic_read_u32(&entry->connected) == 0;
	}
	SpinLockRelease(&registry->mutex);
}

/* Told again only where it is no news at each job: while all work, it looks by itself. */
bool
penny_crew_attended(void)
{
	if (!penny_crew_minded())
		return false;
	penny_crew_rearm();
	return penny_crew_minded();
}

bool
penny_crew_works(void)
{
	bool works = false;

	for (int i = 0; i < PENNY_MAX_WORKERS; i++)
		works = works || pg_atomic_read_u32(&penny_registry()->worker[i].busy) != 0;
	return works;
}

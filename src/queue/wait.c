/*-------------------------------------------------------------------------
 *
 * wait.c
 *		Sessions that wait: for jobs to claim, or for a job to end.
 *
 * For jobs: the session says that it sleeps (penny_queue_asleep), looks once more,
 * and sleeps until it is woken; one of those that sleep minds the time for all
 * (claimers.c).  One session is woken for one job; one that was woken and cannot
 * take it (its time is over, it is cancelled, its client has gone) wakes the next.
 *
 * For an end: the session has a place in a table of shared memory, under a
 * spinlock that is held for a look through the table; who ends jobs reads two
 * words first, and in nearly all cases that is all.  The place is taken before
 * the session looks whether the job has ended, so no end after the look is missed.
 * With all places taken a session looks once a LOOK_PAUSE instead.
 *
 * Requests at the edges wait for the room job:<id>, which nobody can join.  Who
 * answers one says so first (penny_wait_ask()): for the time that a request may
 * wait, who ends jobs looks for each whether there is interest in its room.  He
 * has posted the end before he looks, and the edge has set its bit before the
 * request is answered, so either he sees it or the answer tells the end.
 *
 * Who waits holds no snapshot and no transaction id: the callers are procedures
 * that have committed (sqlapi/sql_claims.c).  Places and marks are given back on
 * every way out, that of an error and of the end of the process included.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/proc.h"
#include "storage/spin.h"
#include "utils/snapmgr.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/shmem.h"
#include "queue/claimers.h"
#include "queue/queue.h"
#include "queue/wait.h"
#include "realtime/publish.h"

#define PLACES 256
#define BUCKETS 1024
#define LOOK_PAUSE 1000               /* ms, of a session without a place */
#define LATE_PAUSE INT64CONST(100000) /* us, while a lease is over and not taken back */
#define ASKED_FOR 70000               /* ms for which a request waits at most, and some more */
#define NOBODY (-1)

typedef struct Place
{
	int proc;   /* number of its PGPROC; NOBODY: free */
	int64 job;  /* whose end it waits for */
	bool ended; /* that has come */
} Place;

/*
 * The mutex is for `place`; the counters are raised with it and read without.
 */
typedef struct Waiters
{
	slock_t mutex;
	pg_atomic_uint32 awaited;         /* places taken */
	pg_atomic_uint64 asked;           /* penny_clock_ms() until which requests may wait */
	pg_atomic_uint32 bucket[BUCKETS]; /* of them by the job's id */
	Place place[PLACES];
} Waiters;

static Waiters *waiters = NULL;
static int mine = NOBODY;
static int asleep_in = NOBODY; /* queue for whose jobs we said that we sleep */
static uint32 wait_event = 0;

static Size waiters_size(void);
static void waiters_init(void);
static void prepare_exit(void);
static void leave_on_exit(int code, Datum arg);
static void take_place(int64 job);
static void leave_place(void);
static void stop_waiting_for_jobs(void);
static bool sleep_until(int64 until);
static bool has_ended(int64 id);

static const PennyShmemPart part = {
	.name = "penny queue waiters",
	.size = waiters_size,
	.area = (void **) &waiters,
	.init = waiters_init,
};

void
penny_wait_init(void)
{
	penny_shmem_register(&part);
}

static Size
waiters_size(void)
{
	return sizeof(Waiters);
}

static void
waiters_init(void)
{
	SpinLockInit(&waiters->mutex);
	pg_atomic_init_u32(&waiters->awaited, 0);
	pg_atomic_init_u64(&waiters->asked, 0);
	for (int i = 0; i < BUCKETS; i++)
		pg_atomic_init_u32(&waiters->bucket[i], 0);
	for (int i = 0; i < PLACES; i++)
		waiters->place[i].proc = NOBODY;
}

static pg_atomic_uint32 *
bucket_of(int64 id)
{
	return &waiters->bucket[(uint64) id % BUCKETS];
}

/* ---- places ---------------------------------------------------------------- */

static void
prepare_exit(void)
{
	if (wait_event != 0)
		return;
	before_shmem_exit(leave_on_exit, (Datum) 0);
	wait_event = penny_wait_event_new("PennyJobWait");
}

static void
leave_on_exit(int code, Datum arg)
{
	(void) code;
	(void) arg;
	leave_place();
	stop_waiting_for_jobs();
}

static void
take_place(int64 job)
{
	SpinLockAcquire(&waiters->mutex);
	for (int i = 0; i < PLACES && mine == NOBODY; i++)
		if (waiters->place[i].proc == NOBODY)
			mine = i;
	if (mine != NOBODY)
	{
		waiters->place[mine] = (Place){PENNY_MY_PROC_NUMBER, job, false};
		pg_atomic_fetch_add_u32(&waiters->awaited, 1);
		pg_atomic_fetch_add_u32(bucket_of(job), 1);
	}
	SpinLockRelease(&waiters->mutex);
}

static void
leave_place(void)
{
	Place *place;

	if (mine == NOBODY)
		return;
	SpinLockAcquire(&waiters->mutex);
	place = &waiters->place[mine];
	pg_atomic_fetch_sub_u32(&waiters->awaited, 1);
	pg_atomic_fetch_sub_u32(bucket_of(place->job), 1);
	place->proc = NOBODY;
	SpinLockRelease(&waiters->mutex);
	mine = NOBODY;
}

/* ---- waiting ---------------------------------------------------------------- */

/* False when the time was over before. */
static bool
sleep_until(int64 until)
{
	int64 left = until - penny_queue_now();
	long timeout;

	if (left <= 0)
		return false;
	timeout = (long) Min((left + 999) / 1000, INT_MAX);
	if (mine == NOBODY && asleep_in == NOBODY)
		timeout = Min(timeout, LOOK_PAUSE);
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, timeout, wait_event);
	ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	return true;
}

/* Is something ready, and when will time make it so? */
static bool
jobs_wait(uint16 queue, int64 *next)
{
	PennySched *sched = penny_queue_sched();
	int64 now;
	bool waits;

	penny_queue_lock();
	now = penny_queue_now();
	waits = penny_sched_waits(sched, PENNY_RUNNER_EXTERNAL, queue, now);
	*next = penny_sched_next(sched, PENNY_RUNNER_EXTERNAL, now);
	penny_queue_unlock();
	/* a lease that is over is the upkeep's, who will tell */
	if (*next <= now)
		*next = now + LATE_PAUSE;
	return waits;
}

/* Whether we were woken for a job is not known here, so the next looks for it. */
static void
stop_waiting_for_jobs(void)
{
	if (asleep_in == NOBODY)
		return;
	penny_queue_awake(PENNY_RUNNER_EXTERNAL, (uint32) asleep_in);
	penny_claimers_leave();
	penny_queue_wake(PENNY_RUNNER_EXTERNAL, (uint16) asleep_in);
	asleep_in = NOBODY;
}

/* Nobody is to be given jobs who cannot take them. */
static void
check_client(void)
{
	if (MyProcPort != NULL && !pq_check_connection())
		ereport(FATAL, (errcode(ERRCODE_CONNECTION_FAILURE), errmsg("connection to client lost")));
}

/* False: the time is over. */
static bool
sleep_for_jobs(uint16 queue, int64 until, bool *ready)
{
	bool minds;
	int64 next;

	asleep_in = queue;
	penny_queue_asleep(PENNY_RUNNER_EXTERNAL, queue);
	minds = penny_claimers_mind();
	*ready = jobs_wait(queue, &next);
	penny_claimers_next(next);
	if (*ready)
		return true;
	if (!sleep_until(minds ? Min(until, next) : until))
		return false;
	check_client();
	if (minds && next <= penny_queue_now())
		penny_claimers_wake_all();
	return true;
}

void
penny_wait_for_jobs(uint16 queue, int64 until)
{
	bool ready = false;

	prepare_exit();
	PG_TRY();
	{
		while (!ready && sleep_for_jobs(queue, until, &ready))
			;
		if (ready)
		{
			/* it is taken at once, and what is left then wakes the next */
			penny_queue_awake(PENNY_RUNNER_EXTERNAL, queue);
			penny_claimers_leave();
			asleep_in = NOBODY;
		}
	}
	PG_FINALLY();
	{
		stop_waiting_for_jobs();
	}
	PG_END_TRY();
}

/*
 * The commit that ends it is to wait for the disk: what is told is to be so.  False:
 * it is not in memory; then `*done`: no row in a segment waits.
 */
static bool
mark_awaited(int64 id, bool *done)
{
	PennySched *sched = penny_queue_sched();
	PennyJobRef ref;

	penny_queue_lock();
	ref = penny_sched_find(sched, id, penny_queue_now());
	if (ref != 0 && penny_sched_job(sched, ref)->state != PENNY_JOB_ENDING)
		penny_sched_job(sched, ref)->flags |= PENNY_JOB_AWAITED;
	*done = ref == 0 && penny_sched_done(sched, id);
	penny_queue_unlock();
	return ref != 0;
}

/* Deferred jobs have their row until they end, the others a bit. */
static bool
has_ended(int64 id)
{
	bool ended = false;
	bool done;
	PennyJobRow row;

	if (mine != NOBODY)
	{
		SpinLockAcquire(&waiters->mutex);
		ended = waiters->place[mine].ended;
		SpinLockRelease(&waiters->mutex);
	}
	if (ended || mark_awaited(id, &done))
		return ended;
	PushActiveSnapshot(GetLatestSnapshot());
	ended = !penny_job_read_id(id, &row) || (done && (row.flags & PENNY_JOB_DEFERRED) == 0);
	PopActiveSnapshot();
	return ended;
}

bool
penny_wait_for_end(int64 id, int64 until)
{
	volatile bool ended = false;

	prepare_exit();
	PG_TRY();
	{
		take_place(id);
		do
			ended = has_ended(id);
		while (!ended && sleep_until(until));
	}
	PG_FINALLY();
	{
		leave_place();
	}
	PG_END_TRY();
	return ended;
}

/* ---- wakes -------------------------------------------------------------------- */

void
penny_wait_ask(int64 id)
{
	uint64 until = (uint64) penny_clock_ms() + ASKED_FOR;
	uint64 before = pg_atomic_read_u64(&waiters->asked);
	bool done;

	while (before < until && !pg_atomic_compare_exchange_u64(&waiters->asked, &before, until))
		;
	pg_memory_barrier();
	(void) mark_awaited(id, &done);
}

static bool
requests_wait(void)
{
	uint64 asked = pg_atomic_read_u64(&waiters->asked);

	return asked != 0 && asked > (uint64) penny_clock_ms();
}

bool
penny_wait_anybody(void)
{
	if (waiters == NULL)
		return false;
	pg_memory_barrier();
	return pg_atomic_read_u32(&waiters->awaited) != 0 || requests_wait();
}

/* Latches are set after the mutex is free. */
static void
wake_sessions(int64 id)
{
	int proc[PLACES];
	int n = 0;

	SpinLockAcquire(&waiters->mutex);
	for (int i = 0; i < PLACES; i++)
	{
		Place *place = &waiters->place[i];

		if (place->proc == NOBODY || place->job != id)
			continue;
		place->ended = true;
		proc[n++] = place->proc;
	}
	SpinLockRelease(&waiters->mutex);
	while (n > 0)
		SetLatch(&ProcGlobal->allProcs[proc[--n]].procLatch);
}

void
penny_wait_job_ended(int64 id)
{
	char room[32];

	if (pg_atomic_read_u32(bucket_of(id)) != 0)
		wake_sessions(id);
	if (!requests_wait())
		return;
	snprintf(room, sizeof(room), "job:" INT64_FORMAT, id);
	penny_publish_now(room, NULL, 0);
}

/*-------------------------------------------------------------------------
 *
 * worker.c
 *		penny worker: takes jobs of SQL handlers, runs them, records their ends.
 *
 * The supervisor starts workers (gateway/job_workers.c): one when penny is ready,
 * which stays, and more while jobs wait.  A worker logs in as penny_authenticator,
 * a role without rights of its own; what it reads and writes of the queue's tables
 * it does past privileges, and what others wrote runs in their roles (run_job.c).
 *
 * The loop: housekeeping; settings of queues that changed; what the queue wants
 * done now and then (penny_queue_upkeep()); a batch; sleep.  Before it sleeps it
 * says so and looks once more.  It sleeps on its latch: who makes a job ready
 * wakes one worker, and one of those that sleep minds the time (crew.h).  A worker
 * that leaves something ready wakes the next one first.  It never sleeps inside a
 * transaction, and idle it runs no statement.
 *
 * The spare worker (number PENNY_SPARE_WORKER) runs the same loop without jobs: it
 * does upkeep while all others run jobs.  It sleeps until upkeep is due or wanted,
 * and ends when another worker minds the time again and penny.job_worker_idle_timeout
 * is over.  It is nobody's holder and has no mark among those that sleep.
 *
 * Ends: SIGTERM at once (`die`): what it ran is undone and goes back, and is
 * nobody's attempt.  When penny is not ready any more, because the database is
 * wanted alone or its extension went.  After penny.job_worker_idle_timeout, all
 * but the first.  When penny.job_workers is lowered.  When its session could not be
 * cleaned up.  Whichever way it ends, what it holds goes back (worker_exit());
 * should it not, that is mended after BACKSTOP.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/registry.h"
#include "base/reset.h"
#include "base/staff.h"
#include "base/worker.h"
#include "config/config.h"
#include "queue/config.h"
#include "queue/crew.h"
#include "queue/marks.h"
#include "queue/run.h"
#include "queue/worker.h"

#define BACKSTOP (3600 * USECS_PER_SEC)     /* a job of nobody is put back after so long */
#define BACKSTOP_LOOK (300 * USECS_PER_SEC) /* between looks for such jobs */
#define AGAIN_AFTER (5 * USECS_PER_SEC)     /* what went wrong of upkeep is tried again */
#define MINUTE_MS 60000

/* This worker. */
static PennyStaffEntry *entry = NULL;
static int self = -1;
static uint32 next_max = 8;   /* jobs to take at once */
static int64 upkeep_at = 0;   /* us; at the latest */
static int64 upkeep_seen = 0; /* what others wanted when it was looked at last */
static bool upkeep_more = false;
static int64 apply_at = 0; /* us; not before, after an error */
static bool slept = false; /* since the last batch */
static int64 look_at = 0;  /* us; for jobs of nobody */

static bool is_spare(void);
static bool is_wanted(void);
static void begin(int number);
static void worker_exit(int code, Datum arg);
static void await_database(void);
static void apply_settings(void);
static void do_upkeep(void);
static bool serve(void);
static bool idle(TimestampTz since);
static bool idle_spare(TimestampTz *since);
static void put_back_lost(int64 now);

PGDLLEXPORT void penny_job_worker_main(Datum arg);

void
penny_job_worker_init(void)
{
	penny_crew_init();
	penny_job_marks_init();
	penny_queue_config_init();
}

void
penny_job_worker_main(Datum arg)
{
	TimestampTz idle_since;

	begin(DatumGetInt32(arg));
	idle_since = GetCurrentTimestamp();
	for (;;)
	{
		if (penny_worker_tick())
		{
			penny_staff_limit_memory(penny_job_worker_memory);
			penny_reset_baseline();
		}
		if (penny_readiness() != PENNY_READY || !is_wanted())
			proc_exit(0);
		apply_settings();
		do_upkeep();
		if (!is_spare() && penny_job_workers > 0 && serve())
			idle_since = GetCurrentTimestamp();
		else if (!upkeep_more && !(is_spare() ? idle_spare(&idle_since) : idle(idle_since)))
			proc_exit(0);
	}
}

static bool
is_spare(void)
{
	return self == PENNY_SPARE_WORKER;
}

/* Not when penny.job_workers was lowered; without any, the first does what is to be done. */
static bool
is_wanted(void)
{
	return is_spare() ? penny_job_workers > 0 : self < Max(penny_job_workers, 1);
}

/* Take the number, wait for the database, connect. */
static void
begin(int number)
{
	self = number;
	penny_worker_begin(is_spare() ? PENNY_SPARE : PENNY_WORKER, number);
	HOLD_CANCEL_INTERRUPTS(); /* but for the jobs, see run_job.c */
	entry = is_spare() ? &penny_registry()->spare_worker : &penny_registry()->worker[self];
	penny_staff_take(entry);
	before_shmem_exit(worker_exit, (Datum) 0);
	if (is_spare())
		pqsignal(SIGINT, SIG_IGN); /* there is no job to cancel */
	else
		penny_job_marks_attach(self);
	await_database();
	penny_worker_connect(penny_database, "penny_authenticator");
	penny_staff_connected(entry);
	penny_staff_limit_memory(penny_job_worker_memory);
	if (!is_spare())
		penny_run_jobs_init(self);
	penny_reset_baseline();
}

/* Sleep until the back-off after connections that failed is over. */
static void
await_database(void)
{
	int64 until = penny_staff_connect_at(entry);

	while (penny_readiness() == PENNY_READY)
	{
		long left = penny_clock_timeout(penny_clock_ms(), until);

		if (left == 0)
		{
			pg_atomic_fetch_add_u32(&entry->attempts, 1);
			return;
		}
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, left,
						 penny_worker_wait_event());
		ResetLatch(MyLatch);
		penny_worker_tick();
	}
	proc_exit(0);
}

/* What it holds goes back. */
static void
let_go(int code)
{
	PennySched *sched = penny_queue_sched();
	uint32 n;

	penny_run_jobs_exit();
	/* any other code is a crash to the postmaster: then the mark stays */
	if (code == 0 || code == 1)
		penny_job_mark_end();
	penny_queue_awake(PENNY_RUNNER_SQL, (uint32) self);
	(void) penny_crew_runs(self, 0);
	penny_queue_lock();
	penny_crew_forget(self);
	penny_sched_drain(sched, penny_queue_now());
	n = penny_sched_abandon(sched, (uint32) self, penny_queue_now());
	penny_queue_unlock();
	if (penny_crew_unmind(self) || !penny_crew_minded() || n > 0 || penny_sched_posted(sched))
		penny_queue_wake(PENNY_RUNNER_SQL, 0);
}

/* The process ends.  Its transaction is aborted by now. */
static void
worker_exit(int code, Datum arg)
{
	(void) arg;
	if (!is_spare())
		let_go(code);
	penny_staff_leave(entry);
	penny_supervisor_wake();
}

/* ---- before jobs are taken ------------------------------------------------------------- */

static void
apply(void *arg)
{
	(void) arg;
	StartTransactionCommand();
	penny_queue_config_apply();
	CommitTransactionCommand();
}

/* Run a step outside of jobs, in which nobody's cancel is meant. */
static bool
guard(void (*step)(void *arg))
{
	bool ok;

	penny_run_patience(true);
	ok = penny_worker_guard(step, NULL);
	penny_run_patience(false);
	return ok;
}

/* Queues or handlers are others than the scheduler knows. */
static void
apply_settings(void)
{
	int64 now;

	if (!penny_queue_config_pending())
		return;
	now = penny_queue_now();
	if (now < apply_at && apply_at - now <= AGAIN_AFTER)
		return;
	if (!guard(apply))
		apply_at = now + AGAIN_AFTER;
	pgstat_report_activity(STATE_IDLE, NULL);
}

static void
upkeep(void *arg)
{
	(void) arg;
	upkeep_more = penny_queue_upkeep(penny_queue_now(), &upkeep_at);
}

static void
do_upkeep(void)
{
	upkeep_more = false;
	upkeep_seen = penny_queue_upkeep_at();
	if (!guard(upkeep))
		upkeep_at = penny_queue_now() + AGAIN_AFTER;
}

/* ---- jobs ---------------------------------------------------------------------------------- */

/*
 * Take a batch and run it; false when there was none.  Of what is ready beyond it the
 * next worker is told before.
 */
static bool
serve(void)
{
	static PennyJobRef refs[PENNY_BATCH_MAX];
	PennySched *sched = penny_queue_sched();
	PennyTake how = {.runner = PENNY_RUNNER_SQL,
					 .queue = PENNY_SCHED_ANY,
					 .serial = true,
					 .holder = (uint32) self,
					 .until = PENNY_SCHED_NEVER,
					 .max = next_max};
	int64 now = penny_queue_now();
	const char *wrong;
	bool more;
	int fit = 0;
	int n;

	penny_queue_lock();
	penny_crew_forget(self);
	penny_crew_collect(now);
	n = (int) penny_sched_take(sched, &how, now, refs);
	if (n > 0)
		fit = penny_run_fitting(sched, refs, n, &next_max);
	for (int i = fit; i < n; i++)
		penny_sched_put_back(sched, refs[i], now);
	more = n > 0 && penny_sched_waits(sched, PENNY_RUNNER_SQL, PENNY_SCHED_ANY, now);
	penny_queue_unlock();
	if (n == 0)
		return false;

	pg_atomic_write_u32(&entry->busy, 1);
	/* one that was woken to mind the time, and works instead, passes that on */
	if (penny_crew_unmind(self) || more || (slept && !penny_crew_minded()))
		penny_queue_wake(PENNY_RUNNER_SQL, 0);
	slept = false;
	wrong = penny_run_jobs(refs, fit);
	pg_atomic_write_u32(&entry->busy, 0);
	pg_atomic_fetch_add_u64(&entry->served, fit);
	(void) pgstat_report_stat(false); /* under load there may be no idle moment */
	if (wrong != NULL)
	{
		ereport(LOG, (errcode(ERRCODE_INTERNAL_ERROR),
					  errmsg("penny worker leaves: its session could not be reset"),
					  errdetail("Left by a job: %s.", wrong)));
		proc_exit(0);
	}
	CHECK_FOR_INTERRUPTS();
	return true;
}

/* ---- sleep ------------------------------------------------------------------------------------ */

/* Milliseconds until a time of the queue's clock, rounded up; capped, it may be stepped. */
static long
left_until(int64 now, int64 at)
{
	if (at <= now)
		return 0;
	return (long) Min((at - now + 999) / 1000, (int64) MINUTE_MS * 60);
}

/* How long to sleep by the clock, -1 = without end; 0: something is ready. */
static long
sleep_time(TimestampTz since)
{
	PennySched *sched = penny_queue_sched();
	int64 now = penny_queue_now();
	int64 until = PENNY_NEVER;
	int64 next;
	bool minds;
	bool waits;

	penny_queue_lock();
	penny_crew_collect(now);
	waits = penny_sched_waits(sched, PENNY_RUNNER_SQL, PENNY_SCHED_ANY, now);
	minds = penny_crew_mind(self);
	next = Min(penny_sched_next(sched, PENNY_RUNNER_SQL, now), upkeep_at);
	penny_queue_unlock();
	penny_crew_next(self, next);
	if (minds)
		until = next;
	if ((waits && penny_job_workers > 0) || (penny_queue_config_pending() && apply_at <= now))
		return 0;
	/* who wanted upkeep before we said that we sleep has woken nobody */
	if (penny_queue_upkeep_at() != upkeep_seen)
		return 0;
	if (self > 0)
		until = Min(until, since + (int64) penny_job_worker_idle_timeout * 1000);
	return until == PENNY_NEVER ? -1 : left_until(now, until);
}

/* Sleep until there may be something to do; false when it is time to leave. */
static bool
idle(TimestampTz since)
{
	long stats = pgstat_report_stat(false);
	long timeout;
	int events = 0;

	if (self > 0 && left_until(GetCurrentTimestamp(),
							   since + (int64) penny_job_worker_idle_timeout * 1000) == 0)
		return false;
	put_back_lost(penny_queue_now());
	pgstat_report_activity(STATE_IDLE, NULL);
	slept = true;
	penny_queue_asleep(PENNY_RUNNER_SQL, (uint32) self);
	timeout = sleep_time(since);
	if (stats > 0)
		timeout = timeout < 0 ? stats : Min(timeout, stats);
	if (timeout != 0)
		events =
			WaitLatch(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | (timeout > 0 ? WL_TIMEOUT : 0),
					  timeout, penny_worker_wait_event());
	penny_queue_awake(PENNY_RUNNER_SQL, (uint32) self);
	ResetLatch(MyLatch);
	if ((events & WL_TIMEOUT) != 0 && stats > 0)
		(void) pgstat_report_stat(true);
	return true;
}

/* The same of the spare worker; its time begins when another one minds the time. */
static bool
idle_spare(TimestampTz *since)
{
	TimestampTz now = GetCurrentTimestamp();
	int64 timeout = (int64) penny_job_worker_idle_timeout * 1000;
	int64 until;

	if (!penny_crew_minded())
		*since = now;
	else if (left_until(now, *since + timeout) == 0)
		return false;
	until = Min(*since + timeout, upkeep_at);
	if (penny_readiness() != PENNY_READY)
		return true; /* a statement that waited may have taken the wake for that */
	(void) pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
	(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
					 left_until(now, until), penny_worker_wait_event());
	ResetLatch(MyLatch);
	return true;
}

/* ---- the backstop -------------------------------------------------------------------------------- */

typedef struct Lost
{
	int64 before; /* started before */
	int64 id;
} Lost;

/* A job that a process holds which is no worker any more. */
static void
find_lost(const PennyJob *job, void *arg)
{
	Lost *lost = arg;

	if (job->state == PENNY_JOB_ACTIVE && job->until == PENNY_SCHED_NEVER &&
		job->runner == PENNY_RUNNER_SQL && job->started < lost->before &&
		job->holder < PENNY_MAX_WORKERS &&
		!penny_staff_held(&penny_registry()->worker[job->holder]))
		lost->id = job->id;
}

static void
put_back_lost(int64 now)
{
	PennySched *sched = penny_queue_sched();
	Lost lost = {.before = now - BACKSTOP};
	PennyJobRef ref;

	if (now < look_at && look_at - now <= BACKSTOP_LOOK)
		return;
	look_at = now + BACKSTOP_LOOK;
	penny_queue_lock();
	penny_sched_each(sched, PENNY_SCHED_ANY, find_lost, &lost);
	if (lost.id != 0)
	{
		ref = penny_sched_find(sched, lost.id, now);
		if (ref != 0 && penny_sched_job(sched, ref)->state == PENNY_JOB_ACTIVE)
			penny_sched_put_back(sched, ref, now);
		look_at = now; /* there may be more */
	}
	penny_queue_unlock();
	if (lost.id != 0)
		ereport(LOG,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("penny job " INT64_FORMAT " was held by a worker that is gone", lost.id),
				 errdetail("It has been put back.")));
}

/*-------------------------------------------------------------------------
 *
 * run_job.c
 *		One job: its handler's function is called, and nothing of it but its
 *		effects is there for the next job of the batch.
 *
 *	role		that of the handler, below the reach of SET ROLE; nobody's
 *				identity: penny.user_id() is null, whoever enqueued the job is
 *				data (penny.job_context())
 *	settings	in a nest level of their own, taken back, SET of a session included
 *	deferred	triggers are fired and cursors dropped in that role, before the
 *				next job
 *	session		advisory locks of the session, prepared statements, descriptors of
 *				large objects (which are not asked whose they are) and what
 *				currval() remembers are dropped at once.  Temporary objects last
 *				longer: after them the batch's transaction ends, and the session is
 *				cleaned up (base/reset.h)
 *	time		a tick looks whether the job is over its time, and cancels it then;
 *				again and again, should the function swallow that, and ends the
 *				worker GRACE later.  Jobs with a time of less than a few ticks have
 *				a timer of their own.  statement_timeout means nothing here
 *	others		a job that is seen running by a tick for LONG keeps the rest of its
 *				batch no longer: that is given to other workers (crew.h)
 *	alone		when a command needs the database alone (DROP DATABASE), the job goes
 *				on for DETACH; then its worker ends as if it was told to, which is
 *				nobody's attempt
 *	cancel		SIGINT by who asked for it (crew.h), which the signal handler
 *				compares with what runs; one by PostgreSQL itself is the end of a
 *				lock_timeout, and any other an administrator's
 *
 * A cancel can only hit the job that it is meant for: outside of the function's
 * call cancels are held off and forgotten.  A job that was to stop has not
 * completed, whatever its function made of it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "commands/prepare.h"
#include "commands/sequence.h"
#include "commands/trigger.h"
#include "libpq/be-fsstubs.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/registry.h"
#include "queue/crew.h"
#include "queue/handler.h"
#include "queue/marks.h"
#include "queue/run_private.h"

#define TICK 100                /* ms */
#define EXACT_BELOW (10 * TICK) /* ms; a time that wants its own timer */
#define LONG (TICK / 2)         /* ms after which a tick has others run what is behind a job */
#define GRACE 5000              /* ms that a job may go on that was told to stop */
#define DETACH 1500             /* ms that a job may go on when the database is wanted alone */
#define PATIENCE 1000           /* ms for a lock, outside of jobs */

static int self = -1;
static TimeoutId tick_timeout;
static TimeoutId exact_timeout;
static MemoryContext job_context = NULL;
static PennyRunningJob shown; /* for penny_running_job(); row NULL: none runs */

/* For signal handlers: the job that runs. */
static volatile sig_atomic_t running = false;
static volatile sig_atomic_t timed_out = false;
static volatile sig_atomic_t cancelled = false;
static volatile sig_atomic_t overdue = false; /* would not stop: the process ends */
static volatile sig_atomic_t patient = false; /* no job runs, and locks are waited for */
static volatile int64 running_id = 0;
static volatile int64 running_since = 0;            /* penny_clock_ms() */
static volatile int64 deadline = PENNY_NEVER;       /* penny_clock_ms() */
static volatile int64 detached_since = PENNY_NEVER; /* the database is wanted alone */
static volatile int64 stop_since = PENNY_NEVER;     /* since when it is told to stop */

static int saved_lock_timeout;

static void on_tick(void);
static void on_cancel(SIGNAL_ARGS);
static void begin_limits(const PennyBatchItem *item, const PennyJobTerms *terms);
static void end_limits(void);
static void clean_up(void);

void
penny_run_job_init(int number)
{
	self = number;
	job_context = AllocSetContextCreate(TopMemoryContext, "penny job", ALLOCSET_DEFAULT_SIZES);
	tick_timeout = RegisterTimeout(USER_TIMEOUT, on_tick);
	exact_timeout = RegisterTimeout(USER_TIMEOUT, on_tick);
	pqsignal(SIGINT, on_cancel);
}

const PennyRunningJob *
penny_running_job(void)
{
	return shown.row != NULL ? &shown : NULL;
}

/* ---- time and cancelling -------------------------------------------------------------- */

/* Have the statement that runs cancelled; in a signal handler. */
static void
cancel_statement(void)
{
	InterruptPending = true;
	QueryCancelPending = true;
	SetLatch(MyLatch);
}

/* Likewise, and its job is to end. */
static void
stop_job(int64 now)
{
	if (stop_since == PENNY_NEVER)
		stop_since = now;
	if (now > stop_since + GRACE)
	{
		overdue = true;
		ProcDiePending = true;
	}
	cancel_statement();
}

/* Now and then while jobs run; a signal handler. */
static void
on_tick(void)
{
	int64 now = penny_clock_ms();

	if (!running)
		return;
	if (now - running_since >= LONG)
		penny_run_give_rest(self);
	if (now >= deadline)
		timed_out = true;
	if (timed_out || cancelled)
		stop_job(now);
	if (penny_readiness() != PENNY_DETACHED)
		detached_since = PENNY_NEVER;
	else if (detached_since == PENNY_NEVER)
		detached_since = now;
	else if (now > detached_since + DETACH)
	{
		InterruptPending = true;
		ProcDiePending = true;
		SetLatch(MyLatch);
	}
}

/*
 * SIGINT: by who cancels a job, which is to be this one, by an administrator, or by
 * this process, which has waited for a lock as long as it may.  A job may go on after
 * that.
 */
static void
on_cancel(SIGNAL_ARGS)
{
	int save_errno = errno;
	int64 meant = penny_crew_to_cancel(self);
	bool lock = get_timeout_indicator(LOCK_TIMEOUT, false);

	(void) postgres_signal_arg;
	if (lock && (running || patient))
		cancel_statement();
	if (running && (meant == running_id || (meant == 0 && !lock)))
	{
		if (meant == running_id)
			cancelled = true;
		stop_job(penny_clock_ms());
	}
	errno = save_errno;
}

void
penny_run_ticks(bool on)
{
	if (on)
		enable_timeout_every(tick_timeout, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), TICK),
							 TICK);
	else
		disable_timeout(tick_timeout, false);
}

/* From here on the job may be told to stop. */
static void
begin_limits(const PennyBatchItem *item, const PennyJobTerms *terms)
{
	int64 ms = (terms->timeout + 999) / 1000;

	timed_out = cancelled = false;
	stop_since = PENNY_NEVER;
	running_since = penny_clock_ms();
	deadline = running_since + ms + 1; /* never before its time */
	running_id = item->job.id;
	running = true;
	if (ms < EXACT_BELOW)
		enable_timeout_after(exact_timeout, (int) ms + 2);
	penny_ensure(QueryCancelHoldoffCount == 1);
	QueryCancelPending = false; /* one that came before was not meant for this job */
	if (penny_crew_runs(self, item->job.id))
	{
		cancelled = true;
		stop_job(penny_clock_ms());
	}
	RESUME_CANCEL_INTERRUPTS();
}

static void
end_limits(void)
{
	running = false;
	running_id = 0;
	(void) penny_crew_runs(self, 0);
	if (get_timeout_active(exact_timeout))
		disable_timeout(exact_timeout, false);
	QueryCancelPending = false;
}

void
penny_run_patience(bool on)
{
	if (on == (patient != 0))
		return;
	if (on)
	{
		saved_lock_timeout = LockTimeout;
		LockTimeout = PATIENCE;
		QueryCancelPending = false;
		patient = true;
		RESUME_CANCEL_INTERRUPTS();
		return;
	}
	patient = false;
	LockTimeout = saved_lock_timeout;
	QueryCancelHoldoffCount = 1; /* an error took it back */
	QueryCancelPending = false;
}

const char *
penny_run_job_stop(bool *was_cancelled)
{
	if (patient)
		penny_run_patience(false);
	else
		HOLD_CANCEL_INTERRUPTS();
	end_limits();
	shown.row = NULL;
	*was_cancelled = cancelled;
	return timed_out && !cancelled ? "the job ran longer than its timeout" : NULL;
}

void
penny_run_jobs_exit(void)
{
	running = false; /* a tick may still come, and must not give away what is another's by then */
	if (overdue)
		penny_job_charge_marked();
}

/* ---- the call --------------------------------------------------------------------------- */

/* What of the session would be there for the next job. */
static void
clean_up(void)
{
	LockReleaseSession(USER_LOCKMETHOD);
	DropAllPreparedStatements();
	ResetSequenceCaches();
	AtEOXact_LargeObject(true);
}

bool
penny_run_job_left_something(void)
{
	return (MyXactFlags & XACT_FLAGS_ACCESSEDTEMPNAMESPACE) != 0;
}

static void
check_stopped(void)
{
	if (timed_out || cancelled)
		ereport(ERROR, (errcode(ERRCODE_QUERY_CANCELED),
						errmsg("the job went on after it was told to stop")));
}

/* Within the role and the settings of the job. */
static Jsonb *
call(PennyBatchItem *item, PennyJobFunction *function, const PennyJobTerms *terms)
{
	Jsonb *result;

	begin_limits(item, terms);
	result = penny_job_call(function, item->row.payload);
	AfterTriggerFireDeferred();
	PortalHashTableDeleteAll();
	CHECK_FOR_INTERRUPTS();
	HOLD_CANCEL_INTERRUPTS();
	end_limits();
	check_stopped();
	return result;
}

void
penny_run_job(PennyBatchItem *item, const PennyHandler *handler, const PennyJobTerms *terms,
			  MemoryContext result_context)
{
	PennyJobFunction *function = penny_job_function(handler);
	MemoryContext old = MemoryContextSwitchTo(job_context);
	Jsonb *result;
	Oid saved_user;
	int saved_context;
	int nest_level;

	MemoryContextReset(job_context);
	shown.row = &item->row;
	shown.attempt = item->job.attempt + 1;
	shown.attempts = terms->attempts;

	PushActiveSnapshot(GetTransactionSnapshot());
	nest_level = NewGUCNestLevel();
	GetUserIdAndSecContext(&saved_user, &saved_context);
	SetUserIdAndSecContext(function->role, saved_context | SECURITY_LOCAL_USERID_CHANGE);
	result = call(item, function, terms);
	SetUserIdAndSecContext(saved_user, saved_context);
	AtEOXact_GUC(false, nest_level);
	PopActiveSnapshot();

	MemoryContextSwitchTo(result_context);
	if (result != NULL)
	{
		item->result = palloc(VARSIZE(result));
		memcpy(item->result, result, VARSIZE(result));
	}
	MemoryContextSwitchTo(old);
	shown.row = NULL;
	clean_up();
	CommandCounterIncrement();
}

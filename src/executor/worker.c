/*-------------------------------------------------------------------------
 *
 * worker.c
 *		An executor: takes calls out of the plane, one after the other.
 *
 * It logs in as penny_authenticator, a role without rights of its own, once
 * the database and the role are there, and serves once the extension is
 * (base/registry.h); before, calls are answered with 503 and the reason.
 *
 * The loop: housekeeping, what the supervisor wants, all calls there are, sleep.  Before it sleeps it
 * says so in its word of the plane and looks once more; an edge that has a
 * call for it writes the eventfd.  It never sleeps inside a transaction.
 *
 * Ends: SIGTERM at once (`die`), a running call then gets its 503 from the
 * exit callback; but when the whole server stops, the call that runs has most
 * of penny.drain_timeout to come to its end.  An executor above penny.executors_min after
 * penny.executor_idle_timeout without a call; one whose session could not be
 * reset, after the answer; and all when the database is wanted alone.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/error.h"
#include "base/planemap.h"
#include "base/registry.h"
#include "base/reset.h"
#include "base/staff.h"
#include "base/worker.h"
#include "cache/cache.h"
#include "cache/l2.h"
#include "config/config.h"
#include "executor/chores.h"
#include "executor/pool.h"
#include "executor/idle.h"
#include "executor/quarantine.h"
#include "executor/routes.h"
#include "executor/run.h"
#include "executor/plans.h"
#include "executor/rate.h"

#define MAX_CALLS_A_TURN 64 /* then interrupts and settings are looked at */

/* This executor. */
static PennyPlane *plane = NULL;
static int self = -1;
static WaitEventSet *wait_set = NULL;

/* The claimed call that is not wholly answered yet; for the exit callback. */
static PennyCall open_call;
static volatile sig_atomic_t call_open = false;
static volatile sig_atomic_t leaving = false; /* after the call that runs */
static bool answer_begun = false;             /* some of its pieces are written */

static void begin(int wanted);
static void on_term(SIGNAL_ARGS);
static void executor_exit(int code, Datum arg);
static void refuse_calls(PennyReadiness readiness);
static bool serve(PennyReadiness readiness);
static void serve_call(const PennyCall *call, PennyReadiness readiness);
static void deliver(const PennyRun *run);
static bool idle(TimestampTz since);

PGDLLEXPORT void penny_executor_main(Datum arg);

void
penny_executor_init(void)
{
	penny_idle_init();
	penny_quarantine_init();
	penny_rate_init();
}

void
penny_executor_main(Datum arg)
{
	TimestampTz idle_since;

	begin(DatumGetInt32(arg));
	idle_since = GetCurrentTimestamp();
	for (;;)
	{
		PennyReadiness readiness;

		if (penny_worker_tick())
		{
			penny_staff_limit_memory(penny_executor_memory);
			penny_reset_baseline();
			penny_l2_trim();
			/* what this executor let in or built by the settings before ends with them */
			penny_cache_push_all_now();
		}
		readiness = penny_executor_tick(self);
		if (readiness == PENNY_READY)
			penny_chores_do();
		if (serve(readiness))
			idle_since = GetCurrentTimestamp();
		else if (!idle(idle_since))
			proc_exit(0);
	}
}

/* Take the number, wait for the database, connect. */
static void
begin(int wanted)
{
	penny_worker_begin(PENNY_EXECUTOR, wanted);
	pqsignal(SIGTERM, on_term);
	HOLD_CANCEL_INTERRUPTS(); /* but for the calls, see run.c */
	plane = penny_plane();
	self = penny_executor_attach(wanted);
	penny_quarantine_attach(self);
	before_shmem_exit(executor_exit, (Datum) 0);
	penny_run_init();

	wait_set = penny_wait_event_set_create(3);
	AddWaitEventToSet(wait_set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(wait_set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	AddWaitEventToSet(wait_set, WL_SOCKET_READABLE, plane->sleeper_wake[self], NULL, NULL);

	penny_executor_await_database(self, refuse_calls);
	penny_worker_connect(penny_database, "penny_authenticator");
	penny_executor_connected(self);
	penny_staff_limit_memory(penny_executor_memory);
	penny_plan_init();
	penny_routes_init();
	penny_reset_baseline();
}

/* See above.  The edge drains a little longer: a 503 still gets out. */
static void
on_term(SIGNAL_ARGS)
{
	if (call_open && penny_worker_server_stops())
	{
		leaving = true;
		penny_run_leave(penny_drain_timeout - Min(penny_drain_timeout / 5, 400));
	}
	else
		die(postgres_signal_arg);
}

/* The process ends: nobody may wait for it. */
static void
executor_exit(int code, Datum arg)
{
	char document[256];
	PennySpan head = {"content-type: application/problem+json\nretry-after: 1\n", 0};
	PennySpan body = {document, 0};

	(void) arg;
	penny_idle_set(self, false);
	/* any other code is a crash to the postmaster: then the mark stays */
	if (code == 0 || code == 1)
		penny_quarantine_leave();
	if (!call_open)
		return;
	call_open = false;
	if (!answer_begun)
	{
		head.len = strlen(head.data);
		body.len =
			(size_t) penny_problem_print(document, sizeof(document), 503, penny_run_request_id());
	}
	penny_call_write(plane, &open_call, answer_begun ? 0 : 503, head, body, NULL, 0, true);
}

/* Answer what waits, as long as there is no database to ask. */
static void
refuse_calls(PennyReadiness readiness)
{
	PennyCall call;

	for (int i = 0; i < MAX_CALLS_A_TURN && penny_call_claim(plane, &call); i++)
		serve_call(&call, readiness);
}

/*
 * Serve calls; false when there were none.  Ends early for news: other keys, or
 * a database that is wanted alone, must not wait for a long queue.
 */
static bool
serve(PennyReadiness readiness)
{
	PennyCall call;
	int served = 0;

	while (served < MAX_CALLS_A_TURN && !ConfigReloadPending && penny_readiness() == readiness &&
		   penny_call_claim(plane, &call))
	{
		if (plane->config.edges > 1 && penny_call_backlog(plane) > 0)
			penny_wake_next(plane);
		serve_call(&call, readiness);
		served++;
	}
	return served > 0;
}

/* Run one call, answer it, clean up after it. */
static void
serve_call(const PennyCall *call, PennyReadiness readiness)
{
	const PennyRun *run;
	const char *wrong;

	open_call = *call;
	answer_begun = false;
	call_open = true;
	if (readiness != PENNY_READY)
	{
		deliver(penny_run_refuse(plane, call, ERRCODE_PENNY_UNAVAILABLE,
								 penny_readiness_reason(readiness)));
		if (leaving)
			penny_worker_exit();
		return;
	}

	penny_executor_call_begin(self);
	run = penny_run(plane, call);
	deliver(run);
	pgstat_report_activity(STATE_IDLE, NULL);
	wrong = penny_reset_session();
	(void) pgstat_report_stat(false); /* under load there may be no idle moment */
	penny_executor_call_end(self);
	penny_quarantine_end();
	if (wrong != NULL)
	{
		ereport(LOG, (errcode(ERRCODE_INTERNAL_ERROR),
					  errmsg("penny executor leaves: its session could not be reset"),
					  errdetail("Left by %s: %s.",
								run->activity != NULL ? run->activity : "a request", wrong)));
		penny_worker_exit();
	}
	if (leaving)
		penny_worker_exit();
	CHECK_FOR_INTERRUPTS();
}

static void
deliver(const PennyRun *run)
{
	answer_begun = true;
	penny_answer_deliver(plane, &run->call, self, &run->answer, wait_set);
	call_open = false;
}

/* Milliseconds until `timeout` after `since`, at least 0. */
static long
left_of(TimestampTz since, int timeout)
{
	return TimestampDifferenceMilliseconds(GetCurrentTimestamp(),
										   TimestampTzPlusMilliseconds(since, timeout));
}

/* Sleep until there may be a call; false when it is time to leave. */
static bool
idle(TimestampTz since)
{
	bool surplus = self >= penny_executors_min;
	long timeout = surplus ? left_of(since, penny_executor_idle_timeout) : -1;
	long stats = pgstat_report_stat(false);
	WaitEvent event;
	int n = 1;

	if (surplus && timeout == 0)
		return false;
	if (stats > 0)
		timeout = timeout < 0 ? stats : Min(timeout, stats);

	penny_sleeper_prepare(plane, self);
	penny_idle_set(self, true);
	if (penny_call_backlog(plane) == 0)
		n = WaitEventSetWait(wait_set, timeout, &event, 1, penny_worker_wait_event());
	penny_idle_set(self, false);
	penny_sleeper_awake(plane, self);
	ResetLatch(MyLatch);
	if (n == 0 && stats > 0)
		(void) pgstat_report_stat(true);
	return true;
}

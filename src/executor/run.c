/*-------------------------------------------------------------------------
 *
 * run.c
 *		One call: a transaction, tried again when it collided with another.
 *
 * The error boundary of an executor.  Whatever a handler does, here it ends:
 *
 *	settings	the call runs in a nest level of settings of its own, which is
 *				taken back before the commit, SET of a session included
 *	identity	set by penny_caller_become(), cleared before the commit; what
 *				a commit would still run on behalf of the caller (deferred
 *				triggers, queries of WITH HOLD cursors) is run or dropped before
 *	time		STATEMENT_TIMEOUT, armed for the route; and a tick that looks
 *				whether the client is still there.  A handler that swallows its
 *				cancel is ended with its executor after a grace time, and one that
 *				runs when the server stops when penny.drain_timeout is over
 *	errors		become problem documents; those from 500 on are logged
 *
 * A cancel can only hit the call that it is meant for: the tick asks for the
 * current call's own slot and generation, both timers are off before the call
 * ends, and between calls cancels are held off and forgotten.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "access/xact.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"

#include "base/error.h"
#include "config/config.h"
#include "executor/dispatch.h"
#include "executor/http.h"
#include "executor/quarantine.h"
#include "executor/run.h"

#define RETRIES 3
#define TICK 100           /* ms between looks at the client */
#define GRACE 5000000      /* us that a cancelled call may go on */
#define OUTER_NEST_LEVEL 2 /* of settings: one for the transaction, one for the call */

static PennyRun run;
static char *request_copy = NULL;
static TimeoutId tick_timeout;

/* For the tick, in a signal handler: the call that runs. */
static volatile sig_atomic_t running = false;
static volatile sig_atomic_t client_gone = false;
static volatile int64 deadline = 0; /* us, 0 = none */
static volatile int64 leave_by = 0; /* us, 0 = as long as it takes */

static void on_tick(void);
static void copy_request_id(void);
static bool attempt(bool last);
static void begin_transaction(void);
static void end_transaction(void);
static void stop_timers(void);
static void run_leftovers(void);
static bool take_error(bool last);
static void add_context(void *arg);

void
penny_run_init(void)
{
	run.context = AllocSetContextCreate(TopMemoryContext, "penny call", ALLOCSET_DEFAULT_SIZES);
	tick_timeout = RegisterTimeout(USER_TIMEOUT, on_tick);
}

int64
penny_run_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64) now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* Forget the last call, take up this one. */
static void
start(PennyPlane *plane, const PennyCall *call)
{
	MemoryContext context = run.context;

	MemoryContextReset(context);
	memset(&run, 0, sizeof(run));
	run.plane = plane;
	run.call = *call;
	run.context = context;
	run.started = penny_run_clock();
	penny_answer_init(&run.answer, context);
	run.problem.request_id = run.request_id;
	client_gone = false;
	deadline = 0;

	if (request_copy == NULL)
		request_copy = MemoryContextAlloc(TopMemoryContext, plane->config.request_size);
}

PennyRun *
penny_run(PennyPlane *plane, const PennyCall *call)
{
	start(plane, call);
	if (!penny_call_request(plane, call, request_copy, &run.request))
		return penny_run_refuse(plane, call, ERRCODE_PENNY_BAD_REQUEST, "the request is malformed");
	copy_request_id();
	if (!penny_quarantine_begin(&run.request, run.request_id))
		return penny_run_refuse(plane, call, ERRCODE_PENNY_QUARANTINED,
								"the request is refused: it crashed the server");
	for (int i = 0; !attempt(i == RETRIES); i++)
		;
	penny_http_timing(&run);
	return &run;
}

PennyRun *
penny_run_refuse(PennyPlane *plane, const PennyCall *call, int sqlerrcode, const char *reason)
{
	ErrorData error = {.elevel = ERROR, .sqlerrcode = sqlerrcode};

	start(plane, call);
	if (penny_call_request(plane, call, request_copy, &run.request))
		copy_request_id();
	error.message = unconstify(char *, reason);
	penny_problem_answer(&run.answer, &error, &run.problem);
	return &run;
}

/* The request's id, without what would need escaping anywhere. */
static void
copy_request_id(void)
{
	PennySpan id = run.request.field[PENNY_FIELD_REQUEST_ID];
	size_t len = 0;

	for (size_t i = 0; i < id.len && len < PENNY_REQUEST_ID_SIZE - 1; i++)
	{
		char c = id.data[i];

		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
			c == '-' || c == '_' || c == '.')
			run.request_id[len++] = c;
	}
	run.request_id[len] = '\0';
}

const char *
penny_run_request_id(void)
{
	return run.request_id;
}

void
penny_run_show(PennyRun *shown, const char *activity)
{
	shown->activity = MemoryContextStrdup(shown->context, activity);
	debug_query_string = shown->activity;
	pgstat_report_activity(STATE_RUNNING, shown->activity);
}

void
penny_run_limit(PennyRun *limited, int timeout)
{
	int64 left;

	limited->problem.timeout = timeout;
	if (timeout <= 0)
		return;
	deadline = limited->started + (int64) timeout * 1000;
	left = Max(deadline - penny_run_clock(), 0) / 1000 + 1; /* never before the deadline */
	enable_timeout_after(STATEMENT_TIMEOUT, (int) Min(left, INT_MAX));
}

void
penny_run_leave(int timeout)
{
	leave_by = penny_run_clock() + (int64) timeout * 1000;
}

/* Every TICK while a call runs; a signal handler. */
static void
on_tick(void)
{
	if (!running)
		return;
	if (!client_gone && penny_call_cancelled(run.plane, &run.call))
	{
		client_gone = true;
		deadline = penny_run_clock();
	}
	if (client_gone)
	{
		InterruptPending = true;
		QueryCancelPending = true;
	}
	if ((deadline != 0 && penny_run_clock() > deadline + GRACE) ||
		(leave_by != 0 && penny_run_clock() > leave_by))
	{
		InterruptPending = true;
		ProcDiePending = true;
	}
}

/* Try the call once; false: try again. */
static bool
attempt(bool last)
{
	ErrorContextCallback context = {.callback = add_context, .previous = error_context_stack};
	volatile bool done = true;

	error_context_stack = &context;
	penny_answer_reset(&run.answer);
	PG_TRY();
	{
		begin_transaction();
		penny_dispatch(&run);
		end_transaction();
	}
	PG_CATCH();
	{
		HOLD_CANCEL_INTERRUPTS();
		stop_timers();
		done = take_error(last);
	}
	PG_END_TRY();
	error_context_stack = context.previous;
	MemoryContextSwitchTo(run.context);
	QueryCancelPending = false;
	debug_query_string = NULL;
	return done;
}

static void
begin_transaction(void)
{
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	if (!penny_dispatch_writes(&run.request))
		XactReadOnly = true;
	run.nest_level = NewGUCNestLevel();
	penny_ensure(run.nest_level == OUTER_NEST_LEVEL);
	run.routes_stamp = atomic_load(&run.plane->p->routes_stamp);
	PushActiveSnapshot(GetTransactionSnapshot());
	if (SPI_connect() != SPI_OK_CONNECT)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not connect to SPI")));

	running = true;
	enable_timeout_every(tick_timeout, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), TICK),
						 TICK);
	penny_run_limit(&run, penny_statement_timeout);
	penny_ensure(QueryCancelHoldoffCount == 1);
	QueryCancelPending = false; /* one that came before was not meant for this call */
	RESUME_CANCEL_INTERRUPTS();
}

static void
end_transaction(void)
{
	run_leftovers();
	CHECK_FOR_INTERRUPTS();
	HOLD_CANCEL_INTERRUPTS();
	stop_timers();

	SPI_finish();
	PopActiveSnapshot();
	AtEOXact_GUC(false, run.nest_level);
	penny_identity_clear();
	CommitTransactionCommand();
}

static void
stop_timers(void)
{
	running = false;
	disable_timeout(tick_timeout, false);
	disable_timeout(STATEMENT_TIMEOUT, false);
}

/*
 * What the commit would run as us, run as the caller: deferred triggers, and
 * what these defer in turn, whatever they say by SET CONSTRAINTS.  Cursors are
 * dropped, so that no query of a WITH HOLD cursor is left.
 */
static void
run_leftovers(void)
{
	AfterTriggerFireDeferred();
	PortalHashTableDeleteAll();
}

/* Was this error a collision that another try can get past? */
static bool
is_collision(int sqlerrcode)
{
	return sqlerrcode == ERRCODE_T_R_SERIALIZATION_FAILURE ||
		   sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED;
}

/* Make the answer of an error; false: try again instead. */
static bool
take_error(bool last)
{
	ErrorData *error;
	bool again;

	MemoryContextSwitchTo(run.context);
	error = CopyErrorData();
	again = is_collision(error->sqlerrcode) && !last && !client_gone;
	run.problem.timed_out =
		!client_gone && run.problem.timeout > 0 && deadline != 0 && penny_run_clock() >= deadline;
	if (!again && !client_gone && error->sqlerrcode != ERRCODE_PENNY_QUARANTINED &&
		penny_problem_status(error->sqlerrcode, run.problem.timed_out) >= 500)
		EmitErrorReport();
	AbortCurrentTransaction();
	FlushErrorState();
	MemoryContextSwitchTo(run.context);
	if (again)
	{
		FreeErrorData(error);
		return false;
	}
	if (error->sqlerrcode == ERRCODE_READ_ONLY_SQL_TRANSACTION && run.request.op == PENNY_OP_HTTP)
		run.problem.allowed = penny_http_writing_methods(&run);
	penny_problem_answer(&run.answer, error, &run.problem);
	if (run.cached)
		run.answer.extra.mark = PENNY_MARK_BYPASS;
	return true;
}

/* Say in log lines whose request it was. */
static void
add_context(void *arg)
{
	(void) arg;
	errcontext("penny request \"%s\", %s", run.request_id,
			   run.activity != NULL ? run.activity : "before its route was known");
}

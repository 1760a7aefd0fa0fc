/*-------------------------------------------------------------------------
 *
 * worker.c
 *		The skeleton that all background workers of penny share.
 *
 * All kinds start when recovery has finished, so nothing of penny runs on a
 * standby before its promotion.  Static workers are restarted a second after
 * they end; dynamic ones are the supervisor's business.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "tcop/tcopprot.h"
#include "utils/backend_status.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/pidfile.h"

#include "base/compat.h"
#include "base/error.h"
#include "base/worker.h"

#define RESTART_SECONDS 1
#define DIRECTORY_LOCK_FILE "postmaster.pid" /* a server runs in its data directory */
#define RESTART_AT_ONCE 0 /* a gateway: it sees to it itself that it does not spin */

/* What a kind is called, and where it begins. */
typedef struct WorkerSpec
{
	const char *type;     /* backend_type in pg_stat_activity */
	const char *function; /* exported by this library */
	bool numbered;        /* the number belongs to the name */
	bool transactions;    /* dies and cancels as a session does */
	const char *wait_event;
} WorkerSpec;

static const WorkerSpec specs[PENNY_WORKER_KINDS] = {
	[PENNY_SUPERVISOR] = {"penny supervisor", "penny_supervisor_main", false, false,
						  "PennySupervisorMain"},
	[PENNY_GATEWAY] = {"penny gateway", "penny_gateway_main", false, false, "PennyGatewayMain"},
	[PENNY_EXECUTOR] = {"penny executor", "penny_executor_main", true, true, "PennyExecutorMain"},
	[PENNY_RELAY] = {"penny relay", "penny_relay_main", false, false, "PennyRelayMain"},
	[PENNY_COURIER] = {"penny courier", "penny_courier_main", false, false, "PennyCourierMain"},
	[PENNY_WORKER] = {"penny worker", "penny_job_worker_main", true, true, "PennyWorkerMain"},
	[PENNY_SPARE] = {"penny spare worker", "penny_job_worker_main", false, true, "PennyWorkerMain"},
};

static MemoryContext scratch = NULL;
static uint32 wait_event = 0;

static void describe(PennyWorkerKind kind, int number, BackgroundWorker *worker);

/* ---- registration ------------------------------------------------------- */

/* Fill in the form for PostgreSQL. */
static void
describe(PennyWorkerKind kind, int number, BackgroundWorker *worker)
{
	const WorkerSpec *spec = &specs[kind];

	memset(worker, 0, sizeof(*worker));
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker->bgw_main_arg = Int32GetDatum(number);
	strlcpy(worker->bgw_library_name, "penny", sizeof(worker->bgw_library_name));
	strlcpy(worker->bgw_function_name, spec->function, sizeof(worker->bgw_function_name));
	strlcpy(worker->bgw_type, spec->type, BGW_MAXLEN);
	if (spec->numbered)
		snprintf(worker->bgw_name, BGW_MAXLEN, "%s %d", spec->type, number);
	else
		strlcpy(worker->bgw_name, spec->type, BGW_MAXLEN);
}

void
penny_worker_register(PennyWorkerKind kind, int number)
{
	BackgroundWorker worker;

	describe(kind, number, &worker);
	worker.bgw_restart_time = kind == PENNY_GATEWAY ? RESTART_AT_ONCE : RESTART_SECONDS;
	RegisterBackgroundWorker(&worker);
}

bool
penny_worker_start(PennyWorkerKind kind, int number, BackgroundWorkerHandle **handle)
{
	BackgroundWorker worker;

	describe(kind, number, &worker);
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_notify_pid = MyProcPid;
	return RegisterDynamicBackgroundWorker(&worker, handle);
}

/* ---- prologue ----------------------------------------------------------- */

/* Handlers, contexts, name; then signals are let in. */
void
penny_worker_begin(PennyWorkerKind kind, int number)
{
	const WorkerSpec *spec = &specs[kind];

	(void) number;
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	if (spec->transactions)
		pqsignal(SIGTERM, die);
	else
	{
		pqsignal(SIGTERM, SignalHandlerForShutdownRequest);
		pqsignal(SIGINT, SIG_IGN);
	}

	scratch = AllocSetContextCreate(TopMemoryContext, "penny worker turn", ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(scratch);
	wait_event = penny_wait_event_new(spec->wait_event);

	BackgroundWorkerUnblockSignals();
}

/* Appear in pg_stat_activity, connected or to shared catalogs only. */
void
penny_worker_connect(const char *database, const char *role)
{
	BackgroundWorkerInitializeConnection(database, role, 0);
	SetConfigOption("application_name", MyBgworkerEntry->bgw_name, PGC_USERSET, PGC_S_SESSION);
	pgstat_report_activity(STATE_IDLE, NULL);
	MemoryContextSwitchTo(scratch);
}

/* ---- loop --------------------------------------------------------------- */

/* One turn's housekeeping; see worker.h. */
bool
penny_worker_tick(void)
{
	bool reloaded = false;

	penny_ensure(!IsTransactionState());

	/* Nothing runs that a cancel could be meant for. */
	HOLD_CANCEL_INTERRUPTS();
	CHECK_FOR_INTERRUPTS();
	RESUME_CANCEL_INTERRUPTS();
	QueryCancelPending = false;

	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
		reloaded = true;
	}
	MemoryContextReset(scratch);
	MemoryContextSwitchTo(scratch);
	return reloaded;
}

/* Run a step whose errors end the step and not the worker. */
bool
penny_worker_guard(void (*step)(void *arg), void *arg)
{
	volatile bool ok = true;

	PG_TRY();
	{
		step(arg);
	}
	PG_CATCH();
	{
		HOLD_INTERRUPTS();
		QueryCancelPending = false;
		EmitErrorReport();
		AbortOutOfAnyTransaction();
		LWLockReleaseAll();
		MemoryContextSwitchTo(scratch);
		FlushErrorState();
		RESUME_INTERRUPTS();
		ok = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(scratch);
	return ok;
}

void
penny_worker_exit(void)
{
	proc_exit(1);
}

/* The postmaster says so in its pid file before it signals anybody. */
bool
penny_worker_server_stops(void)
{
	char text[MAXPGPATH * 2];
	int save_errno = errno;
	int fd = open(DIRECTORY_LOCK_FILE, O_RDONLY | O_CLOEXEC);
	ssize_t len = fd >= 0 ? read(fd, text, sizeof(text) - 1) : 0;
	const char *line = text;

	if (fd >= 0)
		close(fd);
	errno = save_errno;
	text[Max(len, 0)] = '\0';
	for (int i = 1; i < LOCK_FILE_LINE_PM_STATUS && line != NULL; i++)
	{
		line = strchr(line, '\n');
		line = line != NULL ? line + 1 : NULL;
	}
	return line != NULL && strncmp(line, PM_STATUS_STOPPING, strlen(PM_STATUS_STOPPING)) == 0;
}

MemoryContext
penny_worker_scratch(void)
{
	return scratch;
}

uint32
penny_worker_wait_event(void)
{
	return wait_event;
}

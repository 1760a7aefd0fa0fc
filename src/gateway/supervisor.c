/*-------------------------------------------------------------------------
 *
 * supervisor.c
 *		The supervisor: says whether there is something to serve, and starts
 *		executors by load.
 *
 * It is connected to no database; what it knows of databases and roles it
 * reads from the shared catalogs, when a backend tells it to look again
 * (gateway/watch.c).  Whether the extension is installed an executor finds
 * out; see base/registry.h.
 *
 * Load.  Edges wake sleeping executors themselves; when none sleeps they wake
 * the supervisor, which is the last of the sleepers in the plane.  If calls
 * then wait for PATIENCE, one more executor is started, and so on every
 * PATIENCE up to penny.executors_max.  Executors above the minimum end by
 * themselves when idle.  While it could not start one anyway, the supervisor
 * does not show itself as asleep, and edges leave it alone.
 *
 * Job workers.  One while penny is ready, and more by load
 * (gateway/job_workers.c), and a spare one while they leave upkeep undone
 * (gateway/spare_worker.c).
 *
 * Relay.  While penny.redis_url is set there is to be a penny relay
 * (gateway/relay_start.c), and while penny.webhook_allow is, a penny courier
 * (gateway/courier_start.c).
 *
 * Keys of tokens.  It alone reads their files (auth/key.h).
 *
 * The cache.  It ends everything that was cached when settings were read again.
 *
 * Prepared transactions.  While there are any, it sweeps every second for
 * those whose end was missed (realtime/prepared.c).
 *
 * Messages that grow, tools that run.  While there may be any, an executor is
 * asked from time to time to close those that nobody will (executor/chores.h).
 *
 * Idle, it waits on its latch without a timeout: no statement, no transaction,
 * no wake.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "postmaster/bgworker_internals.h"
#include "postmaster/interrupt.h"
#include "storage/latch.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/ps_status.h"
#include "utils/rel.h"

#include "auth/key.h"
#include "base/clock.h"
#include "base/compat.h"
#include "base/planemap.h"
#include "base/registry.h"
#include "base/staff.h"
#include "base/worker.h"
#include "cache/cache.h"
#include "config/config.h"
#include "executor/chores.h"
#include "gateway/courier_start.h"
#include "gateway/job_workers.h"
#include "gateway/relay_start.h"
#include "gateway/spare_worker.h"
#include "gateway/worker_slot.h"
#include "plane/call.h"
#include "plane/event.h"
#include "realtime/prepared.h"

#define PATIENCE 20             /* ms that calls wait before another executor starts */
#define LOOK_PAUSE 5000         /* ms until the catalogs are read again after an error */
#define SWEEP_PAUSE 1000        /* ms between sweeps while transactions are prepared */
#define STREAMS_PAUSE 5000      /* ms, at most, between looks for dead producers */
#define EXECUTIONS_PAUSE 300000 /* ms, at most, between looks for tools that do not end */
#define AUTHENTICATOR "penny_authenticator"

extern PGDLLEXPORT void penny_supervisor_main(Datum main_arg);

/* Executors asked for that have not taken their number yet. */
static BackgroundWorkerHandle *pending[PENNY_MAX_EXECUTORS];

static int64 awake_until = 0;   /* an edge woke us: watch the backlog until then */
static int64 waiting_since = 0; /* calls wait since then, 0 = none */
static int64 slot_at = 0;       /* no slot was free: try again then */
static PennyReadiness told = PENNY_STARTING;

static int64 look_at = 0; /* look at the catalogs then, asked or not */
static int prepared = 0;  /* prepared transactions to look after */

static int64 chore_asked[PENNY_CHORES]; /* when */

static void take_settings(void);
static void look(void *arg);
static void sweep_prepared(void *arg);
static void ask_for_chores(int64 now);
static PennyReadiness examine(void);
static bool find_shared(Oid catalog, AttrNumber column, const char *name,
						bool (*fits)(HeapTuple tuple));
static bool takes_sessions(HeapTuple tuple);
static bool may_log_in(HeapTuple tuple);
static void tell_readiness(void);
static void tell_edges(void);
static void report_short_slots(void);
static bool may_start(int64 now);
static int count_workers(void);
static void start_by_load(int64 now);
static void start_executor(int64 now);
static void forget_started(void);
static void wait_for_work(WaitEventSet *set);
static long sleep_time(int64 now, bool *visible);

/* Main function of the worker. */
void
penny_supervisor_main(Datum main_arg)
{
	PennyPlane *plane = penny_plane();
	WaitEventSet *set;

	penny_worker_begin(PENNY_SUPERVISOR, DatumGetInt32(main_arg));
	penny_worker_connect(NULL, NULL);
	penny_registry_recovered();
	penny_supervisor_attach();
	penny_key_load(); /* before anything is served */
	penny_cache_apply_settings();
	if (penny_key_asked())
		SetLatch(MyLatch); /* the last supervisor was asked, and ended */
	report_short_slots();

	set = penny_wait_event_set_create(3);
	AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	AddWaitEventToSet(set, WL_SOCKET_READABLE, plane->sleeper_wake[plane->config.executors], NULL,
					  NULL);

	while (!ShutdownRequestPending)
	{
		if ((penny_supervisor_asked() || penny_clock_ms() >= look_at) &&
			!penny_worker_guard(look, NULL))
			look_at = penny_clock_ms() + LOOK_PAUSE;
		penny_worker_guard(sweep_prepared, NULL);
		ask_for_chores(penny_clock_ms());
		tell_readiness();
		forget_started();
		start_by_load(penny_clock_ms());
		penny_relay_start();
		penny_job_workers_start();
		penny_spare_worker_start();
		penny_courier_start();
		wait_for_work(set);
		if (penny_key_asked())
			ConfigReloadPending = true;
		if (penny_worker_tick())
			take_settings();
	}
	penny_worker_exit();
}

/*
 * Settings were read again.  What was cached under the old ones ends; an
 * executor reads them before its next call.
 */
static void
take_settings(void)
{
	penny_key_load();
	penny_cache_apply_settings();
	penny_cache_push_all_now();
}

/* ---- is there something to serve? --------------------------------------- */

/* Read the shared catalogs and pass on what they say. */
static void
look(void *arg)
{
	PennyReadiness found;

	(void) arg;
	look_at = PENNY_NEVER;
	StartTransactionCommand();
	found = examine();
	CommitTransactionCommand();
	(void) penny_readiness_found(found);
}

static PennyReadiness
examine(void)
{
	if (!find_shared(DatabaseRelationId, Anum_pg_database_datname, penny_database, takes_sessions))
		return PENNY_NO_DATABASE;
	if (!find_shared(AuthIdRelationId, Anum_pg_authid_rolname, AUTHENTICATOR, may_log_in))
		return PENNY_NO_ROLE;
	return PENNY_PROBING;
}

/*
 * Is there a row of this name in a shared catalog, and is it as we need it?
 * Without a database there are no index descriptors and so no catalog caches;
 * both catalogs are a few pages.
 */
static bool
find_shared(Oid catalog, AttrNumber column, const char *name, bool (*fits)(HeapTuple tuple))
{
	Relation rel = table_open(catalog, AccessShareLock);
	NameData wanted;
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;
	bool found;

	namestrcpy(&wanted, name);
	ScanKeyInit(&key, column, BTEqualStrategyNumber, F_NAMEEQ, NameGetDatum(&wanted));
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 1, &key);
	tuple = systable_getnext(scan);
	found = HeapTupleIsValid(tuple) && fits(tuple);
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return found;
}

static bool
takes_sessions(HeapTuple tuple)
{
	return ((Form_pg_database) GETSTRUCT(tuple))->datallowconn;
}

static bool
may_log_in(HeapTuple tuple)
{
	return ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;
}

/* A change of readiness is one line in the log, and news for the edges. */
static void
tell_readiness(void)
{
	PennyReadiness now = penny_readiness();
	const char *reason = penny_readiness_reason(now);
	bool was_ready = told == PENNY_READY;

	if (now == told || now == PENNY_STARTING || now == PENNY_PROBING)
		return;
	told = now;
	pgstat_report_activity(STATE_IDLE, reason != NULL ? reason : "serving");
	set_ps_display(reason != NULL ? reason : "serving");

	if (reason == NULL)
		ereport(LOG, (errmsg("penny serves database \"%s\"", penny_database)));
	else if (now == PENNY_DETACHED)
		ereport(LOG, (errmsg("penny pauses in database \"%s\": %s", penny_database, reason)));
	else
		ereport(LOG, (errmsg("penny waits for database \"%s\": %s", penny_database, reason),
					  now == PENNY_OTHER_VERSION
						  ? 0
						  : errhint("Set \"penny.database\", or execute CREATE EXTENSION penny "
									"there.")));
	if (was_ready || now == PENNY_READY)
		tell_edges();
}

/* Routes and rooms may be others now. */
static void
tell_edges(void)
{
	PennyPlane *plane = penny_plane();
	PennyEventOut event = {.kind = PENNY_EVENT_RESYNC, .room = "", .frame = ""};

	atomic_fetch_add(&plane->p->routes_stamp, 1);
	penny_event_publish(plane, &event, 1, penny_clock_ns());
	penny_wake_edges(plane);
}

/* While some transaction is prepared, its end may have been missed. */
static void
sweep_prepared(void *arg)
{
	(void) arg;
	prepared = penny_prepared_sweep();
}

/* When a chore is due: often enough that what nobody will end is noticed soon after its time. */
static int64
chore_at(PennyChore chore)
{
	int pause = chore == PENNY_CHORE_STREAMS ? Min(STREAMS_PAUSE, penny_stream_timeout / 4)
											 : Min(EXECUTIONS_PAUSE, penny_execution_timeout / 4);

	return penny_chores_due(chore) ? chore_asked[chore] + pause : PENNY_NEVER;
}

static void
ask_for_chores(int64 now)
{
	for (PennyChore chore = 0; chore < PENNY_CHORES; chore++)
	{
		if (now < chore_at(chore))
			continue;
		chore_asked[chore] = now;
		penny_chores_ask(chore);
	}
}

/* ---- executors by load -------------------------------------------------- */

/* Settings that cannot work out are said once, at the start. */
static void
report_short_slots(void)
{
	int workers = penny_config_workers();

	if (workers <= max_worker_processes)
		return;
	if (pg_atomic_exchange_u32(&penny_registry()->slots_reported, 1) != 0)
		return;
	ereport(LOG, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				  errmsg("penny runs with fewer executors than \"penny.executors_max\" = %d",
						 penny_executors_max),
				  errdetail("It needs %d background workers for all, \"max_worker_processes\" is "
							"%d.",
							workers, max_worker_processes),
				  errhint("Set \"max_worker_processes\" to %d.", penny_config_worker_slots())));
}

static bool
may_start(int64 now)
{
	return penny_readiness() == PENNY_READY && now >= slot_at &&
		   count_workers() < (int) penny_plane()->config.executors;
}

/* Executors that hold a number, and those asked for. */
static int
count_workers(void)
{
	int running;
	int busy;
	int asked = 0;

	penny_executor_count(&running, &busy);
	for (int i = 0; i < PENNY_MAX_EXECUTORS; i++)
		asked += pending[i] != NULL;
	return running + asked;
}

/* Start one more when calls have been waiting for too long. */
static void
start_by_load(int64 now)
{
	if (penny_call_backlog(penny_plane()) == 0 || !may_start(now))
		waiting_since = 0;
	else if (waiting_since == 0)
		waiting_since = now;
	else if (now - waiting_since >= PATIENCE)
	{
		start_executor(now);
		waiting_since = now;
	}
}

/* The lowest number that nobody has. */
static void
start_executor(int64 now)
{
	PennyRegistry *registry = penny_registry();
	bool told = pg_atomic_read_u32(&registry->slots_reported) != 0;

	for (int i = penny_executors_min; i < (int) penny_plane()->config.executors; i++)
	{
		if (pending[i] != NULL || registry->executor[i].pid != 0)
			continue;
		if (!penny_slot_start(PENNY_EXECUTOR, i, "another penny executor", &pending[i], &told))
		{
			slot_at = now + PENNY_SLOT_PAUSE;
			pg_atomic_write_u32(&registry->slots_reported, 1);
		}
		break;
	}
}

/* Those that took their number, or ended before. */
static void
forget_started(void)
{
	PennyRegistry *registry = penny_registry();

	for (int i = 0; i < PENNY_MAX_EXECUTORS; i++)
	{
		pid_t pid;

		if (pending[i] == NULL)
			continue;
		if (registry->executor[i].pid == 0 &&
			GetBackgroundWorkerPid(pending[i], &pid) != BGWH_STOPPED)
			continue;
		pfree(pending[i]);
		pending[i] = NULL;
	}
}

/* ---- waiting ------------------------------------------------------------ */

/* The timeout, or until then, if that comes before it. */
static long
sooner(long timeout, int64 at)
{
	long left = penny_clock_timeout(penny_clock_ms(), at);

	return timeout < 0 || (left >= 0 && left < timeout) ? left : timeout;
}

/* Sleep, visible for the edges if we could help them. */
static void
wait_for_work(WaitEventSet *set)
{
	PennyPlane *plane = penny_plane();
	int self = (int) plane->config.executors;
	WaitEvent event;
	bool visible;
	long timeout = sleep_time(penny_clock_ms(), &visible);

	if (look_at != PENNY_NEVER)
		timeout = timeout < 0 ? LOOK_PAUSE : Min(timeout, LOOK_PAUSE);
	if (prepared > 0)
		timeout = timeout < 0 ? SWEEP_PAUSE : Min(timeout, SWEEP_PAUSE);
	for (PennyChore chore = 0; chore < PENNY_CHORES; chore++)
		timeout = sooner(timeout, chore_at(chore));
	timeout = sooner(timeout, penny_relay_start_at());
	timeout = sooner(timeout, penny_job_workers_start_at());
	timeout = sooner(timeout, penny_spare_worker_start_at());
	timeout = sooner(timeout, penny_courier_start_at());
	if (visible)
	{
		penny_sleeper_prepare(plane, self);
		if (penny_call_backlog(plane) != 0)
			timeout = PATIENCE;
	}
	if (WaitEventSetWait(set, timeout, &event, 1, penny_worker_wait_event()) > 0)
	{
		if (event.events & WL_LATCH_SET)
			ResetLatch(MyLatch);
		else
			awake_until = penny_clock_ms() + PATIENCE;
	}
	penny_sleeper_awake(plane, self);
}

/*
 * Calls wait, or did a moment ago: look again soon, and until then let edges
 * save themselves the wake.
 */
static long
sleep_time(int64 now, bool *visible)
{
	*visible = false;
	if (!may_start(now))
		return now < slot_at ? penny_clock_timeout(now, slot_at) : -1;
	if (waiting_since != 0 || now < awake_until)
		return PATIENCE;
	*visible = true;
	return -1;
}

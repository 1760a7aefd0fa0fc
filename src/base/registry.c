/*-------------------------------------------------------------------------
 *
 * registry.c
 *		Who works for penny at this moment, and may executors work at all.
 *		See registry.h for the protocol.
 *
 * A wake is a SetLatch on the PGPROC whose number stands here; one that comes
 * too late hits a process that looks once too often, which is harmless.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/stat.h>

#include "access/xlog.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_extension.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/error.h"
#include "base/planemap.h"
#include "base/registry.h"
#include "base/shmem.h"
#include "base/worker.h"
#include "plane/call.h"

#define MAX_CONNECT_DELAY 30000 /* ms */

static PennyRegistry *registry = NULL;

static Size registry_size(void);
static void registry_create(void);
static void executor_detach(int code, Datum number);
static void pass_wake_on(int number);
static void supervisor_detach(int code, Datum arg);
static long connect_delay(uint32 attempts);
static void probe(void);
static void set_proc_latch(int proc_number);

static const PennyShmemPart registry_part = {.name = "penny registry",
											 .size = registry_size,
											 .area = (void **) &registry,
											 .init = registry_create};

/* Register the shared struct. */
void
penny_registry_init(void)
{
	penny_shmem_register(&registry_part);
}

PennyRegistry *
penny_registry(void)
{
	return registry;
}

static Size
registry_size(void)
{
	return sizeof(PennyRegistry);
}

/*
 * Since when rows of unlogged tables are kept.  A crash takes them, and so does
 * the end of recovery in a standby: that comes later than this memory, and
 * until the supervisor, who begins then, has said when, they may all be gone.
 */
static TimestampTz
kept_since(void)
{
	struct stat signal;

	if (stat(STANDBY_SIGNAL_FILE, &signal) == 0 || stat(RECOVERY_SIGNAL_FILE, &signal) == 0)
		return DT_NOEND;
	return GetCurrentTimestamp();
}

/*
 * The server is out of recovery; from the supervisor.
 */
void
penny_registry_recovered(void)
{
	if (pg_atomic_read_u64(&registry->begun) == (uint64) DT_NOEND)
		pg_atomic_write_u64(&registry->begun, (uint64) GetCurrentTimestamp());
}

/* All fields start at zero; atomics and the mutex want their initialisers. */
static void
registry_create(void)
{
	SpinLockInit(&registry->mutex);
	pg_atomic_init_u32(&registry->readiness, PENNY_STARTING);
	pg_atomic_init_u32(&registry->look, 1);
	pg_atomic_init_u32(&registry->slots_reported, 0);
	pg_atomic_init_u32(&registry->changed, 0);
	pg_atomic_init_u64(&registry->begun, (uint64) kept_since());
	pg_atomic_init_u32(&registry->rights, 0);
	pg_atomic_init_u32(&registry->sweep, 0);
	pg_atomic_init_u32(&registry->streams, 1); /* what grew before the last end */
	pg_atomic_init_u64(&registry->sockets_stamp, 0);
	pg_atomic_init_u64(&registry->probe_wanted, 0);
	pg_atomic_init_u64(&registry->probe_done, 0);
	for (int i = 0; i < PENNY_MAX_EXECUTORS; i++)
	{
		PennyExecutorEntry *entry = &registry->executor[i];

		pg_atomic_init_u32(&entry->attempts, 0);
		pg_atomic_init_u32(&entry->connected, 0);
		pg_atomic_init_u32(&entry->busy, 0);
		pg_atomic_init_u64(&entry->served, 0);
	}
	for (int i = 0; i < PENNY_MAX_EDGES; i++)
	{
		PennyGatewayEntry *entry = &registry->gateway[i];

		pg_atomic_init_u32(&entry->pid, 0);
		pg_atomic_init_u32(&entry->proc, 0);
		pg_atomic_init_u64(&entry->begun, 0);
		pg_atomic_init_u32(&entry->edge_pid, 0);
		pg_atomic_init_u32(&entry->listening, 0);
		pg_atomic_init_u32(&entry->wanted, 0);
		pg_atomic_init_u32(&entry->bind_errno, 0);
		pg_atomic_init_u64(&entry->starts, 0);
		pg_atomic_init_u64(&entry->crashes, 0);
		pg_atomic_init_u32(&entry->failures, 0);
	}
}

/* ---- readiness ---------------------------------------------------------- */

PennyReadiness
penny_readiness(void)
{
	return (PennyReadiness) pg_atomic_read_u32(&registry->readiness);
}

const char *
penny_readiness_reason(PennyReadiness readiness)
{
	switch (readiness)
	{
		case PENNY_STARTING:
		case PENNY_PROBING:
			return "penny is starting";
		case PENNY_NO_DATABASE:
			return "the database of penny does not exist or takes no connections";
		case PENNY_NO_ROLE:
			return "the role penny_authenticator does not exist or may not log in";
		case PENNY_DETACHED:
			return "a command needs the database of penny without other sessions";
		case PENNY_NO_EXTENSION:
			return "the extension penny is not installed in the database of penny";
		case PENNY_OTHER_VERSION:
			return "the extension penny in the database is of another version than its library: "
				   "execute ALTER EXTENSION penny UPDATE, or install the library of that version";
		case PENNY_READY:
			break;
	}
	return NULL;
}

/* The supervisor's finding; PENNY_PROBING asks the executors to look further. */
bool
penny_readiness_found(PennyReadiness found)
{
	uint32 before;
	uint32 after;

	SpinLockAcquire(&registry->mutex);
	before = pg_atomic_read_u32(&registry->readiness);
	if (registry->detachers > 0)
		after = PENNY_DETACHED;
	else if (found == PENNY_PROBING && before > PENNY_PROBING)
		after = before;
	else
		after = found;
	pg_atomic_write_u32(&registry->readiness, after);
	if (after >= PENNY_PROBING)
		pg_atomic_fetch_add_u64(&registry->probe_wanted, 1);
	SpinLockRelease(&registry->mutex);

	penny_executors_wake();
	return after != before;
}

void
penny_database_detach(void)
{
	SpinLockAcquire(&registry->mutex);
	registry->detachers++;
	pg_atomic_write_u32(&registry->readiness, PENNY_DETACHED);
	SpinLockRelease(&registry->mutex);

	penny_executors_wake();
}

void
penny_database_release(void)
{
	SpinLockAcquire(&registry->mutex);
	registry->detachers--;
	SpinLockRelease(&registry->mutex);

	penny_supervisor_look();
}

/* ---- executors ---------------------------------------------------------- */

/* Take a number; see registry.h. */
int
penny_executor_attach(int wanted)
{
	PennyExecutorEntry *entry;
	bool taken;

	penny_ensure(wanted >= 0 && wanted < (int) penny_plane()->config.executors);
	entry = &registry->executor[wanted];

	SpinLockAcquire(&registry->mutex);
	taken = entry->pid != 0;
	if (!taken)
	{
		entry->pid = MyProcPid;
		entry->proc_number = PENNY_MY_PROC_NUMBER;
	}
	SpinLockRelease(&registry->mutex);
	if (taken)
		proc_exit(MyBgworkerEntry->bgw_restart_time == BGW_NEVER_RESTART ? 0 : 1);

	before_shmem_exit(executor_detach, Int32GetDatum(wanted));
	penny_sleeper_set_present(penny_plane(), wanted, true);
	return wanted;
}

/* Give the number back. */
static void
executor_detach(int code, Datum number)
{
	PennyExecutorEntry *entry = &registry->executor[DatumGetInt32(number)];

	(void) code;
	penny_sleeper_set_present(penny_plane(), DatumGetInt32(number), false);
	pg_atomic_write_u32(&entry->connected, 0);
	pg_atomic_write_u32(&entry->busy, 0);

	SpinLockAcquire(&registry->mutex);
	entry->pid = 0;
	SpinLockRelease(&registry->mutex);

	pass_wake_on(DatumGetInt32(number));
	penny_supervisor_wake();
}

/*
 * An edge may have woken this executor for a call that it will not take any
 * more, and believes the call looked after: let the others look.
 */
static void
pass_wake_on(int number)
{
	PennyPlane *plane = penny_plane();

	pg_memory_barrier();
	if (penny_call_backlog(plane) == 0)
		return;
	for (int i = 0; i < (int) plane->config.executors; i++)
	{
		if (i != number)
			penny_wake_sleeper(plane, i);
	}
}

/*
 * Wait, quietly, until there is something to connect to.  While others serve
 * and this one only waits for its next attempt, it takes no calls and does not
 * show itself as asleep, so that edges turn to those that can.
 */
void
penny_executor_await_database(int number, void (*refuse)(PennyReadiness readiness))
{
	PennyPlane *plane = penny_plane();
	PennyExecutorEntry *entry = &registry->executor[number];
	long delay = connect_delay(pg_atomic_read_u32(&entry->attempts));
	int64 until = penny_clock_ms() + delay;
	WaitEventSet *set = penny_wait_event_set_create(3);
	WaitEvent event;

	AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	AddWaitEventToSet(set, WL_SOCKET_READABLE, plane->sleeper_wake[number], NULL, NULL);

	for (;;)
	{
		PennyReadiness readiness;
		long wait = -1;

		penny_worker_tick();
		readiness = penny_readiness();
		if (readiness >= PENNY_PROBING)
		{
			wait = penny_clock_timeout(penny_clock_ms(), until);
			if (wait == 0)
				break;
		}
		if (readiness != PENNY_READY)
		{
			penny_sleeper_prepare(plane, number);
			if (refuse != NULL)
				refuse(readiness);
		}
		WaitEventSetWait(set, wait, &event, 1, penny_worker_wait_event());
		ResetLatch(MyLatch);
		penny_sleeper_awake(plane, number);
	}
	penny_sleeper_awake(plane, number);
	FreeWaitEventSet(set);
	pg_atomic_fetch_add_u32(&entry->attempts, 1);
}

/* Nothing after a completed connection, then 1, 2, 4 .. 30 s. */
static long
connect_delay(uint32 attempts)
{
	if (attempts == 0)
		return 0;
	return Min(1000L << Min(attempts - 1, 10), MAX_CONNECT_DELAY);
}

void
penny_executor_connected(int number)
{
	pg_atomic_write_u32(&registry->executor[number].attempts, 0);
	pg_atomic_write_u32(&registry->executor[number].connected, 1);
}

/* Leave, probe, or go on. */
PennyReadiness
penny_executor_tick(int number)
{
	(void) number;
	if (penny_readiness() < PENNY_PROBING)
		penny_worker_exit();
	if (pg_atomic_read_u64(&registry->probe_done) < pg_atomic_read_u64(&registry->probe_wanted))
		probe();
	return penny_readiness();
}

/* Version of the extension's objects in the database; NULL = not installed. */
static char *
extension_version(void)
{
	Relation rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple tuple;
	char *version = NULL;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum("penny"));
	scan = systable_beginscan(rel, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool isnull;
		Datum value =
			heap_getattr(tuple, Anum_pg_extension_extversion, RelationGetDescr(rel), &isnull);

		version = isnull ? pstrdup("") : TextDatumGetCString(value);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return version;
}

/* Is the extension there, and ours?  The newest question's answer wins. */
static void
probe(void)
{
	uint64 wanted = pg_atomic_read_u64(&registry->probe_wanted);
	uint32 after;
	bool changed = false;
	char *version;

	StartTransactionCommand();
	version = extension_version();
	after = version == NULL                       ? PENNY_NO_EXTENSION
			: strcmp(version, PENNY_VERSION) == 0 ? PENNY_READY
												  : PENNY_OTHER_VERSION;
	CommitTransactionCommand();

	SpinLockAcquire(&registry->mutex);
	if (pg_atomic_read_u64(&registry->probe_done) < wanted &&
		pg_atomic_read_u32(&registry->readiness) >= PENNY_PROBING)
	{
		pg_atomic_write_u64(&registry->probe_done, wanted);
		changed = pg_atomic_exchange_u32(&registry->readiness, after) != after;
	}
	SpinLockRelease(&registry->mutex);

	if (changed)
	{
		penny_executors_wake();
		penny_supervisor_wake();
	}
}

void
penny_executor_call_begin(int number)
{
	pg_atomic_write_u32(&registry->executor[number].busy, 1);
}

void
penny_executor_call_end(int number)
{
	pg_atomic_write_u32(&registry->executor[number].busy, 0);
	pg_atomic_fetch_add_u64(&registry->executor[number].served, 1);
}

/* Count the holders of numbers. */
void
penny_executor_count(int *running, int *busy)
{
	*running = *busy = 0;
	SpinLockAcquire(&registry->mutex);
	for (int i = 0; i < PENNY_MAX_EXECUTORS; i++)
	{
		if (registry->executor[i].pid == 0)
			continue;
		(*running)++;
		*busy += pg_atomic_read_u32(&registry->executor[i].busy) != 0;
	}
	SpinLockRelease(&registry->mutex);
}

/* ---- supervisor and wakes ----------------------------------------------- */

/* Become the supervisor that others wake. */
void
penny_supervisor_attach(void)
{
	PennyPlane *plane = penny_plane();

	SpinLockAcquire(&registry->mutex);
	registry->supervisor_proc = PENNY_MY_PROC_NUMBER + 1;
	SpinLockRelease(&registry->mutex);
	before_shmem_exit(supervisor_detach, (Datum) 0);
	penny_sleeper_set_present(plane, (int) plane->config.executors, true);
}

static void
supervisor_detach(int code, Datum arg)
{
	PennyPlane *plane = penny_plane();

	(void) code;
	(void) arg;
	penny_sleeper_set_present(plane, (int) plane->config.executors, false);
	SpinLockAcquire(&registry->mutex);
	registry->supervisor_proc = 0;
	SpinLockRelease(&registry->mutex);
}

void
penny_supervisor_wake(void)
{
	int proc_number;

	SpinLockAcquire(&registry->mutex);
	proc_number = registry->supervisor_proc - 1;
	SpinLockRelease(&registry->mutex);
	set_proc_latch(proc_number);
}

void
penny_supervisor_look(void)
{
	pg_atomic_write_u32(&registry->look, 1);
	pg_memory_barrier();
	penny_supervisor_wake();
}

bool
penny_supervisor_asked(void)
{
	return pg_atomic_exchange_u32(&registry->look, 0) != 0;
}

void
penny_executors_wake(void)
{
	for (int i = 0; i < PENNY_MAX_EXECUTORS; i++)
	{
		int proc_number = -1;

		SpinLockAcquire(&registry->mutex);
		if (registry->executor[i].pid != 0)
			proc_number = registry->executor[i].proc_number;
		SpinLockRelease(&registry->mutex);
		set_proc_latch(proc_number);
	}
}

void
penny_gateways_wake(void)
{
	for (int i = 0; i < PENNY_MAX_EDGES; i++)
		set_proc_latch((int) pg_atomic_read_u32(&registry->gateway[i].proc) - 1);
}

static void
set_proc_latch(int proc_number)
{
	if (proc_number >= 0)
		SetLatch(&GetPGProcByNumber(proc_number)->procLatch);
}

/*-------------------------------------------------------------------------
 *
 * staff.c
 *		Executors and workers: numbers, connecting, looking for the extension.
 *		See staff.h and, for the protocol of readiness, registry.h.
 *
 * A connection that could not be completed ends its process, so attempts are
 * counted in shared memory: the next holder of the number waits longer.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/resource.h>

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
#include "base/staff.h"
#include "base/worker.h"
#include "plane/call.h"

#define MAX_CONNECT_DELAY 30000 /* ms */

static void executor_detach(int code, Datum number);
static void pass_wake_on(int number);
static long connect_delay(uint32 attempts);
static void probe(void);

/* ---- both ----------------------------------------------------------------- */

void
penny_staff_create(PennyStaffEntry *entry)
{
	pg_atomic_init_u32(&entry->attempts, 0);
	pg_atomic_init_u32(&entry->connected, 0);
	pg_atomic_init_u32(&entry->busy, 0);
	pg_atomic_init_u64(&entry->served, 0);
}

void
penny_staff_take(PennyStaffEntry *entry)
{
	slock_t *mutex = &penny_registry()->mutex;
	bool taken;

	SpinLockAcquire(mutex);
	taken = entry->pid != 0;
	if (!taken)
	{
		entry->pid = MyProcPid;
		entry->proc_number = PENNY_MY_PROC_NUMBER;
	}
	SpinLockRelease(mutex);
	if (taken)
		proc_exit(MyBgworkerEntry->bgw_restart_time == BGW_NEVER_RESTART ? 0 : 1);
}

void
penny_staff_leave(PennyStaffEntry *entry)
{
	slock_t *mutex = &penny_registry()->mutex;

	pg_atomic_write_u32(&entry->connected, 0);
	pg_atomic_write_u32(&entry->busy, 0);
	SpinLockAcquire(mutex);
	entry->pid = 0;
	SpinLockRelease(mutex);
}

void
penny_staff_connected(PennyStaffEntry *entry)
{
	pg_atomic_write_u32(&entry->attempts, 0);
	pg_atomic_write_u32(&entry->connected, 1);
}

bool
penny_staff_held(const PennyStaffEntry *entry)
{
	slock_t *mutex = &penny_registry()->mutex;
	bool held;

	SpinLockAcquire(mutex);
	held = entry->pid != 0;
	SpinLockRelease(mutex);
	return held;
}

/* Nothing after a completed connection, then 1, 2, 4 .. 30 s. */
static long
connect_delay(uint32 attempts)
{
	if (attempts == 0)
		return 0;
	return Min(1000L << Min(attempts - 1, 10), MAX_CONNECT_DELAY);
}

int64
penny_staff_connect_at(const PennyStaffEntry *entry)
{
	return penny_clock_ms() +
		   connect_delay(pg_atomic_read_u32(unconstify(pg_atomic_uint32 *, &entry->attempts)));
}

/*
 * So a handler that wants all the memory there is fails by itself, before the
 * kernel ends somebody for it, and PostgreSQL with it.
 */
void
penny_staff_limit_memory(int most)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_DATA, &limit) == 0)
	{
		limit.rlim_cur = most == 0 ? limit.rlim_max : Min((rlim_t) most * 1024, limit.rlim_max);
		if (setrlimit(RLIMIT_DATA, &limit) == 0)
			return;
	}
	ereport(LOG, (errmsg("could not limit the memory of %s: %m", MyBgworkerEntry->bgw_type)));
}

/* ---- executors ---------------------------------------------------------- */

/* Take a number; see staff.h. */
int
penny_executor_attach(int wanted)
{
	penny_ensure(wanted >= 0 && wanted < (int) penny_plane()->config.executors);
	penny_staff_take(&penny_registry()->executor[wanted]);
	before_shmem_exit(executor_detach, Int32GetDatum(wanted));
	penny_sleeper_set_present(penny_plane(), wanted, true);
	return wanted;
}

/* Give the number back. */
static void
executor_detach(int code, Datum number)
{
	(void) code;
	penny_sleeper_set_present(penny_plane(), DatumGetInt32(number), false);
	penny_staff_leave(&penny_registry()->executor[DatumGetInt32(number)]);
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
	PennyStaffEntry *entry = &penny_registry()->executor[number];
	int64 until = penny_staff_connect_at(entry);
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

void
penny_executor_connected(int number)
{
	penny_staff_connected(&penny_registry()->executor[number]);
}

/* Leave, probe, or go on. */
PennyReadiness
penny_executor_tick(int number)
{
	(void) number;
	if (penny_readiness() < PENNY_PROBING)
		penny_worker_exit();
	if (pg_atomic_read_u64(&penny_registry()->probe_done) <
		pg_atomic_read_u64(&penny_registry()->probe_wanted))
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
	PennyRegistry *registry = penny_registry();
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
		penny_staff_wake_all();
		penny_supervisor_wake();
	}
}

void
penny_executor_call_begin(int number)
{
	pg_atomic_write_u32(&penny_registry()->executor[number].busy, 1);
}

void
penny_executor_call_end(int number)
{
	pg_atomic_write_u32(&penny_registry()->executor[number].busy, 0);
	pg_atomic_fetch_add_u64(&penny_registry()->executor[number].served, 1);
}

/* Count the holders of numbers. */
void
penny_executor_count(int *running, int *busy)
{
	*running = *busy = 0;
	SpinLockAcquire(&penny_registry()->mutex);
	for (int i = 0; i < PENNY_MAX_EXECUTORS; i++)
	{
		if (penny_registry()->executor[i].pid == 0)
			continue;
		(*running)++;
		*busy += pg_atomic_read_u32(&penny_registry()->executor[i].busy) != 0;
	}
	SpinLockRelease(&penny_registry()->mutex);
}

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
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "base/planemap.h"
#include "base/registry.h"
#include "base/shmem.h"
#include "base/staff.h"
#include "plane/call.h"

static PennyRegistry *registry = NULL;

static Size registry_size(void);
static void registry_create(void);
static void supervisor_detach(int code, Datum arg);
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
	pg_atomic_init_u32(&registry->supervisor_proc, 0);
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
	pg_atomic_init_u32(&registry->executions, 1);
	for (int i = 0; i < PENNY_MAX_EXECUTORS; i++)
		penny_staff_create(&registry->executor[i]);
	for (int i = 0; i < PENNY_MAX_WORKERS; i++)
		penny_staff_create(&registry->worker[i]);
	penny_staff_create(&registry->spare_worker);
	penny_staff_create(&registry->courier);
	pg_atomic_init_u32(&registry->courier_child, 0);
	pg_atomic_init_u32(&registry->courier_failures, 0);
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

	penny_staff_wake_all();
	return after != before;
}

void
penny_database_detach(void)
{
	SpinLockAcquire(&registry->mutex);
	registry->detachers++;
	pg_atomic_write_u32(&registry->readiness, PENNY_DETACHED);
	SpinLockRelease(&registry->mutex);

	penny_staff_wake_all();
}

void
penny_database_release(void)
{
	SpinLockAcquire(&registry->mutex);
	registry->detachers--;
	SpinLockRelease(&registry->mutex);

	penny_supervisor_look();
}

/* ---- supervisor and wakes ----------------------------------------------- */

/* Become the supervisor that others wake. */
void
penny_supervisor_attach(void)
{
	PennyPlane *plane = penny_plane();

	pg_atomic_write_u32(&registry->supervisor_proc, (uint32) PENNY_MY_PROC_NUMBER + 1);
	pg_memory_barrier(); /* before it looks */
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
	pg_atomic_write_u32(&registry->supervisor_proc, 0);
}

void
penny_supervisor_wake(void)
{
	pg_memory_barrier(); /* after what it is to see */
	set_proc_latch((int) pg_atomic_read_u32(&registry->supervisor_proc) - 1);
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
penny_staff_wake_all(void)
{
	for (int i = 0; i < PENNY_MAX_EXECUTORS; i++)
		penny_staff_wake(&registry->executor[i]);
	for (int i = 0; i < PENNY_MAX_WORKERS; i++)
		penny_staff_wake(&registry->worker[i]);
	penny_staff_wake(&registry->spare_worker);
	penny_staff_wake(&registry->courier);
}

void
penny_staff_wake(PennyStaffEntry *entry)
{
	int proc_number = -1;

	SpinLockAcquire(&registry->mutex);
	if (entry->pid != 0)
		proc_number = entry->proc_number;
	SpinLockRelease(&registry->mutex);
	set_proc_latch(proc_number);
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

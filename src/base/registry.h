/*-------------------------------------------------------------------------
 *
 * registry.h
 *		Who works for penny at this moment, and may executors work at all.
 *
 * One shared struct.  The mutex (a spinlock, held for a few instructions)
 * protects what says so; atomic fields are written by the process named and
 * read by anybody.
 *
 * Readiness.  Executors connect to penny.database as penny_authenticator, and
 * work when the extension is installed there.  The supervisor sees shared
 * catalogs only: it says whether database and role exist (PENNY_PROBING: they
 * do).  A connected executor then looks for the extension and says
 * PENNY_READY, PENNY_NO_EXTENSION or PENNY_OTHER_VERSION.  Every change of such an object, told by
 * gateway/watch.c after its commit, makes the supervisor look again and raise
 * probe_wanted; the answer of a probe counts only if it began for a later
 * probe_wanted than the answers before it.
 *
 *	STARTING -> NO_DATABASE, NO_ROLE, PROBING		supervisor
 *	NO_DATABASE, NO_ROLE <-> PROBING				supervisor
 *	PROBING and above -> NO_EXTENSION, OTHER_VERSION, READY	executor, by a probe
 *	any -> DETACHED									backend that needs the database alone
 *	DETACHED -> any of the supervisor's				supervisor, when the last is done
 *
 * Below PENNY_PROBING no executor is connected: one that is leaves when it
 * has finished its call, and one that starts waits, quietly, on its latch.
 * Workers are there while penny is ready.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_REGISTRY_H
#define PENNY_REGISTRY_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "base/crash.h"
#include "plane/layout.h"
#include "port/atomics.h"
#include "storage/spin.h"

typedef enum PennyReadiness
{
	PENNY_STARTING,      /* the supervisor has not looked yet */
	PENNY_NO_DATABASE,   /* penny.database does not exist or takes no connections */
	PENNY_NO_ROLE,       /* penny_authenticator does not exist or may not log in */
	PENNY_DETACHED,      /* a command needs the database without other sessions */
	PENNY_PROBING,       /* executors may connect; one looks for the extension */
	PENNY_NO_EXTENSION,  /* nobody has said CREATE EXTENSION penny there yet */
	PENNY_OTHER_VERSION, /* its objects are not of the version of this library */
	PENNY_READY
} PennyReadiness;

/* The number of the spare worker, which runs no jobs: beyond those of workers. */
#define PENNY_SPARE_WORKER PENNY_MAX_WORKERS

/* A number of an executor or a worker, and who holds it (staff.h). */
typedef struct PennyStaffEntry
{
	int pid;                    /* holder, 0 = free; under the mutex */
	int proc_number;            /* its PGPROC while pid is set; under the mutex */
	pg_atomic_uint32 attempts;  /* connections begun and not completed; holder */
	pg_atomic_uint32 connected; /* holder is connected to the database; holder */
	pg_atomic_uint32 busy;      /* holder runs a call or jobs; holder */
	pg_atomic_uint64 served;    /* calls or jobs finished by all its holders; holder */
} PennyStaffEntry;

/* What a gateway says of itself and its edge; the gateway alone writes. */
typedef struct PennyGatewayEntry
{
	pg_atomic_uint32 pid;        /* of the gateway, 0 = none */
	pg_atomic_uint32 proc;       /* its PGPROC number plus one, 0 = none */
	pg_atomic_uint64 begun;      /* ms of penny_clock_ms(), when it began */
	pg_atomic_uint32 edge_pid;   /* of its edge, 0 = none runs */
	pg_atomic_uint32 listening;  /* sockets open */
	pg_atomic_uint32 wanted;     /* sockets that the settings ask for */
	pg_atomic_uint32 bind_errno; /* of the last attempt that failed, 0 = none */
	pg_atomic_uint64 starts;     /* edges started */
	pg_atomic_uint64 crashes;    /* edges that ended unasked */
	pg_atomic_uint32 failures;   /* of them in a row without an answer in between */
} PennyGatewayEntry;

typedef struct PennyRegistry
{
	slock_t mutex;
	pg_atomic_uint32 supervisor_proc; /* PGPROC number plus one, 0 = none; supervisor */
	int detachers;                 /* backends in a command that needs the database alone; mutex */
	pg_atomic_uint64 probe_wanted; /* raised by the supervisor; written under the mutex */
	pg_atomic_uint64 probe_done;   /* probe_wanted of the newest answer; likewise */
	pg_atomic_uint32 readiness;    /* PennyReadiness; written under the mutex */
	pg_atomic_uint32 look;         /* supervisor shall look again; anybody sets, it clears */
	pg_atomic_uint32 slots_reported; /* the log has it that worker slots are short */
	pg_atomic_uint64 sockets_stamp;  /* raised when a gateway has opened a socket */
	pg_atomic_uint64 begun;          /* since when unlogged tables are kept; see registry.c */
	pg_atomic_uint32 streams;        /* raised when a message begins to grow; 0 = none does */
	pg_atomic_uint32 sweep;          /* an executor shall look for dead producers */
	pg_atomic_uint32 changed;        /* some prepared transaction changes what we watch */
	pg_atomic_uint32 rights;         /* or rights */
	pg_atomic_uint32 executions;     /* raised when a tool may be running; 0 = none does */
	PennyStaffEntry executor[PENNY_MAX_EXECUTORS]; /* those below penny.executors_min are static */
	PennyStaffEntry worker[PENNY_MAX_WORKERS];
	PennyStaffEntry spare_worker; /* does upkeep while those run jobs */
	PennyStaffEntry courier;
	pg_atomic_uint32 courier_child;    /* pid of its penny-courier, 0 = none is ready; courier */
	pg_atomic_uint32 courier_failures; /* of those in a row without an answer; likewise */
	PennyGatewayEntry gateway[PENNY_MAX_EDGES];
} PennyRegistry;

/* The registry; NULL when penny was not preloaded. */
extern PennyRegistry *penny_registry(void);
extern void penny_registry_init(void);
/* The server is out of recovery; from the supervisor. */
extern void penny_registry_recovered(void);

extern PennyReadiness penny_readiness(void);
/* What is missing, as a sentence's start in lower case; NULL when ready. */
extern const char *penny_readiness_reason(PennyReadiness readiness);

/* ---- supervisor and watchers -------------------------------------------- */

extern void penny_supervisor_attach(void);
/* May be called in signal handlers. */
extern void penny_supervisor_wake(void);
/* Make the supervisor look again at database, role and extension. */
extern void penny_supervisor_look(void);
/* Supervisor: was it asked to since the last call? */
extern bool penny_supervisor_asked(void);
/* All executors and workers; one. */
extern void penny_staff_wake_all(void);
extern void penny_staff_wake(PennyStaffEntry *entry);
extern void penny_gateways_wake(void);

/* Supervisor: what it found in the shared catalogs; returns true on a change. */
extern bool penny_readiness_found(PennyReadiness found);
/* A backend needs the database alone, or is done with it. */
extern void penny_database_detach(void);
extern void penny_database_release(void);

#endif /* PENNY_REGISTRY_H */

/*-------------------------------------------------------------------------
 *
 * worker.h
 *		The skeleton that all background workers of penny share.
 *
 * A worker's main function:
 *
 *	penny_worker_begin(KIND, number)	handlers, contexts, name; signals open
 *	[take its number, wait for its database]
 *	penny_worker_connect(database, role)	both NULL: shared catalogs only
 *	loop:
 *		wait on latch, postmaster death, and its own descriptors
 *		penny_worker_tick()				interrupts, barriers, settings, scratch
 *		penny_worker_guard(step, arg)	a step that may raise errors
 *
 * Exit code: 0 ends a background worker for good, so a worker that should
 * come back leaves with 1 (penny_worker_exit); PostgreSQL restarts it after a
 * second, a gateway at once, static ones only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_WORKER_H
#define PENNY_WORKER_H

#include "postgres.h"

#include "postmaster/bgworker.h"

typedef enum PennyWorkerKind
{
	PENNY_SUPERVISOR,
	PENNY_GATEWAY,
	PENNY_EXECUTOR,
	PENNY_RELAY,
	PENNY_WORKER,
	PENNY_SPARE,
	PENNY_COURIER,
	PENNY_WORKER_KINDS
} PennyWorkerKind;

/* Register at server start; `number` arrives as main_arg. */
extern void penny_worker_register(PennyWorkerKind kind, int number);
/* Start one more; the caller's latch is set when it starts and ends.  False: no free slot. */
extern bool penny_worker_start(PennyWorkerKind kind, int number, BackgroundWorkerHandle **handle);

/*
 * Prologue.  Supervisor, gateway, relay and courier take SIGTERM as a request
 * (ShutdownRequestPending) and ignore SIGINT, which is a cancel of a
 * statement that they do not have; executors and job workers `die` and cancel as a session.
 */
extern void penny_worker_begin(PennyWorkerKind kind, int number);
extern void penny_worker_connect(const char *database, const char *role);

/*
 * Once each turn of the loop, outside a transaction: barriers and interrupts
 * are absorbed, a cancel that came while idle is forgotten, settings are read
 * again after SIGHUP, the scratch context is emptied and becomes current.
 * True when settings were read.
 */
extern bool penny_worker_tick(void);

/*
 * Error boundary: run a step.  An error in it is reported, its transaction
 * ended, and false returned.
 */
extern bool penny_worker_guard(void (*step)(void *arg), void *arg);

/* Leave so that PostgreSQL starts the worker again. */
extern void penny_worker_exit(void) __attribute__((noreturn));

/*
 * Does the whole server stop, or is it this worker alone that is asked to end?
 * May be called by a signal handler.
 */
extern bool penny_worker_server_stops(void);

/* Lives for one turn of the loop. */
extern MemoryContext penny_worker_scratch(void);
/* The wait event of this worker. */
extern uint32 penny_worker_wait_event(void);

#endif /* PENNY_WORKER_H */

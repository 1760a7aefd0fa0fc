/*-------------------------------------------------------------------------
 *
 * staff.h
 *		Executors and workers: processes that hold a number of penny's and work
 *		in its database.
 *
 * A number says which entry of the registry is theirs, and with it their mark
 * (crash.h) and their place wherever there is one for each.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_STAFF_H
#define PENNY_STAFF_H

#include "postgres.h"

#include "base/registry.h"

/* ---- both ----------------------------------------------------------------- */

/* A fresh entry; of the registry. */
extern void penny_staff_create(PennyStaffEntry *entry);
/*
 * Take the number, for this process, or exit quietly when somebody holds it;
 * give it back, which wakes the supervisor.
 */
extern void penny_staff_take(PennyStaffEntry *entry);
extern void penny_staff_leave(PennyStaffEntry *entry);
extern void penny_staff_connected(PennyStaffEntry *entry);
/* Does somebody hold it? */
extern bool penny_staff_held(const PennyStaffEntry *entry);
/* When the next attempt to connect may begin, penny_clock_ms(); this one begins. */
extern int64 penny_staff_connect_at(const PennyStaffEntry *entry);
/* Memory of its own (heap and private mappings) that this process may have; kB, 0 = any. */
extern void penny_staff_limit_memory(int limit);

/* ---- executors ---------------------------------------------------------- */

/*
 * Take executor number `wanted` (the worker's main_arg), before connecting;
 * it is given back, after all exit callbacks registered later, when the
 * process ends.  Exits the process quietly when somebody holds it.
 */
extern int penny_executor_attach(int wanted);

/*
 * Wait until connecting makes sense: database and role are there, and the
 * back-off after attempts that failed is over.  Unless penny is ready, so that
 * others serve, `refuse` is called at each wake, if given: queued calls should
 * be answered with 503 and the reason.
 * Does not return while there is nothing to connect to.
 */
extern void penny_executor_await_database(int number, void (*refuse)(PennyReadiness readiness));
/* Connected: resets the back-off. */
extern void penny_executor_connected(int number);

/*
 * Once each turn of the loop, outside a call and a transaction: leaves
 * (proc_exit) when the database is wanted without us, probes for the
 * extension when asked to (a short transaction of its own, no SQL).  Returns
 * the readiness; unless it is PENNY_READY calls are to be refused.  Must be
 * called after each call and before each sleep: a statement that waited may
 * have reset the latch that was meant for this.
 */
extern PennyReadiness penny_executor_tick(int number);

/* Around each call, for penny.stats(). */
extern void penny_executor_call_begin(int number);
extern void penny_executor_call_end(int number);

/* Executors that hold a number; those of them in a call. */
extern void penny_executor_count(int *running, int *busy);

#endif /* PENNY_STAFF_H */

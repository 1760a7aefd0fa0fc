/*-------------------------------------------------------------------------
 *
 * crash.h
 *		Which process was it that crashed, and what did it run?
 *
 * A process that runs what others wrote has a mark.  It says in it when it
 * begins to run something and when that has ended: two stores, nothing is
 * written to disk.  The marks lie in a mapping that the postmaster makes once
 * and keeps, so it outlives PostgreSQL's shared memory.  When everybody is dead
 * and the postmaster makes new shared memory, the marks that are left are
 * judged once, before the owners of other parts ask for the verdicts.
 *
 * A crash ends all processes, those that did nothing wrong too: the postmaster
 * sends them SIGQUIT.  A process with a mark that gets it says so in its mark as
 * its last act.  One that faults says with which signal.  So a mark that is left
 * means:
 *
 *	ended by the postmaster		innocent; but if nobody else is to blame, and its
 *								query ran in parallel, a parallel worker of it
 *								may have crashed: a suspect
 *	a signal					a fault
 *	nothing						killed from outside (kill -9, the kernel that is
 *								out of memory), or exit() somewhere: a suspect
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_CRASH_H
#define PENNY_CRASH_H

#include "postgres.h"

#include "plane/layout.h"

#define PENNY_MAX_WORKERS 64 /* numbers of penny worker */

/* Numbers of marks: executors, then workers. */
#define PENNY_CRASH_EXECUTOR(number) (number)
#define PENNY_CRASH_WORKER(number) (PENNY_MAX_EXECUTORS + (number))
#define PENNY_CRASH_MARKS (PENNY_MAX_EXECUTORS + PENNY_MAX_WORKERS)

typedef enum PennyCrashVerdict
{
	PENNY_CRASH_INNOCENT,
	PENNY_CRASH_SUSPECT,
	PENNY_CRASH_FAULT
} PennyCrashVerdict;

/* Before the parts that ask for verdicts; from _PG_init. */
extern void penny_crash_init(void);

/* Take a mark, and the signals that end the process; once in a process. */
extern void penny_crash_attach(int mark);
/* This process runs something; it does not any more. */
extern void penny_crash_begin(void);
extern void penny_crash_leave(void);
extern bool penny_crash_begun(void);

/* In the postmaster, while new shared memory is made: what a mark said; `sig` of a fault. */
extern PennyCrashVerdict penny_crash_verdict(int mark, int *sig);
/*
 * In the postmaster, as it ends: with restart_after_crash off that is all there is.
 * Faults only; who was told to end was not to blame.
 */
extern void penny_crash_judge_at_exit(void);

#endif /* PENNY_CRASH_H */

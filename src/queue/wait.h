/*-------------------------------------------------------------------------
 *
 * wait.h
 *		Sessions that wait: for jobs to claim, or for a job to end.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_WAIT_H
#define PENNY_WAIT_H

#include "postgres.h"

#include "queue/sched.h"

/* Shared memory; from penny_queue_init(). */
extern void penny_wait_init(void);

/*
 * Until an external job may be ready in this queue, or the time is over
 * (penny_queue_now()).  Outside of any snapshot; interrupts are served.  Returns
 * at once when something is ready.
 */
extern void penny_wait_for_jobs(uint16 queue, int64 until);
/* Until the job has ended: true; false when the time is over first. */
extern bool penny_wait_for_end(int64 id, int64 until);

/*
 * A request at an edge is about to be told how a job is, and to wait if it has not
 * ended: call it before the look.
 */
extern void penny_wait_ask(int64 id);

/* Does anybody wait for the end of any job?  After ends were posted; cheap. */
extern bool penny_wait_anybody(void);
/* It has ended; from COMMIT callbacks: cannot fail, allocate or wait for long. */
extern void penny_wait_job_ended(int64 id);

#endif /* PENNY_WAIT_H */

/*-------------------------------------------------------------------------
 *
 * run.h
 *		A batch of jobs that a worker has taken, run to their ends.  See run.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_QUEUE_RUN_H
#define PENNY_QUEUE_RUN_H

#include "postgres.h"

#include "queue/queue.h"

#define PENNY_BATCH_MAX 512
#define PENNY_BATCH_TIME 5000 /* us that a batch is to last */

/* The job whose handler runs at this moment. */
typedef struct PennyRunningJob
{
	const PennyJobRow *row;
	int attempt; /* 1, 2, … */
	int attempts;
} PennyRunningJob;

/* Once in a process: contexts and timers; `number` of the worker. */
extern void penny_run_jobs_init(int number);

/*
 * Of the jobs that were just taken, in order, how many are likely to last as long
 * as a batch is to; at least one.  `max` for the next taking is in *next_max.
 */
extern int penny_run_fitting(PennySched *sched, const PennyJobRef *refs, int n, uint32 *next_max);

/*
 * Run them.  Afterwards none of them is ACTIVE of this worker.  NULL, or what of
 * the session could not be cleaned up: then the process must not run another one.
 */
extern const char *penny_run_jobs(const PennyJobRef *refs, int n);

/* The process ends in the middle of a job: it is charged if it would not stop. */
extern void penny_run_jobs_exit(void);

/*
 * Between jobs: whoever holds a row of the queue in a transaction that goes on and on
 * (of a key, of a parent) must not hold up workers.  While this is on, waiting for a
 * lock ends with an error (ERRCODE_LOCK_NOT_AVAILABLE) after a second; it is to be
 * put off, after an error too.
 */
extern void penny_run_patience(bool on);

/* NULL outside of a handler. */
extern const PennyRunningJob *penny_running_job(void);

#endif /* PENNY_QUEUE_RUN_H */

/*-------------------------------------------------------------------------
 *
 * job_workers.h
 *		The supervisor's part of penny worker.  See job_workers.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_JOB_WORKERS_H
#define PENNY_JOB_WORKERS_H

#include "postgres.h"

/* Start a worker when one is wanted; each turn. */
extern void penny_job_workers_start(void);
/* When to look again, penny_clock_ms(), or PENNY_NEVER. */
extern int64 penny_job_workers_start_at(void);

#endif /* PENNY_JOB_WORKERS_H */

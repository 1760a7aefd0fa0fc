/*-------------------------------------------------------------------------
 *
 * worker.h
 *		penny worker: the processes that run jobs of SQL handlers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_QUEUE_WORKER_H
#define PENNY_QUEUE_WORKER_H

#include "postgres.h"

/* Shared memory of workers, marks and settings; from _PG_init. */
extern void penny_job_worker_init(void);

#endif /* PENNY_QUEUE_WORKER_H */

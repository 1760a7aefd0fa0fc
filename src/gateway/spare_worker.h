/*-------------------------------------------------------------------------
 *
 * spare_worker.h
 *		The supervisor's part of the spare penny worker.  See spare_worker.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_SPARE_WORKER_H
#define PENNY_SPARE_WORKER_H

#include "postgres.h"

/* Start it when it is wanted; each turn. */
extern void penny_spare_worker_start(void);
/* When to look again, penny_clock_ms(), or PENNY_NEVER. */
extern int64 penny_spare_worker_start_at(void);

#endif /* PENNY_SPARE_WORKER_H */

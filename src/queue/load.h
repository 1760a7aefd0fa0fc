/*-------------------------------------------------------------------------
 *
 * load.h
 *		From the tables to memory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_QUEUE_LOAD_H
#define PENNY_QUEUE_LOAD_H

#include "postgres.h"

#include "queue/queue.h"

/* Offer the job of this id, if it is in a segment, waits, and is not in memory.  True: offered. */
extern bool penny_load_job(int64 id);

#endif /* PENNY_QUEUE_LOAD_H */

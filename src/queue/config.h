/*-------------------------------------------------------------------------
 *
 * config.h
 *		Queues and handlers beside what queue.h says: changes and their way into
 *		the scheduler's memory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_QUEUE_CONFIG_H
#define PENNY_QUEUE_CONFIG_H

#include "postgres.h"

#include "queue/queue.h"

/* Shared memory and callbacks; from _PG_init when preloading. */
extern void penny_queue_config_init(void);

/* This transaction changes queues or handlers: others learn of it when it commits. */
extern void penny_queue_config_changed(void);
/* A prepared transaction, of whomever, has been committed. */
extern void penny_queue_config_prepared(void);

/* Does the scheduler not know yet what the tables say?  A load and a compare. */
extern bool penny_queue_config_pending(void);
/* What it was told is wrong: tell it again. */
extern void penny_queue_config_distrust(void);
/* Tell it what is committed; in a transaction. */
extern void penny_queue_config_apply(void);

/* ---- config_read.c ------------------------------------------------------------ */

/* Rows of the tables, under the latest snapshot, into the current memory context; how many. */
extern int penny_queue_read_all(PennyQueueConfig **out);
extern int penny_handler_read_all(PennyHandler **out);
/* Are there deferred jobs of the queue? */
extern bool penny_queue_has_deferred(uint16 queue);

#endif /* PENNY_QUEUE_CONFIG_H */

/*-------------------------------------------------------------------------
 *
 * dead.h
 *		Dead letters: enqueueing them again, and forgetting them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_QUEUE_DEAD_H
#define PENNY_QUEUE_DEAD_H

#include "postgres.h"

#include "datatype/timestamp.h"

#include "queue/queue.h"

/*
 * Enqueue a dead letter again, due at `due`; its new id, or 0: there is none.  The
 * caller has checked the right.
 */
extern int64 penny_dead_redrive(int64 id, TimestampTz due);
/*
 * The oldest `n` (-1: all) of a queue, `rate` a second (0: at once); how many.
 * Those whose key is held by another job are left.
 */
extern int64 penny_dead_redrive_queue(uint16 queue, int n, int rate);
/* Forget those of a queue that died before a moment; how many. */
extern int64 penny_dead_purge(uint16 queue, TimestampTz before);

/*
 * From the upkeep, outside a transaction: keep the last keep_failed of each queue.  It
 * costs a look at shared memory when none has died; `*again_at` as in the upkeep.
 */
extern void penny_dead_trim(int64 now, int64 *again_at);

/* A job has died: queues will have to be trimmed. */
extern void penny_dead_count(void);

/* Shared memory; from penny_queue_init(). */
extern void penny_dead_init(void);

#endif /* PENNY_QUEUE_DEAD_H */

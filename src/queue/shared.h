/*-------------------------------------------------------------------------
 *
 * shared.h
 *		What the processes of the queue share beside the scheduler's memory.
 *
 * Which segment each pair of tables (job_N, receipt_N) holds is in `open`: the
 * segment's number plus one.  0: none; the table is empty (`empty`), or is being
 * emptied, or nobody has looked yet.  It is read without a lock by who holds a
 * lock on the table, and written under the queue's lock: from 0 by who opens a
 * segment, to 0 by rotation before it asks for its lock on the table.
 *
 * What this memory is about is a set of tables: `database` and `relation` (the
 * oid of _penny.jobs_deferred).  A session that sees another one (the extension
 * was dropped and made again) neither posts nor takes; upkeep clears the memory and
 * loads it.
 *
 * Rows that are in no entry are found again by a rescan: for each queue the
 * smallest id that was left out (`missed`), beside the scheduler's own
 * penny_sched_missed(), which is for all queues.  Who reads rows takes the ids, and of
 * deferred jobs the time, and notes anew what is left; where he did not come to that,
 * everything is read.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_QUEUE_SHARED_H
#define PENNY_QUEUE_SHARED_H

#include "postgres.h"

#include "port/atomics.h"
#include "storage/lwlock.h"

#include "queue/queue.h"

#define PENNY_QUEUE_NOT_MISSED PG_INT64_MAX

typedef enum PennyQueueLoad
{
	PENNY_QUEUE_EMPTY,   /* nothing was read yet */
	PENNY_QUEUE_LOADING, /* segments are known, rows are being offered */
	PENNY_QUEUE_LOADED
} PennyQueueLoad;

typedef enum PennyQueueCounter
{
	PENNY_QUEUE_ENQUEUED,
	PENNY_QUEUE_GONE_ROWS, /* entries whose row had gone by other hands */
	PENNY_QUEUE_RESCANS,
	PENNY_QUEUE_RESCANNED, /* rows that a rescan offered */
	PENNY_QUEUE_LOADED_ROWS,
	PENNY_QUEUE_DEFERRED_LOADED,
	PENNY_QUEUE_ROTATIONS,
	PENNY_QUEUE_MOVED,   /* jobs that went from a segment to the deferred ones */
	PENNY_QUEUE_SPILLED, /* jobs that found no segment and were deferred */
	PENNY_QUEUE_COUNTERS
} PennyQueueCounter;

/* A prepared transaction with new jobs; under the lock of these. */
typedef struct PennyQueuePrepared
{
	TransactionId xid; /* Invalid: free */
	int64 first;       /* smallest id */
	bool deferred;     /* some are deferred */
} PennyQueuePrepared;

typedef struct PennyQueueShared
{
	pg_atomic_uint32 load; /* PennyQueueLoad */
	Oid database;          /* written with the queue's lock, read without */
	Oid relation;
	pg_atomic_uint64 open[PENNY_SEGMENTS];
	bool empty[PENNY_SEGMENTS];      /* under the queue's lock */
	int64 opened_at[PENNY_SEGMENTS]; /* likewise */
	int64 left_at[PENNY_SEGMENTS];   /* when ids went on to the next; of upkeep */
	int64 rotate_at;                 /* when to look again; of upkeep */
	bool rescanning;                 /* a pass began and has not come to its end; of upkeep */
	bool reading_deferred;           /* likewise */
	pg_atomic_uint32 rotate_now;     /* asked by rotate_jobs() */
	pg_atomic_uint64 trim[PENNY_SCHED_QUEUES / 64]; /* queues of which more is kept than wanted */
	pg_atomic_uint64 missed[PENNY_SCHED_QUEUES];
	pg_atomic_uint32 old_retries;    /* jobs that are not in memory may have failed before */
	pg_atomic_uint32 any_missed;     /* one of them is set, or the scheduler's */
	pg_atomic_uint64 deferred_due;   /* earliest deferred job that is not in memory */
	pg_atomic_uint32 reload;         /* asked by load_jobs(): number of the request */
	pg_atomic_uint32 reloaded;       /* the last that was done */
	pg_atomic_uint32 upkeep;         /* a process does it: its PGPROC number plus one */
	pg_atomic_uint32 upkeep_turns;   /* how often one began */
	pg_atomic_uint64 upkeep_at;      /* when there is something to do at the latest */
	pg_atomic_uint64 workers_asleep; /* bit for each worker */
	pg_atomic_uint32 worker_proc[PENNY_SCHED_HOLDERS]; /* PGPROC number, of who sleeps */
	pg_atomic_uint32 courier;                          /* PGPROC number plus one, if it sleeps */
	pg_atomic_uint32 claimers;                         /* how many sleep */
	pg_atomic_uint64 counter[PENNY_QUEUE_COUNTERS];
	pg_atomic_uint32 prepared; /* entries that are in use */
	int prepared_size;
} PennyQueueShared;

/* NULL: not preloaded. */
extern PennyQueueShared *penny_queue_shared;
/* For each PGPROC: the queue for whose jobs it sleeps, plus one. */
extern pg_atomic_uint32 *penny_queue_claimer;
extern PennyQueuePrepared *penny_queue_prepared;
extern LWLock *penny_queue_prepared_lock(void);

extern void penny_queue_count(PennyQueueCounter counter, uint64 n);
/* Is the memory about the tables that this session sees? */
extern bool penny_queue_current(void);
/* Lower a 64-bit minimum; true if it was greater. */
extern bool penny_queue_lower(pg_atomic_uint64 *min, int64 value);
/*
 * Rows of this queue from id on are not in memory; penny_queue_missed_all: of any.
 * True: somebody has to be woken for it.
 */
extern bool penny_queue_missed(uint16 queue, int64 id);
extern void penny_queue_missed_all(int64 id);
/* Have somebody do the upkeep by this time; may be called in COMMIT callbacks. */
extern void penny_queue_upkeep_by(int64 at);
/* The same, and the worker that sleeps until a later time is woken. */
extern void penny_queue_mind(int64 at);
/* Counts of all queues at this moment, PENNY_SCHED_QUEUES of them; gives when that is. */
extern int64 penny_queue_counts_all(PennyQueueCounts *counts);
/* Places in penny_queue_claimer. */
extern int penny_queue_claimers_max(void);

#endif /* PENNY_QUEUE_SHARED_H */

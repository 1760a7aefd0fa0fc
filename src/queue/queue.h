/*-------------------------------------------------------------------------
 *
 * queue.h
 *		Jobs inside PostgreSQL: what the parts of the queue have in common.
 *
 * Who does what:
 *
 *	shared.c	the scheduler's memory (sched.h), its lock, who is woken
 *	storage*.c	rows of jobs: inserting, reading again; segments
 *	enqueue.c	new jobs of a transaction, from penny.enqueue() to its commit
 *	ending*.c	how an attempt ended: receipts, keys, flows, dead letters, events;
 *				from the transaction that says so to its commit
 *	load.c		the scheduler's memory from the tables; rescans; deferred jobs that
 *				come due
 *	rotate.c	emptying segments
 *	config.c	queues and handlers: from the tables to memory
 *	worker.c	penny worker: takes, runs, records; run.c: an SQL handler;
 *				marks.c: what is kept of a job that crashes its process
 *	claim.c		external workers; wait.c: who waits for jobs or for an end
 *	schedule*.c	jobs by the clock
 *	webhook*.c	penny courier
 *
 * The order of locks: rows and tables, then the queue's lock (held for
 * microseconds, never while anything is read or written in a table, and no
 * error is raised under it).
 *
 * The life of a change.  What a transaction does to jobs is done to rows at
 * once and to memory when it commits: entries are made one's own (reserved, or
 * ENDING), and the COMMIT or ABORT callback posts them (sched.h).  An entry
 * that ended in a subtransaction that is rolled back is KEPT.  A transaction
 * with endings cannot be PREPAREd; one with new jobs can: its jobs are found by
 * a rescan after COMMIT PREPARED.
 *
 * Sessions in other databases than penny.database, and servers that did not
 * preload penny: jobs can be enqueued where the extension is, and wait; nothing
 * else works, and says so.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_QUEUE_H
#define PENNY_QUEUE_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "storage/itemptr.h"
#include "utils/jsonb.h"
#include "utils/uuid.h"

#include "queue/sched.h"

#define PENNY_JOB_PAYLOAD_MAX (1024 * 1024) /* bytes of a payload or result as text */
#define PENNY_JOB_ERROR_MAX 8192            /* bytes kept of an error */
#define PENNY_JOB_DEFER_AFTER (INT64CONST(300) * USECS_PER_SEC)

/* ---- shared.c ------------------------------------------------------------- */

/* The scheduler, or NULL: not preloaded. */
extern PennySched *penny_queue_sched(void);
/* Is this session in penny.database, with shared memory and workers? */
extern bool penny_queue_here(void);
/* An error when it is not. */
extern void penny_queue_require(void);
extern void penny_queue_lock(void);
extern void penny_queue_unlock(void);
/* Microseconds, as sched.h wants them. */
extern int64 penny_queue_now(void);
/*
 * After memory has more to take: wakes one sleeping process that can, a worker,
 * the courier, or claimers.  May be called in COMMIT callbacks.  `queue` says for which
 * queue external jobs came.
 */
extern void penny_queue_wake(PennyRunner runner, uint16 queue);
/* That worker, if it sleeps; its mark stays. */
extern void penny_queue_wake_worker(int number);
/*
 * Who has nothing to do says so, then looks once more (penny_sched_waits()),
 * then waits on its latch until penny_sched_next().  `number`: of the worker for
 * PENNY_RUNNER_SQL (below PENNY_SCHED_HOLDERS), 0 for the courier, the queue for a
 * claimer.  Who was woken, or goes on by itself, says awake; and wakes the next
 * when it leaves something ready.  A process that exits says awake, too.
 */
extern void penny_queue_asleep(PennyRunner runner, uint32 number);
extern void penny_queue_awake(PennyRunner runner, uint32 number);

/* Requests of memory, hooks, callbacks; from _PG_init. */
extern void penny_queue_init(void);

/* ---- config.c -------------------------------------------------------------- */

/* A queue as its row says; in memory for every process. */
typedef struct PennyQueueConfig
{
	uint16 id;
	NameData name;
	PennyQueueLimits limits;
	int attempts;
	int64 backoff; /* us */
	bool exponential;
	float jitter;
	int64 timeout; /* us */
	int keep_completed;
	int keep_failed;
} PennyQueueConfig;

/*
 * By name or number, as the snapshot of this transaction sees it (a queue made
 * in this transaction counts).  False: there is none.
 */
extern bool penny_queue_by_name(const char *name, PennyQueueConfig *out);
extern bool penny_queue_by_id(uint16 id, PennyQueueConfig *out);
/* The number of a queue that is there, or PY404. */
extern uint16 penny_queue_find(const char *name);

typedef struct PennyHandler
{
	char *kind;
	PennyRunner runner;
	char *function; /* signature, or NULL */
	char *role;
	char *url;
	char *secret;
	char *queue;   /* where jobs of the kind go unless said */
	int attempts;  /* 0: as the queue says; also the following */
	int64 backoff; /* us, -1 */
	int64 timeout; /* us, 0 */
	char access;   /* 'u', 'a', 'A' */
	bool batch;
} PennyHandler;

/* The handler of a kind, or NULL: external, without settings.  Kept until invalidated; do not free. */
extern const PennyHandler *penny_handler_find(const char *kind);

/* ---- rows ------------------------------------------------------------------- */

typedef struct PennyJobRow
{
	int64 id;
	uint16 queue;
	uint16
		flags; /* PENNY_JOB_* of sched.h that are stored: KEYED, CHILD, TOLD, REDRIVEN; DEFERRED as found */
	int32 priority;
	int attempts;     /* 0: as the handler or queue says */
	int32 timeout_ms; /* 0: likewise */
	int32 backoff_ms; /* -1: likewise */
	TimestampTz due;
	TimestampTz enqueued_at;
	const char *kind;
	Jsonb *payload;
	const pg_uuid_t *user_id; /* NULL: nobody; also the following */
	int64 parent;             /* 0: none */
	const char *key;
	const char *group_key;
	const char *room;
	/* deferred jobs */
	int made;              /* attempts that failed */
	Jsonb *errors;         /* of them */
	int pending;           /* children that have not ended */
	char on_child_failure; /* 'f', 'i', 'w' */
} PennyJobRow;

/*
 * Insert a job and have it offered to the scheduler at commit.  The caller has
 * checked everything and filled all but id, which is set unless it is not 0 (then
 * it came from penny_job_next_id() in this transaction).  Into the deferred
 * jobs when it is due after PENNY_JOB_DEFER_AFTER or has or had children to wait for.
 */
extern int64 penny_job_insert(PennyJobRow *row);
/* An id for a row that has to be named before it is inserted. */
extern int64 penny_job_next_id(void);
/* Many at once. */
extern void penny_job_insert_many(PennyJobRow *rows, int n);
/*
 * A deferred job that this transaction made due (its last child ended, its time was
 * moved): have it offered at commit.  `row` as it now is.
 */
extern void penny_job_offer(const PennyJobRow *row);

/*
 * Read the row of an entry, in the current memory context.  False: it is not
 * visible (gone by other hands, or deferred and ended): then end the entry.
 */
extern bool penny_job_read(const PennyJob *job, PennyJobRow *row);
/* By id, wherever it lies; for who looks.  False: no such row. */
extern bool penny_job_read_id(int64 id, PennyJobRow *row);
/* Errors of attempts of a job so far, as a JSON array of {attempt, at, error, worker}. */
extern Jsonb *penny_job_errors(const PennyJobRow *row);

/* What holds for this job: its own, its handler's, its queue's. */
typedef struct PennyJobTerms
{
	int attempts;
	int64 timeout; /* us */
	int64 backoff; /* us */
	bool exponential;
	float jitter;
} PennyJobTerms;

extern void penny_job_terms(const PennyJobRow *row, const PennyHandler *handler,
							PennyJobTerms *terms);
/* When attempt number `made` (1, 2, …) has failed: the delay of the next, us. */
extern int64 penny_job_backoff(const PennyJobTerms *terms, int made);

/* ---- endings ------------------------------------------------------------------ */

typedef enum PennyOutcome /* stored: do not renumber */
{
	PENNY_OUTCOME_COMPLETED = 1,
	PENNY_OUTCOME_RETRY = 2,  /* failed, to be run again; of a deferred job: a counted start */
	PENNY_OUTCOME_FAILED = 3, /* failed at last: a dead letter */
	PENNY_OUTCOME_CANCELLED = 4,
	PENNY_OUTCOME_MOVED = 5, /* its row is with the deferred jobs now */
	PENNY_OUTCOME_BATCH = 6  /* of receipts: many completed without a result */
} PennyOutcome;

typedef struct PennyEnding
{
	PennyJobRef ref;        /* ENDING, this backend's (penny_ending_own_*) */
	const PennyJobRow *row; /* as read in this transaction */
	PennyOutcome outcome;   /* COMPLETED, FAILED (retried if attempts are left) or CANCELLED */
	bool permanent;         /* FAILED: no further attempt */
	const char *reason;     /* of a dead letter, if not 'failed': 'permanent', 'crashed', 'child' */
	int64 retry_in;         /* us; -1: as the backoff says */
	Jsonb *result;          /* or NULL */
	const char *error;
	const char *worker; /* who ran it */
	TimestampTz started;
} PennyEnding;

/*
 * Make entries one's own (ENDING) for this transaction and subtransaction; `copies` as
 * they were.  Claims with these tokens: returns how many, up to the first that is not
 * held with its token; then the caller raises an error, which gives them back.
 */
extern int penny_ending_own_claims(const int64 *ids, const uint64 *tokens, int n, PennyJobRef *refs,
								   PennyJob *copies);
/* A claim, whoever holds it.  False: it is none. */
extern bool penny_ending_own_claim(int64 id, PennyJobRef *ref, PennyJob *copy);
/* Claims whose leases are over; how many. */
extern int penny_ending_own_expired(int max, PennyJobRef *refs, PennyJob *copies);
typedef enum PennyOwned
{
	PENNY_OWNED,      /* ENDING, this transaction's: nobody can start it */
	PENNY_OWNED_RUNS, /* it runs, or another transaction is ending it */
	PENNY_OWNED_GONE  /* it has ended */
} PennyOwned;

/*
 * A job that has not started, to be cancelled.  One that is not in memory, deferred
 * ones included (not those with `pending`), is brought into it first; an error
 * when there is no room.
 */
extern PennyOwned penny_ending_own_waiting(const PennyJobRow *row, PennyJobRef *ref);
/* For the jobs that a worker has taken; all at once. */
extern void penny_ending_own_taken(const PennyJobRef *refs, int n);
/* Write down one ending; everything that follows from it is in this transaction. */
extern void penny_ending_record(const PennyEnding *ending);
/*
 * The same for jobs that completed without a result, without key, parent or
 * listener, not DEFERRED; one receipt for all.  `ids` ascending, of one queue.
 */
extern void penny_ending_record_batch(const int64 *ids, const PennyJobRef *refs, int n,
									  uint16 queue, TimestampTz started, const char *worker);

/* ---- load.c, rotate.c ---------------------------------------------------------- */

/*
 * What has to be done now and then: loading what is not in memory, rescans, deferred
 * jobs that come due, emptying segments.  A penny worker calls it outside a
 * transaction each time before it takes jobs; it costs next to nothing when there is
 * nothing to do, and one process at a time does it, a bounded piece.  True: there is
 * more, call again soon.  `*again_at`: when at the latest to call again.
 */
extern bool penny_queue_upkeep(int64 now, int64 *again_at);
/* Do restored jobs, and all else that is not in memory, wait for penny.load_jobs()? */
extern bool penny_jobs_held(void);
/* When somebody wants it, at the latest; who sleeps looks after he has said so. */
extern int64 penny_queue_upkeep_at(void);
/* Is it due, and nobody at it?  `*turns` is another number when somebody was since. */
extern bool penny_queue_upkeep_due(uint32 *turns);

#endif /* PENNY_QUEUE_H */

/*-------------------------------------------------------------------------
 *
 * sched.h
 *		The ready order of jobs: which job may start now, and which is next.
 *		Plain C: no PostgreSQL, no clock, no allocation, no lock of its own.
 *
 * Lies in shared memory, bounded.  It is a hint: the tables (storage.h) say
 * what jobs there are and how they ended, and from them all of this can be
 * made again.  Times are microseconds since 2000-01-01 (TimestampTz), given by
 * the caller, and may step back.
 *
 * A job in memory is an entry.  Its states, and who may write it in each:
 *
 *	FREE		on the free list (lock-free, any process)
 *	RESERVED	taken from it by a backend, before its commit: that backend
 *	DELAYED		waits for its time					)
 *	READY		waits for its turn					) who holds the lock
 *	ACTIVE		taken by a worker or claimed			)
 *	ENDING		a transaction records how it ended or that it is cancelled:
 *				the backend of that transaction, until it posts the entry
 *
 *	RESERVED -> DELAYED, READY		post ARRIVED after the commit
 *	DELAYED <-> READY <-> ACTIVE	take, put back, time
 *	READY, DELAYED, ACTIVE -> ENDING	penny_sched_own(), under the lock
 *	ENDING -> FREE, DELAYED			post ENDED or RETRY after the commit
 *	ENDING -> what it was			post KEPT when the transaction rolled back
 *
 * Posting puts a chain of entries on the inbox by one compare-and-swap: it
 * cannot fail, allocate or wait, so it is what COMMIT and ABORT callbacks do.
 * Whoever holds the lock next takes the inbox first (penny_sched_drain(),
 * which the functions marked (D) do themselves).
 *
 * Segments.  The rows of jobs lie in segments by id (penny_segment_of()).  For
 * each of the last PENNY_SEGMENTS numbers there are two bits per id: seen (the
 * job of this row is or was in memory) and done (the row's job has ended, or
 * has moved to the deferred jobs).  ARRIVED for an id that was seen already is
 * dropped, so a row may be offered any number of times: by the commit, by a
 * rescan, by the loading of all.  Entries with PENNY_JOB_DEFERRED have their
 * row elsewhere and no bits; of them an id that is in memory is dropped.  RETRY
 * with that flag newly set says that the row has moved: its done bit is set.
 * An id below the open segments counts as seen and done (they are emptied when
 * all in them is accounted for), one above as neither: it is noted as missed.
 *
 * No room.  When there is no free entry (a queue may hold at most twice as
 * many as are free: dynamic thresholds, Choudhury and Hahne 1998), the id is
 * noted with penny_sched_missed() and the row is offered again when there is
 * room: rows at or above penny_sched_rescan() whose seen bit is clear.
 *
 * Which job is taken.  Queues of rank 0 (urgent) before others, but one of
 * PENNY_SCHED_TURNS starts goes to a waiting queue of rank 1, and a queue of rank
 * 1 whose next job has been ready for PENNY_SCHED_AGE goes first, though not
 * twice in a row while rank 0 waits.  Queues of one rank take turns; in a queue
 * its groups take turns (jobs without a group are one); in a group smaller
 * priority first, then smaller id.  A queue or group that is at a limit is set
 * aside and blocks nobody.  A worker's batch is one start.
 *
 * Limits.  Concurrency counts what is ACTIVE (and ENDING after ACTIVE): each
 * claimed job, or a worker's batch as one in its queue, since it runs its jobs
 * one after the other; in a group each job, so a batch has of a group no more
 * than may run.  Limits of groups are not for jobs without one.  Rate: at most `rate` starts in any half-open window of
 * `window` microseconds, by the times of the starts themselves, kept until they
 * are older; so a job of a limited queue or group is taken alone.  Where memory
 * for times is short nothing of that limiter starts: never too many.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_SCHED_H
#define PENNY_SCHED_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PENNY_SEGMENTS 8
#define PENNY_SEGMENT_BITS 20 /* ids of a segment: 1,048,576 */
#define PENNY_SCHED_QUEUES 256
#define PENNY_SCHED_KINDS 1024
#define PENNY_SCHED_HOLDERS 64 /* workers that take batches: numbers 0 to 63 */
#define PENNY_SCHED_TURNS 9
#define PENNY_SCHED_AGE INT64_C(1000000) /* us */
#define PENNY_SCHED_ANY UINT32_MAX
#define PENNY_SCHED_NEVER INT64_MAX

typedef uint32_t PennyJobRef; /* number of an entry; 0 = none */

typedef enum PennyRunner
{
	PENNY_RUNNER_SQL,
	PENNY_RUNNER_WEBHOOK,
	PENNY_RUNNER_EXTERNAL, /* also kinds without a handler */
	PENNY_RUNNERS
} PennyRunner;

typedef enum PennyJobState
{
	PENNY_JOB_FREE,
	PENNY_JOB_RESERVED,
	PENNY_JOB_DELAYED,
	PENNY_JOB_READY,
	PENNY_JOB_ACTIVE,
	PENNY_JOB_ENDING
} PennyJobState;

typedef enum PennyJobVerb /* what is posted */
{
	PENNY_VERB_NONE,
	PENNY_VERB_ARRIVED, /* RESERVED: the job is committed */
	PENNY_VERB_DROPPED, /* RESERVED: it is not */
	PENNY_VERB_ENDED,   /* ENDING: its end is committed */
	PENNY_VERB_RETRY, /* ENDING: to be run again at `due`, with `attempt` and `flags` as they now are */
	PENNY_VERB_KEPT /* ENDING: the transaction rolled back */
} PennyJobVerb;

/* flags */
#define PENNY_JOB_DEFERRED 0x0001 /* its row is in _penny.jobs_deferred */
#define PENNY_JOB_KEYED 0x0002    /* holds a row of _penny.job_keys */
#define PENNY_JOB_CHILD 0x0004    /* has a parent in a flow */
#define PENNY_JOB_TOLD 0x0008     /* somebody may listen: user_id or room is set */
#define PENNY_JOB_AWAITED 0x0010 /* a process waits for its end: set by the waiter under the lock */
#define PENNY_JOB_CANCEL 0x0020  /* ACTIVE, and asked to end: a worker looks at it */
#define PENNY_JOB_REDRIVEN 0x0080 /* has a row of _penny.job_lineage */
#define PENNY_JOB_ALONE 0x0040    /* set by take: this start was counted by a limiter */

/*
 * An entry.  Who enqueues writes the first eleven, or copies a row into them for
 * penny_sched_offer(); the rest is the scheduler's, but for `verb` and, of an
 * ENDING entry that is posted for RETRY, `due`, `attempt` and `flags`.  What is
 * looked at while heaps are changed lies in the first 64 bytes.
 */
typedef struct PennyJob
{
	int64_t id;
	int64_t due; /* when it may start; since when it is ready */
	int32_t priority;
	uint16_t queue; /* number of the queue, as reserved for */
	uint16_t flags;
	uint8_t state;  /* PennyJobState */
	uint8_t before; /* state before ENDING */
	uint8_t verb;   /* PennyJobVerb, of an entry that is posted */
	uint8_t runner; /* PennyRunner, found when it arrives */
	/* links and marks of the scheduler */
	_Atomic uint32_t next; /* free list, chain, inbox */
	uint32_t same_hash;
	uint32_t heap_child;
	uint32_t heap_next;
	uint32_t heap_prev;
	uint32_t group_slot;
	uint32_t list_next;
	uint32_t list_prev;
	uint16_t incarnation;
	uint8_t place; /* in its lane, while READY */
	uint8_t spare;
	/* what the enqueuer says, further */
	uint64_t kind;  /* penny_sched_hash() of its name */
	uint64_t group; /* hash of its group key, 0 = none */
	uint32_t block; /* where its row lies: ctid */
	uint16_t offset;
	uint16_t attempt; /* attempts that failed */
	/* while ACTIVE, and ENDING after it */
	uint64_t token; /* of this claim: never the same twice, not even after a restart */
	int64_t started;
	int64_t until;   /* end of its lease; PENNY_SCHED_NEVER: held by a process */
	uint32_t holder; /* number of the worker, or of the claimer: for who looks */
	/* marks of the scheduler */
	uint16_t charged;   /* the queue that it was reserved for */
	uint8_t chain_end;  /* the last of a posted chain */
	uint8_t serial;     /* started in a worker's batch */
	uint8_t in_segment; /* its row lies in a segment, and counts there */
	uint8_t unused[7];
} PennyJob;

typedef struct PennyQueueLimits
{
	bool exists;
	bool paused;
	bool urgent;         /* rank 0 */
	int32_t concurrency; /* 0 = without, as all below */
	int32_t rate;
	int64_t window; /* us */
	int32_t group_concurrency;
	int32_t group_rate;
	int64_t group_window;
} PennyQueueLimits;

typedef struct PennyKindRunner
{
	uint64_t kind;
	PennyRunner runner;
} PennyKindRunner;

typedef struct PennyTake
{
	PennyRunner runner;
	uint32_t queue;  /* or PENNY_SCHED_ANY */
	bool serial;     /* a worker's batch: all of one queue, run one after the other */
	uint32_t holder; /* with serial: below PENNY_SCHED_HOLDERS, and it holds nothing now */
	int64_t until;   /* lease, or PENNY_SCHED_NEVER */
	uint32_t max;
} PennyTake;

typedef struct PennyQueueCounts
{
	uint64_t ready[PENNY_RUNNERS];
	uint64_t delayed;
	uint64_t active; /* jobs */
	uint64_t ending;
	int64_t oldest_ready; /* since when the job that is ready for longest is; NEVER: none */
	uint64_t started;     /* since the memory was made */
	uint64_t ended;
	uint64_t limited; /* times that it was set aside at a limit */
} PennyQueueCounts;

typedef struct PennySched PennySched; /* sched_private.h */

/* ---- life ----------------------------------------------------------------- */

/* Bytes for so many entries; all else follows from them. */
extern size_t penny_sched_size(uint32_t entries);
/* Make it, empty, in memory of that size (aligned to 64).  `tokens` is where tokens begin: greater than any given before. */
extern void penny_sched_init(PennySched *s, uint32_t entries, uint64_t tokens);
/*
 * Forget every job, count, bit and limit; queues and kinds stay.  Entries that are
 * RESERVED or ENDING stay with their owners and are freed when posted: `incarnation`
 * of the scheduler goes up, and a post of an older one does nothing else, but that
 * ARRIVED notes its id as missed.  What such a transaction ENDED is not known here:
 * who clears sees to it that none is under way, or offers no rows until they are over.
 */
extern void penny_sched_clear(PennySched *s);
extern uint64_t penny_sched_hash(const char *text, size_t len); /* never 0 */

/* ---- any process, without the lock ---------------------------------------- */

/*
 * Take up to n free entries for a queue into a chain; how many came.  Each is
 * zeroed, but for state, queue and link; `*first` begins the chain, follow with
 * penny_sched_next_of().
 */
extern uint32_t penny_sched_reserve(PennySched *s, uint16_t queue, uint32_t n, PennyJobRef *first);
extern PennyJob *penny_sched_job(PennySched *s, PennyJobRef ref);
extern PennyJobRef penny_sched_next_of(PennySched *s, PennyJobRef ref);
/* Set the link of a chain of entries that are one's own (RESERVED or ENDING). */
extern void penny_sched_link(PennySched *s, PennyJobRef ref, PennyJobRef next);
/* Post a chain, each entry with its verb.  Cannot fail or wait. */
extern void penny_sched_post(PennySched *s, PennyJobRef first, PennyJobRef last);
extern bool penny_sched_posted(const PennySched *s); /* is something in the inbox? */
/* Rows at or above id were not offered, for want of room or of a callback. */
extern void penny_sched_missed(PennySched *s, int64_t id);

/* ---- under the lock -------------------------------------------------------- */

extern void penny_sched_drain(PennySched *s, int64_t now);

/*
 * Settings of one queue; jobs set aside come back if they may.  exists = false: its jobs
 * wait.  Looks at all groups.
 */
extern void penny_sched_queue(PennySched *s, uint16_t queue, const PennyQueueLimits *limits,
							  int64_t now);
/* All kinds that have a handler; jobs in memory change runners accordingly. */
extern void penny_sched_kinds(PennySched *s, const PennyKindRunner *kinds, uint32_t n, int64_t now);

/*
 * Take jobs that may start now (D); they are ACTIVE, counted, with a new token
 * each.  Returns how many.  A job counted by a rate limiter is the only one.
 */
extern uint32_t penny_sched_take(PennySched *s, const PennyTake *how, int64_t now,
								 PennyJobRef *refs);
/* Is anything ready for this runner (queue or ANY), as far as can be said without taking it? (D) */
extern bool penny_sched_waits(PennySched *s, PennyRunner runner, uint32_t queue, int64_t now);
/* When time alone may make something ready for this runner, or end a lease; NEVER. (D) */
extern int64_t penny_sched_next(PennySched *s, PennyRunner runner, int64_t now);

/* The job of this id in memory, or 0. (D) */
extern PennyJobRef penny_sched_find(PennySched *s, int64_t id, int64_t now);
/* Make it ENDING, one's own.  False when it is not DELAYED, READY or ACTIVE. */
extern bool penny_sched_own(PennySched *s, PennyJobRef ref, int64_t now);
/* An ACTIVE job with a lease: another end of the lease. */
extern void penny_sched_lease(PennySched *s, PennyJobRef ref, int64_t until, int64_t now);
/* ACTIVE without a transaction that records it (D not): the start is undone, nothing is burnt; but a rate keeps it. */
extern void penny_sched_put_back(PennySched *s, PennyJobRef ref, int64_t now);
/*
 * The same for all that a worker (serial) holds: it is gone.  Returns how many. (D)
 * What of it is ENDING does not count any more, and is READY if it is posted KEPT.
 */
extern uint32_t penny_sched_abandon(PennySched *s, uint32_t holder, int64_t now);
/*
 * The same for what it took with this token or a later one: of its last batch, that job
 * and those behind it.  None of them has begun, and the worker begins none any more. (D)
 */
extern uint32_t penny_sched_give_up(PennySched *s, uint32_t holder, uint64_t token, int64_t now);
/* ENDING or ACTIVE -> gone, or DELAYED: as if posted with this verb, at once. */
extern void penny_sched_finish(PennySched *s, PennyJobRef ref, PennyJobVerb verb, int64_t now);
/* Leases that are over: those jobs become ENDING, the caller's.  Returns how many. (D) */
extern uint32_t penny_sched_expired(PennySched *s, int64_t now, uint32_t max, PennyJobRef *refs);

/*
 * Offer a row that was read from a table: copies what the enqueuer says.  0: it
 * is known already; PENNY_SCHED_ANY: no room (and noted as missed).  A job whose `attempt`
 * is not 0 has failed before.  It has arrived when this returns.
 */
extern PennyJobRef penny_sched_offer(PennySched *s, const PennyJob *job, int64_t now);
/* The row's job has ended: told by a receipt when all is loaded. */
extern void penny_sched_mark_done(PennySched *s, int64_t id);
/* A start that a receipt tells of, for the rates; `group` 0 = none. */
extern void penny_sched_started(PennySched *s, uint16_t queue, uint64_t group, int64_t at,
								int64_t now);

/* Smallest id that may have been missed; NEVER: none.  Taken back to NEVER by reading it. */
extern int64_t penny_sched_rescan(PennySched *s);
/* How many jobs of this queue could come in now. */
extern uint32_t penny_sched_room(const PennySched *s, uint16_t queue);

/* ---- segments, under the lock ------------------------------------------------ */

static inline int64_t
penny_segment_of(int64_t id)
{
	return id >> PENNY_SEGMENT_BITS;
}

extern bool penny_sched_seen(const PennySched *s, int64_t id);
extern bool penny_sched_done(const PennySched *s, int64_t id);
/* Bits set of a segment number. */
extern void penny_sched_segment_counts(const PennySched *s, int64_t segment, uint32_t *seen,
									   uint32_t *done);
/*
 * Use the bits of a number for `segment` (first use, or after its table was emptied):
 * they are cleared.  False while the number before has jobs in memory that are not done.
 */
extern bool penny_sched_open_segment(PennySched *s, int64_t segment);
/* Entries in memory whose rows lie in this segment; for rotation.  Returns how many (at most max). */
extern uint32_t penny_sched_of_segment(PennySched *s, int64_t segment, uint32_t max,
									   PennyJobRef *refs);

/* ---- for who looks, under the lock --------------------------------------------- */

extern void penny_sched_counts(const PennySched *s, uint16_t queue, int64_t now,
							   PennyQueueCounts *out);
/* Call `each` for the jobs in memory, all or of one queue. */
extern void penny_sched_each(PennySched *s, uint32_t queue,
							 void (*each)(const PennyJob *job, void *arg), void *arg);
extern uint64_t penny_sched_incarnation(const PennySched *s);
/* Check everything that should hold; NULL, or what does not (tests, debug builds). */
extern const char *penny_sched_check(PennySched *s);

#endif /* PENNY_SCHED_H */

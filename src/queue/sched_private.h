/*-------------------------------------------------------------------------
 *
 * sched_private.h
 *		How the scheduler lies in shared memory, and what its files share.
 *		Private to src/queue/sched*.c and its tests.
 *
 * One block of memory: this struct, then entries, hash of ids, groups, hash of
 * groups, blocks of start times, bits of the segments.  All links are indexes,
 * 0 is none.  Memory is not touched before it is needed: entries, groups and
 * blocks beyond a high-water mark were never used, and bits are cleared when
 * their segment is opened.
 *
 * Without the lock: free, fresh, taken, held[].in, inbox, rescan, incarnation.
 * They are atomic; entries change hands through `free` (acquire and release)
 * and `inbox` (release by who posts, acquire by who drains).  `returned` and
 * held[].out are written under the lock and read by anybody; of an entry `state`
 * is.  All else is of who holds the lock.
 *
 * Where an entry is:
 *	DELAYED		in delays[runner], by due
 *	READY		in its group's lane of its runner, and in its queue's list by age
 *	ACTIVE		in leases by until, unless that is NEVER
 *	and, from its start until that is over (ACTIVE, or ENDING with a token), in
 *	its holder's list, if it was started in a worker's batch.
 * All four, and ENDING, are in the hash.
 *
 * A lane is a few runs, sorted lists of one priority each, and a heap for what
 * fits into none (sched_lane.c).
 *
 * A group (queue, group key) is there while it has entries that are ready, were
 * started or end, or has start times that count.  Groups 1 to PENNY_SCHED_QUEUES
 * are those of the jobs without a key, one of each queue, without limits.
 * Groups of a queue whose lane holds something, and which are at no limit, are
 * in the queue's ring of that runner and take turns.  A group of which nothing
 * may start before a time is in `openings` by that time; one that has only
 * start times left is in `idle`, until the last does not count.  A queue that
 * has a ring, and is at no limit itself, is in the set of its rank and runner.
 *
 * Time of the limiters.  Rates must hold though the given time may step back
 * (processes read the clock before they wait for the lock; clocks are set).
 * `mono` never does: it stands still while the given time is behind, and when
 * that is more than PENNY_SCHED_STEP behind, it goes on from where it stood
 * (`skew`).  Starts are counted by it, so a window is never too short.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_SCHED_PRIVATE_H
#define PENNY_SCHED_PRIVATE_H

#include "queue/sched.h"

#define PENNY_SCHED_STEP INT64_C(10000000)  /* us */
#define PENNY_SCHED_SHORT INT64_C(100000)   /* us until a limiter without memory looks again */
#define PENNY_SCHED_LONGEST (INT64_MAX / 4) /* window */
#define PENNY_SCHED_RUNS 16                 /* priorities of a lane that have a run */
#define PENNY_SCHED_WALK 8                  /* steps to find a place in a list */
#define PENNY_SCHED_TIMES 7                 /* start times in a block */
#define PENNY_SCHED_SEGMENT_WORDS (1 << (PENNY_SEGMENT_BITS - 6))

typedef struct PennyQueueSet
{
	uint64_t word[PENNY_SCHED_QUEUES / 64];
} PennyQueueSet;

static inline bool
penny_set_has(const PennyQueueSet *set, uint32_t number)
{
	return (set->word[number >> 6] >> (number & 63) & 1) != 0;
}

/* ---- limiter ---------------------------------------------------------------- */

typedef struct PennyTimes
{
	int64_t at[PENNY_SCHED_TIMES];
	uint32_t next;
	uint32_t unused;
} PennyTimes;

/* Start times, ascending, in a list of blocks. */
typedef struct PennyLimiter
{
	uint32_t first;
	uint32_t last;
	uint32_t count;
	uint16_t head; /* the oldest, in the first block */
	uint16_t tail; /* behind the newest, in the last */
} PennyLimiter;

/* ---- groups ------------------------------------------------------------------ */

/* Ready jobs of a group for one runner, and its place in the ring. */
typedef struct PennyLane
{
	uint32_t heap;
	uint32_t first;     /* the first of the first run */
	uint32_t ring_next; /* 0: not in the ring */
	uint32_t ring_prev;
} PennyLane;

typedef enum PennyLanePlace /* of an entry: place */
{
	PENNY_IN_HEAP,
	PENNY_IN_RUN,
	PENNY_FIRST_OF_RUN
} PennyLanePlace;

typedef enum PennyClosed
{
	PENNY_OPEN,
	PENNY_CLOSED_OFF,  /* a queue that is paused or does not exist */
	PENNY_CLOSED_BUSY, /* concurrency */
	PENNY_CLOSED_RATE
} PennyClosed;

typedef enum PennyGroupWait
{
	PENNY_WAIT_NONE,
	PENNY_WAIT_OPENING,
	PENNY_WAIT_IDLE
} PennyGroupWait;

typedef struct PennyGroup
{
	uint64_t key; /* 0: of the jobs without one */
	int64_t at;   /* while it waits: until when, by mono */
	PennyLane lane[PENNY_RUNNERS];
	PennyLimiter starts;
	uint32_t jobs; /* entries that name it; 0 of a group that is free or idle */
	int32_t busy;
	uint32_t heap_child; /* openings or idle */
	uint32_t heap_next;
	uint32_t heap_prev;
	uint32_t same_hash; /* or the next free one */
	uint16_t queue;
	uint8_t closed; /* PennyClosed */
	uint8_t wait;   /* PennyGroupWait */
	uint8_t unused[16];
} PennyGroup;

/* Each lies in two lines of the processor's cache. */
_Static_assert(sizeof(PennyJob) == 128, "an entry has 128 bytes");
_Static_assert(sizeof(PennyGroup) == 128, "a group has 128 bytes");

/* ---- queues -------------------------------------------------------------------- */

typedef struct PennySchedQueue
{
	PennyQueueLimits limits;
	PennyLimiter starts;
	int64_t opens; /* CLOSED_RATE: when, by mono */
	int64_t blind; /* until then starts may count that are not known */
	int32_t busy;
	uint8_t closed;               /* PennyClosed */
	uint32_t ring[PENNY_RUNNERS]; /* the group whose turn it is */
	uint32_t oldest;              /* list of the ready by age, through list_next */
	uint32_t newest;
	uint64_t ready[PENNY_RUNNERS];
	uint64_t delayed;
	uint64_t active;
	uint64_t ending;
	uint64_t started;
	uint64_t ended;
	uint64_t limited;
} PennySchedQueue;

/* What a worker's batch holds, started and not over. */
typedef struct PennyHolder
{
	uint32_t first; /* the newest, through list_next */
	uint32_t jobs;
	uint16_t queue;
} PennyHolder;

/* Turns of the ranks, of one runner. */
typedef struct PennyTurns
{
	uint32_t starts; /* of rank 0 in a row, while rank 1 waited */
	bool aged;       /* the last start was of rank 1, by its age */
	uint16_t last[2];
} PennyTurns;

/* Entries that a queue holds are in - out. */
typedef struct PennyHeld
{
	_Atomic uint32_t in;
	_Atomic uint32_t out;
} PennyHeld;

typedef struct PennySegment
{
	int64_t number; /* -1: never opened */
	uint32_t seen;  /* bits set */
	uint32_t done;
	uint32_t live; /* entries in memory */
} PennySegment;

struct PennySched
{
	/* what follows from the number of entries */
	uint32_t entries;
	uint32_t groups;
	uint32_t blocks;
	uint32_t id_mask;
	uint32_t group_mask;
	uint64_t jobs_at; /* offsets from here */
	uint64_t ids_at;
	uint64_t groups_at;
	uint64_t group_hash_at;
	uint64_t blocks_at;
	uint64_t bits_at;

	_Alignas(64) _Atomic uint64_t free;  /* count of changes << 32, first entry */
	_Alignas(64) _Atomic uint32_t fresh; /* entries from here on were never used */
	_Atomic uint32_t taken;              /* entries in use are taken - returned */
	_Alignas(64) _Atomic uint32_t inbox;
	_Alignas(64) _Atomic int64_t rescan;
	_Atomic uint64_t incarnation;
	_Atomic uint32_t returned;
	_Alignas(64) PennyHeld held[PENNY_SCHED_QUEUES];

	/* under the lock */
	_Alignas(64) uint64_t tokens; /* the next */
	int64_t mono;
	int64_t skew;   /* mono is the given time and this */
	uint32_t freed; /* chain of entries to be given back, and its end */
	uint32_t freed_last;
	uint32_t delays[PENNY_RUNNERS];
	uint32_t leases;
	uint32_t openings;
	uint32_t idle;
	uint32_t groups_fresh;
	uint32_t groups_free;
	uint32_t blocks_fresh;
	uint32_t blocks_free;
	uint32_t blocks_used;
	int64_t lowest;                            /* segment that is open; -1: none */
	PennyQueueSet can_start[2][PENNY_RUNNERS]; /* by rank */
	PennyQueueSet rate_closed;
	PennyTurns turns[PENNY_RUNNERS];
	PennyHolder holders[PENNY_SCHED_HOLDERS];
	PennySegment segments[PENNY_SEGMENTS];
	PennyKindRunner kinds[2 * PENNY_SCHED_KINDS]; /* hash; kind 0: empty */
	PennySchedQueue queues[PENNY_SCHED_QUEUES];
};

/* ---- places ------------------------------------------------------------------- */

static inline PennyJob *
penny_job_at(const PennySched *s, uint32_t ref)
{
	return (PennyJob *) ((char *) s + s->jobs_at) + ref;
}

static inline uint32_t *
penny_id_head(const PennySched *s, int64_t id)
{
	return (uint32_t *) ((char *) s + s->ids_at) + ((uint32_t) id & s->id_mask);
}

static inline PennyGroup *
penny_group_at(const PennySched *s, uint32_t slot)
{
	return (PennyGroup *) ((char *) s + s->groups_at) + slot;
}

static inline PennyTimes *
penny_times_at(const PennySched *s, uint32_t block)
{
	return (PennyTimes *) ((char *) s + s->blocks_at) + block;
}

/* The bits of a place: seen (0) or done (1). */
static inline uint64_t *
penny_segment_bits(const PennySched *s, int64_t segment, int which)
{
	return (uint64_t *) ((char *) s + s->bits_at) +
		   ((size_t) (segment & (PENNY_SEGMENTS - 1)) * 2 + (size_t) which) *
			   PENNY_SCHED_SEGMENT_WORDS;
}

static inline uint32_t
penny_job_link(const PennySched *s, uint32_t ref)
{
	return atomic_load_explicit(&penny_job_at(s, ref)->next, memory_order_relaxed);
}

static inline void
penny_job_set_link(PennySched *s, uint32_t ref, uint32_t next)
{
	atomic_store_explicit(&penny_job_at(s, ref)->next, next, memory_order_relaxed);
}

/* Who reserves changes it without the lock, while others look. */
static inline uint8_t
penny_job_state(const PennyJob *job)
{
	return __atomic_load_n(&job->state, __ATOMIC_RELAXED);
}

static inline void
penny_job_set_state(PennyJob *job, PennyJobState state)
{
	__atomic_store_n(&job->state, (uint8_t) state, __ATOMIC_RELAXED);
}

/* Which of two jobs of a lane is next. */
static inline bool
penny_job_before(const PennyJob *a, const PennyJob *b)
{
	return a->priority < b->priority || (a->priority == b->priority && a->id < b->id);
}

/* Is it in memory, and of this incarnation? */
static inline bool
penny_job_known(const PennySched *s, const PennyJob *job)
{
	return penny_job_state(job) >= PENNY_JOB_DELAYED &&
		   job->incarnation ==
			   (uint16_t) atomic_load_explicit(&s->incarnation, memory_order_relaxed);
}

/* Entries below were used. */
static inline uint32_t
penny_sched_used(const PennySched *s)
{
	return atomic_load_explicit(&s->fresh, memory_order_acquire);
}

/* ---- sched_pool.c --------------------------------------------------------------- */

/* Give an entry back; others see it after penny_sched_flush(). */
extern void penny_sched_free(PennySched *s, uint32_t ref);
extern void penny_sched_flush(PennySched *s);
/* Take what was posted, oldest first, as a chain. */
extern uint32_t penny_sched_take_inbox(PennySched *s);

/* ---- sched_lane.c ----------------------------------------------------------------- */

extern void penny_lane_put(PennySched *s, PennyLane *lane, uint32_t ref);
extern void penny_lane_remove(PennySched *s, PennyLane *lane, uint32_t ref);
/* The one that is next; 0: it is empty. */
extern uint32_t penny_lane_next(const PennySched *s, const PennyLane *lane);

/* ---- sched_ready.c --------------------------------------------------------------- */

extern PennyRunner penny_sched_runner(const PennySched *s, uint64_t kind);
extern void penny_sched_ready(PennySched *s, uint32_t ref);
extern void penny_sched_unready(PennySched *s, uint32_t ref);
extern void penny_sched_delay(PennySched *s, uint32_t ref);
extern void penny_sched_undelay(PennySched *s, uint32_t ref);
extern void penny_sched_put_lease(PennySched *s, uint32_t ref);
extern void penny_sched_remove_lease(PennySched *s, uint32_t ref);
extern void penny_sched_promote(PennySched *s, int64_t now);

/* ---- sched_groups.c ---------------------------------------------------------------- */

extern void penny_sched_groups_init(PennySched *s);
extern void penny_sched_join_group(PennySched *s, PennyJob *job);
extern void penny_sched_leave_group(PennySched *s, PennyJob *job);
/* Bring in order what follows from a group's, a queue's, all groups' state. */
extern void penny_sched_settle_group(PennySched *s, uint32_t slot);
extern void penny_sched_settle_queue(PennySched *s, uint32_t number);
extern void penny_sched_settle_groups_of(PennySched *s, uint32_t number);
/* What time opens or ends. */
extern void penny_sched_open_by_time(PennySched *s);

/* ---- sched_limit.c ----------------------------------------------------------------- */

extern void penny_sched_clock(PennySched *s, int64_t now);
/* 0: a start may be counted now; else when, by mono. */
extern int64_t penny_limiter_opens(PennySched *s, PennyLimiter *limiter, int32_t rate,
								   int64_t window);
extern bool penny_limiter_has_room(const PennySched *s, const PennyLimiter *limiter);
extern void penny_limiter_add(PennySched *s, PennyLimiter *limiter, int64_t at);
extern void penny_limiter_clear(PennySched *s, PennyLimiter *limiter);
extern int64_t penny_limiter_newest(const PennySched *s, const PennyLimiter *limiter);

/* ---- sched_take.c ------------------------------------------------------------------ */

/* The start of an entry is over. */
extern void penny_sched_release(PennySched *s, PennyJob *job);

/* ---- sched_bits.c ------------------------------------------------------------------ */

/* Set a bit of an open segment; false: it was set already, or the segment is not open. */
extern bool penny_sched_set_seen(PennySched *s, int64_t id);
extern bool penny_sched_is_open(const PennySched *s, int64_t segment);
/* A row's entry goes: its job has ended, or has moved to the deferred ones. */
extern void penny_sched_leave_segment(PennySched *s, PennyJob *job);

/* ---- sched_check_heap.c -------------------------------------------------------------- */

/* In functions that return what does not hold. */
#define PENNY_HOLDS(condition) \
	do                         \
	{                          \
		if (!(condition))      \
			return #condition; \
	} while (0)

typedef enum PennyHeapOrder
{
	PENNY_HEAP_LANE,
	PENNY_HEAP_DUE,
	PENNY_HEAP_UNTIL,
	PENNY_HEAP_GROUP
} PennyHeapOrder;

/* NULL, or what does not hold; `*count` goes up by the nodes. */
extern const char *penny_check_heap(const PennySched *s, PennyHeapOrder order, uint32_t root,
									uint64_t *count);

#endif /* PENNY_SCHED_PRIVATE_H */

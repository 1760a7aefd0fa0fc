/*-------------------------------------------------------------------------
 *
 * cache_private.h
 *		What the parts of the cache have in common; inside cache only.
 *
 * Shared memory (PennyCacheShared) lies beside the plane, in PostgreSQL's own
 * memory, since no edge needs it.  Its locks are those of the tranche
 * "penny_cache": one for each group of stamps, one for writing entries, one
 * for the table of flights.
 *
 * Lock order: a stamp's lock or the cache's lock, then ProcArrayLock
 * (TransactionIdIsInProgress).  No two locks of the tranche at a time.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_CACHE_PRIVATE_H
#define PENNY_CACHE_PRIVATE_H

#include "postgres.h"

#include "access/transam.h"
#include "nodes/pg_list.h"
#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/lwlock.h"
#include "utils/snapshot.h"

#include "base/planemap.h"
#include "cache/cache.h"

#define PENNY_CACHE_LOCK PENNY_STAMP_LOCKS        /* writing of entries and bodies */
#define PENNY_FLIGHT_LOCK (PENNY_STAMP_LOCKS + 1) /* the table of flights */
#define PENNY_CACHE_LOCKS (PENNY_STAMP_LOCKS + 2)

#define PENNY_CACHE_SHARDS 16
#define PENNY_CACHE_FLIGHTS 256

/* A key that somebody builds; under PENNY_FLIGHT_LOCK. */
typedef struct PennyFlight
{
	PennyCacheKey key;
	int owner;       /* process number plus one, 0 = free */
	int64 since;     /* ms */
	uint32 failures; /* flights from this place whose value was not kept */
	ConditionVariable done;
} PennyFlight;

/* Counters of a shard; each process has one shard. */
typedef struct PennyCacheCounts
{
	pg_atomic_uint64 hits[PENNY_CACHE_KINDS];
	pg_atomic_uint64 misses[PENNY_CACHE_KINDS]; /* built, kept or not */
	pg_atomic_uint64 fills[PENNY_CACHE_KINDS];
	pg_atomic_uint64 refused[PENNY_CACHE_REFUSALS];
	pg_atomic_uint64 result[PENNY_CACHE_NO_BODY + 1]; /* of look-ups */
	pg_atomic_uint64 pushes;
	pg_atomic_uint64 pushes_all;
	pg_atomic_uint64 waits;      /* for another process that builds the same */
	pg_atomic_uint64 waits_won;  /* that ended with a hit */
	pg_atomic_uint64 checked;    /* hits compared with the tables */
	pg_atomic_uint64 violations; /* that were not the same */
} PennyCacheCounts;

typedef union PennyCacheShard
{
	PennyCacheCounts count;
	char padding[TYPEALIGN(PG_CACHE_LINE_SIZE, sizeof(PennyCacheCounts))];
} PennyCacheShard;

typedef struct PennyCacheShared
{
	/*
	 * Transactions from before the start have pushed nothing into these stamps:
	 * nothing is read or kept under a snapshot in which one may be running.  0:
	 * nobody has asked yet.
	 */
	pg_atomic_uint64 first_xid;
	/* A snapshot has been seen in which all of them are over. */
	pg_atomic_uint32 settled;
	/*
	 * Transactions that changed catalogs, from their push until other processes
	 * have been sent what changed.  Nothing is kept while there are any.
	 */
	pg_atomic_uint32 changers;
	PennyFlight flight[PENNY_CACHE_FLIGHTS];
	PennyCacheShard shard[PENNY_CACHE_SHARDS];
} PennyCacheShared;

/* ---- shared.c ------------------------------------------------------------ */

/* NULL without a plane. */
extern PennyCacheShared *penny_cache_shared(void);
extern LWLock *penny_cache_lock(int number);
extern PennyCacheCounts *penny_cache_counts(void); /* of this process's shard */
extern void penny_cache_shared_init(void);

#define penny_cache_count(field) pg_atomic_fetch_add_u64(&penny_cache_counts()->field, 1)

/* ---- fence.c ------------------------------------------------------------- */

/* Weak modes, for tests of the tests: penny.debug_cache_fence. */
typedef enum PennyFenceMode
{
	PENNY_FENCE_ON,
	PENNY_FENCE_GENERATION, /* a fill asks only whether stamps moved meanwhile */
	PENNY_FENCE_DELETE      /* a push ends what is there, and fills ask nothing */
} PennyFenceMode;

/* Snapshots against stamps. */
typedef enum PennyFenceState
{
	PENNY_FENCE_CLEAR,   /* every pusher is over in the snapshot */
	PENNY_FENCE_BLOCKED, /* one is in progress */
	PENNY_FENCE_MOVED    /* the stamp has another seq than the token */
} PennyFenceState;

extern PennyFenceState penny_fence_token(const PennyCacheToken *token, Snapshot snapshot);
extern PennyFenceState penny_fence_tokens(const PennyCacheToken *token, int n, Snapshot snapshot);
/* Let overflows end that are over. */
extern void penny_fence_settle(const PennyCacheToken *token, int n);
/* Are all transactions from before the start over in this snapshot? */
extern bool penny_fence_started(Snapshot snapshot);
/* Has this transaction changed what the tag of this slot stands for? */
extern bool penny_fence_is_dirty(uint32 slot);
extern void penny_fence_dirty(uint32 slot);
/* Slot of a tag "name:value" (tags.c). */
extern uint32 penny_fence_slot(const char *name, const char *value);
/* Is nobody between changing catalogs and having told everybody? */
extern bool penny_cache_catalogs_still(void);
/* Around COMMIT PREPARED: was something about catalogs prepared? */
extern bool penny_fence_begin_finish(void);
extern void penny_fence_end_finish(void);
extern void penny_fence_init(void);

/* ---- collect.c ----------------------------------------------------------- */

/* What a value that is being built depends on. */
typedef struct PennyCollector
{
	struct PennyCollector *outer;
	int level;       /* 1 = outermost */
	int nest;        /* transaction nesting level */
	int flight;      /* that it ends, -1 = none */
	bool kind_noted; /* kind was told by what was read */
	bool tagged;     /* depends on more than PENNY_STAMP_ALL */
	PennyCacheKind kind;
	PennyCacheRefusal refusal;
	TransactionId xmin; /* of the snapshot at the start */
	TransactionId xmax;
	int tokens;
	PennyCacheToken token[PENNY_CACHE_TOKENS];
} PennyCollector;

extern PennyCollector *penny_collector_open(PennyCacheKind kind, Snapshot snapshot, int flight);
/* Close the collector of this level, and those inside it that an error left. */
extern bool penny_collector_close(int level, PennyCollector *closed);
extern void penny_collector_depend(uint32 slot);
/* Will what is being built not be kept? */
extern bool penny_collector_is_refused(void);
/* What is being built contains this hit. */
extern void penny_collector_include(const PennyCacheHit *hit);
extern void penny_collector_init(void);

/* ---- flight.c ------------------------------------------------------------ */

#define PENNY_FLIGHT_NONE (-1)

typedef enum PennyFlightStart
{
	PENNY_FLIGHT_MINE,   /* nobody builds it: build */
	PENNY_FLIGHT_WAITED, /* somebody built it: look again */
	PENNY_FLIGHT_ALONE   /* build without telling anybody */
} PennyFlightStart;

/* How long a read has waited, and what it knew at its start. */
typedef struct PennyFlightWait
{
	int64 deadline; /* ms, 0 = has not begun */
	uint32 failures;
} PennyFlightWait;

extern PennyFlightStart penny_flight_start(const PennyCacheKey *key, PennyFlightWait *wait,
										   int *flight);
extern void penny_flight_end(int flight, bool kept);
extern void penny_flight_table_init(PennyCacheShared *shared);

/* ---- tags.c -------------------------------------------------------------- */

/* Should a trigger that does not fire always raise tags of this name? */
extern bool penny_tag_is_idle(const char *name, Size len);
/* 36 characters and a NUL. */
extern void penny_tag_write_uuid(char *to, const pg_uuid_t *uuid);
/* "schema.table", palloc'd; NULL: there is no such table. */
extern char *penny_tag_of_table(Oid relation);
/* Of the table and, for a partition, those that it belongs to. */
extern List *penny_tags_of_table(Oid relation);

/* ---- watch.c ------------------------------------------------------------- */

extern void penny_cache_watch_init(void);

/* ---- viewer.c ------------------------------------------------------------ */

extern void penny_cache_make_key(PennyCacheKind kind, int whose, const PennySpan *part, int parts,
								 PennyCacheKey *key);

#endif /* PENNY_CACHE_PRIVATE_H */

/*-------------------------------------------------------------------------
 *
 * shared.h
 *		What processes share about Redis; inside redis only.
 *
 * Locks (of the tranche "penny_redis"): TARGET for `target`, PREPARED for the
 * table of prepared transactions.  The spinlock is the breaker's.  Everything
 * else is atomic: `on` is the supervisor's, `link_*`, `fault` and what stands
 * beside a counter of the relay the relay's.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_REDIS_SHARED_H
#define PENNY_REDIS_SHARED_H

#include "postgres.h"

#include <sys/socket.h>

#include "port/atomics.h"
#include "storage/lwlock.h"
#include "storage/spin.h"
#include "utils/uuid.h"

#include "plane/cache.h"
#include "redis/breaker.h"
#include "redis/envelope.h"
#include "redis/ring.h"
#include "redis/url.h"

#define PENNY_REDIS_CHANGES 65536 /* places of the ring of changes */
#define PENNY_REDIS_OFFERS 4096   /* places of the ring of bodies */
#define PENNY_REDIS_PREPARED 1024 /* changes of prepared transactions */

/* How to get to the server, found out by the relay. */
typedef struct PennyRedisTarget
{
	struct sockaddr_storage address;
	socklen_t address_len; /* 0: nobody may connect */
	uint32 db;
	char user[PENNY_REDIS_USER_SIZE];
	char password[PENNY_REDIS_PASSWORD_SIZE];
} PennyRedisTarget;

/* A body to be written: the entry that has it, and which bytes it must be. */
typedef struct PennyRedisOffer
{
	PennyCacheKey key;
	PennyCacheKey hash;
} PennyRedisOffer;

/* A change that a prepared transaction will have made. */
typedef struct PennyRedisPrepared
{
	TransactionId xid; /* 0 = free */
	bool all;
	pg_uuid_t id;
} PennyRedisPrepared;

typedef enum PennyRedisCounter
{
	PENNY_REDIS_GETS,
	PENNY_REDIS_GET_HITS,
	PENNY_REDIS_GET_MISSES,
	PENNY_REDIS_GET_FAILURES,
	PENNY_REDIS_GET_SKIPPED, /* the breaker is open */
	PENNY_REDIS_GET_BUSY,    /* penny.redis_pool_max connections are in use */
	PENNY_REDIS_GET_SLOWER,  /* the database was faster lately */
	PENNY_REDIS_REFUSED,     /* values that are forged, old or broken */
	PENNY_REDIS_CONNECTS,
	PENNY_REDIS_CHANGED,        /* keys of conversations deleted and told */
	PENNY_REDIS_CHANGES_LOST,   /* not told one by one: a sweep follows */
	PENNY_REDIS_OFFERED,        /* bodies */
	PENNY_REDIS_WRITTEN,        /* of them */
	PENNY_REDIS_OFFERS_DROPPED, /* gone or outdated meanwhile, or the ring was full */
	PENNY_REDIS_SWEEPS,
	PENNY_REDIS_SWEPT, /* keys */
	PENNY_REDIS_FOREIGN,
	PENNY_REDIS_ECHOES,
	PENNY_REDIS_FLUSHES,
	PENNY_REDIS_ERRORS, /* error replies */
	PENNY_REDIS_LOSSES, /* connections of the relay */
	PENNY_REDIS_LEASES,
	PENNY_REDIS_COUNTERS
} PennyRedisCounter;

#define PENNY_REDIS_LOCK_TARGET 0
#define PENNY_REDIS_LOCK_PREPARED 1
#define PENNY_REDIS_LOCKS 2

typedef struct PennyRedisShared
{
	pg_atomic_uint32 on;         /* there is to be a relay */
	pg_atomic_uint32 relay_pid;  /* 0 = none */
	pg_atomic_uint32 relay_proc; /* its PGPROC number plus one, 0 = none */
	pg_atomic_uint64 relay_began;
	pg_atomic_uint64 relay_lived;
	pg_atomic_uint32 link_write; /* the relay's connections are up */
	pg_atomic_uint32 link_listen;
	pg_atomic_uint32 sweep;         /* the relay shall sweep: something was not told */
	pg_atomic_uint32 prepared;      /* places of `prepared_change` in use */
	pg_atomic_uint32 prepared_lost; /* there was no place: sweep until none is prepared */
	pg_atomic_uint64 generation;    /* of target */
	pg_atomic_uint32 connections;   /* of readers, all processes */
	pg_atomic_uint32 kept;          /* of them kept while idle */
	pg_atomic_uint32 read_us;       /* moving means: of reads from Redis */
	pg_atomic_uint32 build_us;      /* and of what they spare */
	pg_atomic_uint32 read_turns;    /* reads that were spared since one was tried */
	pg_atomic_uint64 counter[PENNY_REDIS_COUNTERS];

	slock_t mutex; /* of the breaker */
	PennyBreaker breaker;

	PennyRedisTarget target;
	char fault[160]; /* why the relay has no connection; under LOCK_TARGET */
	uint8 mac_key[32];
	PennyRedisPrepared prepared_change[PENNY_REDIS_PREPARED];
} PennyRedisShared;

/* NULL when penny was not preloaded. */
extern PennyRedisShared *penny_redis_shared;
extern PennyRing *penny_redis_changes;
extern PennyRing *penny_redis_offers;

extern LWLock *penny_redis_lock(int number);
extern void penny_redis_count(PennyRedisCounter counter, uint64 n);
extern void penny_redis_wake_relay(void);
/* 8-4-4-4-12 hexadecimal digits and nothing else; id may be NULL. */
extern bool penny_redis_parse_uuid(const char *text, pg_uuid_t *id);
/* A moving mean in microseconds, 0 = nothing known. */
extern void penny_redis_mean(pg_atomic_uint32 *mean, int64 us);

/* Results of reads, for the breaker. */
extern bool penny_redis_closed(void);
extern void penny_redis_good(int64 took_us);
extern void penny_redis_bad(void);

/* pool.c: the relay's try, as a reader does it. */
extern bool penny_redis_try(void);

/* announce.c, prepared.c */
extern void penny_redis_announce_init(void);
extern void penny_redis_prepare(const pg_uuid_t *id, int n, bool all);
/* Relay: at its start; then each turn: tell what is committed.  True while any is left. */
extern void penny_redis_prepared_begin(void);
extern bool penny_redis_prepared_settle(void);

/* secret.c: password of penny.redis_password_file; a sentence when it is refused. */
extern const char *penny_redis_read_password(const char *path, char *out, size_t size);

#endif /* PENNY_REDIS_SHARED_H */

/*-------------------------------------------------------------------------
 *
 * redis.h
 *		What penny shares with Redis, as the rest of penny sees it.
 *
 * Redis is a second place for the bodies of conversations, and tells others
 * what has changed.  Nothing depends on it: without penny.redis_url, or while
 * the server is away, every request is served from memory and tables.
 *
 *	commits		say what they changed, into a ring (announce.c); no more
 *	penny relay	takes the ring, deletes keys, publishes, writes values, listens
 *				(relay.c and what it is made of)
 *	readers		fetch one value by a connection of their own (pool.c), if the
 *				breaker lets them (breaker.h)
 *
 * Where the server is and how to sign in is found out by the relay alone and
 * lies in shared memory of PostgreSQL: no other process resolves names or
 * reads the password's file.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_REDIS_H
#define PENNY_REDIS_H

#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/uuid.h"

#include "plane/cache.h"
#include "redis/envelope.h"

#define PENNY_REDIS_KEY_MAX 192

/* From _PG_init: before the settings are defined, and among the shared parts. */
extern void penny_redis_settings_init(void);
extern void penny_redis_init(void);

/* ---- commits -------------------------------------------------------------- */

/*
 * The transaction has changed a conversation, given as a uuid's text (others
 * are passed over); anything.  Called at any time before its end.
 */
extern void penny_redis_changed(const char *uuid);
extern void penny_redis_changed_all(void);

/* ---- bodies --------------------------------------------------------------- */

/* Key of a conversation's body; returns its length. */
extern size_t penny_redis_key(char out[PENNY_REDIS_KEY_MAX], const char *uuid, const char *suffix);

/* Ask the relay to write the body of this entry, if it is still there when it gets to it. */
extern void penny_redis_offer(const PennyCacheKey *key, const PennyCacheKey *hash);

typedef enum PennyRedisResult
{
	PENNY_REDIS_VALUE,
	PENNY_REDIS_NONE,       /* the server has no such value */
	PENNY_REDIS_UNAVAILABLE /* not asked, or no answer in time */
} PennyRedisResult;

/* GET; a palloc'd value, or why not.  Raises nothing but what an interrupt does. */
extern PennyRedisResult penny_redis_get(const char *key, size_t key_len, char **value, size_t *len);

/* Close this process's connection, if settings do not allow so many any more. */
extern void penny_redis_trim(void);

/* How long reads and builds take; is it worth to read (it is tried once in so many anyway)? */
extern void penny_redis_read_took(int64 us);
extern void penny_redis_build_took(int64 us);
extern bool penny_redis_worth(uint32 try_again);
/* A value was not what it should have been. */
extern void penny_redis_refused(void);

/* Which conversation's body, for everybody to see in Redis, is this entry?  A uuid's text. */
extern bool penny_redis_entry_id(PennyCacheKind kind, uint32 status, const char *label,
								 char uuid[37]);
/* seq that the entry has of its conversation's stamp. */
extern bool penny_redis_entry_token(const PennyCacheHit *hit, const char *uuid, uint64 *token);
/* HMAC of an envelope over key and body (without its last brace). */
extern bool penny_redis_mac(const PennyEnvelope *envelope, const char *key, size_t key_len,
							const char *body, size_t body_len, uint8 mac[PENNY_MAC_LEN]);

/* ---- the relay ------------------------------------------------------------- */

/* What the layers above do when others say that something changed. */
typedef struct PennyRedisHooks
{
	void (*changed)(const char *uuid);
	void (*changed_all)(void);
} PennyRedisHooks;

extern void penny_redis_set_hooks(const PennyRedisHooks *hooks);

/* Supervisor: is there to be a relay?  Commits announce from then on. */
extern void penny_redis_switch(bool on);
extern bool penny_redis_relay_runs(void);
/* How long the last relay ran, ms. */
extern int64 penny_redis_relay_lived(void);

/* ---- what is shown --------------------------------------------------------- */

/* Counters of penny.stats() and penny.cache_stats(), a JSON object. */
extern void penny_redis_stats(StringInfo out);
/* For penny.doctor(): *detail is set; false: not well, *remedy says what to do. */
extern bool penny_redis_fault(char **detail, const char **remedy);

#endif /* PENNY_REDIS_H */

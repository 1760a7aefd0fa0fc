/*-------------------------------------------------------------------------
 *
 * l2.c
 *		Redis as a second place for the bodies of conversations.
 *
 * Only bytes come from there, never what is valid: an entry in shared memory
 * says which bytes are right, by their hash, and Redis is asked for them when
 * they were evicted.  A value counts if its envelope names the seq that the
 * conversation's stamp has in that entry and the entry's hash, if its HMAC is
 * ours, and if the bytes themselves have that hash.  So a value that is old,
 * of another conversation, replayed, cut, or written by somebody else is at
 * most a miss.  It is left where it is: the next one overwrites it.
 *
 * A read costs a turn to Redis and back.  Its moving mean is compared with
 * that of building the value; while the database is faster, Redis is asked
 * once in TRY_AGAIN reads only, so that the mean stays true.
 *
 * Values are written by penny relay, which copies them from shared memory when
 * it gets to it (redis/relay_write.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/clock.h"
#include "base/planemap.h"
#include "cache/cache_private.h"
#include "cache/l2.h"
#include "config/config.h"
#include "redis/redis.h"

#define TRY_AGAIN 64

static void changed(const char *uuid);
static char *checked(const PennyCacheHit *hit, const char *uuid, const char *key, size_t key_len,
					 char *value, size_t len);
static void restore(const PennyCacheHit *hit, const char *bytes);

void
penny_l2_init(void)
{
	static const PennyRedisHooks hooks = {.changed = changed,
										  .changed_all = penny_cache_push_all_now};

	penny_redis_set_hooks(&hooks);
}

static void
changed(const char *uuid)
{
	penny_cache_push_now("conversation", uuid);
}

void
penny_l2_trim(void)
{
	penny_redis_trim();
}

char *
penny_l2_get(const PennyCacheHit *hit)
{
	char uuid[37];
	char key[PENNY_REDIS_KEY_MAX];
	size_t key_len;
	char *value;
	char *bytes = NULL;
	size_t len;
	int64 begun;
	PennyRedisResult result;

	if (penny_redis_url[0] == '\0' ||
		!penny_redis_entry_id(hit->kind, hit->status, hit->label, uuid) ||
		!penny_redis_worth(TRY_AGAIN))
		return NULL;
	key_len = penny_redis_key(key, uuid, "");
	begun = (int64) (penny_clock_ns() / 1000);
	result = penny_redis_get(key, key_len, &value, &len);
	if (result == PENNY_REDIS_VALUE)
	{
		bytes = checked(hit, uuid, key, key_len, value, len);
		pfree(value);
		if (bytes != NULL)
			restore(hit, bytes);
		else
			penny_redis_refused();
	}
	if (result != PENNY_REDIS_UNAVAILABLE)
		penny_redis_read_took((int64) (penny_clock_ns() / 1000) - begun);
	return bytes;
}

/* The bytes of the entry, if the value has them. */
static char *
checked(const PennyCacheHit *hit, const char *uuid, const char *key, size_t key_len, char *value,
		size_t len)
{
	PennyEnvelope *envelope = palloc(sizeof(PennyEnvelope));
	size_t body_len = 0;
	uint64 token;
	uint8 mac[PENNY_MAC_LEN];
	char *bytes = NULL;
	PennyCacheKey hash;

	if (penny_envelope_read(value, len, envelope, &body_len) && body_len + 1 == hit->body_len &&
		envelope->head_len == hit->head_len && penny_redis_entry_token(hit, uuid, &token) &&
		envelope->token == token && envelope->hash[0] == hit->hash.word[0] &&
		envelope->hash[1] == hit->hash.word[1] &&
		penny_redis_mac(envelope, key, key_len, value, body_len, mac) &&
		memcmp(mac, envelope->mac, sizeof(mac)) == 0)
	{
		bytes = palloc((Size) hit->head_len + hit->body_len + 1);
		memcpy(bytes, envelope->head, hit->head_len);
		memcpy(bytes + hit->head_len, value, body_len);
		bytes[hit->head_len + body_len] = '}';
		bytes[hit->head_len + body_len + 1] = '\0';
		penny_cache_hash(penny_plane(), hit->status, (PennySpan){bytes, hit->head_len},
						 (PennySpan){bytes + hit->head_len, hit->body_len}, &hash);
		if (memcmp(&hash, &hit->hash, sizeof(hash)) != 0)
		{
			pfree(bytes);
			bytes = NULL;
		}
	}
	pfree(envelope);
	return bytes;
}

/* For the readers after this one. */
static void
restore(const PennyCacheHit *hit, const char *bytes)
{
	LWLock *lock = penny_cache_lock(PENNY_CACHE_LOCK);

	LWLockAcquire(lock, LW_EXCLUSIVE);
	(void) penny_cache_restore(penny_plane(), hit, (PennySpan){bytes, hit->head_len},
							   (PennySpan){bytes + hit->head_len, hit->body_len});
	LWLockRelease(lock);
}

void
penny_l2_put(PennyCacheKind kind, uint32 status, const char *label, const PennyCacheKey *key,
			 const PennyCacheKey *hash, int64 took_us)
{
	char uuid[37];

	if (penny_redis_url[0] == '\0' || !penny_redis_entry_id(kind, status, label, uuid))
		return;
	penny_redis_build_took(took_us);
	penny_redis_offer(key, hash);
}

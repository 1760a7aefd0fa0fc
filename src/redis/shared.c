/*-------------------------------------------------------------------------
 *
 * shared.c
 *		What processes share about Redis: memory, breaker, keys and seals.
 *
 * It lies in PostgreSQL's shared memory and not in the plane: the password and
 * the key of the seals are not for the edge.  The key is made with the memory,
 * so values from before a restart are refused.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hmac.h"
#include "common/pg_prng.h"
#include "common/sha2.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "storage/proc.h"

#include "base/clock.h"
#include "base/planemap.h"
#include "base/shmem.h"
#include "config/config.h"
#include "redis/redis.h"
#include "redis/shared.h"

#define MEAN_WEIGHT 8 /* a new value counts an eighth */
#define ROUTE_LABEL "GET /api/v1/conversations/"
#define UUID_TEXT 36

PennyRedisShared *penny_redis_shared = NULL;
PennyRing *penny_redis_changes = NULL;
PennyRing *penny_redis_offers = NULL;

static Size shared_size(void);
static void shared_init(void);
static const char *check_url(const char *text, const char **hint);

static const PennyShmemPart shared_part = {.name = "penny_redis",
										   .size = shared_size,
										   .area = (void **) &penny_redis_shared,
										   .init = shared_init,
										   .locks = PENNY_REDIS_LOCKS};
static Size changes_size(void);
static void changes_init(void);
static const PennyShmemPart changes_part = {.name = "penny_redis_changes",
											.size = changes_size,
											.area = (void **) &penny_redis_changes,
											.init = changes_init};
static Size offers_size(void);
static void offers_init(void);
static const PennyShmemPart offers_part = {.name = "penny_redis_offers",
										   .size = offers_size,
										   .area = (void **) &penny_redis_offers,
										   .init = offers_init};

/* ---- memory --------------------------------------------------------------- */

void
penny_redis_settings_init(void)
{
	penny_redis_check_url = check_url;
}

void
penny_redis_init(void)
{
	penny_shmem_register(&shared_part);
	penny_shmem_register(&changes_part);
	penny_shmem_register(&offers_part);
	penny_redis_announce_init();
}

static const char *
check_url(const char *text, const char **hint)
{
	PennyRedisUrl url;

	return penny_redis_url_parse(text, &url, hint);
}

static Size
shared_size(void)
{
	return sizeof(PennyRedisShared);
}

static void
shared_init(void)
{
	SpinLockInit(&penny_redis_shared->mutex);
	penny_breaker_init(&penny_redis_shared->breaker);
	if (!pg_strong_random(penny_redis_shared->mac_key, sizeof(penny_redis_shared->mac_key)))
		ereport(FATAL, (errcode(ERRCODE_INTERNAL_ERROR),
						errmsg("could not make a random key for values in Redis")));
}

static Size
changes_size(void)
{
	return penny_ring_size(PENNY_REDIS_CHANGES, sizeof(pg_uuid_t));
}

static void
changes_init(void)
{
	penny_ring_init(penny_redis_changes, PENNY_REDIS_CHANGES, sizeof(pg_uuid_t));
}

static Size
offers_size(void)
{
	return penny_ring_size(PENNY_REDIS_OFFERS, sizeof(PennyRedisOffer));
}

static void
offers_init(void)
{
	penny_ring_init(penny_redis_offers, PENNY_REDIS_OFFERS, sizeof(PennyRedisOffer));
}

LWLock *
penny_redis_lock(int number)
{
	static LWLockPadded *locks = NULL;

	if (locks == NULL)
		locks = GetNamedLWLockTranche(shared_part.name);
	return &locks[number].lock;
}

void
penny_redis_count(PennyRedisCounter counter, uint64 n)
{
	pg_atomic_fetch_add_u64(&penny_redis_shared->counter[counter], n);
}

/* A signal at most, and only if it sleeps; may be called after a commit. */
void
penny_redis_wake_relay(void)
{
	uint32 proc = pg_atomic_read_u32(&penny_redis_shared->relay_proc);

	if (proc != 0)
		SetLatch(&ProcGlobal->allProcs[proc - 1].procLatch);
}

void
penny_redis_mean(pg_atomic_uint32 *mean, int64 us)
{
	int64 old = pg_atomic_read_u32(mean);
	int64 value = Max(Min(us, 60 * 1000 * 1000), 1);

	/* two writers at once: one of them does not count */
	pg_atomic_write_u32(mean, (uint32) (old == 0 ? value : old + (value - old) / MEAN_WEIGHT));
}

void
penny_redis_read_took(int64 us)
{
	penny_redis_mean(&penny_redis_shared->read_us, us);
}

void
penny_redis_build_took(int64 us)
{
	if (penny_redis_shared != NULL)
		penny_redis_mean(&penny_redis_shared->build_us, us);
}

bool
penny_redis_worth(uint32 try_again)
{
	uint32 build;

	if (penny_redis_shared == NULL)
		return false;
	build = pg_atomic_read_u32(&penny_redis_shared->build_us);
	if (build == 0 || pg_atomic_read_u32(&penny_redis_shared->read_us) <= build ||
		pg_atomic_fetch_add_u32(&penny_redis_shared->read_turns, 1) % try_again == try_again - 1)
		return true;
	penny_redis_count(PENNY_REDIS_GET_SLOWER, 1);
	return false;
}

void
penny_redis_refused(void)
{
	penny_redis_count(PENNY_REDIS_REFUSED, 1);
}

/* ---- the supervisor's view -------------------------------------------------- */

void
penny_redis_switch(bool on)
{
	if (penny_redis_shared != NULL)
		pg_atomic_write_u32(&penny_redis_shared->on, on);
}

bool
penny_redis_relay_runs(void)
{
	return pg_atomic_read_u32(&penny_redis_shared->relay_pid) != 0;
}

int64
penny_redis_relay_lived(void)
{
	return (int64) pg_atomic_read_u64(&penny_redis_shared->relay_lived);
}

/* ---- breaker --------------------------------------------------------------- */

bool
penny_redis_closed(void)
{
	return penny_redis_shared != NULL &&
		   atomic_load(&penny_redis_shared->breaker.state) == PENNY_BREAKER_CLOSED;
}

void
penny_redis_good(int64 took_us)
{
	uint64 random = pg_prng_uint64(&pg_global_prng_state);
	int64 now = penny_clock_ms();
	bool opened;

	SpinLockAcquire(&penny_redis_shared->mutex);
	opened = penny_breaker_good(&penny_redis_shared->breaker, took_us,
								(int64) penny_redis_command_timeout * 1000, now, random);
	SpinLockRelease(&penny_redis_shared->mutex);
	if (opened)
		penny_redis_wake_relay();
}

void
penny_redis_bad(void)
{
	uint64 random = pg_prng_uint64(&pg_global_prng_state);
	int64 now = penny_clock_ms();
	bool opened;

	SpinLockAcquire(&penny_redis_shared->mutex);
	opened = penny_breaker_bad(&penny_redis_shared->breaker, now, random);
	SpinLockRelease(&penny_redis_shared->mutex);
	if (opened)
		penny_redis_wake_relay();
}

bool
penny_redis_parse_uuid(const char *text, pg_uuid_t *id)
{
	int n = 0;

	for (int i = 0; i < UUID_TEXT; i++)
	{
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;
		char c = text[i];

		if (dash ? c != '-' : !isxdigit((unsigned char) c))
			return false;
		if (!dash && id != NULL)
		{
			int digit = c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;

			id->data[n / 2] = (unsigned char) (n % 2 == 0 ? digit << 4 : id->data[n / 2] | digit);
			n++;
		}
	}
	return text[UUID_TEXT] == '\0';
}

/* ---- keys and seals ---------------------------------------------------------- */

size_t
penny_redis_key(char out[PENNY_REDIS_KEY_MAX], const char *uuid, const char *suffix)
{
	return (size_t) snprintf(out, PENNY_REDIS_KEY_MAX, "%sconv:%s%s", penny_redis_prefix, uuid,
							 suffix);
}

/*
 * Answers of the route of one conversation without arguments go to Redis: they
 * are what others look for under conv:<id>.
 */
bool
penny_redis_entry_id(PennyCacheKind kind, uint32 status, const char *label, char uuid[37])
{
	size_t skip = sizeof(ROUTE_LABEL) - 1;

	if (kind != PENNY_CACHE_CONVERSATION || status != 200 || strncmp(label, ROUTE_LABEL, skip) != 0)
		return false;
	if (!penny_redis_parse_uuid(label + skip, NULL))
		return false;
	for (int i = 0; i < UUID_TEXT; i++)
		uuid[i] = (char) pg_ascii_tolower((unsigned char) label[skip + i]);
	uuid[UUID_TEXT] = '\0';
	return true;
}

bool
penny_redis_entry_token(const PennyCacheHit *hit, const char *uuid, uint64 *token)
{
	char tag[64];
	int len = snprintf(tag, sizeof(tag), "conversation:%s", uuid);
	uint32 slot = penny_stamp_slot(penny_plane(), tag, (size_t) len);

	for (int i = 0; i < hit->tokens; i++)
	{
		if (hit->token[i].slot != slot)
			continue;
		*token = hit->token[i].seq;
		return true;
	}
	return false;
}

bool
penny_redis_mac(const PennyEnvelope *envelope, const char *key, size_t key_len, const char *body,
				size_t body_len, uint8 mac[PENNY_MAC_LEN])
{
	uint64 numbers[6] = {key_len,           envelope->token,    envelope->hash[0],
						 envelope->hash[1], envelope->head_len, body_len};
	pg_hmac_ctx *hmac = pg_hmac_create(PG_SHA256);
	bool good;

	if (hmac == NULL)
		return false;
	good =
		pg_hmac_init(hmac, penny_redis_shared->mac_key, sizeof(penny_redis_shared->mac_key)) >= 0 &&
		pg_hmac_update(hmac, (const uint8 *) numbers, sizeof(numbers)) >= 0 &&
		pg_hmac_update(hmac, (const uint8 *) key, key_len) >= 0 &&
		pg_hmac_update(hmac, (const uint8 *) envelope->head, envelope->head_len) >= 0 &&
		pg_hmac_update(hmac, (const uint8 *) body, body_len) >= 0 &&
		pg_hmac_final(hmac, mac, PENNY_MAC_LEN) >= 0;
	pg_hmac_free(hmac);
	return good;
}

void
penny_redis_offer(const PennyCacheKey *key, const PennyCacheKey *hash)
{
	PennyRedisOffer offer = {.key = *key, .hash = *hash};

	if (penny_redis_shared == NULL || pg_atomic_read_u32(&penny_redis_shared->link_write) == 0)
		return;
	penny_redis_count(PENNY_REDIS_OFFERED, 1);
	if (!penny_ring_claim(penny_redis_offers, 1))
	{
		penny_redis_count(PENNY_REDIS_OFFERS_DROPPED, 1);
		return;
	}
	penny_ring_publish(penny_redis_offers, &offer, 1);
	penny_redis_wake_relay();
}

/*-------------------------------------------------------------------------
 *
 * relay_write.c
 *		The relay's connection for commands: everything that is written to Redis
 *		goes over it, in one order.
 *
 * For a changed conversation three keys are deleted by a command each (a
 * cluster of Redis would have them in different places) and its id is
 * published.  A body is written only if its entry is valid at that moment: the
 * transaction that changes the conversation moves the stamp before it commits
 * and comes into the ring of changes after it, so its DEL follows the SETEX of
 * anything that was true before.
 *
 * While the connection is down changes are taken from the ring and forgotten;
 * when it is up again everything is swept.  A command that must not fail and
 * does (read-only server, no permission) is treated as a lost connection.  A
 * server that is full refuses bodies and the lease only.
 *
 * The lease tells foreign readers that what lies in Redis is being kept true:
 * it is renewed each second unless something is still to be swept.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "base/clock.h"
#include "base/epoch.h"
#include "base/planemap.h"
#include "config/config.h"
#include "redis/relay.h"

#define PIPELINE 512                 /* commands without a reply yet */
#define QUEUE (PIPELINE * 2)         /* kinds noted */
#define UNSENT_MAX (4 * 1024 * 1024) /* bytes */
#define VALUE_SECONDS 3600
#define LEASE_RENEW 1000 /* ms */
#define LEASE_MS "3000"
#define FULL_PAUSE 1000 /* ms without bodies after a server said that it is full */
#define CHANGE_COMMANDS 4

static bool commands_greet(PennyLink *link);
static void commands_up(PennyLink *link);
static void commands_reply(PennyLink *link, const PennyReply *reply);
static void commands_down(PennyLink *link);
static void commands_ping(PennyLink *link);

PennyLink penny_relay_commands = {.name = "commands",
								  .greet = commands_greet,
								  .up = commands_up,
								  .reply = commands_reply,
								  .down = commands_down,
								  .ping = commands_ping};

/* What the replies to come are of. */
static PennyRelayKind queue[QUEUE];
static uint32 queue_head = 0;
static uint32 queue_count = 0;

static int64 lease_at = 0;
static int64 full_until = 0;

static void forget_changes(void);
static void tell_changes(void);
static bool tell_change(const pg_uuid_t *id);
static void write_bodies(int64 now);
static bool write_body(const PennyRedisOffer *offer, int64 now);
static char *sealed_value(const PennyCacheHit *hit, const char *key, size_t key_len,
						  const char *uuid, size_t *len);
static void renew_lease(int64 now);

/* ---- the link ---------------------------------------------------------------- */

static bool
commands_greet(PennyLink *link)
{
	const char *argv[1] = {"PING"};

	return penny_link_texts(link, 1, argv);
}

static void
commands_up(PennyLink *link)
{
	(void) link;
	lease_at = full_until = 0;
	pg_atomic_write_u32(&penny_redis_shared->sweep, 1);
	penny_relay_show_target();
	SpinLockAcquire(&penny_redis_shared->mutex);
	penny_breaker_reset(&penny_redis_shared->breaker);
	SpinLockRelease(&penny_redis_shared->mutex);
	pg_atomic_write_u32(&penny_redis_shared->link_write, 1);
}

static void
commands_down(PennyLink *link)
{
	(void) link;
	if (pg_atomic_exchange_u32(&penny_redis_shared->link_write, 0) != 0)
		penny_redis_count(PENNY_REDIS_LOSSES, 1);
	queue_head = queue_count = 0;
	penny_relay_sweep_stop();
	penny_relay_forget_echoes();
	LWLockAcquire(penny_redis_lock(PENNY_REDIS_LOCK_TARGET), LW_EXCLUSIVE);
	strlcpy(penny_redis_shared->fault, penny_relay_commands.told,
			sizeof(penny_redis_shared->fault));
	LWLockRelease(penny_redis_lock(PENNY_REDIS_LOCK_TARGET));
}

static void
commands_ping(PennyLink *link)
{
	const char *argv[1] = {"PING"};
	size_t len[1] = {4};

	(void) link;
	(void) penny_relay_send(PENNY_RELAY_PING, 1, argv, len);
}

static void
commands_reply(PennyLink *link, const PennyReply *reply)
{
	PennyRelayKind kind;

	if (queue_count == 0)
	{
		penny_link_lose(link, "a reply that nobody asked for");
		return;
	}
	kind = queue[queue_head % QUEUE];
	queue_head++;
	queue_count--;
	if (reply->type == PENNY_REPLY_ERROR)
	{
		penny_redis_count(PENNY_REDIS_ERRORS, 1);
		if (kind == PENNY_RELAY_VALUE)
			full_until = penny_clock_ms() + FULL_PAUSE;
		else if (kind != PENNY_RELAY_LEASE || strncmp(reply->text, "OOM", 3) != 0)
			penny_link_lose(link, "refused with \"%.80s\"", reply->text);
		return;
	}
	if (kind == PENNY_RELAY_VALUE)
		penny_redis_count(PENNY_REDIS_WRITTEN, 1);
	else if (kind == PENNY_RELAY_LEASE)
		penny_redis_count(PENNY_REDIS_LEASES, 1);
	else if (kind == PENNY_RELAY_SCAN)
		penny_relay_sweep_reply(reply);
	else if (kind == PENNY_RELAY_UNLINK && reply->type == PENNY_REPLY_INTEGER)
		penny_redis_count(PENNY_REDIS_SWEPT, (uint64) Max(reply->integer, 0));
}

bool
penny_relay_send(PennyRelayKind kind, int argc, const char *const *argv, const size_t *len)
{
	if (penny_relay_commands.state != PENNY_LINK_UP)
		return false;
	if (queue_count == QUEUE || !penny_link_command(&penny_relay_commands, argc, argv, len))
	{
		penny_link_lose(&penny_relay_commands, "too much waits to be sent");
		return false;
	}
	queue[(queue_head + queue_count++) % QUEUE] = kind;
	return true;
}

int
penny_relay_room(void)
{
	if (penny_relay_commands.state != PENNY_LINK_UP ||
		penny_wire_unsent(&penny_relay_commands.wire) > UNSENT_MAX)
		return 0;
	return Max(0, PIPELINE - (int) queue_count);
}

/* ---- each turn ---------------------------------------------------------------- */

void
penny_relay_write_turn(int64 now)
{
	if (penny_relay_commands.state != PENNY_LINK_UP)
	{
		forget_changes();
		return;
	}
	penny_relay_sweep_turn(now);
	tell_changes();
	write_bodies(now);
	renew_lease(now);
	penny_link_send(&penny_relay_commands);
}

int64
penny_relay_write_due(void)
{
	if (penny_relay_commands.state != PENNY_LINK_UP)
		return PENNY_NEVER;
	return penny_relay_unswept() ? penny_relay_sweep_due() : lease_at;
}

/* Nobody can be told: sweep when that is possible again. */
static void
forget_changes(void)
{
	pg_uuid_t id;
	PennyRedisOffer offer;

	while (penny_ring_take(penny_redis_changes, &id))
		penny_redis_count(PENNY_REDIS_CHANGES_LOST, 1);
	while (penny_ring_take(penny_redis_offers, &offer))
		penny_redis_count(PENNY_REDIS_OFFERS_DROPPED, 1);
}

static void
tell_changes(void)
{
	pg_uuid_t id;

	while (penny_relay_room() >= CHANGE_COMMANDS && penny_ring_take(penny_redis_changes, &id))
	{
		if (!tell_change(&id))
			return; /* lost: swept when it is up again */
		penny_redis_count(PENNY_REDIS_CHANGED, 1);
	}
}

static bool
tell_change(const pg_uuid_t *id)
{
	static const char *const suffix[] = {"", ":messages", ":artifacts"};
	char *uuid = DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(id)));

	for (int i = 0; i < lengthof(suffix); i++)
	{
		char key[PENNY_REDIS_KEY_MAX];
		const char *argv[2] = {"DEL", key};
		size_t len[2] = {3, penny_redis_key(key, uuid, suffix[i])};

		if (!penny_relay_send(PENNY_RELAY_DEL, 2, argv, len))
			return false;
	}
	if (!penny_relay_publish(uuid))
		return false;
	penny_relay_expect_echo(id);
	return true;
}

bool
penny_relay_publish(const char *uuid)
{
	char text[96];
	const char *argv[3] = {"PUBLISH", penny_relay_channel(), text};
	size_t len[3] = {7, strlen(argv[1]), 0};

	if (uuid != NULL)
		len[2] = (size_t) snprintf(text, sizeof(text), "{\"type\":\"conversation\",\"id\":\"%s\"}",
								   uuid);
	else
		len[2] = (size_t) snprintf(text, sizeof(text), "{\"type\":\"all\"}");
	return penny_relay_send(PENNY_RELAY_PUBLISH, 3, argv, len);
}

/* ---- bodies -------------------------------------------------------------------- */

static void
write_bodies(int64 now)
{
	PennyRedisOffer offer;

	/* changes first: while they wait bodies would be deleted again at once */
	while (!penny_ring_waits(penny_redis_changes) && penny_relay_room() > 0 &&
		   penny_ring_take(penny_redis_offers, &offer))
		if (now < full_until || !write_body(&offer, now))
			penny_redis_count(PENNY_REDIS_OFFERS_DROPPED, 1);
}

/* Write the body that an offer names, if it is still there and true. */
static bool
write_body(const PennyRedisOffer *offer, int64 now)
{
	PennyPlane *plane = penny_plane();
	PennyCacheHit *hit = palloc(sizeof(PennyCacheHit));
	char uuid[37];
	char key[PENNY_REDIS_KEY_MAX];
	char seconds[24];
	const char *argv[4] = {"SETEX", key, seconds, NULL};
	size_t len[4] = {5, 0, 0, 0};
	char *value;
	bool done = false;

	if (penny_cache_find(plane, &offer->key, (uint64) now, hit) == PENNY_CACHE_HIT &&
		memcmp(&hit->hash, &offer->hash, sizeof(hit->hash)) == 0 &&
		penny_redis_entry_id(hit->kind, hit->status, hit->label, uuid) &&
		(int64) hit->expires - now >= 1000)
	{
		len[1] = penny_redis_key(key, uuid, "");
		snprintf(seconds, sizeof(seconds), "%d",
				 (int) Min(VALUE_SECONDS, ((int64) hit->expires - now) / 1000));
		len[2] = strlen(seconds);
		value = sealed_value(hit, key, len[1], uuid, &len[3]);
		argv[3] = value;
		/* the moment at which it is true; who changes it later deletes it later */
		if (value != NULL && penny_cache_holds(plane, hit))
			done = penny_relay_send(PENNY_RELAY_VALUE, 4, argv, len);
		if (value != NULL)
			pfree(value);
	}
	pfree(hit);
	return done;
}

/* The body with its envelope; NULL when it cannot have one or is gone. */
static char *
sealed_value(const PennyCacheHit *hit, const char *key, size_t key_len, const char *uuid,
			 size_t *len)
{
	size_t bytes = (size_t) hit->head_len + hit->body_len;
	PennyEnvelope envelope = {.hash = {hit->hash.word[0], hit->hash.word[1]}};
	char *value;
	char *body;

	if (hit->head_len > PENNY_ENVELOPE_HEAD_MAX || bytes > penny_plane()->config.cache_max_object ||
		!penny_redis_entry_token(hit, uuid, &envelope.token))
		return NULL;
	value = palloc(bytes + PENNY_ENVELOPE_MAX);
	body = value + hit->head_len;
	if (!penny_cache_copy(penny_plane(), hit, value) ||
		!penny_envelope_fits(body, hit->body_len, hit->head_len))
	{
		pfree(value);
		return NULL;
	}
	envelope.head_len = hit->head_len;
	memcpy(envelope.head, value, hit->head_len);
	if (!penny_redis_mac(&envelope, key, key_len, body, hit->body_len - 1, envelope.mac))
	{
		pfree(value);
		return NULL;
	}
	memmove(value, body, hit->body_len - 1);
	*len = hit->body_len - 1;
	*len += penny_envelope_write(&envelope, value + *len);
	return value;
}

/* ---- lease --------------------------------------------------------------------- */

static void
renew_lease(int64 now)
{
	char key[PENNY_REDIS_KEY_MAX];
	const char *argv[5] = {"SET", key, penny_epoch_text(), "PX", LEASE_MS};
	size_t len[5] = {3, 0, strlen(argv[2]), 2, sizeof(LEASE_MS) - 1};

	if (now < lease_at || penny_relay_unswept())
		return;
	len[1] = (size_t) snprintf(key, sizeof(key), "%spenny:lease", penny_redis_prefix);
	if (penny_relay_send(PENNY_RELAY_LEASE, 5, argv, len))
		lease_at = now + LEASE_RENEW;
}

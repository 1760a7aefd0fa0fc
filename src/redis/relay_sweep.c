/*-------------------------------------------------------------------------
 *
 * relay_sweep.c
 *		Deletes every key of a conversation, when it is not known which of them
 *		are outdated.
 *
 * After an outage, at the relay's start, after an overflow of the ring of
 * changes, a TRUNCATE and the like.  Keys are looked for by SCAN, 500 at a
 * time, one SCAN after the other, so other commands go between; what is
 * deleted must look like a key of ours, <prefix>conv:<uuid> and what follows
 * it.  At the end others are told by {"type":"all"}.  The lease is taken back
 * at the beginning and comes again after the end.
 *
 * A sweep begins at most once a second.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/clock.h"
#include "config/config.h"
#include "redis/relay.h"

#define SCAN_COUNT "500"
#define SWEEP_PAUSE 1000 /* ms between the beginnings of two */
#define UNLINK_MOST 256  /* keys in one command */

static bool sweeping = false;
static int64 begun_at = 0;

static void scan(const char *cursor, size_t cursor_len);
static void unlink_keys(const PennyReply *keys);
static bool is_ours(const char *key, size_t len);

bool
penny_relay_unswept(void)
{
	return sweeping || pg_atomic_read_u32(&penny_redis_shared->sweep) != 0;
}

int64
penny_relay_sweep_due(void)
{
	return sweeping || begun_at == 0 ? PENNY_NEVER : begun_at + SWEEP_PAUSE;
}

/* The connection is lost: all over again when it is back. */
void
penny_relay_sweep_stop(void)
{
	sweeping = false;
	begun_at = 0;
	pg_atomic_write_u32(&penny_redis_shared->sweep, 1);
}

/* Begin one, if one is wanted. */
void
penny_relay_sweep_turn(int64 now)
{
	char key[PENNY_REDIS_KEY_MAX];
	const char *argv[2] = {"DEL", key};
	size_t len[2] = {3, 0};

	if (sweeping || (begun_at != 0 && now - begun_at < SWEEP_PAUSE) ||
		pg_atomic_exchange_u32(&penny_redis_shared->sweep, 0) == 0)
		return;
	sweeping = true;
	begun_at = now;
	penny_redis_count(PENNY_REDIS_SWEEPS, 1);
	len[1] = (size_t) snprintf(key, sizeof(key), "%spenny:lease", penny_redis_prefix);
	if (penny_relay_send(PENNY_RELAY_DEL, 2, argv, len))
		scan("0", 1);
}

/* The next part of the keys; the prefix may have characters that a pattern understands. */
static void
scan(const char *cursor, size_t cursor_len)
{
	char pattern[2 * PENNY_REDIS_KEY_MAX];
	const char *argv[6] = {"SCAN", cursor, "MATCH", pattern, "COUNT", SCAN_COUNT};
	size_t len[6] = {4, cursor_len, 5, 0, 5, sizeof(SCAN_COUNT) - 1};

	for (const char *c = penny_redis_prefix; *c != '\0' && len[3] < PENNY_REDIS_KEY_MAX; c++)
	{
		if (strchr("*?[]\\^-", *c) != NULL)
			pattern[len[3]++] = '\\';
		pattern[len[3]++] = *c;
	}
	memcpy(pattern + len[3], "conv:*", 7);
	len[3] += 6;
	(void) penny_relay_send(PENNY_RELAY_SCAN, 6, argv, len);
}

/* What a SCAN found: [cursor, [key, ...]]. */
void
penny_relay_sweep_reply(const PennyReply *reply)
{
	const PennyReply *cursor;

	if (reply->type != PENNY_REPLY_ARRAY || reply->len != 2 ||
		reply->element[0]->type != PENNY_REPLY_STRING ||
		reply->element[1]->type != PENNY_REPLY_ARRAY)
	{
		penny_link_lose(&penny_relay_commands, "SCAN was answered with something else");
		return;
	}
	cursor = reply->element[0];
	unlink_keys(reply->element[1]);
	if (cursor->len == 1 && cursor->text[0] == '0')
	{
		pg_uuid_t everything = {{0}};

		sweeping = false;
		if (penny_relay_publish(NULL))
			penny_relay_expect_echo(&everything);
	}
	else
		scan(cursor->text, cursor->len);
}

static void
unlink_keys(const PennyReply *keys)
{
	const char *argv[UNLINK_MOST + 1] = {"UNLINK"};
	size_t len[UNLINK_MOST + 1] = {6};
	int n = 0;

	for (size_t i = 0; i < keys->len; i++)
	{
		const PennyReply *key = keys->element[i];

		if (key->type == PENNY_REPLY_STRING && is_ours(key->text, key->len))
		{
			argv[++n] = key->text;
			len[n] = key->len;
		}
		if (n == UNLINK_MOST || (n > 0 && i + 1 == keys->len))
		{
			if (!penny_relay_send(PENNY_RELAY_UNLINK, n + 1, argv, len))
				return;
			n = 0;
		}
	}
}

/* <prefix>conv:<uuid>, alone or followed by a colon and more. */
static bool
is_ours(const char *key, size_t len)
{
	size_t skip = strlen(penny_redis_prefix) + 5;

	if (len < skip + 36 || (len > skip + 36 && key[skip + 36] != ':'))
		return false;
	for (int i = 0; i < 36; i++)
	{
		char c = key[skip + i];

		if (i == 8 || i == 13 || i == 18 || i == 23 ? c != '-' : !isxdigit((unsigned char) c))
			return false;
	}
	return true;
}

/*-------------------------------------------------------------------------
 *
 * pool.c
 *		Reads from Redis by backends and executors.
 *
 * A process has at most one connection, opened when it first reads.  All
 * processes together have at most penny.redis_pool_max; who finds no place
 * does without Redis.  The first penny.redis_pool_min processes keep theirs,
 * the others close it after each read.  When a setting is lowered, an executor
 * above it gives its place up at once, another process at its next read.
 *
 * Nobody waits longer than penny.redis_connect_timeout to be connected and
 * penny.redis_command_timeout for the answer.  The wait is on latch and socket,
 * with interrupts let in; whatever ends it before the answer is whole, an error
 * too, closes the connection, since the answer would otherwise be taken for
 * that of the next read.  No lock is held meanwhile.
 *
 * The address comes from shared memory, where the relay put it: no name is
 * resolved here.  When the relay has found another, or none, the connection is
 * given up before its next use.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/latch.h"

#include "base/clock.h"
#include "base/compat.h"
#include "config/config.h"
#include "redis/redis.h"
#include "redis/shared.h"
#include "redis/wire.h"

#define MAX_VALUE (64 * 1024 * 1024) /* bytes of a reply, whatever settings say */

static PennyWire wire = {.fd = -1};
static bool placed = false; /* this process counts in shared->connections */
static bool kept = false;   /* and in shared->kept */
static uint64 generation = 0;

static PennyRedisResult read_value(const char *key, size_t key_len, PennyReply **reply);
static bool ensure_connected(bool *fresh);
static bool connect_now(const PennyRedisTarget *target);
static bool queue_greeting(const PennyRedisTarget *target, int *replies);
static bool queue_get(const char *key, size_t key_len);
static bool exchange(int skip, PennyReply **reply);
static bool wait_socket(int events, int64 until);
static bool take_place(void);
static void drop(void);
static void settle(void);
static void exit_callback(int code, Datum arg);

PennyRedisResult
penny_redis_get(const char *key, size_t key_len, char **value, size_t *len)
{
	PennyReply *volatile reply = NULL;
	PennyRedisResult result;
	PennyReply *got = NULL;
	int64 begun = (int64) (penny_clock_ns() / 1000);

	*value = NULL;
	if (!penny_redis_closed())
	{
		penny_redis_count(PENNY_REDIS_GET_SKIPPED, 1);
		return PENNY_REDIS_UNAVAILABLE;
	}
	if (!take_place())
	{
		penny_redis_count(PENNY_REDIS_GET_BUSY, 1);
		return PENNY_REDIS_UNAVAILABLE;
	}
	penny_redis_count(PENNY_REDIS_GETS, 1);
	result = read_value(key, key_len, &got);
	reply = got;
	if (result == PENNY_REDIS_UNAVAILABLE)
	{
		penny_redis_count(PENNY_REDIS_GET_FAILURES, 1);
		penny_redis_bad();
	}
	else
		penny_redis_good((int64) (penny_clock_ns() / 1000) - begun);
	if (result == PENNY_REDIS_NONE)
		penny_redis_count(PENNY_REDIS_GET_MISSES, 1);
	if (result == PENNY_REDIS_VALUE)
	{
		penny_redis_count(PENNY_REDIS_GET_HITS, 1);
		PG_TRY();
		{
			*value = palloc(reply->len + 1);
			memcpy(*value, reply->text, reply->len + 1);
			*len = reply->len;
		}
		PG_FINALLY();
		{
			penny_reply_free(reply);
		}
		PG_END_TRY();
		return result;
	}
	penny_reply_free(reply);
	return result;
}

/* The relay: is the server as good as readers want it? */
bool
penny_redis_try(void)
{
	PennyReply *reply = NULL;
	PennyRedisResult result;
	char key[PENNY_REDIS_KEY_MAX];
	size_t len = penny_redis_key(key, "probe", "");
	int64 begun = (int64) (penny_clock_ns() / 1000);
	int64 took;

	if (!take_place())
		return true; /* so many read that nothing can be wrong with it */
	result = read_value(key, len, &reply);
	took = (int64) (penny_clock_ns() / 1000) - begun;
	penny_reply_free(reply);
	drop();
	return result != PENNY_REDIS_UNAVAILABLE &&
		   took <= ((int64) penny_redis_command_timeout + penny_redis_connect_timeout) * 1000;
}

/* One GET; the connection is kept or closed as it behaved. */
static PennyRedisResult
read_value(const char *key, size_t key_len, PennyReply **reply)
{
	volatile PennyRedisResult result = PENNY_REDIS_UNAVAILABLE;
	volatile bool good = false;

	PG_TRY();
	{
		int skip = 0;
		bool fresh;

		if (ensure_connected(&fresh))
		{
			PennyRedisTarget target;

			good = true;
			if (fresh)
			{
				LWLockAcquire(penny_redis_lock(PENNY_REDIS_LOCK_TARGET), LW_SHARED);
				target = penny_redis_shared->target;
				LWLockRelease(penny_redis_lock(PENNY_REDIS_LOCK_TARGET));
				good = queue_greeting(&target, &skip);
				explicit_bzero(&target, sizeof(target));
			}
			good = good && queue_get(key, key_len) && exchange(skip, reply);
		}
	}
	PG_CATCH();
	{
		drop();
		PG_RE_THROW();
	}
	PG_END_TRY();

	if (good && (*reply)->type == PENNY_REPLY_STRING)
		result = PENNY_REDIS_VALUE;
	else if (good &&
			 ((*reply)->type == PENNY_REPLY_NIL || ((*reply)->type == PENNY_REPLY_ERROR &&
													strncmp((*reply)->text, "WRONGTYPE", 9) == 0)))
		result = PENNY_REDIS_NONE;
	if (result == PENNY_REDIS_UNAVAILABLE)
		drop();
	else
		settle();
	return result;
}

/* ---- the connection -------------------------------------------------------- */

/* Is there a connection to where the relay says?  *fresh: it has to sign in. */
static bool
ensure_connected(bool *fresh)
{
	uint64 now = pg_atomic_read_u64(&penny_redis_shared->generation);
	PennyRedisTarget target;
	bool good;

	*fresh = false;
	if (wire.fd >= 0 && generation == now)
	{
		char byte;

		/* closed by the server while it lay idle?  What comes unasked is not wanted either. */
		if (recv(wire.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
			(errno == EAGAIN || errno == EWOULDBLOCK))
			return true;
	}
	*fresh = true;
	LWLockAcquire(penny_redis_lock(PENNY_REDIS_LOCK_TARGET), LW_SHARED);
	target = penny_redis_shared->target;
	generation = pg_atomic_read_u64(&penny_redis_shared->generation);
	LWLockRelease(penny_redis_lock(PENNY_REDIS_LOCK_TARGET));
	good = target.address_len > 0 && connect_now(&target);
	explicit_bzero(&target, sizeof(target));
	return good;
}

static bool
connect_now(const PennyRedisTarget *target)
{
	int64 until = penny_clock_ms() + penny_redis_connect_timeout;
	PennyWireResult result;

	if (wire.fd < 0 && !AcquireExternalFD())
		return false;
	if (wire.fd < 0)
		penny_wire_init(&wire, MAX_VALUE);
	penny_redis_count(PENNY_REDIS_CONNECTS, 1);
	result =
		penny_wire_connect(&wire, (const struct sockaddr *) &target->address, target->address_len);
	if (wire.fd < 0)
		ReleaseExternalFD();
	while (result == PENNY_WIRE_AGAIN)
	{
		if (!wait_socket(WL_SOCKET_WRITEABLE, until))
			return false;
		result = penny_wire_connected(&wire);
	}
	return result == PENNY_WIRE_DONE;
}

/* AUTH and SELECT go out with the first command. */
static bool
queue_greeting(const PennyRedisTarget *target, int *replies)
{
	char db[16];
	const char *argv[3] = {"AUTH", target->user, target->password};
	const char *select[2] = {"SELECT", db};
	size_t len[3] = {4, strlen(target->user), strlen(target->password)};
	size_t select_len[2] = {6, 0};

	*replies = 0;
	if (target->password[0] != '\0')
	{
		bool named = target->user[0] != '\0';

		if (!named)
		{
			argv[1] = argv[2];
			len[1] = len[2];
		}
		if (!penny_wire_command(&wire, named ? 3 : 2, argv, len))
			return false;
		(*replies)++;
	}
	if (target->db != 0)
	{
		snprintf(db, sizeof(db), "%u", target->db);
		select_len[1] = strlen(db);
		if (!penny_wire_command(&wire, 2, select, select_len))
			return false;
		(*replies)++;
	}
	return true;
}

static bool
queue_get(const char *key, size_t key_len)
{
	const char *argv[2] = {"GET", key};
	size_t len[2] = {3, key_len};

	return penny_wire_command(&wire, 2, argv, len);
}

/* Send what is queued, pass over `skip` replies that must be good, and return the next. */
static bool
exchange(int skip, PennyReply **reply)
{
	int64 until = penny_clock_ms() + penny_redis_command_timeout;

	for (;;)
	{
		PennyWireResult sent = penny_wire_send(&wire);
		PennyWireResult got = penny_wire_reply(&wire, reply);

		if (sent == PENNY_WIRE_LOST || got == PENNY_WIRE_LOST)
			return false;
		if (got == PENNY_WIRE_DONE)
		{
			if (skip-- == 0)
				return true;
			if ((*reply)->type == PENNY_REPLY_ERROR)
				return false;
			penny_reply_free(*reply);
			*reply = NULL;
			continue;
		}
		got = penny_wire_receive(&wire);
		if (got == PENNY_WIRE_LOST ||
			(got == PENNY_WIRE_AGAIN &&
			 !wait_socket(WL_SOCKET_READABLE | (sent == PENNY_WIRE_AGAIN ? WL_SOCKET_WRITEABLE : 0),
						  until)))
			return false;
	}
}

/* False when the time is over.  Interrupts are let in: this may raise an error. */
static bool
wait_socket(int events, int64 until)
{
	static uint32 wait_event = 0;

	if (wait_event == 0)
		wait_event = penny_wait_event_new("PennyRedis");
	for (;;)
	{
		int64 left = until - penny_clock_ms();
		int got;

		CHECK_FOR_INTERRUPTS();
		if (left <= 0)
			return false;
		got = WaitLatchOrSocket(MyLatch, WL_LATCH_SET | WL_EXIT_ON_PM_DEATH | WL_TIMEOUT | events,
								wire.fd, (long) left, wait_event);
		if (got & WL_LATCH_SET)
			ResetLatch(MyLatch);
		if (got & events)
			return true;
	}
}

/* ---- the pool --------------------------------------------------------------- */

void
penny_redis_trim(void)
{
	PennyRedisShared *shared = penny_redis_shared;

	if ((placed && pg_atomic_read_u32(&shared->connections) > (uint32) penny_redis_pool_max) ||
		(kept && pg_atomic_read_u32(&shared->kept) > (uint32) penny_redis_pool_min))
		drop();
}

/* Count this process in, if it is not and there is room. */
static bool
take_place(void)
{
	static bool registered = false;
	pg_atomic_uint32 *connections = &penny_redis_shared->connections;
	uint32 taken;

	penny_redis_trim();
	if (placed)
		return true;
	if (!registered)
		before_shmem_exit(exit_callback, (Datum) 0);
	registered = true;
	/* never more than allowed, not for a moment: those who have a place would give it up */
	taken = pg_atomic_read_u32(connections);
	do
	{
		if (taken >= (uint32) penny_redis_pool_max)
			return false;
	} while (!pg_atomic_compare_exchange_u32(connections, &taken, taken + 1));
	placed = true;
	return true;
}

/* Close the connection and give its place back. */
static void
drop(void)
{
	if (wire.fd >= 0)
		ReleaseExternalFD();
	penny_wire_close(&wire);
	if (kept)
		pg_atomic_fetch_sub_u32(&penny_redis_shared->kept, 1);
	if (placed)
		pg_atomic_fetch_sub_u32(&penny_redis_shared->connections, 1);
	kept = placed = false;
}

/* After a good read: keep the connection, or close it. */
static void
settle(void)
{
	if (kept)
		return;
	if (pg_atomic_fetch_add_u32(&penny_redis_shared->kept, 1) < (uint32) penny_redis_pool_min)
	{
		kept = true;
		return;
	}
	pg_atomic_fetch_sub_u32(&penny_redis_shared->kept, 1);
	drop();
}

static void
exit_callback(int code, Datum arg)
{
	(void) code;
	(void) arg;
	drop();
}

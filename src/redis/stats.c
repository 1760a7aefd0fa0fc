/*-------------------------------------------------------------------------
 *
 * stats.c
 *		What is shown of Redis: counters, states, and whether it is well.
 *
 * Nothing of the URL is shown: it may hold a password.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/json.h"

#include "base/clock.h"
#include "config/config.h"
#include "redis/redis.h"
#include "redis/shared.h"

static const char *const counter_names[PENNY_REDIS_COUNTERS] = {
	[PENNY_REDIS_GETS] = "gets",
	[PENNY_REDIS_GET_HITS] = "get_hits",
	[PENNY_REDIS_GET_MISSES] = "get_misses",
	[PENNY_REDIS_GET_FAILURES] = "get_failures",
	[PENNY_REDIS_GET_SKIPPED] = "get_skipped_open",
	[PENNY_REDIS_GET_BUSY] = "get_skipped_pool",
	[PENNY_REDIS_GET_SLOWER] = "get_skipped_slower",
	[PENNY_REDIS_REFUSED] = "values_refused",
	[PENNY_REDIS_CONNECTS] = "connects",
	[PENNY_REDIS_CHANGED] = "changes_told",
	[PENNY_REDIS_CHANGES_LOST] = "changes_left_to_sweep",
	[PENNY_REDIS_OFFERED] = "values_offered",
	[PENNY_REDIS_WRITTEN] = "values_written",
	[PENNY_REDIS_OFFERS_DROPPED] = "values_dropped",
	[PENNY_REDIS_SWEEPS] = "sweeps",
	[PENNY_REDIS_SWEPT] = "keys_swept",
	[PENNY_REDIS_FOREIGN] = "messages_of_others",
	[PENNY_REDIS_ECHOES] = "messages_of_own",
	[PENNY_REDIS_FLUSHES] = "flushes",
	[PENNY_REDIS_ERRORS] = "error_replies",
	[PENNY_REDIS_LOSSES] = "connections_lost",
	[PENNY_REDIS_LEASES] = "leases",
};

static PennyBreaker
copy_breaker(void)
{
	PennyBreaker copy;

	SpinLockAcquire(&penny_redis_shared->mutex);
	memcpy(&copy, &penny_redis_shared->breaker, sizeof(copy));
	SpinLockRelease(&penny_redis_shared->mutex);
	return copy;
}

void
penny_redis_stats(StringInfo out)
{
	PennyRedisShared *shared = penny_redis_shared;
	PennyBreaker breaker;

	if (shared == NULL)
	{
		appendStringInfoString(out, "null");
		return;
	}
	breaker = copy_breaker();
	appendStringInfo(out,
					 "{\"wanted\":%s,\"relay_pid\":%u,\"commands_up\":%s,\"messages_up\":%s,"
					 "\"breaker\":\"%s\",\"breaker_opened\":" UINT64_FORMAT
					 ",\"breaker_closed\":" UINT64_FORMAT ",\"breaker_probes\":" UINT64_FORMAT
					 ",\"connections\":%u,\"connections_kept\":%u,"
					 "\"changes_waiting\":" UINT64_FORMAT ",\"values_waiting\":" UINT64_FORMAT
					 ",\"prepared_changes\":%u,\"sweep_wanted\":%s,\"read_us\":%u,\"build_us\":%u",
					 pg_atomic_read_u32(&shared->on) != 0 ? "true" : "false",
					 pg_atomic_read_u32(&shared->relay_pid),
					 pg_atomic_read_u32(&shared->link_write) != 0 ? "true" : "false",
					 pg_atomic_read_u32(&shared->link_listen) != 0 ? "true" : "false",
					 penny_breaker_name(atomic_load(&breaker.state)), breaker.opened,
					 breaker.closed, breaker.probes, pg_atomic_read_u32(&shared->connections),
					 pg_atomic_read_u32(&shared->kept), penny_ring_claimed(penny_redis_changes),
					 penny_ring_claimed(penny_redis_offers), pg_atomic_read_u32(&shared->prepared),
					 pg_atomic_read_u32(&shared->sweep) != 0 ? "true" : "false",
					 pg_atomic_read_u32(&shared->read_us), pg_atomic_read_u32(&shared->build_us));
	for (int i = 0; i < PENNY_REDIS_COUNTERS; i++)
		appendStringInfo(out, ",\"%s\":" UINT64_FORMAT, counter_names[i],
						 pg_atomic_read_u64(&shared->counter[i]));
	appendStringInfoChar(out, '}');
}

bool
penny_redis_fault(char **detail, const char **remedy)
{
	PennyRedisShared *shared = penny_redis_shared;
	char password[PENNY_REDIS_PASSWORD_SIZE];
	char fault[sizeof(shared->fault)];
	const char *wrong;

	*remedy = NULL;
	if (penny_redis_url[0] == '\0')
	{
		*detail = pstrdup("not configured; penny works without");
		return true;
	}
	wrong = penny_redis_password_file[0] == '\0'
				? NULL
				: penny_redis_read_password(penny_redis_password_file, password, sizeof(password));
	explicit_bzero(password, sizeof(password));
	if (wrong != NULL)
	{
		*detail = psprintf("the file of \"penny.redis_password_file\" is not used: %s", wrong);
		*remedy = "Correct the file and execute SELECT pg_reload_conf().";
		return false;
	}
	if (pg_atomic_read_u32(&shared->relay_pid) == 0)
	{
		*detail = pstrdup("no penny relay runs");
		*remedy =
			"Look into the server's log; set \"max_worker_processes\" higher if slots are short.";
		return false;
	}
	if (pg_atomic_read_u32(&shared->link_write) == 0 ||
		pg_atomic_read_u32(&shared->link_listen) == 0)
	{
		LWLockAcquire(penny_redis_lock(PENNY_REDIS_LOCK_TARGET), LW_SHARED);
		strlcpy(fault, shared->fault, sizeof(fault));
		LWLockRelease(penny_redis_lock(PENNY_REDIS_LOCK_TARGET));
		*detail =
			psprintf("penny relay has no connection%s%s", fault[0] != '\0' ? ": " : "", fault);
		*remedy = "Let Redis run, and correct \"penny.redis_url\" or the password; requests are "
				  "served without it.";
		return false;
	}
	*detail = psprintf("connected; reads: breaker %s",
					   penny_breaker_name(atomic_load(&shared->breaker.state)));
	return true;
}

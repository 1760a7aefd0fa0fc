/*-------------------------------------------------------------------------
 *
 * relay_start.c
 *		The supervisor's part of penny relay.  See relay_start.h.
 *
 * The relay ends by itself when the setting is gone or another; it wakes the
 * supervisor then, and so does PostgreSQL when a relay ends before it could say
 * that it runs.  One that ran for a while is started again at once, one that
 * did not after a pause, doubled up to half a minute.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "postmaster/bgworker.h"

#include "base/clock.h"
#include "base/worker.h"
#include "config/config.h"
#include "gateway/relay_start.h"
#include "gateway/worker_slot.h"
#include "redis/redis.h"

#define LIVED 2000      /* ms; a relay that ran so long was well */
#define PAUSE_MIN 1000  /* ms */
#define PAUSE_MAX 30000 /* ms */

static BackgroundWorkerHandle *asked = NULL; /* of the one asked for, until it has ended */
static int64 pause_ms = 0;
static int64 start_at = PENNY_NEVER;
static bool told_slots = false;

static bool still_there(void);
static void start(int64 now);

void
penny_relay_start(void)
{
	bool wanted = penny_redis_url[0] != '\0';
	int64 now = penny_clock_ms();

	penny_redis_switch(wanted);
	if (!wanted || still_there() || penny_redis_relay_runs())
	{
		start_at = PENNY_NEVER;
		return;
	}
	if (start_at == PENNY_NEVER)
		start_at = now + pause_ms;
	if (now >= start_at)
		start(now);
}

int64
penny_relay_start_at(void)
{
	return start_at;
}

/* Was one asked for that has not ended? */
static bool
still_there(void)
{
	pid_t pid;

	if (asked == NULL)
		return false;
	if (GetBackgroundWorkerPid(asked, &pid) != BGWH_STOPPED)
		return true;
	pfree(asked);
	asked = NULL;
	if (penny_redis_relay_lived() >= LIVED)
		pause_ms = 0;
	else
		pause_ms = Min(Max(pause_ms * 2, PAUSE_MIN), PAUSE_MAX);
	return false;
}

static void
start(int64 now)
{
	start_at = penny_slot_start(PENNY_RELAY, 0, "penny relay", &asked, &told_slots)
				   ? PENNY_NEVER
				   : now + PENNY_SLOT_PAUSE;
}

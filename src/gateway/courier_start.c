/*-------------------------------------------------------------------------
 *
 * courier_start.c
 *		The supervisor's part of penny courier.  See courier_start.h.
 *
 * The courier ends by itself when it is not wanted any more, and wakes the
 * supervisor when it ends.  A connection that fails makes the next one wait
 * (base/staff.h), so nothing spins here.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "postmaster/bgworker.h"
#include "utils/memutils.h"

#include "base/clock.h"
#include "base/registry.h"
#include "base/staff.h"
#include "base/worker.h"
#include "config/config.h"
#include "gateway/courier_start.h"

#define SLOT_PAUSE 10000 /* ms until a start is tried again that found no slot */

static BackgroundWorkerHandle *asked = NULL; /* until it has taken its place */
static int64 start_at = PENNY_NEVER;
static bool told_slots = false;

static void start(int64 now);

void
penny_courier_start(void)
{
	int64 now = penny_clock_ms();
	bool held = penny_staff_held(&penny_registry()->courier);
	pid_t pid;

	if (asked != NULL && (held || GetBackgroundWorkerPid(asked, &pid) == BGWH_STOPPED))
	{
		pfree(asked);
		asked = NULL;
	}
	if (penny_webhook_allow[0] == '\0' || penny_readiness() != PENNY_READY || held || asked != NULL)
		start_at = PENNY_NEVER;
	else if (start_at == PENNY_NEVER || now >= start_at)
		start(now);
}

int64
penny_courier_start_at(void)
{
	return start_at;
}

static void
start(int64 now)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);

	start_at = PENNY_NEVER;
	if (penny_worker_start(PENNY_COURIER, 0, &asked))
		told_slots = false;
	else
	{
		asked = NULL;
		start_at = now + SLOT_PAUSE;
		if (!told_slots)
			ereport(LOG,
					(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
					 errmsg("no background worker slot is free for penny courier"),
					 errhint("Set \"max_worker_processes\" to %d.", penny_config_worker_slots())));
		told_slots = true;
	}
	MemoryContextSwitchTo(old);
}

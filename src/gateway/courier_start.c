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

#include "base/clock.h"
#include "base/registry.h"
#include "base/staff.h"
#include "base/worker.h"
#include "config/config.h"
#include "gateway/courier_start.h"
#include "gateway/worker_slot.h"

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
	start_at = penny_slot_start(PENNY_COURIER, 0, "penny courier", &asked, &told_slots)
				   ? PENNY_NEVER
				   : now + PENNY_SLOT_PAUSE;
}

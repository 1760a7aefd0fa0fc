/*-------------------------------------------------------------------------
 *
 * spare_worker.c
 *		The supervisor's part of the spare penny worker, which does the queue's
 *		upkeep while all others run jobs.
 *
 * Workers do upkeep between jobs, and one that sleeps minds its time.  When all that
 * there are run jobs, whoever left the time to nobody has told the supervisor
 * (queue/crew.h): from then on it looks every PATIENCE.  When upkeep is due
 * and nobody has come by for PATIENCE, it starts the spare worker.  That ends by itself (queue/worker.c).  As soon as a
 * worker minds the time, the supervisor sleeps without end again.
 *
 * It is an addition: with penny.job_workers = 0 the one worker is never busy, and
 * where max_worker_processes does not hold all that penny may start, the slots are
 * for those that serve.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "postmaster/bgworker.h"

#include "base/clock.h"
#include "base/registry.h"
#include "base/staff.h"
#include "base/worker.h"
#include "config/config.h"
#include "gateway/spare_worker.h"
#include "gateway/worker_slot.h"
#include "queue/crew.h"
#include "queue/queue.h"

#define PATIENCE 100 /* ms that upkeep waits for a worker that is between jobs */

static BackgroundWorkerHandle *asked = NULL; /* until it has taken its place */
static int64 start_at = PENNY_NEVER;         /* look again then */
static int64 due_since = 0;                  /* upkeep waits since then, 0 = it does not */
static uint32 due_turns = 0;                 /* what nobody has attended to until then */
static int64 slot_at = 0;                    /* no slot was free: try again then */
static bool told_slots = false;

int64
penny_spare_worker_start_at(void)
{
	return start_at;
}

static bool
is_there(void)
{
	bool held = penny_staff_held(&penny_registry()->spare_worker);
	pid_t pid;

	if (asked != NULL && (held || GetBackgroundWorkerPid(asked, &pid) == BGWH_STOPPED))
	{
		pfree(asked);
		asked = NULL;
	}
	return held || asked != NULL;
}

/* Has upkeep been waiting for PATIENCE, while nobody came by? */
static bool
is_overdue(int64 now)
{
	uint32 turns;
	bool due = penny_queue_upkeep_due(&turns);

	if (!due || !penny_crew_works())
		due_since = 0;
	else if (due_since == 0 || turns != due_turns)
	{
		due_since = now;
		due_turns = turns;
	}
	return due_since != 0 && now - due_since >= PATIENCE;
}

void
penny_spare_worker_start(void)
{
	int64 now = penny_clock_ms();

	start_at = PENNY_NEVER;
	if (is_there() || penny_readiness() != PENNY_READY || penny_job_workers == 0 ||
		max_worker_processes < penny_config_workers() || penny_crew_attended())
	{
		due_since = 0;
		return;
	}
	start_at = now + PATIENCE;
	if (!is_overdue(now) || now < slot_at)
		return;
	due_since = 0;
	if (!penny_slot_start(PENNY_SPARE, PENNY_SPARE_WORKER, "penny spare worker", &asked,
						  &told_slots))
		slot_at = now + PENNY_SLOT_PAUSE;
}

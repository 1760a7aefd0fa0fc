/*-------------------------------------------------------------------------
 *
 * job_workers.c
 *		The supervisor's part of penny worker: how many there are.
 *
 * While penny is ready there is one.  More are started, one after the other,
 * while all that there are run jobs and others have been waiting for PATIENCE, up
 * to penny.job_workers.  Whoever finds no sleeping worker for a job says so
 * (queue/crew.h), once; from then on the supervisor looks for itself every
 * PATIENCE until somebody sleeps or nothing waits.  While nothing waits, all work
 * and there could be more, it minds the time for them: jobs come due.
 *
 * Workers end by themselves and wake the supervisor when they do.  A connection
 * that fails makes the next one of its number wait (base/staff.h), so nothing
 * spins here.
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
#include "gateway/job_workers.h"
#include "gateway/worker_slot.h"
#include "queue/crew.h"
#include "queue/queue.h"

#define PATIENCE 20 /* ms that jobs wait before another worker starts */

/* Workers asked for that have not taken their number yet. */
static BackgroundWorkerHandle *pending[PENNY_MAX_WORKERS];
static int64 start_at = PENNY_NEVER; /* look again then */
static int64 waiting_since = 0;      /* jobs wait since then, 0 = none */
static int64 slot_at = 0;            /* no slot was free: try again then */
static bool told_slots = false;

static int forget_started(void);
static void look_for_more(int64 now, int running, int busy);
static void start(int64 now);

int64
penny_job_workers_start_at(void)
{
	return start_at;
}

void
penny_job_workers_start(void)
{
	int64 now = penny_clock_ms();
	int asked = forget_started();
	int running;
	int busy;

	start_at = PENNY_NEVER;
	if (penny_readiness() != PENNY_READY)
		return;
	penny_crew_count(&running, &busy);
	if (running + asked >= Max(penny_job_workers, 1))
		return;
	if (now < slot_at)
		start_at = slot_at;
	else if (running + asked == 0)
		start(now);
	else
		look_for_more(now, running, busy);
}

/* Those that took their number, or ended before; how many are left. */
static int
forget_started(void)
{
	int left = 0;

	for (int i = 0; i < PENNY_MAX_WORKERS; i++)
	{
		pid_t pid;

		if (pending[i] == NULL)
			continue;
		if (penny_staff_held(&penny_registry()->worker[i]) ||
			GetBackgroundWorkerPid(pending[i], &pid) == BGWH_STOPPED)
		{
			pfree(pending[i]);
			pending[i] = NULL;
		}
		else
			left++;
	}
	return left;
}

/* Some work; are there more jobs than they can see to? */
static void
look_for_more(int64 now, int running, int busy)
{
	int64 next;

	penny_crew_rearm();
	if (busy < running)
	{
		waiting_since = 0;
		return;
	}
	if (!penny_crew_waits(&next))
	{
		int64 us = next - penny_queue_now();

		waiting_since = 0;
		if (next != PENNY_SCHED_NEVER)
			start_at = now + (us > 0 ? us / 1000 + 1 : 0);
		return;
	}
	if (waiting_since == 0)
		waiting_since = now;
	else if (now - waiting_since >= PATIENCE)
	{
		start(now);
		waiting_since = now;
	}
	start_at = now + PATIENCE;
}

/* The lowest number that nobody has. */
static void
start(int64 now)
{
	for (int i = 0; i < Max(penny_job_workers, 1); i++)
	{
		if (pending[i] != NULL || penny_staff_held(&penny_registry()->worker[i]))
			continue;
		if (!penny_slot_start(PENNY_WORKER, i, "another penny worker", &pending[i], &told_slots))
		{
			slot_at = now + PENNY_SLOT_PAUSE;
			start_at = slot_at;
		}
		break;
	}
}

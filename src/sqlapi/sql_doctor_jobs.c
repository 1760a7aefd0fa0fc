/*-------------------------------------------------------------------------
 *
 * sql_doctor_jobs.c
 *		The rows of penny.doctor() about jobs: workers, what is held after a
 *		restore, what waits for long, memory; webhooks.
 *
 * Asked in another database than penny's, nothing is said of jobs.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"

#include "base/registry.h"
#include "base/staff.h"
#include "config/config.h"
#include "queue/crew.h"
#include "queue/queue.h"
#include "queue/shared.h"
#include "sqlapi/sql_doctor.h"

#define LONG_WAIT (INT64CONST(300) * USECS_PER_SEC) /* a ready job that waits longer is told of */

static void check_workers(ReturnSetInfo *out);
static void check_loaded(ReturnSetInfo *out);
static void check_waiting(ReturnSetInfo *out, const PennyQueueCounts *counts, int64 now);
static const char *why_it_waits(const PennyQueueConfig *queue, const PennyQueueCounts *counts);
static void check_memory(ReturnSetInfo *out, const PennyQueueCounts *counts);
static void check_courier(ReturnSetInfo *out);

void
penny_doctor_jobs(ReturnSetInfo *out)
{
	PennyQueueCounts *counts;
	int64 now;

	check_courier(out);
	if (!penny_queue_here())
		return;
	counts = palloc(sizeof(*counts) * PENNY_SCHED_QUEUES);
	now = penny_queue_counts_all(counts);
	check_workers(out);
	check_loaded(out);
	check_waiting(out, counts, now);
	check_memory(out, counts);
}

static void
check_workers(ReturnSetInfo *out)
{
	int running;
	int busy;

	penny_crew_count(&running, &busy);
	penny_doctor_report(
		out, "job workers", running > 0 || penny_readiness() != PENNY_READY,
		psprintf("%d running, %d busy; at most %d are wanted%s", running, busy,
				 Max(penny_job_workers, 1),
				 penny_job_workers == 0 ? ", and no job of an SQL function runs" : ""),
		"Look into the server's log; set \"max_worker_processes\" higher if slots are short.");
}

/* Jobs that came by a statement wait until somebody says so. */
static void
check_loaded(ReturnSetInfo *out)
{
	bool held = penny_jobs_held();

	penny_doctor_report(out, "jobs", !held,
						held ? "restored jobs wait for penny.load_jobs()"
							 : "jobs are loaded as they come",
						"When they may run: SELECT penny.load_jobs().");
}

/* The queue in which a job has been ready for longest. */
static void
check_waiting(ReturnSetInfo *out, const PennyQueueCounts *counts, int64 now)
{
	PennyQueueConfig queue;
	int oldest = -1;
	int64 since;

	for (int q = 0; q < PENNY_SCHED_QUEUES; q++)
	{
		if (counts[q].oldest_ready != PENNY_SCHED_NEVER &&
			(oldest < 0 || counts[q].oldest_ready < counts[oldest].oldest_ready))
			oldest = q;
	}
	if (oldest < 0 || !penny_queue_by_id((uint16) oldest, &queue))
	{
		penny_doctor_report(out, "waiting jobs", true, "none is ready", NULL);
		return;
	}
	since = Max(now - counts[oldest].oldest_ready, 0);
	penny_doctor_report(out, "waiting jobs", since <= LONG_WAIT,
						psprintf("one of queue \"%s\" has been ready for " INT64_FORMAT
								 " s; others at most as long",
								 NameStr(queue.name), since / USECS_PER_SEC),
						why_it_waits(&queue, &counts[oldest]));
}

/* What is most likely, as a remedy. */
static const char *
why_it_waits(const PennyQueueConfig *queue, const PennyQueueCounts *counts)
{
	if (queue->limits.paused)
		return psprintf("The queue is paused: SELECT penny.resume_queue('%s').",
						NameStr(queue->name));
	if (counts->ready[PENNY_RUNNER_EXTERNAL] > 0 && counts->ready[PENNY_RUNNER_SQL] == 0 &&
		counts->ready[PENNY_RUNNER_WEBHOOK] == 0)
		return "No worker outside claims jobs of kinds without a handler: start one, or see "
			   "penny.handle().";
	if (counts->ready[PENNY_RUNNER_WEBHOOK] > 0 && penny_webhook_allow[0] == '\0')
		return "Webhooks are off: set \"penny.webhook_allow\".";
	if (counts->limited > 0)
		return "The queue was at its rate limit: see penny.queues, and penny.alter_queue() to lift "
			   "it.";
	return "See penny.queues and penny.jobs: there are more jobs than concurrency, "
		   "\"penny.job_workers\" or workers outside can see to.";
}

static void
check_memory(ReturnSetInfo *out, const PennyQueueCounts *counts)
{
	bool missed = pg_atomic_read_u32(&penny_queue_shared->any_missed) != 0;
	uint64 jobs = 0;

	for (int q = 0; q < PENNY_SCHED_QUEUES; q++)
	{
		jobs += counts[q].delayed + counts[q].active + counts[q].ending;
		for (int runner = 0; runner < PENNY_RUNNERS; runner++)
			jobs += counts[q].ready[runner];
	}
	penny_doctor_report(out, "memory of jobs", true,
						psprintf(UINT64_FORMAT " jobs, room for %d%s", jobs, penny_jobs_in_memory,
								 missed ? "; others wait in their tables" : ""),
						NULL);
}

/* Webhooks: a worker and its program. */
static void
check_courier(ReturnSetInfo *out)
{
	uint32 child = pg_atomic_read_u32(&penny_registry()->courier_child);
	uint32 failures = pg_atomic_read_u32(&penny_registry()->courier_failures);
	bool worker = penny_staff_held(&penny_registry()->courier);

	if (penny_webhook_allow[0] == '\0')
	{
		penny_doctor_report(out, "courier", true,
							"\"penny.webhook_allow\" is empty: webhooks are off", NULL);
		return;
	}
	penny_doctor_report(
		out, "courier", worker && child != 0,
		psprintf("%s; lately %u ended without an answer",
				 !worker      ? "penny courier does not run"
				 : child != 0 ? psprintf("process %u", child)
							  : "no penny-courier is ready",
				 failures),
		"Look into the server's log for lines of penny-courier; the program must lie beside "
		"postgres or where \"penny.courier_program\" says.");
}

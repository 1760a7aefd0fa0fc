/*-------------------------------------------------------------------------
 *
 * webhook.c
 *		penny courier: takes jobs of webhooks, has penny-courier call them, records
 *		what came of it.
 *
 * The supervisor starts it while penny is ready and penny.webhook_allow is set
 * (gateway/courier_start.c).  It logs in as penny_authenticator, runs nobody's
 * code, reads no stranger's byte but an answer whose form was checked
 * (courier_link.c), and has no transaction open while a webhook is on its way.
 *
 * Ends: SIGTERM, penny that is not ready any more, a list that is empty.  What is
 * on its way then has penny.drain_timeout (the webhooks' own time when the list is
 * empty); what was not answered by then goes back and is nobody's attempt.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/backend_status.h"

#include "base/clock.h"
#include "base/compat.h"
#include "base/registry.h"
#include "base/staff.h"
#include "base/worker.h"
#include "config/config.h"
#include "queue/courier_link.h"
#include "queue/queue.h"
#include "queue/webhook_jobs.h"

#define HOUR_MS (60 * 60 * 1000)

static PennyStaffEntry *entry = NULL;
static WaitEventSet *wait_set = NULL;
static uint64 set_version = 0;

static void begin(void);
static void await_database(void);
static bool wanted(void);
static void turn(bool stopping);
static void drain(void);
static void wait_for_work(bool stopping);
static void courier_exit(int code, Datum arg);

PGDLLEXPORT void penny_courier_main(Datum arg);

/* Main function of the worker. */
void
penny_courier_main(Datum arg)
{
	(void) arg;
	begin();
	while (wanted())
	{
		turn(false);
		while (penny_webhook_jobs_begin())
			penny_courier_link_flush();
		penny_courier_link_flush();
		wait_for_work(false);
		if (penny_worker_tick())
			penny_courier_link_settings();
	}
	drain();
	proc_exit(0);
}

/* Take the place, wait for the database, connect. */
static void
begin(void)
{
	penny_worker_begin(PENNY_COURIER, 0);
	entry = &penny_registry()->courier;
	penny_staff_take(entry);
	before_shmem_exit(courier_exit, (Datum) 0);
	penny_courier_link_begin();
	await_database();
	penny_worker_connect(penny_database, "penny_authenticator");
	penny_staff_connected(entry);
	penny_webhook_jobs_init();
}

static bool
wanted(void)
{
	return !ShutdownRequestPending && penny_readiness() == PENNY_READY &&
		   penny_webhook_allow[0] != '\0';
}

/* Sleep until the back-off after connections that failed is over. */
static void
await_database(void)
{
	int64 until = penny_staff_connect_at(entry);

	while (wanted())
	{
		long left = penny_clock_timeout(penny_clock_ms(), until);

		if (left == 0)
		{
			pg_atomic_fetch_add_u32(&entry->attempts, 1);
			return;
		}
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, left,
						 penny_worker_wait_event());
		ResetLatch(MyLatch);
		(void) penny_worker_tick();
	}
	proc_exit(0);
}

/* What came, and what is to be written down of it. */
static void
turn(bool stopping)
{
	PennyCourierAnswer answer;
	uint64 cookie;

	penny_courier_link_turn(penny_clock_ms());
	while (penny_courier_link_answer(&cookie, &answer))
		penny_webhook_jobs_answer(cookie, &answer, stopping);
	penny_webhook_jobs_record();
	pg_atomic_write_u32(&penny_registry()->courier_child, (uint32) penny_courier_link_pid());
	pg_atomic_write_u32(&penny_registry()->courier_failures,
						(uint32) penny_courier_link_failures());
	pg_atomic_write_u32(&entry->busy, penny_webhook_jobs_open() > 0);
}

/* What is on its way gets its time. */
static void
drain(void)
{
	int64 deadline = penny_clock_ms() + Max(penny_drain_timeout, penny_webhook_timeout);
	bool hurried = false;

	penny_courier_link_stop(deadline);
	while (penny_webhook_jobs_open() > 0 && penny_clock_ms() < deadline + 1000)
	{
		if (!hurried && (ShutdownRequestPending || penny_readiness() != PENNY_READY))
		{
			hurried = true;
			deadline = Min(deadline, penny_clock_ms() + penny_drain_timeout);
			penny_courier_link_stop(deadline);
		}
		turn(true);
		if (penny_webhook_jobs_open() == 0)
			break;
		wait_for_work(true);
		(void) penny_worker_tick();
	}
}

/* ---- waiting ---------------------------------------------------------------------- */

static void
build_wait_set(void)
{
	if (wait_set != NULL)
		FreeWaitEventSet(wait_set);
	wait_set = penny_wait_event_set_create(2 + PENNY_COURIER_LINK_EVENTS);
	AddWaitEventToSet(wait_set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(wait_set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	penny_courier_link_watch(wait_set);
	set_version = penny_courier_link_version();
}

/* ms to sleep; -1: without end.  The queue's clock may be stepped: not too long. */
static long
sleep_time(bool stopping)
{
	PennySched *sched = penny_queue_sched();
	int64 now_ms = penny_clock_ms();
	int64 now = penny_queue_now();
	int64 due = Min(penny_courier_link_due(), penny_webhook_jobs_due());
	long timeout = penny_clock_timeout(now_ms, due);
	int64 next;
	bool waits;

	if (stopping)
		return timeout < 0 ? 100 : Min(timeout, 100);
	if (penny_webhook_jobs_room() == 0)
		return timeout;
	penny_queue_lock();
	waits = penny_sched_waits(sched, PENNY_RUNNER_WEBHOOK, PENNY_SCHED_ANY, now);
	next = penny_sched_next(sched, PENNY_RUNNER_WEBHOOK, now);
	penny_queue_unlock();
	if (waits)
		return 0;
	if (next != PENNY_SCHED_NEVER)
	{
		long left = next <= now ? 1 : (long) Min((next - now + 999) / 1000, (int64) HOUR_MS);

		timeout = timeout < 0 ? left : Min(timeout, left);
	}
	return timeout;
}

/* Latch, the couriers, and the clock. */
static void
wait_for_work(bool stopping)
{
	WaitEvent event;
	long stats = pgstat_report_stat(false);
	long timeout;

	penny_queue_asleep(PENNY_RUNNER_WEBHOOK, 0);
	/* who asked for an end before that did not wake us */
	penny_webhook_jobs_cancel();
	penny_courier_link_flush();
	if (wait_set == NULL || set_version != penny_courier_link_version())
		build_wait_set();
	timeout = sleep_time(stopping);
	if (stats > 0)
		timeout = timeout < 0 ? stats : Min(timeout, stats);
	if (WaitEventSetWait(wait_set, timeout, &event, 1, penny_worker_wait_event()) > 0 &&
		(event.events & WL_LATCH_SET) != 0)
		ResetLatch(MyLatch);
	penny_queue_awake(PENNY_RUNNER_WEBHOOK, 0);
}

/* The process ends: what it has goes back. */
static void
courier_exit(int code, Datum arg)
{
	(void) code;
	(void) arg;
	penny_queue_awake(PENNY_RUNNER_WEBHOOK, 0);
	penny_webhook_jobs_exit();
	pg_atomic_write_u32(&penny_registry()->courier_child, 0);
	pg_atomic_write_u32(&penny_registry()->courier_failures, 0);
	penny_staff_leave(entry);
	penny_supervisor_wake();
}

/*-------------------------------------------------------------------------
 *
 * worker.c
 *		The gateway: owns the listening sockets and the life of its edge.
 *
 * It never sees a byte of a client and never runs a transaction.  It opens
 * the sockets, starts penny-edge with copies of them, publishes the settings,
 * logs what the edge says, and starts another when it ends.
 *
 *	sockets		what cannot be opened is tried again after 1, 2, 4 .. 30 s, or
 *				when another gateway has opened something;
 *				the edge is started with those that are open, and started
 *				anew when one more has opened or the settings name others
 *	edge		after a death, by whatever cause, the next starts at once;
 *				only after MAX_FAILURES deaths without an answered request
 *				in between there is a pause of 1, 2, 4 .. 30 s
 *	TLS			files are read again at every reload; the edge that runs gets
 *				what is new.  When TLS is wanted and cannot be had, nothing
 *				listens, and the files are tried again as sockets are
 *	stop		SIGTERM to the edge, or SIGUSR1 when another will follow, then
 *				penny.drain_timeout for it, SIGKILL.  Another follows when
 *				sockets changed, when the program was replaced (looked at when
 *				settings are reloaded), and when the gateway ends alone.
 *				The sockets stay on the shelf for the next gateway, which begins
 *				at once, but no sooner than LEAST_AGE after this one
 *
 * Gateways are alike: each has an edge, all edges accept from the same
 * sockets.  The first of them speaks for all where they find the same.
 *
 * One loop, one wait event set.  The set holds descriptors of the present
 * edge, and PostgreSQL's sets cannot forget one, so each edge gets a new set.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "utils/backend_status.h"
#include "utils/pidfile.h"
#include "utils/ps_status.h"

#include "base/child.h"
#include "base/clock.h"
#include "base/compat.h"
#include "base/planemap.h"
#include "base/registry.h"
#include "base/worker.h"
#include "config/config.h"
#include "gateway/certificate.h"
#include "gateway/edge_child.h"
#include "gateway/listener.h"
#include "gateway/shelf.h"

#define MAX_FAILURES 5      /* deaths in a row before there is a pause */
#define HEALTHY_AGE 60000   /* ms; an edge that lived so long did not fail at start */
#define LEAST_AGE 500       /* ms between the starts of gateways */
#define FIRST_PAUSE 1000    /* ms */
#define LONGEST_PAUSE 30000 /* ms */
#define TELL_PAUSE 100      /* ms; a control socket that was full */

extern PGDLLEXPORT void penny_gateway_main(Datum main_arg);

static int edge_number;
static PennyGatewayEntry *entry;
static PennyEdgeChild edge = PENNY_EDGE_CHILD_NONE;
static WaitEventSet *wait_set = NULL;

/* sockets */
static int64 listen_at = 0; /* next attempt */
static int listen_pause = FIRST_PAUSE;
static uint64 sockets_seen = 0; /* sockets_stamp of the last attempt */

/* edge */
static int64 started_at;
static uint64 answers_at_start;
static int64 start_at = 0;    /* next start */
static bool stopping = false; /* SIGTERM was sent */
static int64 kill_at;         /* then SIGKILL follows */

static void attach(void);
static void take_settings(void);
static void take_certificate(void);
static void open_sockets(int64 now);
static void look_after_edge(int64 now);
static void start_edge(int64 now);
static void stop_edge(int64 now, bool follows);
static void edge_ended(int status, pid_t pid, int64 now);
static uint64 answers(void);
static int pause_after(int failures);
static void drain(void);
static void wait_for_work(void);
static void build_wait_set(void);
static void forget_wait_set(void);
static long until(int64 now);
static void report(void);
static void gateway_exit(int code, Datum arg);

/* Main function of the worker. */
void
penny_gateway_main(Datum main_arg)
{
	edge_number = DatumGetInt32(main_arg);
	penny_worker_begin(PENNY_GATEWAY, edge_number);
	attach();
	penny_worker_connect(NULL, NULL);

	take_settings();
	while (!ShutdownRequestPending)
	{
		int64 now = penny_clock_ms();

		open_sockets(now);
		look_after_edge(now);
		report();
		wait_for_work();
		if (penny_worker_tick())
			take_settings();
	}
	drain();
	penny_worker_exit();
}

/*
 * Take the entry.  PostgreSQL starts a gateway again at once; one whose
 * predecessor had no time to do anything waits.
 */
static void
attach(void)
{
	int64 now = penny_clock_ms();
	int64 begun;

	entry = &penny_registry()->gateway[edge_number];
	before_shmem_exit(gateway_exit, (Datum) 0);
	begun = (int64) pg_atomic_read_u64(&entry->begun);
	while (begun != 0 && now - begun < LEAST_AGE && !ShutdownRequestPending)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 LEAST_AGE - (now - begun), penny_worker_wait_event());
		ResetLatch(MyLatch);
		now = penny_clock_ms();
	}
	pg_atomic_write_u64(&entry->begun, (uint64) now);
	pg_atomic_write_u32(&entry->pid, MyProcPid);
	pg_atomic_write_u32(&entry->proc, PENNY_MY_PROC_NUMBER + 1);
}

/* At start and after SIGHUP.  Region P has one place for the settings of all edges. */
static void
take_settings(void)
{
	PennyEdgeSettings settings;

	penny_config_edge(&settings);
	penny_shelf_lock();
	penny_plane_set_settings(penny_plane(), &settings);
	penny_shelf_unlock();
	penny_wake_edge(penny_plane(), edge_number);

	take_certificate();
	if (penny_listeners_configure())
	{
		listen_at = 0;
		listen_pause = FIRST_PAUSE;
		stop_edge(penny_clock_ms(), true);
	}
	else if (penny_edge_child_outdated(&edge))
	{
		ereport(LOG, (errmsg("penny-edge was replaced: another is started")));
		stop_edge(penny_clock_ms(), true);
	}
}

/* Read the files again; who serves gets what is new. */
static void
take_certificate(void)
{
	if (!penny_gateway_certificate_load())
		return;
	penny_edge_child_tell(&edge);
	listen_at = 0;
	listen_pause = FIRST_PAUSE;
}

/* ---- sockets ------------------------------------------------------------ */

/* Open what is missing, if its time has come. */
static void
open_sockets(int64 now)
{
	int fds[PENNY_MAX_LISTEN];
	int missing = penny_listeners_wanted() - penny_listeners_fds(fds);
	uint64 stamp = pg_atomic_read_u64(&penny_registry()->sockets_stamp);
	int opened;

	if (missing > 0 && (now >= listen_at || stamp != sockets_seen))
	{
		opened = 0;
		if (penny_gateway_tls() == PENNY_TLS_MISSING)
			take_certificate();
		if (penny_gateway_tls() != PENNY_TLS_MISSING &&
			penny_listeners_open(edge_number != 0, &opened) > 0)
			stop_edge(now, true);
		listen_at = now + listen_pause;
		listen_pause = Min(listen_pause * 2, LONGEST_PAUSE);
		if (opened > 0)
		{
			pg_atomic_fetch_add_u64(&penny_registry()->sockets_stamp, 1);
			penny_gateways_wake();
		}
	}
	sockets_seen = stamp;
	pg_atomic_write_u32(&entry->wanted, penny_listeners_wanted());
	pg_atomic_write_u32(&entry->listening, penny_listeners_fds(fds));
	pg_atomic_write_u32(&entry->bind_errno, penny_listeners_errno());
}

/* ---- edge --------------------------------------------------------------- */

/* Notice its end, kill it when it overstays, start the next. */
static void
look_after_edge(int64 now)
{
	int fds[PENNY_MAX_LISTEN];
	pid_t pid = edge.process.pid;
	int status;

	if (edge.process.pid != 0 && penny_edge_child_ended(&edge, &status))
		edge_ended(status, pid, now);
	if (edge.untold)
		penny_edge_child_tell(&edge);
	if (edge.process.pid != 0 && stopping && now >= kill_at)
		penny_child_signal(&edge.process, SIGKILL);
	if (edge.process.pid == 0 && !ShutdownRequestPending && now >= start_at &&
		penny_listeners_fds(fds) > 0)
		start_edge(now);
}

static void
start_edge(int64 now)
{
	PennyPlane *plane = penny_plane();
	int fds[PENNY_MAX_LISTEN];
	int nfds = penny_listeners_fds(fds);
	uint32 failures = pg_atomic_read_u32(&entry->failures);

	stopping = false;
	started_at = now;
	answers_at_start = answers();
	if (!penny_edge_child_start(&edge, edge_number, fds, nfds))
	{
		failures = Max(failures + 1, MAX_FAILURES);
		pg_atomic_write_u32(&entry->failures, failures);
		start_at = now + pause_after(failures);
		return;
	}
	pg_atomic_fetch_add_u64(&entry->starts, 1);
	pg_atomic_write_u32(&entry->edge_pid, edge.process.pid);
	ereport(DEBUG1, (errmsg_internal("penny-edge started as process %d", (int) edge.process.pid)));

	/* Who waits for the old edge to take a piece of an answer need not. */
	for (int i = 0; i < (int) plane->config.executors; i++)
		penny_wake_sleeper(plane, i);
	forget_wait_set();
}

/*
 * Ask it to end; if another follows, that starts when it has ended.  Clients
 * are told which of the two it is.
 */
static void
stop_edge(int64 now, bool follows)
{
	if (edge.process.pid == 0 || stopping)
		return;
	stopping = true;
	kill_at = now + penny_drain_timeout;
	penny_child_signal(&edge.process, follows ? SIGUSR1 : SIGTERM);
}

/* Count it, unless we asked for it. */
static void
edge_ended(int status, pid_t pid, int64 now)
{
	bool answered = answers() != answers_at_start;
	uint32 failures = 0;

	forget_wait_set();
	pg_atomic_write_u32(&entry->edge_pid, 0);
	start_at = now;
	if (stopping)
		return;

	if (!answered && now - started_at < HEALTHY_AGE)
		failures = pg_atomic_read_u32(&entry->failures) + 1;
	pg_atomic_write_u32(&entry->failures, failures);
	pg_atomic_fetch_add_u64(&entry->crashes, 1);
	start_at = now + pause_after(failures);
	ereport(LOG, (errcode(ERRCODE_SYSTEM_ERROR),
				  errmsg("penny-edge (PID %d) ended: %s", (int) pid, wait_result_to_str(status)),
				  failures >= MAX_FAILURES
					  ? errdetail("That is number %u without an answered request in between; the "
								  "next starts in %d s.",
								  failures, pause_after(failures) / 1000)
					  : errdetail("Connections are lost; the next edge starts at once.")));
}

/* What edges have answered on this region so far. */
static uint64
answers(void)
{
	return penny_counter(penny_plane(), edge_number, PENNY_COUNT_REQUESTS) +
		   penny_counter(penny_plane(), edge_number, PENNY_COUNT_FRAMES_OUT);
}

static int
pause_after(int failures)
{
	if (failures < MAX_FAILURES)
		return 0;
	return Min(FIRST_PAUSE << Min(failures - MAX_FAILURES, 10), LONGEST_PAUSE);
}

/* At the end: running requests get their time. */
static void
drain(void)
{
	bool last = penny_worker_server_stops();

	if (last)
		penny_listeners_give_up();
	stop_edge(penny_clock_ms(), !last);
	while (edge.process.pid != 0)
	{
		look_after_edge(penny_clock_ms());
		if (edge.process.pid == 0)
			break;
		wait_for_work();
		CHECK_FOR_INTERRUPTS();
	}
}

/* ---- waiting ------------------------------------------------------------ */

/* Latch, end of the edge, its log, and our own deadlines. */
static void
wait_for_work(void)
{
	WaitEvent event;

	if (wait_set == NULL)
		build_wait_set();
	if (WaitEventSetWait(wait_set, until(penny_clock_ms()), &event, 1, penny_worker_wait_event()) ==
		0)
		return;
	if (event.events & WL_LATCH_SET)
		ResetLatch(MyLatch);
	else if (edge.process.pid != 0 && event.fd == edge.process.log_fd)
	{
		penny_child_log(&edge.process);
		if (edge.process.log_fd < 0)
			forget_wait_set();
	}
}

static void
build_wait_set(void)
{
	wait_set = penny_wait_event_set_create(4);
	AddWaitEventToSet(wait_set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(wait_set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	if (edge.process.pid == 0)
		return;
	AddWaitEventToSet(wait_set, WL_SOCKET_READABLE, edge.process.pidfd, NULL, NULL);
	if (edge.process.log_fd >= 0)
		AddWaitEventToSet(wait_set, WL_SOCKET_READABLE, edge.process.log_fd, NULL, NULL);
}

static void
forget_wait_set(void)
{
	if (wait_set != NULL)
		FreeWaitEventSet(wait_set);
	wait_set = NULL;
}

/* ms to the next thing to do by the clock; -1 = nothing. */
static long
until(int64 now)
{
	int fds[PENNY_MAX_LISTEN];
	int open = penny_listeners_fds(fds);
	int64 next = PENNY_NEVER;

	if (open < penny_listeners_wanted() && !ShutdownRequestPending)
		next = Min(next, listen_at);
	if (edge.process.pid == 0 && open > 0 && !ShutdownRequestPending)
		next = Min(next, start_at);
	if (edge.process.pid != 0 && stopping)
		next = Min(next, kill_at);
	if (edge.untold)
		next = Min(next, now + TELL_PAUSE);
	return penny_clock_timeout(now, next);
}

/* Tell pg_stat_activity and ps, when it is something else than before. */
static void
report(void)
{
	static char shown[512] = "";
	char text[512];
	int fds[PENNY_MAX_LISTEN];

	if (penny_listeners_fds(fds) == 0)
		snprintf(text, sizeof(text), "waiting for port %d", penny_port);
	else if (edge.process.pid == 0)
		snprintf(text, sizeof(text), "no edge, listening on %s", penny_listeners_text());
	else
		snprintf(text, sizeof(text), "edge %d, listening on %s", (int) edge.process.pid,
				 penny_listeners_text());
	if (strcmp(text, shown) == 0)
		return;
	strlcpy(shown, text, sizeof(shown));
	pgstat_report_activity(STATE_IDLE, text);
	set_ps_display(text);
}

/* The edge must be gone before the next gateway sweeps its region. */
static void
gateway_exit(int code, Datum arg)
{
	(void) code;
	(void) arg;
	penny_edge_child_kill(&edge);
	penny_listeners_close();
	pg_atomic_write_u32(&entry->proc, 0);
	pg_atomic_write_u32(&entry->edge_pid, 0);
	pg_atomic_write_u32(&entry->listening, 0);
	pg_atomic_write_u32(&entry->pid, 0);
}

/*-------------------------------------------------------------------------
 *
 * loop.c
 *		The loop turn of penny-edge.
 *
 * A turn is: input of sockets (libwebsockets calls back), then in the prepare
 * watcher timers, settings, answers of executors, committed events, output,
 * closing, wakes.  Then the edge says that it sleeps, looks once more, and
 * waits in epoll.  This order is the sleep protocol of the plane: whoever
 * publishes something afterwards sees the odd sleep word and writes the
 * eventfd.  A turn that left something undone does not wait.
 *
 * libwebsockets runs on this loop as its guest (foreign loop, libev plugin),
 * and sees sockets in its raw role only.  Its timers are not used: its list is
 * sorted and walked from the head, and there would be one for each socket.
 *
 * The end: SIGTERM, or SIGUSR1 when another edge follows.  Nothing is accepted
 * any more, idle connections close, requests that run have drain_timeout.  Who
 * is not answered by then gets a 503 or a close frame, and LAST_CALL ms to read
 * it.  The edge ends when nobody is left.
 *
 * Settings are copied when the gateway has published others; what was made
 * under the old ones stays.
 *
 *-------------------------------------------------------------------------
 */
#include "edge/loop.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <ev.h>
#include <libwebsockets.h>

#include "edge/cached.h"
#include "edge/calls.h"
#include "edge/connection.h"
#include "edge/events.h"
#include "edge/listener.h"
#include "edge/routes.h"
#include "edge/session.h"
#include "edge/timer.h"
#include "edge/tls.h"
#include "edge/waiting.h"

#define READ_SIZE (12 * 1024)  /* bytes of one read: a stranger's share, see request.c */
#define SEND_SIZE (320 * 1024) /* bytes of one send: PENNY_WRITE_MAX and TLS */
#define SERVICE_TIMEOUT 10     /* s, of libwebsockets; its timers are not used */
#define LAST_CALL 100          /* ms, and no more than a 20th of drain_timeout */

static struct ev_loop *loop;
static struct lws_context *context;
static struct lws_vhost *vhost;
static ev_prepare prepare_watcher;
static ev_check check_watcher;
static ev_idle again_watcher; /* active: do not wait, there is more to do */
static ev_io wake_watcher;
static ev_io control_watcher;
static ev_timer timer_watcher;
static ev_signal term_watcher;
static ev_signal restart_watcher;
static uint64_t timer_due; /* when timer_watcher fires, 0 = it is stopped */
static uint64_t settings_seq;
static uint64_t drain_by; /* ms, when draining */
static PennyTimer drain_timer;

static int on_socket(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
					 size_t len);

static const struct lws_protocols protocols[] = {
	{.name = "penny", .callback = on_socket, .tx_packet_size = SEND_SIZE},
	{.name = NULL},
};

/* ---- sockets --------------------------------------------------------------- */

static int
on_socket(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
	PennyConnection *connection;

	(void) user;
	switch (reason)
	{
		case LWS_CALLBACK_RAW_RX:
			connection = lws_get_opaque_user_data(wsi);
			penny_connection_readable(connection, in, len);
			break;
		case LWS_CALLBACK_RAW_WRITEABLE:
			connection = lws_get_opaque_user_data(wsi);
			penny_connection_writable(connection);
			break;
		case LWS_CALLBACK_RAW_CLOSE:
			connection = lws_get_opaque_user_data(wsi);
			penny_connection_gone(connection);
			break;
		default:
			break;
	}
	return 0;
}

struct lws *
penny_loop_adopt(int fd, PennyConnection *connection)
{
	lws_adopt_desc_t adopt;

	memset(&adopt, 0, sizeof(adopt));
	adopt.vh = vhost;
	adopt.type = LWS_ADOPT_SOCKET;
	adopt.fd.sockfd = fd;
	adopt.vh_prot_name = protocols[0].name;
	adopt.opaque = connection;
	return lws_adopt_descriptor_vhost_via_info(&adopt);
}

/* ---- the turn ---------------------------------------------------------------- */

static uint64_t
published_settings(void)
{
	return atomic_load_explicit(&penny_edge.plane.p->settings_seq, memory_order_acquire);
}

static void
look_at_settings(void)
{
	uint64_t seq = published_settings();
	PennyEdgeSettings settings;

	if (seq == settings_seq || !penny_plane_settings(&penny_edge.plane, &settings))
		return;
	penny_edge.settings = settings;
	settings_seq = seq;
	penny_cached_settings();
}

/* Everything but the sockets' input; true when something is left to do. */
static bool
work(void)
{
	bool more;

	penny_timer_run();
	look_at_settings();
	penny_routes_turn();
	penny_calls_turn();
	penny_sessions_turn();
	more = penny_events_turn();
	penny_waiting_turn();
	penny_connections_flush();
	penny_connections_reap();
	penny_events_count();
	penny_calls_wake();
	return more;
}

/* Let the timer watcher fire when the next deadline comes. */
static void
arm_timer(void)
{
	int64_t wait = penny_timer_wait();
	uint64_t due = wait < 0 ? UINT64_MAX : penny_edge.now + (uint64_t) wait;
	uint64_t rooms = penny_events_due();

	if (rooms < due)
		due = rooms;
	if (due == UINT64_MAX)
		return; /* one that is armed may fire once for nothing */
	if (timer_due != 0 && timer_due <= due)
		return;
	ev_timer_stop(loop, &timer_watcher);
	ev_timer_set(&timer_watcher, due > penny_edge.now ? (due - penny_edge.now) / 1000.0 : 0.0, 0.0);
	ev_timer_start(loop, &timer_watcher);
	timer_due = due;
}

/* Draining has taken its time: answer who still waits. */
static void
call_last(void)
{
	uint64_t left = penny_edge.settings.drain_timeout / 20;

	if (!penny_edge.draining || penny_edge.closing || penny_edge.now < drain_by)
		return;
	penny_edge.closing = true;
	drain_by = penny_edge.now + (left < LAST_CALL ? left : LAST_CALL);
	penny_timer_set(&drain_timer, drain_by);
	penny_calls_give_up();
	penny_connections_drain();
}

static void
look_at_drain(void)
{
	if (!penny_edge.draining)
		return;
	if (penny_connections() == 0 || (penny_edge.closing && penny_edge.now >= drain_by))
	{
		if (penny_connections() > 0)
			penny_log(PENNY_LOG_LOG, "edge ends with %u open connections", penny_connections());
		ev_break(loop, EVBREAK_ALL);
	}
}

static void
on_prepare(struct ev_loop *ev, ev_prepare *watcher, int events)
{
	bool more;

	(void) watcher;
	(void) events;
	penny_edge_clock();
	call_last();
	more = work();
	penny_edge_prepare_sleep(&penny_edge.plane);
	if (penny_calls_ready() || penny_events_ready() || penny_routes_stale() ||
		published_settings() != settings_seq)
		more |= work();
	if (more)
		ev_idle_start(ev, &again_watcher);
	else
		ev_idle_stop(ev, &again_watcher);
	arm_timer();
	look_at_drain();
}

static void
on_check(struct ev_loop *ev, ev_check *watcher, int events)
{
	(void) ev;
	(void) watcher;
	(void) events;
	penny_edge_awake(&penny_edge.plane);
	penny_edge_clock();
}

static void
on_again(struct ev_loop *ev, ev_idle *watcher, int events)
{
	(void) ev;
	(void) watcher;
	(void) events;
}

static void
on_wake(struct ev_loop *ev, ev_io *watcher, int events)
{
	uint64_t wakes;

	(void) ev;
	(void) events;
	if (read(watcher->fd, &wakes, sizeof(wakes)) < 0 && errno != EAGAIN && errno != EINTR)
		penny_log(PENNY_LOG_WARNING, "could not read wake descriptor: %s", strerror(errno));
}

static void
on_timer(struct ev_loop *ev, ev_timer *watcher, int events)
{
	(void) ev;
	(void) watcher;
	(void) events;
	timer_due = 0; /* what is due is done by the prepare watcher */
}

/* A certificate came; or the gateway is gone, and so are we soon. */
static void
on_control(struct ev_loop *ev, ev_io *watcher, int events)
{
	(void) events;
	if (!penny_tls_receive(watcher->fd))
		ev_io_stop(ev, watcher);
}

/* Wakes the loop, which looks at the time itself. */
static void
on_drain_timer(PennyTimer *timer)
{
	(void) timer;
}

/* Told to end: stop accepting, say goodbye, finish what runs. */
static void
on_term(struct ev_loop *ev, ev_signal *watcher, int events)
{
	(void) ev;
	(void) events;
	if (penny_edge.draining)
		return;
	penny_edge.restarting = watcher == &restart_watcher;
	penny_edge_clock();
	penny_edge.draining = true;
	drain_by = penny_edge.now + penny_edge.settings.drain_timeout;
	penny_timer_init(&drain_timer, on_drain_timer);
	penny_timer_set(&drain_timer, drain_by);
	penny_listener_stop();
	penny_connections_drain();
}

/* ---- life cycle -------------------------------------------------------------- */

static void
emit_log(int level, const char *line)
{
	size_t len = strlen(line);

	while (len > 0 && line[len - 1] == '\n')
		len--;
	penny_log(level == LLL_ERR ? PENNY_LOG_WARNING : PENNY_LOG_DEBUG, "libwebsockets: %.*s",
			  (int) len, line);
}

static void
start_watchers(void)
{
	ev_prepare_init(&prepare_watcher, on_prepare);
	ev_prepare_start(loop, &prepare_watcher);
	ev_check_init(&check_watcher, on_check);
	ev_set_priority(&check_watcher, EV_MAXPRI);
	ev_check_start(loop, &check_watcher);
	ev_idle_init(&again_watcher, on_again);
	ev_io_init(&wake_watcher, on_wake, PENNY_FD_WAKE, EV_READ);
	ev_set_priority(&wake_watcher, EV_MAXPRI);
	ev_io_start(loop, &wake_watcher);
	if (penny_edge.control)
	{
		ev_io_init(&control_watcher, on_control, PENNY_FD_CONTROL, EV_READ);
		ev_set_priority(&control_watcher, EV_MAXPRI); /* before who connected after it */
		ev_io_start(loop, &control_watcher);
	}
	ev_timer_init(&timer_watcher, on_timer, 0.0, 0.0);
	ev_signal_init(&term_watcher, on_term, SIGTERM);
	ev_signal_start(loop, &term_watcher);
	ev_signal_init(&restart_watcher, on_term, SIGUSR1);
	ev_signal_start(loop, &restart_watcher);
}

const char *
penny_loop_create(void)
{
	struct lws_context_creation_info info;
	void *loops[1];
	static const lws_retry_bo_t no_retry;

	loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
	if (loop == NULL)
		return "make event loop";
	loops[0] = loop;
	lws_set_log_level(LLL_ERR | LLL_WARN, emit_log);
	memset(&info, 0, sizeof(info));
	info.port = CONTEXT_PORT_NO_LISTEN_SERVER;
	info.protocols = protocols;
	info.options = LWS_SERVER_OPTION_LIBEV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS;
	info.foreign_loops = loops;
	info.gid = (gid_t) -1;
	info.uid = (uid_t) -1;
	info.pt_serv_buf_size = READ_SIZE;
	info.timeout_secs = SERVICE_TIMEOUT;
	info.retry_and_idle_policy = &no_retry;
	context = lws_create_context(&info);
	if (context == NULL)
		return "make libwebsockets context";
	vhost = lws_create_vhost(context, &info);
	if (vhost == NULL)
		return "make libwebsockets host";
	start_watchers();
	look_at_settings();
	return NULL;
}

void
penny_loop_run(void)
{
	ev_run(loop, 0);
}

struct ev_loop *
penny_loop(void)
{
	return loop;
}

/*-------------------------------------------------------------------------
 *
 * listener.c
 *		accept4() until there is nothing more, within the limits.
 *
 * The gateway made the sockets and keeps them, so the backlog outlives this
 * process.  All edges accept from the same sockets, so finding nothing there
 * is normal.  The kernel wakes all that sleep, and the quickest would take
 * most; so an edge that is AHEAD connections before another leaves a new one
 * to the others for YIELD, and takes it after that if nobody has: one that is
 * stuck holds nothing up.
 *
 * Above a limit a client is told so, in one packet and without reading what it
 * sent, and closed: 503 above the total, 429 above the limit of its address.
 * When descriptors run out accepting is paused until a connection closes, or
 * for PAUSE if it is the system's table that is full: a listening socket that
 * stays readable would otherwise keep the loop spinning.
 *
 *-------------------------------------------------------------------------
 */
#include "edge/listener.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <ev.h>

#include "edge/connection.h"
#include "edge/loop.h"
#include "edge/tls.h"
#include "plane/share.h"

#define BATCH 64         /* accepted in a row, then others have their turn */
#define SHARED_BATCH 4   /* likewise, when other edges could have them */
#define AHEAD 4          /* connections that an edge may have more than another */
#define YIELD 2          /* ms */
#define PAUSE 250        /* ms */
#define TELL_AGAIN 60000 /* ms between lines of the log about that */

static ev_io watcher[PENNY_MAX_LISTEN];
static PennyTimer pause_timer;
static uint32_t max_connections; /* that the descriptors allow */
static bool running;
static bool paused;
static PennyTimer yield_timer;
static bool yielding; /* leaves it to the others */
static bool yielded;  /* it has, the next are its own */

static char too_many[384];
static char too_many_of_yours[384];
static char too_fast[384];

/* Watch the sockets, or not, as things stand. */
static void
apply(void)
{
	bool run = running && !paused && !yielding;

	for (int i = 0; i < penny_edge.listeners; i++)
	{
		if (run)
			ev_io_start(penny_loop(), &watcher[i]);
		else
			ev_io_stop(penny_loop(), &watcher[i]);
	}
}

static void
on_pause_over(PennyTimer *timer)
{
	(void) timer;
	penny_listener_resume();
}

/* No descriptors: wait for a close, or a while. */
static void
pause_accepting(int error)
{
	static uint64_t told; /* when, 0 = never */

	/* It may pause four times a second, for as long as somebody likes. */
	if (told == 0 || penny_edge.now - told >= TELL_AGAIN)
	{
		penny_log(PENNY_LOG_WARNING, "accepting pauses: %s", strerror(error));
		told = penny_edge.now;
	}
	paused = true;
	apply();
	penny_timer_set(&pause_timer, penny_edge.now + PAUSE);
}

void
penny_listener_resume(void)
{
	if (!paused || !running)
		return;
	paused = false;
	penny_timer_stop(&pause_timer);
	apply();
}

static void
on_yield_over(PennyTimer *timer)
{
	(void) timer;
	yielding = false;
	yielded = true;
	apply();
}

/* Should others have the next connections?  Not twice in a row. */
static bool
leaves_it(void)
{
	if (penny_edge.plane.config.edges == 1)
		return false;
	if (yielded || !penny_shared_ahead(&penny_edge.plane, AHEAD))
	{
		yielded = false;
		return false;
	}
	yielding = true;
	apply();
	penny_timer_set(&yield_timer, penny_edge.now + YIELD);
	return true;
}

/* Tell the client why, as far as one packet goes. */
static void
refuse(int fd, const char *answer)
{
	size_t len = strlen(answer);

	if (penny_tls_wanted())
		answer = penny_tls_refusal(&len);
	if (send(fd, answer, len, MSG_DONTWAIT | MSG_NOSIGNAL) > 0)
		shutdown(fd, SHUT_WR);
	close(fd);
	penny_count(&penny_edge.plane, PENNY_COUNT_REFUSED, 1);
}

/* Make a connection of an accepted socket, or refuse it. */
static void
welcome(int fd, const struct sockaddr *from)
{
	const int on = 1;
	char peer[PENNY_PEER_TEXT];
	PennyAddress *address = NULL;
	bool loopback;

	if (penny_connections() >= max_connections)
	{
		refuse(fd, too_many);
		return;
	}
	switch (penny_address_take(from, &address))
	{
		case PENNY_ADMITTED:
			break;
		case PENNY_ALL_TAKEN:
			refuse(fd, too_many);
			return;
		case PENNY_ADDRESS_TAKEN:
			refuse(fd, too_many_of_yours);
			return;
		case PENNY_ADDRESS_FAST:
			refuse(fd, too_fast);
			return;
	}
	penny_count(&penny_edge.plane, PENNY_COUNT_ACCEPTED, 1);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	loopback = penny_address_text(from, peer);
	penny_connection_adopt(fd, address, peer, loopback);
}

static void
on_connection(struct ev_loop *loop, ev_io *io, int events)
{
	int batch = penny_edge.plane.config.edges > 1 ? SHARED_BATCH : BATCH;

	(void) loop;
	(void) events;
	if (leaves_it())
		return;
	for (int i = 0; i < batch; i++)
	{
		struct sockaddr_storage from;
		socklen_t len = sizeof(from);
		int fd;

		memset(&from, 0, sizeof(from));
		fd = accept4(io->fd, (struct sockaddr *) &from, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0)
			welcome(fd, (struct sockaddr *) &from);
		else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
		{
			pause_accepting(errno);
			return;
		}
		else if (errno != EINTR && errno != ECONNABORTED)
			return; /* nothing there, or the network's passing trouble */
	}
}

/* The whole answer to a client that is refused. */
static void
make_refusal(char *out, size_t size, int status, const char *title, const char *detail)
{
	char body[160];
	int len = snprintf(body, sizeof(body),
					   "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%d,\"detail\":\"%s\","
					   "\"code\":\"PY%d\"}",
					   title, status, detail, status);

	snprintf(out, size,
			 "HTTP/1.1 %d %s\r\nContent-Type: application/problem+json\r\nContent-Length: %d\r\n"
			 "Retry-After: 2\r\nConnection: close\r\n\r\n%s",
			 status, title, len, body);
}

void
penny_listener_start(uint32_t ceiling)
{
	max_connections = ceiling;
	make_refusal(too_many, sizeof(too_many), 503, "Service Unavailable",
				 "all connections are taken");
	make_refusal(too_many_of_yours, sizeof(too_many_of_yours), 429, "Too Many Requests",
				 "your address has too many connections");
	make_refusal(too_fast, sizeof(too_fast), 429, "Too Many Requests",
				 "your address opens connections too fast");
	penny_timer_init(&pause_timer, on_pause_over);
	penny_timer_init(&yield_timer, on_yield_over);
	for (int i = 0; i < penny_edge.listeners; i++)
		ev_io_init(&watcher[i], on_connection, PENNY_FD_LISTEN + i, EV_READ);
	running = true;
	penny_shared_serving(&penny_edge.plane, true);
	apply();
}

void
penny_listener_stop(void)
{
	running = false;
	penny_shared_serving(&penny_edge.plane, false);
	apply();
	penny_timer_stop(&pause_timer);
	penny_timer_stop(&yield_timer);
	for (int i = 0; i < penny_edge.listeners; i++)
		close(PENNY_FD_LISTEN + i);
}

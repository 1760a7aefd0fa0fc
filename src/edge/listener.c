/*-------------------------------------------------------------------------
 *
 * listener.c
 *		accept4() until there is nothing more, within the limits.
 *
 * The gateway made the sockets and keeps them, so the backlog outlives this
 * process.  Several edges may accept from the same socket, so finding nothing
 * there is normal.
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

#define BATCH 64         /* accepted in a row, then others have their turn */
#define PAUSE 250        /* ms */
#define TELL_AGAIN 60000 /* ms between lines of the log about that */

static ev_io watcher[PENNY_MAX_LISTEN];
static PennyTimer pause_timer;
static uint32_t max_connections; /* that the descriptors allow */
static bool running;
static bool paused;

static char too_many[384];
static char too_many_of_yours[384];

static void
set_running(bool run)
{
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
	set_running(false);
	penny_timer_set(&pause_timer, penny_edge.now + PAUSE);
}

void
penny_listener_resume(void)
{
	if (!paused || !running)
		return;
	paused = false;
	penny_timer_stop(&pause_timer);
	set_running(true);
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
	uint32_t limit = penny_edge.settings.max_connections;
	char peer[PENNY_PEER_TEXT];
	PennyAddress *address;
	bool loopback;

	if (limit > max_connections)
		limit = max_connections;
	if (penny_connections() >= limit)
	{
		refuse(fd, too_many);
		return;
	}
	address = penny_address_take(from);
	if (address == NULL)
	{
		refuse(fd, too_many_of_yours);
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
	(void) loop;
	(void) events;
	for (int i = 0; i < BATCH; i++)
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
	penny_timer_init(&pause_timer, on_pause_over);
	for (int i = 0; i < penny_edge.listeners; i++)
		ev_io_init(&watcher[i], on_connection, PENNY_FD_LISTEN + i, EV_READ);
	running = true;
	set_running(true);
}

void
penny_listener_stop(void)
{
	running = false;
	set_running(false);
	penny_timer_stop(&pause_timer);
	for (int i = 0; i < penny_edge.listeners; i++)
		close(PENNY_FD_LISTEN + i);
}

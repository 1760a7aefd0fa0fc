/*-------------------------------------------------------------------------
 *
 * connection.c
 *		Sockets: adopting, reading, deadlines, closing.  Output is in output.c, input
 *		that is kept in input.c.
 *
 * libwebsockets does the socket work in its raw role: it owns the descriptor,
 * the registration with the loop and partial sends, and parses nothing.  It
 * calls back through loop.c.  TLS is between it and the protocol (tls.c).
 *
 * Closing in two steps: shut down the sending side, then read and drop what
 * the client still sends until it closes too or LINGER is over.  Closing at
 * once with unread input makes the kernel send a reset, which can take the
 * answer away before the client has read it.
 *
 * While output is blocked, libwebsockets does not read but would be told of
 * readable input again and again; so reading is stopped meanwhile.
 *
 *-------------------------------------------------------------------------
 */
#include "edge/connection.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <libwebsockets.h>

#include "edge/http.h"
#include "edge/input.h"
#include "edge/listener.h"
#include "edge/loop.h"
#include "edge/output.h"
#include "edge/tls.h"

#define LINGER 2000      /* ms to wait for the client's end */
#define DRAIN_LINGER 400 /* ms, when the edge is to stop */
#define ESTABLISHED 1    /* of tcpi_state; <netinet/tcp.h> excludes <linux/tcp.h> */
#define LOOK 1000        /* ms between looks whether one not read has gone */

static PennyConnection *connections; /* list of all */
static PennyConnection *cut_list;    /* to be freed at the end of the turn */
static uint32_t count;

static void on_timer(PennyTimer *timer);
static void release(PennyConnection *connection);

static void
link_connection(PennyConnection *connection)
{
	connection->next = connections;
	if (connections != NULL)
		connections->prev = connection;
	connections = connection;
	count++;
	penny_count(&penny_edge.plane, PENNY_COUNT_CONNECTIONS, 1);
}

static void
unlink_connection(PennyConnection *connection)
{
	if (connection->prev != NULL)
		connection->prev->next = connection->next;
	else
		connections = connection->next;
	if (connection->next != NULL)
		connection->next->prev = connection->prev;
	count--;
	penny_count(&penny_edge.plane, PENNY_COUNT_CONNECTIONS, -1);
}

/* Make a connection of an accepted socket. */
bool
penny_connection_adopt(int fd, PennyAddress *address, const char *peer, bool loopback)
{
	PennyConnection *connection = penny_alloc(sizeof(*connection));

	memset(connection, 0, sizeof(*connection));
	connection->address = address;
	connection->loopback = loopback;
	connection->reading = true;
	if (penny_tls_wanted())
		connection->tls = penny_tls_open();
	memcpy(connection->peer, peer, PENNY_PEER_TEXT);
	penny_timer_init(&connection->timer, on_timer);
	link_connection(connection);
	connection->wsi = penny_loop_adopt(fd, connection);
	if (connection->wsi == NULL)
	{
		release(connection);
		return false;
	}
	penny_http_open(connection);
	return true;
}

uint32_t
penny_connections(void)
{
	return count;
}

/* Of those with something queued, who has not taken all of a write for the longest time. */
PennyConnection *
penny_connections_slowest(void)
{
	PennyConnection *slowest = NULL;

	for (PennyConnection *one = connections; one != NULL; one = one->next)
	{
		if (one->blocked && one->queued > 0 &&
			(slowest == NULL || one->blocked_since < slowest->blocked_since))
			slowest = one;
	}
	return slowest;
}

/* ---- input ------------------------------------------------------------- */

/* Bytes came from the client. */
void
penny_connection_readable(PennyConnection *connection, char *bytes, size_t len)
{
	if (connection->state != PENNY_OPEN)
		return;
	if (connection->tls != NULL)
		penny_tls_input(connection, bytes, len);
	else
		connection->protocol->input(connection, bytes, len);
}

void
penny_connection_pause(PennyConnection *connection, bool pause)
{
	if (pause && connection->look_at == 0)
		connection->look_at = penny_edge.now + LOOK;
	else if (!pause)
		connection->look_at = 0;
	connection->paused = pause;
	penny_connection_set_timer(connection);
	penny_connection_set_reading(connection);
}

/* Tell libwebsockets whether to read, when that changes. */
void
penny_connection_set_reading(PennyConnection *connection)
{
	bool reading = !connection->blocked && (!connection->paused || connection->state != PENNY_OPEN);

	if (connection->state == PENNY_CUT || reading == connection->reading)
		return;
	connection->reading = reading;
	if (lws_rx_flow_control(connection->wsi, reading) != 0)
		penny_connection_cut(connection);
}

/* ---- deadlines ----------------------------------------------------------- */

void
penny_connection_deadline(PennyConnection *connection, uint64_t deadline)
{
	connection->deadline = deadline;
	penny_connection_set_timer(connection);
}

/* Set the timer to the earlier of both deadlines. */
void
penny_connection_set_timer(PennyConnection *connection)
{
	uint64_t due = connection->deadline;

	if (connection->write_deadline != 0 && (due == 0 || connection->write_deadline < due))
		due = connection->write_deadline;
	if (connection->look_at != 0 && (due == 0 || connection->look_at < due))
		due = connection->look_at;
	/* Without one the timer may come up once more, and finds nothing to do. */
	if (due != 0)
		penny_timer_set(&connection->timer, due);
}

/* Did the peer take enough since the write deadline was set? */
static bool
write_progressed(PennyConnection *connection)
{
	const PennyEdgeSettings *settings = &penny_edge.settings;
	uint64_t least = (uint64_t) settings->min_body_rate * settings->write_timeout / 1000;
	uint64_t acknowledged = penny_connection_acknowledged(connection);
	bool progressed = acknowledged - connection->acknowledged >= (least > 0 ? least : 1);

	connection->acknowledged = acknowledged;
	return progressed;
}

/* A socket that is not read does not tell that the client has closed it. */
static bool
has_gone(const PennyConnection *connection)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	memset(&info, 0, sizeof(info));
	return getsockopt(lws_get_socket_fd(connection->wsi), IPPROTO_TCP, TCP_INFO, &info, &len) ==
			   0 &&
		   info.tcpi_state != ESTABLISHED;
}

static void
on_timer(PennyTimer *timer)
{
	PennyConnection *connection = penny_timer_owner(timer, PennyConnection, timer);
	uint64_t now = penny_edge.now;

	if (connection->state == PENNY_CUT)
		return;
	if (connection->write_deadline != 0 && connection->write_deadline <= now)
	{
		if (connection->state == PENNY_LINGERING || !write_progressed(connection))
		{
			penny_connection_cut(connection);
			return;
		}
		connection->write_deadline = now + penny_edge.settings.write_timeout;
	}
	if (connection->look_at != 0 && connection->look_at <= now)
	{
		connection->look_at = now + LOOK;
		if (connection->state == PENNY_OPEN && has_gone(connection))
		{
			penny_connection_cut(connection);
			return;
		}
	}
	if (connection->deadline != 0 && connection->deadline <= now)
	{
		connection->deadline = 0;
		if (connection->state == PENNY_OPEN)
			connection->protocol->expired(connection);
		else if (connection->state == PENNY_FLUSHING)
		{
			penny_connection_cut(connection);
			return;
		}
	}
	penny_connection_set_timer(connection);
}

/* Bytes that the peer's kernel has acknowledged so far. */
uint64_t
penny_connection_acknowledged(const PennyConnection *connection)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);

	memset(&info, 0, sizeof(info));
	if (getsockopt(lws_get_socket_fd(connection->wsi), IPPROTO_TCP, TCP_INFO, &info, &len) != 0)
		return 0;
	return info.tcpi_bytes_acked;
}

void
penny_connection_limit_unsent(PennyConnection *connection, int bytes)
{
	if (setsockopt(lws_get_socket_fd(connection->wsi), IPPROTO_TCP, TCP_NOTSENT_LOWAT, &bytes,
				   sizeof(bytes)) != 0)
		penny_log(PENNY_LOG_DEBUG, "could not limit unsent bytes: %s", strerror(errno));
}

void
penny_connection_limit_silence(PennyConnection *connection, uint32_t ms)
{
	if (setsockopt(lws_get_socket_fd(connection->wsi), IPPROTO_TCP, TCP_USER_TIMEOUT, &ms,
				   sizeof(ms)) != 0)
		penny_log(PENNY_LOG_DEBUG, "could not limit silence: %s", strerror(errno));
}

/* ---- closing ------------------------------------------------------------- */

/* Say goodbye in TLS; false when that has to wait, or the connection was cut. */
static bool
say_goodbye(PennyConnection *connection)
{
	const char *bytes;
	size_t len;

	if (connection->tls == NULL || !penny_tls_goodbye(connection->tls, &bytes, &len))
		return true;
	return penny_output_send(connection, bytes, len) && !connection->blocked;
}

/*
 * All output is with the kernel: say goodbye and wait for the client's.  Comes
 * again when the goodbye did not go at once.
 */
void
penny_connection_start_linger(PennyConnection *connection)
{
	if (!say_goodbye(connection))
		return;
	connection->state = PENNY_LINGERING;
	penny_connection_set_reading(connection);
	if (connection->state == PENNY_CUT)
		return;
	if (shutdown(lws_get_socket_fd(connection->wsi), SHUT_WR) != 0)
	{
		penny_connection_cut(connection);
		return;
	}
	connection->deadline = 0;
	connection->write_deadline = penny_edge.now + (penny_edge.draining ? DRAIN_LINGER : LINGER);
	penny_connection_set_timer(connection);
}

void
penny_connection_close(PennyConnection *connection)
{
	if (connection->state != PENNY_OPEN)
		return;
	connection->state = PENNY_FLUSHING;
	connection->deadline = 0;
	if (penny_connection_is_drained(connection))
		penny_connection_start_linger(connection);
	else
		penny_connection_set_timer(connection);
}

void
penny_connection_close_by(PennyConnection *connection, uint64_t deadline)
{
	penny_connection_close(connection);
	if (connection->state == PENNY_FLUSHING)
		penny_connection_deadline(connection, deadline);
}

void
penny_connection_cut(PennyConnection *connection)
{
	if (connection->state == PENNY_CUT)
		return;
	connection->state = PENNY_CUT;
	connection->doomed = true;
	connection->next_cut = cut_list;
	cut_list = connection;
}

/* Free what was cut; libwebsockets closes and calls penny_connection_gone(). */
void
penny_connections_reap(void)
{
	while (cut_list != NULL)
	{
		PennyConnection *connection = cut_list;

		cut_list = connection->next_cut;
		connection->doomed = false;
		lws_set_timeout(connection->wsi, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_SYNC);
	}
}

/* libwebsockets closes the socket: the client's doing, or ours. */
void
penny_connection_gone(PennyConnection *connection)
{
	/* While it is being adopted the caller releases it. */
	if (connection->wsi == NULL)
		return;
	if (connection->doomed)
	{
		for (PennyConnection **link = &cut_list; *link != NULL; link = &(*link)->next_cut)
		{
			if (*link == connection)
			{
				*link = connection->next_cut;
				break;
			}
		}
	}
	connection->state = PENNY_CUT;
	connection->protocol->closed(connection);
	release(connection);
}

static void
release(PennyConnection *connection)
{
	penny_timer_stop(&connection->timer);
	penny_output_release(connection);
	penny_tls_close(connection->tls);
	unlink_connection(connection);
	penny_address_release(connection->address);
	penny_listener_resume();
	penny_input_release(connection);
	free(connection);
}

void
penny_connections_drain(void)
{
	for (PennyConnection *connection = connections; connection != NULL;)
	{
		PennyConnection *next = connection->next; /* nothing is freed here */

		if (connection->state == PENNY_OPEN)
			connection->protocol->drain(connection);
		else if (connection->state == PENNY_LINGERING &&
				 connection->write_deadline > penny_edge.now + DRAIN_LINGER)
		{
			connection->write_deadline = penny_edge.now + DRAIN_LINGER;
			penny_connection_set_timer(connection);
		}
		connection = next;
	}
}

void
penny_connections_interrupt(void)
{
	for (PennyConnection *connection = connections; connection != NULL;)
	{
		PennyConnection *next = connection->next;

		if (connection->state == PENNY_OPEN && connection->protocol->interrupt != NULL)
			connection->protocol->interrupt(connection);
		connection = next;
	}
}

/*-------------------------------------------------------------------------
 *
 * load.c
 *		Closed-loop HTTP load: N keep-alive connections for T seconds.
 *
 *	load -p port -c connections -t seconds -k tokenfile -f targets
 *		 [-m POST -a acknowledged] [-H header ...]
 *
 * Each connection sends a request, waits for the whole answer and sends the
 * next; targets are taken in turn.  With -m POST the body is a message with a
 * client_id of its own, and the client_id of every request that was answered
 * 200 or 201 goes into a file: what the server promised to have stored.
 *
 * A broken or refused connection is counted and made again after a
 * millisecond, so that the load goes on over a restart of the server.  The
 * result is one line of JSON.
 *
 * One thread, one epoll: the client must cost little beside the server with
 * which it shares the machine, and tells what it cost (cpu_us).
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"

#define BUFFER_SIZE (1024 * 1024)
#define RECONNECT_MS 1

typedef struct Connection
{
	int fd; /* -1: to be made again */
	bool connecting;
	uint64_t sent; /* when the request went out */
	char *buf;
	size_t have;
	size_t need; /* bytes of the whole answer, 0 = headers not complete */
	int status;
	char client_id[64];
} Connection;

static struct
{
	int port;
	int connections;
	double seconds;
	bool post;
	char headers[1024]; /* further lines of each request */
	char *token;
	char **targets;
	int ntargets;
	FILE *acknowledged;
} opt;

static struct
{
	uint64_t requests; /* answered 2xx or 304 */
	uint64_t refused;  /* answered with another status */
	uint64_t broken;   /* connection ended before the answer */
	uint64_t failed;   /* connection not made */
	uint64_t bytes;
	int last_refusal; /* a status of those, for the report */
	Histogram latency;
} result;

static int epoll;
static int down; /* connections to be made again */
static uint64_t serial;

static void parse_options(int argc, char **argv);
static void run(Connection *conns);
static void connection_open(Connection *conn);
static void connection_lost(Connection *conn, uint64_t *counter);
static void connection_ready(Connection *conn);
static void request_send(Connection *conn);
static bool answer_parse(Connection *conn);
static void answer_done(Connection *conn);
static void report(double seconds);

int
main(int argc, char **argv)
{
	Connection *conns;
	uint64_t start;
	int i;

	parse_options(argc, argv);
	end_on_term();
	epoll = epoll_create1(EPOLL_CLOEXEC);
	conns = calloc((size_t) opt.connections, sizeof(*conns));
	for (i = 0; i < opt.connections; i++)
	{
		conns[i].buf = malloc(BUFFER_SIZE + 1);
		if (conns[i].buf == NULL)
			fail("out of memory");
		connection_open(&conns[i]);
	}
	start = now_ns();
	run(conns);
	report((double) (now_ns() - start) / 1e9);
	if (opt.acknowledged != NULL && fclose(opt.acknowledged) != 0)
		fail("could not write the acknowledged messages: %s", strerror(errno));
	return 0;
}

static void
parse_options(int argc, char **argv)
{
	const char *targets = NULL;
	int c;

	opt.connections = 1;
	opt.seconds = 1;
	while ((c = getopt(argc, argv, "p:c:t:k:f:m:a:H:")) != -1)
	{
		if (c == 'p')
			opt.port = (int) strtol(optarg, NULL, 10);
		else if (c == 'c')
			opt.connections = (int) strtol(optarg, NULL, 10);
		else if (c == 't')
			opt.seconds = strtod(optarg, NULL);
		else if (c == 'k')
			opt.token = read_file(optarg);
		else if (c == 'f')
			targets = optarg;
		else if (c == 'H')
			snprintf(opt.headers + strlen(opt.headers), sizeof(opt.headers) - strlen(opt.headers),
					 "%s\r\n", optarg);
		else if (c == 'm')
			opt.post = strcmp(optarg, "POST") == 0;
		else if (c == 'a' && (opt.acknowledged = fopen(optarg, "w")) == NULL)
			fail("could not open \"%s\": %s", optarg, strerror(errno));
		else if (c != 'a')
			exit(2);
	}
	if (opt.port == 0 || targets == NULL || opt.connections < 1)
		fail("usage: load -p port -f targets [-c connections] [-t seconds] [-k tokenfile] "
			 "[-m POST] [-a acknowledged]");
	opt.targets = read_lines(targets, &opt.ntargets);
	if (opt.ntargets == 0)
		fail("no targets in \"%s\"", targets);
}

/* Serve the connections until the time is over. */
static void
run(Connection *conns)
{
	uint64_t end = now_ns() + (uint64_t) (opt.seconds * 1e9);
	struct epoll_event events[64];

	while (now_ns() < end && !ended())
	{
		int n = epoll_wait(epoll, events, 64, down > 0 ? RECONNECT_MS : 100);
		int i;

		for (i = 0; i < n; i++)
			connection_ready(events[i].data.ptr);
		for (i = 0; down > 0 && i < opt.connections; i++)
			if (conns[i].fd < 0)
			{
				down--;
				connection_open(&conns[i]);
			}
	}
}

static void
connection_open(Connection *conn)
{
	struct epoll_event event = {.events = EPOLLOUT, .data.ptr = conn};

	conn->connecting = true;
	conn->have = 0;
	conn->need = 0;
	conn->fd = tcp_connect(opt.port, 0, true);
	if (conn->fd < 0)
	{
		down++;
		result.failed++;
		return;
	}
	epoll_ctl(epoll, EPOLL_CTL_ADD, conn->fd, &event);
}

/* Forget a connection; it is made again on the next turn. */
static void
connection_lost(Connection *conn, uint64_t *counter)
{
	close(conn->fd);
	conn->fd = -1;
	down++;
	(*counter)++;
}

/* The socket is connected, or has bytes, or ended. */
static void
connection_ready(Connection *conn)
{
	ssize_t got;

	if (conn->connecting)
	{
		struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};
		int error = 0;
		socklen_t len = sizeof(error);

		getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &len);
		if (error != 0)
		{
			connection_lost(conn, &result.failed);
			return;
		}
		conn->connecting = false;
		epoll_ctl(epoll, EPOLL_CTL_MOD, conn->fd, &event);
		request_send(conn);
		return;
	}
	got = recv(conn->fd, conn->buf + conn->have, BUFFER_SIZE - conn->have, 0);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0)
	{
		connection_lost(conn, &result.broken);
		return;
	}
	conn->have += (size_t) got;
	if (conn->need == 0 && !answer_parse(conn))
		return;
	if (conn->have >= conn->need)
		answer_done(conn);
	else if (conn->have == BUFFER_SIZE)
		fail("answer larger than %d bytes", BUFFER_SIZE);
}

static void
request_send(Connection *conn)
{
	char request[4096];
	char body[512] = "";
	const char *target = opt.targets[serial % (uint64_t) opt.ntargets];
	int len;

	serial++;
	if (opt.post)
	{
		snprintf(conn->client_id, sizeof(conn->client_id), "00000000-0000-4000-8000-%04x%08x",
				 (unsigned) getpid() & 0xffff, (unsigned) serial);
		snprintf(body, sizeof(body),
				 "{\"role\":\"user\",\"client_id\":\"%s\",\"content\":\"A message that has to be "
				 "there after it was acknowledged, whatever happens to the edge.\"}",
				 conn->client_id);
	}
	len = snprintf(request, sizeof(request),
				   "%s %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: application/json\r\n"
				   "Authorization: Bearer %s\r\n%s",
				   opt.post ? "POST" : "GET", target, opt.port, opt.token ? opt.token : "none",
				   opt.headers);
	if (opt.post)
		len += snprintf(request + len, sizeof(request) - (size_t) len,
						"Content-Type: application/json\r\nContent-Length: %zu\r\n", strlen(body));
	len += snprintf(request + len, sizeof(request) - (size_t) len, "\r\n%s", body);
	conn->have = 0;
	conn->need = 0;
	conn->sent = now_ns();
	if (!send_all(conn->fd, request, (size_t) len))
		connection_lost(conn, &result.broken);
}

/* Read status and length once the headers are complete. */
static bool
answer_parse(Connection *conn)
{
	char *end;
	char *line;

	conn->buf[conn->have] = '\0';
	end = strstr(conn->buf, "\r\n\r\n");
	if (end == NULL)
		return false;
	if (strncmp(conn->buf, "HTTP/1.1 ", 9) != 0)
		fail("not an HTTP answer: %.40s", conn->buf);
	conn->status = (int) strtol(conn->buf + 9, NULL, 10);
	conn->need = (size_t) (end + 4 - conn->buf);
	for (line = strstr(conn->buf, "\r\n"); line < end; line = strstr(line + 2, "\r\n"))
		if (strncasecmp(line + 2, "content-length:", 15) == 0)
		{
			conn->need += strtoul(line + 17, NULL, 10);
			return true;
		}
	if (conn->status != 204 && conn->status != 304)
		fail("answer without Content-Length: %.200s", conn->buf);
	return true;
}

/* Count the answer and go on. */
static void
answer_done(Connection *conn)
{
	histogram_add(&result.latency, now_ns() - conn->sent);
	result.bytes += conn->need;
	if (conn->status < 300 || conn->status == 304)
	{
		result.requests++;
		if (opt.acknowledged != NULL)
			fprintf(opt.acknowledged, "%s\n", conn->client_id);
	}
	else
	{
		result.refused++;
		result.last_refusal = conn->status;
	}
	if (strcasestr(conn->buf, "\r\nconnection: close\r\n") != NULL)
	{
		uint64_t orderly = 0;

		connection_lost(conn, &orderly);
	}
	else
		request_send(conn);
}

static void
report(double seconds)
{
	double answers = (double) result.latency.count;

	printf("{\"requests\":%llu,\"refused\":%llu,\"refusal\":%d,\"broken\":%llu,\"failed\":%llu,"
		   "\"seconds\":%.3f,\"rate\":%.1f,\"bytes\":%.0f,\"cpu_us\":%.2f,\"p50_us\":%.1f,"
		   "\"p95_us\":%.1f,\"p99_us\":%.1f,\"max_us\":%.1f}\n",
		   (unsigned long long) result.requests, (unsigned long long) result.refused,
		   result.last_refusal, (unsigned long long) result.broken,
		   (unsigned long long) result.failed, seconds, (double) result.requests / seconds,
		   answers > 0 ? (double) result.bytes / answers : 0,
		   answers > 0 ? (double) cpu_ns() / 1e3 / answers : 0, histogram_us(&result.latency, 0.5),
		   histogram_us(&result.latency, 0.95), histogram_us(&result.latency, 0.99),
		   histogram_us(&result.latency, 1));
}

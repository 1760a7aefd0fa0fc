/*-------------------------------------------------------------------------
 *
 * crowd.c
 *		Many honest WebSocket clients, in two modes.
 *
 *	crowd -p port -k tokenfile -n sockets -a addresses [-r room]
 *		Opens so many, each signed in (and joined to the room), prints one line
 *		of JSON when they stand, then answers pings until its input ends, and
 *		prints how many the server has ended meanwhile.
 *
 *	crowd -p port -k tokenfile -n rounds -a addresses -r room -f target -c processes
 *		Each round connects, has a request answered, upgrades the connection,
 *		joins (with presence or a filter, or without) and goes away: orderly, by end of file, by reset, without waiting
 *		for the answer to its join, or with a request under way.  Prints one
 *		line of JSON.
 *
 * They come from so many addresses 127.0.x.y.
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client.h"

#define ANSWER_MS 10000

static struct
{
	int port;
	char *token;
	int count;
	int addresses;
	const char *room;
	const char *target;
	int processes;
} opt;

/* Sockets that the server has ended. */
static int lost;

static void parse_options(int argc, char **argv);
static void hold(void);
static int hold_one(int serial);
static bool keep(int epoll, int timeout);
static void churn(void);
static bool churn_one(int serial);
static bool request(int fd, bool wait);
static void leave(WebSocket *ws, int serial);
static bool say(WebSocket *ws, const char *text, const char *answer);
static bool join(WebSocket *ws, int serial, bool wait);

int
main(int argc, char **argv)
{
	parse_options(argc, argv);
	raise_descriptors();
	if (opt.target == NULL)
		hold();
	else
		churn();
	return 0;
}

static void
parse_options(int argc, char **argv)
{
	int c;

	opt.addresses = 1;
	opt.processes = 1;
	while ((c = getopt(argc, argv, "p:k:n:a:r:f:c:")) != -1)
	{
		if (c == 'p')
			opt.port = (int) strtol(optarg, NULL, 10);
		else if (c == 'k')
			opt.token = read_file(optarg);
		else if (c == 'n')
			opt.count = (int) strtol(optarg, NULL, 10);
		else if (c == 'a')
			opt.addresses = (int) strtol(optarg, NULL, 10);
		else if (c == 'r')
			opt.room = optarg;
		else if (c == 'f')
			opt.target = optarg;
		else if (c == 'c')
			opt.processes = (int) strtol(optarg, NULL, 10);
		else
			exit(2);
	}
	if (opt.port == 0 || opt.token == NULL || opt.count == 0 ||
		(opt.target != NULL && opt.room == NULL))
		fail("usage: crowd -p port -k tokenfile -n count [-a addresses] [-r room] "
			 "[-f target -c processes]");
}

/* ---- standing --------------------------------------------------------------- */

static void
hold(void)
{
	struct epoll_event event = {.events = EPOLLIN, .data.fd = STDIN_FILENO};
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	uint64_t start = now_ns();
	int i;

	for (i = 0; i < opt.count; i++)
	{
		event.data.fd = hold_one(i);
		epoll_ctl(epoll, EPOLL_CTL_ADD, event.data.fd, &event);
		keep(epoll, 0);
	}
	printf("{\"open\":%d,\"seconds\":%.1f}\n", opt.count, (double) (now_ns() - start) / 1e9);
	fflush(stdout);
	event.data.fd = STDIN_FILENO;
	epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event);
	while (keep(epoll, -1))
		;
	printf("{\"ended\":%d}\n", lost);
}

/* Open one; its socket.  A pong comes after the token was looked at. */
static int
hold_one(int serial)
{
	WebSocket ws;
	int fd;

	if (!websocket_open(&ws, opt.port, serial % opt.addresses + 2, opt.token) ||
		!say(&ws, "{\"type\":\"ping\",\"ref\":\"p\"}", "\"pong\"") ||
		(opt.room != NULL && !join(&ws, 0, true)))
		fail("WebSocket %d was refused", serial);
	fd = dup(ws.fd);
	websocket_close(&ws);
	return fd;
}

/* Answer pings that came; false: the input has ended. */
static bool
keep(int epoll, int timeout)
{
	struct epoll_event events[256];
	int n = epoll_wait(epoll, events, 256, timeout);
	int i;

	for (i = 0; i < n; i++)
	{
		WebSocket ws = {.fd = events[i].data.fd};
		Message message;

		if (ws.fd == STDIN_FILENO)
			return false;
		if (!websocket_read(&ws))
			lost++;
		else
		{
			while (websocket_next(&ws, &message))
				;
			free(ws.buf);
		}
	}
	return true;
}

/* ---- coming and going --------------------------------------------------------- */

static void
churn(void)
{
	int *failed = mmap(NULL, sizeof(int) * (size_t) opt.processes, PROT_READ | PROT_WRITE,
					   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t start = now_ns();
	int sum = 0;
	int i;
	int p;

	if (failed == MAP_FAILED)
		fail("out of memory");
	for (p = 0; p < opt.processes; p++)
	{
		if (fork() != 0)
			continue;
		for (i = p; i < opt.count; i += opt.processes)
			failed[p] += churn_one(i) ? 0 : 1;
		_exit(0);
	}
	while (wait(NULL) > 0)
		;
	for (p = 0; p < opt.processes; p++)
		sum += failed[p];
	printf("{\"count\":%d,\"failed\":%d,\"seconds\":%.1f}\n", opt.count, sum,
		   (double) (now_ns() - start) / 1e9);
}

/* False: something was refused. */
static bool
churn_one(int serial)
{
	WebSocket ws = {.fd = tcp_connect(opt.port, serial % opt.addresses + 2, false)};

	if (ws.fd < 0)
		return false;
	if (serial % 5 == 4)
	{
		request(ws.fd, false);
		leave(&ws, serial / 5);
		return true;
	}
	if (!request(ws.fd, true) || !websocket_upgrade(&ws, opt.port, opt.token) ||
		!join(&ws, serial, serial % 5 != 3))
	{
		websocket_close(&ws);
		return false;
	}
	leave(&ws, serial);
	return true;
}

/* Send a request and read the whole answer, if it is waited for. */
static bool
request(int fd, bool wait)
{
	char bytes[65536];
	size_t have = 0;
	size_t need = sizeof(bytes) - 1;

	snprintf(bytes, sizeof(bytes),
			 "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAuthorization: Bearer %s\r\n\r\n",
			 opt.target, opt.port, opt.token);
	if (!send_all(fd, bytes, strlen(bytes)) || !wait)
		return !wait;
	while (have < need)
	{
		ssize_t got = recv(fd, bytes + have, sizeof(bytes) - 1 - have, 0);
		char *end;
		char *length;

		if (got <= 0)
			return false;
		have += (size_t) got;
		bytes[have] = '\0';
		end = strstr(bytes, "\r\n\r\n");
		length = strcasestr(bytes, "\r\ncontent-length:");
		if (end != NULL && length != NULL)
			need = (size_t) (end + 4 - bytes) + strtoul(length + 17, NULL, 10);
	}
	return strncmp(bytes, "HTTP/1.1 200", 12) == 0;
}

/* Go away: with a close frame, at once, or by a reset. */
static void
leave(WebSocket *ws, int serial)
{
	static const char goodbye[] = "\x88\x82\0\0\0\0\x03\xe8";
	struct linger linger = {.l_onoff = 1, .l_linger = 0};
	char rest[256];

	if (serial % 3 == 0)
	{
		/* after a request alone these are no frame but bytes that are not a request either */
		send_all(ws->fd, goodbye, sizeof(goodbye) - 1);
		while (recv(ws->fd, rest, sizeof(rest), 0) > 0)
			;
	}
	else if (serial % 3 == 1)
		setsockopt(ws->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	websocket_close(ws);
}

/* Send a message and wait for an answer that contains a text. */
static bool
say(WebSocket *ws, const char *text, const char *answer)
{
	Message message;

	if (!websocket_send(ws, text))
		return false;
	while (websocket_wait(ws, &message, ANSWER_MS))
		if (strstr(message.data, answer) != NULL)
			return true;
	return false;
}

/* Plainly, or with something that the server has to keep for it. */
static bool
join(WebSocket *ws, int serial, bool wait)
{
	static const char *const wishes[] = {"", ",\"presence\":true",
										 ",\"filter\":{\"types\":[\"message\"]}",
										 ",\"presence\":true,\"conflate\":true"};
	char text[256];

	snprintf(text, sizeof(text), "{\"type\":\"join\",\"ref\":\"j\",\"room\":\"%s\"%s}", opt.room,
			 wishes[serial % 4]);
	return wait ? say(ws, text, "\"joined\"") : websocket_send(ws, text);
}

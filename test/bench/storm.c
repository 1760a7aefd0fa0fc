/*-------------------------------------------------------------------------
 *
 * storm.c
 *		Many WebSocket clients that lose their server at once and come back.
 *
 *	storm -p port -f clients -a addresses
 *
 * Each line of the file is a client: its token, its room, and the value of
 * "since" that it comes back with, separated by blanks.  All connect and join,
 * a few at a time, then one line of JSON says that they stand.  After the
 * first byte of input, who loses its connection connects again at once and
 * joins with its since; what is refused or answered with 503 is tried again
 * after a while.  When all have lost their connection and are in again, the
 * time that took is told in a line of JSON.
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"

#define AT_A_TIME 100 /* connections being made before the storm */
#define RETRY_MS 200  /* and as much again at random */
#define GIVE_UP_MS 60000
#define BUFFER 4096 /* what is kept of an answer: its end is all that counts */

typedef enum State
{
	OUT,
	CONNECTING,
	UPGRADING,
	JOINING,
	IN
} State;

typedef struct Client
{
	State state;
	int fd;
	int serial;
	bool lost;    /* in the storm */
	uint64_t due; /* OUT: connects then */
	const char *token;
	const char *room;
	const char *since;
	char buf[BUFFER];
	size_t have;
} Client;

static Client *clients;
static int count;
static int port;
static int addresses = 1;
static int epoll;
static int in;      /* are IN */
static int pending; /* are on their way */
static bool storm;
static int again;    /* lost their connection and are in again */
static int refused;  /* connections */
static int answered; /* joins, also with an error */
static int unavailable;
static uint64_t storm_began;
static Histogram histogram;

static void
read_clients(const char *path)
{
	char **lines = read_lines(path, &count);

	clients = calloc((size_t) count, sizeof(*clients));
	for (int i = 0; i < count; i++)
	{
		clients[i] = (Client){.fd = -1, .serial = i};
		clients[i].token = strtok(lines[i], " ");
		clients[i].room = strtok(NULL, " ");
		clients[i].since = strtok(NULL, "");
		if (clients[i].since == NULL)
			fail("line %d of %s is no client", i + 1, path);
	}
}

static void
retry(Client *client)
{
	if (client->fd >= 0)
		close(client->fd);
	client->fd = -1;
	pending -= client->state != OUT && client->state != IN;
	in -= client->state == IN;
	client->state = OUT;
	client->have = 0;
	client->due = now_ns() + (RETRY_MS + (uint64_t) (rand() % RETRY_MS)) * 1000000;
}

static void
begin(Client *client)
{
	struct epoll_event event = {.events = EPOLLIN | EPOLLOUT, .data.ptr = client};

	client->fd = tcp_connect(port, client->serial % addresses + 2, true);
	if (client->fd < 0)
	{
		refused++;
		retry(client);
		return;
	}
	client->state = CONNECTING;
	pending++;
	epoll_ctl(epoll, EPOLL_CTL_ADD, client->fd, &event);
}

static void
upgrade(Client *client)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
	char text[8192];

	snprintf(text, sizeof(text),
			 "GET /ws HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: Upgrade\r\n"
			 "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
			 "Sec-WebSocket-Key: cGVubnkgYmVuY2htYXJrIQ==\r\n"
			 "Authorization: Bearer %s\r\n\r\n",
			 port, client->token);
	if (!send_all(client->fd, text, strlen(text)))
	{
		refused++;
		retry(client);
		return;
	}
	client->state = UPGRADING;
	epoll_ctl(epoll, EPOLL_CTL_MOD, client->fd, &event);
}

static void
join(Client *client)
{
	WebSocket ws = {.fd = client->fd};
	char text[1024];

	snprintf(text, sizeof(text), "{\"type\":\"join\",\"room\":\"%s\"%s%s}", client->room,
			 storm ? ",\"since\":" : "", storm ? client->since : "");
	client->state = JOINING;
	client->have = 0;
	if (!websocket_send(&ws, text))
		retry(client);
}

static void
came_in(Client *client)
{
	client->state = IN;
	client->have = 0;
	pending--;
	in++;
	if (!client->lost)
		return;
	again++;
	histogram_add(&histogram, now_ns() - storm_began);
}

/* Bytes came, or the end of the connection did. */
static void
take(Client *client)
{
	ssize_t got;

	if (client->have > BUFFER / 2)
	{
		memmove(client->buf, client->buf + client->have - 256, 256);
		client->have = 256;
	}
	got = recv(client->fd, client->buf + client->have, BUFFER - 1 - client->have, 0);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0)
	{
		bool was_in = client->state == IN;

		refused += !was_in;
		retry(client);
		if (storm && was_in)
		{
			client->lost = true;
			client->due = 0;
		}
		return;
	}
	client->have += (size_t) got;
	client->buf[client->have] = '\0';
	if (client->state == UPGRADING && memmem(client->buf, client->have, "\r\n\r\n", 4) != NULL)
	{
		if (strncmp(client->buf, "HTTP/1.1 101", 12) == 0)
		{
			join(client);
			return;
		}
		unavailable += strncmp(client->buf, "HTTP/1.1 503", 12) == 0;
		answered++;
		retry(client);
	}
	else if (client->state == JOINING && memmem(client->buf, client->have, "\"joined\"", 8) != NULL)
	{
		answered++;
		came_in(client);
	}
	else if (client->state == JOINING && memmem(client->buf, client->have, "\"error\"", 7) != NULL)
	{
		answered++;
		unavailable += memmem(client->buf, client->have, "PY503", 5) != NULL;
		retry(client);
	}
	else if (client->state == IN)
		client->have = 0;
}

/* One turn; false when input has ended, or begun. */
static bool
turn(bool input)
{
	struct epoll_event events[256];
	int n = epoll_wait(epoll, events, 256, 20);
	uint64_t now = now_ns();
	bool more = true;

	for (int i = 0; i < n; i++)
	{
		Client *client = events[i].data.ptr;

		if (client == NULL)
			more = !input;
		else if (client->state == CONNECTING)
			upgrade(client);
		else
			take(client);
	}
	for (int i = 0; i < count && (storm || pending < AT_A_TIME); i++)
	{
		if (clients[i].state == OUT && clients[i].due <= now)
			begin(&clients[i]);
	}
	return more;
}

int
main(int argc, char **argv)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
	uint64_t end;
	int c;

	while ((c = getopt(argc, argv, "p:f:a:")) != -1)
	{
		if (c == 'p')
			port = (int) strtol(optarg, NULL, 10);
		else if (c == 'f')
			read_clients(optarg);
		else if (c == 'a')
			addresses = (int) strtol(optarg, NULL, 10);
		else
			exit(2);
	}
	if (port == 0 || count == 0)
		fail("usage: storm -p port -f clients [-a addresses]");
	raise_descriptors();
	epoll = epoll_create1(EPOLL_CLOEXEC);
	end = now_ns() + (uint64_t) 2 * GIVE_UP_MS * 1000000;
	while (in < count && now_ns() < end)
		turn(false);
	printf("{\"open\":%d}\n", in);
	fflush(stdout);
	epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event);
	while (turn(true))
		;
	epoll_ctl(epoll, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
	storm = true;
	refused = answered = unavailable = 0;
	storm_began = now_ns();
	end = storm_began + (uint64_t) GIVE_UP_MS * 1000000;
	while (again < count && now_ns() < end)
		turn(false);
	printf("{\"clients\":%d,\"joined\":%d,\"seconds\":%.2f,\"half\":%.2f,\"answered\":%d,"
		   "\"unavailable\":%d,\"refused\":%d}\n",
		   count, again, (double) histogram.max / 1e9, histogram_us(&histogram, 0.5) / 1e6,
		   answered, unavailable, refused);
	return 0;
}

/*-------------------------------------------------------------------------
 *
 * hostile.c
 *		Connections that mean harm, of several families, made by chance.
 *
 *	hostile -p port -k tokenfile -f target [-n connections | -t seconds]
 *			[-c at a time] [-r a second] [-a addresses] [-F families] [-s seed]
 *
 * Opens so many connections, or goes on for so long, with so many open at a
 * time; one that ended, or that lived as long as its family does, is replaced.
 * They come from that many addresses 127.0.x.y, so that ports and the server's
 * limit for an address suffice.  Families (-F, names with commas; else the
 * first eight in turn):
 *
 *	http		requests that break a rule each, then bytes changed by chance
 *	h2c			HTTP/2 by upgrade or at once, frames by chance behind
 *	websocket	an upgrade, then frames that break a rule each
 *	deflate		an upgrade that offers compression, compressed frames by chance
 *	slow		a good request, a byte at a time
 *	reset		good requests, then a reset instead of reading
 *	random		bytes by chance
 *	half		a good request cut somewhere, then the end
 *	slowhead	headers, a byte a second
 *	slowbody	a body, a byte a second
 *	slowread	requests one after the other, answers read a little a second
 *
 * Prints one line of JSON: connections made, refused by the kernel, turned
 * away by a limit (429, 503), and ended by the server.  One thread, one epoll.
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"
#include "hostile.h"

#define TICK_MS 5
#define SIP 512          /* bytes that a slow reader takes at a time */
#define FIRST_FAMILIES 8 /* those without -F */

typedef struct Family
{
	const char *name;
	void (*make)(void);
	int chunk;   /* bytes at a time, 0 = all */
	int gap_ms;  /* between two chunks, or two sips of one that does not read */
	int life_ms; /* after which it ends by itself */
	bool reads;
	bool resets; /* ends by a reset */
} Family;

typedef struct Attack
{
	int fd; /* -1: to be opened */
	const Family *family;
	bool connecting;
	bool answered; /* the first answer was looked at */
	char *bytes;
	size_t len;
	size_t sent;
	uint64_t next; /* when to send more, ns; 0 = nothing more */
	uint64_t end;  /* when to give up, ns */
} Attack;

static const Family families[] = {
	{"http", make_http, 0, 0, 300, true, false},
	{"h2c", make_h2c, 0, 0, 300, true, false},
	{"websocket", make_websocket, 0, 0, 300, true, false},
	{"deflate", make_deflate, 0, 0, 300, true, false},
	{"slow", make_request, 1, 20, 2000, true, false},
	{"reset", make_pipeline, 0, 0, 3, false, true},
	{"random", make_random, 0, 0, 300, true, false},
	{"half", make_half, 0, 0, 1, false, false},
	{"slowhead", make_request, 1, 1000, 3600000, true, false},
	{"slowbody", make_body, 1, 1000, 3600000, true, false},
	{"slowread", make_pipeline, 0, 1000, 3600000, false, true},
};
#define FAMILIES ((int) (sizeof(families) / sizeof(families[0])))

static struct
{
	int port;
	int addresses;
	int parallel;
	int rate;         /* connections a second, 0: as they come */
	long connections; /* 0: by time */
	double seconds;
	char *families; /* NULL: the first ones */
	const Family *chosen[FAMILIES];
	int nchosen;
} opt;

static struct
{
	long opened;
	long refused;
	long turned_away;
	long ended;
} result;

static int epoll;
static int alive;

static void parse_options(int argc, char **argv);
static void choose(char *names);
static void run(Attack *attacks);
static void attack_open(Attack *attack);
static void attack_ready(Attack *attack);
static void attack_send(Attack *attack);
static void attack_sip(Attack *attack, uint64_t now);
static void attack_read(Attack *attack);
static void attack_tick(Attack *attack, uint64_t now);
static void attack_close(Attack *attack);

int
main(int argc, char **argv)
{
	Attack *attacks;
	uint64_t start = now_ns();
	int i;

	parse_options(argc, argv);
	end_on_term();
	raise_descriptors();
	epoll = epoll_create1(EPOLL_CLOEXEC);
	attacks = calloc((size_t) opt.parallel, sizeof(*attacks));
	if (attacks == NULL)
		fail("out of memory");
	for (i = 0; i < opt.parallel; i++)
		attacks[i].fd = -1;
	run(attacks);
	printf("{\"opened\":%ld,\"refused\":%ld,\"turned_away\":%ld,\"ended\":%ld,\"seconds\":%.1f}\n",
		   result.opened, result.refused, result.turned_away, result.ended,
		   (double) (now_ns() - start) / 1e9);
	return 0;
}

static void
parse_options(int argc, char **argv)
{
	int c;

	opt.parallel = 1;
	opt.addresses = 1;
	while ((c = getopt(argc, argv, "p:k:f:n:t:c:r:a:F:s:")) != -1)
	{
		if (c == 'p')
			opt.port = (int) strtol(optarg, NULL, 10);
		else if (c == 'k')
			script.token = read_file(optarg);
		else if (c == 'f')
			script.target = optarg;
		else if (c == 'n')
			opt.connections = strtol(optarg, NULL, 10);
		else if (c == 't')
			opt.seconds = strtod(optarg, NULL);
		else if (c == 'c')
			opt.parallel = (int) strtol(optarg, NULL, 10);
		else if (c == 'r')
			opt.rate = (int) strtol(optarg, NULL, 10);
		else if (c == 'a')
			opt.addresses = (int) strtol(optarg, NULL, 10);
		else if (c == 'F')
			opt.families = optarg;
		else if (c == 's')
			script_seed(strtoull(optarg, NULL, 10));
		else
			exit(2);
	}
	if (opt.port == 0 || script.token == NULL || script.target == NULL || opt.parallel < 1)
		fail("usage: hostile -p port -k tokenfile -f target [-n connections | -t seconds] "
			 "[-c at a time] [-r a second] [-a addresses] [-F families] [-s seed]");
	for (c = 0; c < FIRST_FAMILIES && opt.families == NULL; c++)
		opt.chosen[opt.nchosen++] = &families[c];
	if (opt.families != NULL)
		choose(opt.families);
}

/* Take the families of a list with commas. */
static void
choose(char *names)
{
	char *name;
	int i;

	for (name = strtok(names, ","); name != NULL; name = strtok(NULL, ","))
	{
		for (i = 0; i < FAMILIES && strcmp(families[i].name, name) != 0; i++)
			;
		if (i == FAMILIES || opt.nchosen == FAMILIES)
			fail("unknown family \"%s\"", name);
		opt.chosen[opt.nchosen++] = &families[i];
	}
}

/* Keep the attacks going until there were enough, or the time is over. */
static void
run(Attack *attacks)
{
	uint64_t start = now_ns();
	uint64_t stop = opt.connections > 0 ? 0 : start + (uint64_t) (opt.seconds * 1e9);
	struct epoll_event events[256];
	uint64_t tick = 0;

	while (!ended() && (stop == 0 ? result.opened < opt.connections || alive > 0 : now_ns() < stop))
	{
		int n = epoll_wait(epoll, events, 256, TICK_MS);
		uint64_t now = now_ns();
		int i;

		for (i = 0; i < n; i++)
			attack_ready(events[i].data.ptr);
		if (now - tick < TICK_MS * 1000000)
			continue;
		tick = now;
		for (i = 0; i < opt.parallel; i++)
		{
			if (attacks[i].fd >= 0)
				attack_tick(&attacks[i], now);
			else if ((stop != 0 || result.opened < opt.connections) &&
					 (opt.rate == 0 || result.opened < (double) (now - start) / 1e9 * opt.rate))
				attack_open(&attacks[i]);
		}
	}
}

static void
attack_open(Attack *attack)
{
	static unsigned serial;
	struct epoll_event event = {.events = EPOLLOUT, .data.ptr = attack};

	serial++;
	attack->family = opt.chosen[serial % (unsigned) opt.nchosen];
	attack->fd = tcp_socket((int) (serial % (unsigned) opt.addresses) + 2, true);
	if (!attack->family->reads)
	{
		int segment = 536;
		int window = 2048;

		/* with the large segments of loopback the server's kernel would take megabytes */
		setsockopt(attack->fd, IPPROTO_TCP, TCP_MAXSEG, &segment, sizeof(segment));
		setsockopt(attack->fd, SOL_SOCKET, SO_RCVBUF, &window, sizeof(window));
	}
	result.opened++;
	if (!tcp_connect_socket(attack->fd, opt.port))
	{
		result.refused++;
		close(attack->fd);
		attack->fd = -1;
		return;
	}
	script.len = 0;
	attack->family->make();
	attack->bytes = malloc(script.len);
	if (attack->bytes == NULL)
		fail("out of memory");
	memcpy(attack->bytes, script.bytes, script.len);
	attack->len = script.len;
	attack->sent = 0;
	attack->connecting = true;
	attack->answered = false;
	attack->next = 0;
	attack->end = now_ns() + (uint64_t) attack->family->life_ms * 1000000;
	epoll_ctl(epoll, EPOLL_CTL_ADD, attack->fd, &event);
	alive++;
}

/* The socket is connected, or has bytes, or ended. */
static void
attack_ready(Attack *attack)
{
	struct epoll_event event = {.events = attack->family->reads ? EPOLLIN : EPOLLRDHUP,
								.data.ptr = attack};
	int error = 0;
	socklen_t len = sizeof(error);

	if (!attack->connecting)
	{
		attack_read(attack);
		return;
	}
	getsockopt(attack->fd, SOL_SOCKET, SO_ERROR, &error, &len);
	if (error != 0)
	{
		result.refused++;
		attack_close(attack);
		return;
	}
	attack->connecting = false;
	attack->end = now_ns() + (uint64_t) attack->family->life_ms * 1000000;
	epoll_ctl(epoll, EPOLL_CTL_MOD, attack->fd, &event);
	attack_send(attack);
}

/* Send the next chunk; what the socket does not take is left out. */
static void
attack_send(Attack *attack)
{
	size_t len = attack->len - attack->sent;
	ssize_t sent;

	if (attack->family->chunk > 0 && len > (size_t) attack->family->chunk)
		len = (size_t) attack->family->chunk;
	/* a slow body's head goes at once */
	if (attack->sent == 0 && attack->family->make == make_body)
		len = (size_t) ((char *) memmem(attack->bytes, attack->len, "\r\n\r\n", 4) + 4 -
						attack->bytes);
	sent = send(attack->fd, attack->bytes + attack->sent, len, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (sent < 0 && errno != EAGAIN)
	{
		result.ended++;
		attack_close(attack);
		return;
	}
	attack->sent += len;
	attack->next = 0;
	if (attack->sent < attack->len || (attack->family->gap_ms > 0 && !attack->family->reads))
		attack->next = now_ns() + (uint64_t) attack->family->gap_ms * 1000000;
}

/* Read a little of what waits. */
static void
attack_sip(Attack *attack, uint64_t now)
{
	char bytes[SIP];

	attack->next = now + (uint64_t) attack->family->gap_ms * 1000000;
	if (recv(attack->fd, bytes, sizeof(bytes), MSG_DONTWAIT) == 0)
	{
		result.ended++;
		attack_close(attack);
	}
}

static void
attack_read(Attack *attack)
{
	char bytes[65536];
	ssize_t got = attack->family->reads ? recv(attack->fd, bytes, sizeof(bytes), MSG_DONTWAIT) : 0;

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0)
	{
		result.ended++;
		attack_close(attack);
		return;
	}
	if (!attack->answered && got > 12 &&
		(memcmp(bytes + 9, "429", 3) == 0 || memcmp(bytes + 9, "503", 3) == 0))
		result.turned_away++;
	attack->answered = true;
}

static void
attack_tick(Attack *attack, uint64_t now)
{
	if (attack->end <= now)
		attack_close(attack);
	else if (!attack->connecting && attack->next != 0 && attack->next <= now)
	{
		if (attack->sent < attack->len)
			attack_send(attack);
		else
			attack_sip(attack, now);
	}
}

static void
attack_close(Attack *attack)
{
	struct linger linger = {.l_onoff = 1, .l_linger = 0};

	if (attack->family->resets)
		setsockopt(attack->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	close(attack->fd);
	attack->fd = -1;
	free(attack->bytes);
	attack->bytes = NULL;
	alive--;
}

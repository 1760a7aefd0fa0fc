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

#define SCRIPT_MAX 32768
#define TICK_MS 5
#define SIP 512          /* bytes that a slow reader takes at a time */
#define FIRST_FAMILIES 8 /* those without -F */

/* What the attack that is being made will send. */
typedef struct Script
{
	char bytes[SCRIPT_MAX];
	size_t len;
} Script;

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

static void make_http(void);
static void make_h2c(void);
static void make_websocket(void);
static void make_deflate(void);
static void make_request(void);
static void make_pipeline(void);
static void make_random(void);
static void make_half(void);
static void make_body(void);

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
	char *token;
	const char *target;
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

static Script script;
static uint64_t seed = 1;
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
			opt.token = read_file(optarg);
		else if (c == 'f')
			opt.target = optarg;
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
			seed = strtoull(optarg, NULL, 10) * 0x9e3779b97f4a7c15 + 1;
		else
			exit(2);
	}
	if (opt.port == 0 || opt.token == NULL || opt.target == NULL || opt.parallel < 1)
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

/* ---- scripts --------------------------------------------------------------- */

static uint64_t
chance(uint64_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % below;
}

static void
add(const char *bytes, size_t len)
{
	if (len > SCRIPT_MAX - script.len)
		len = SCRIPT_MAX - script.len;
	memcpy(script.bytes + script.len, bytes, len);
	script.len += len;
}

static void
add_text(const char *text)
{
	add(text, strlen(text));
}

static void
add_many(const char *text, int times)
{
	while (times-- > 0)
		add_text(text);
}

static void
add_random(size_t len)
{
	while (len-- > 0)
	{
		char byte = (char) chance(256);

		add(&byte, 1);
	}
}

/* Request line and the headers of a good request, without the empty line. */
static void
add_head(const char *method, const char *target)
{
	add_text(method);
	add_text(" ");
	add_text(target);
	add_text(" HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer ");
	add_text(opt.token);
	add_text("\r\n");
}

/* Change a few bytes, wherever they are. */
static void
mutate(void)
{
	for (uint64_t n = chance(9); n > 0 && script.len > 0; n--)
		script.bytes[chance(script.len)] = (char) chance(256);
}

static void
make_request(void)
{
	add_head("GET", opt.target);
	add_text("Accept: application/json\r\nX-Padding: ");
	add_many("slow", 50);
	add_text("\r\n\r\n");
}

static void
make_body(void)
{
	add_head("POST", opt.target);
	add_text("Content-Type: application/json\r\nContent-Length: 4000\r\n\r\n{\"content\":\"");
	add_many("slow", 900);
}

static void
make_pipeline(void)
{
	for (int i = 0; i < 20; i++)
	{
		add_head("GET", opt.target);
		add_text("\r\n");
	}
}

static void
make_random(void)
{
	add_random(1 + chance(4096));
}

static void
make_half(void)
{
	if (chance(2) == 0)
		make_request();
	else
		make_body();
	script.len = 1 + chance(script.len - 1);
}

static void
make_http(void)
{
	static const char *const lines[] = {
		"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
		"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
		"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nx",
		"Content-Length: -1\r\n\r\n",
		"Content-Length: 99999999999999999999\r\n\r\n",
		"Content-Length: 0x10\r\n\r\nhello",
		"Content-Length : 5\r\n\r\nhello",
		"X-Folded: a\r\n b\r\n\r\n",
		"No-Colon\r\n\r\n",
		": no name\r\n\r\n",
		"X-Bare: a\rb\r\n\r\n",
		"Host: other\r\n\r\n",
		"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 99\r\n\r\n",
		"Expect: 200-maybe\r\nContent-Length: 3\r\n\r\nabc",
		"Content-Type: application/json\r\nContent-Length: 4\r\n\r\n{{{{",
		"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08",
	};
	static const char *const targets[] = {"/%00",
										  "/%zz",
										  "/../../etc/passwd",
										  "/api/v1/conversations/not-a-uuid",
										  "http://[",
										  "*",
										  "/\x80\xff",
										  "//",
										  "/?a=%00&b",
										  "",
										  "/#",
										  "/api/v1/conversations/../livez"};
	static const char *const methods[] = {"GET", "POST", "PUT", "BREW", "get", "", "G\tET"};
	uint64_t kind = chance(8);

	add_head(methods[chance(7)], chance(2) == 0 ? opt.target : targets[chance(12)]);
	if (kind == 0)
		add_many("X-Many: 1\r\n", (int) chance(2000)); /* more headers than any limit */
	else if (kind == 1)
	{
		add_text("X-Long: ");
		add_many("0123456789abcdef", (int) chance(1500));
	}
	else if (kind == 2)
		add("X-Nul: \0\r\n", 10);
	add_text(lines[chance(sizeof(lines) / sizeof(lines[0]))]);
	if (chance(2) == 0)
		mutate();
}

/* A frame of HTTP/2: length, type, flags, stream, payload. */
static void
add_h2_frame(void)
{
	size_t len = chance(64);
	char head[9] = {0, 0, (char) len, (char) chance(12), (char) chance(256), 0, 0, 0, 0};

	head[8] = (char) chance(4);
	if (chance(8) == 0)
		head[0] = (char) chance(256); /* a length that is not true */
	add(head, sizeof(head));
	add_random(len);
}

static void
make_h2c(void)
{
	if (chance(2) == 0)
	{
		add_head("GET", opt.target);
		add_text("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
				 "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n");
	}
	add_text("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
	add("\0\0\0\4\0\0\0\0\0", 9);
	for (uint64_t n = chance(30); n > 0; n--)
		add_h2_frame();
}

static void
add_upgrade(const char *extension)
{
	add_head("GET", "/ws");
	add_text("Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
			 "Sec-WebSocket-Key: cGVubnkgYmVuY2htYXJrIQ==\r\n"
			 "Sec-WebSocket-Protocol: penny.v1\r\n");
	add_text(extension);
	add_text("\r\n");
}

/* A masked frame as it should be; the mask is zero, so the payload is plain. */
static void
add_frame(int head, const char *payload, size_t len)
{
	char bytes[8] = {(char) head, (char) (0x80 | 126), (char) (len >> 8), (char) len, 0, 0, 0, 0};

	if (len < 126)
	{
		bytes[1] = (char) (0x80 | len);
		bytes[2] = bytes[3] = 0;
	}
	add(bytes, len < 126 ? 6 : 8);
	add(payload, len);
}

static void
make_websocket(void)
{
	static const char *const messages[] = {
		"{}",
		"[[[[[[[[[[[[[[[[[[[[[[[[",
		"{\"type\":\"join\",\"room\":\"conversation:x\"}",
		"{\"type\":\"join\",\"room\":7,\"since\":[]}",
		"{\"type\":\"message\",\"room\":\"conversation:\\ud800\",\"content\":\"\\u0000\"}",
		"{\"type\":\"auth\",\"token\":\"pns_x\"}",
		"\xff\xfe not text",
	};
	static const unsigned char heads[] = {0x81, 0x82, 0x01, 0x80, 0x88, 0x89, 0x8a, 0x09,
										  0xc1, 0xf1, 0x83, 0x8f, 0x00, 0x81, 0x81, 0x81};

	add_upgrade("");
	for (uint64_t n = 1 + chance(12); n > 0; n--)
	{
		const char *message = messages[chance(7)];

		if (chance(10) == 0)
			add("\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff", 10); /* the largest length */
		else if (chance(10) == 0)
			add("\x81\x02hi", 4); /* no mask */
		else
			add_frame(heads[chance(16)], message, strlen(message));
	}
	if (chance(3) == 0)
		mutate();
	if (chance(3) == 0)
		add_random(chance(2048));
}

static void
make_deflate(void)
{
	char bytes[512];

	add_upgrade("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits; "
				"server_no_context_takeover; client_max_window_bits=8\r\n");
	for (uint64_t n = 1 + chance(12); n > 0; n--)
	{
		size_t len = chance(sizeof(bytes));

		for (size_t i = 0; i < len; i++)
			bytes[i] = (char) chance(256);
		add_frame(chance(2) == 0 ? 0xc1 : 0xc2, bytes, len);
	}
}

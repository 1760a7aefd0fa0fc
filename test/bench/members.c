/*-------------------------------------------------------------------------
 *
 * members.c
 *		Members of rooms: who hears what is said there, how soon, how whole.
 *
 *	members -p port -k tokenfile -R roomsfile -n members -t seconds
 *			(-f messages in flight | -i messages a second)
 *			[-a addresses] [-b batch_ms] [-c bytes] [-S members that never read] [-P]
 *
 * Member i is in room i mod rooms, and is joined before anything is measured;
 * then the program prints a line, waits for one on its input, runs, and prints
 * its result as a line of JSON.  What is said is said by members in turn, with
 * the moment at which it was due in the text, so a late sender counts as late.
 * With -f the next one is sent when one has reached every member of its room.
 *
 * A version that a member has seen before, or that is not the next one, counts
 * as such.  With -P the peer is no penny but a server that sends what it is
 * sent to everybody: nobody joins.
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "client.h"

#define ANSWER_MS 30000
#define LATE_MS 10000 /* for the last frames to come */
#define SERIALS 65536 /* messages that may be under way */
#define MAX_CONTENT 60000
#define CLOSED 8           /* opcode */
#define SMALL_BUFFER 16384 /* of a member that does not read: the sooner the server notices */

typedef struct Member
{
	WebSocket ws;
	int room;
	unsigned long version; /* the last one seen; 0: none */
} Member;

static struct
{
	int port;
	char *token;
	char **rooms;
	int nrooms;
	int members;
	int addresses;
	double seconds;
	int in_flight;
	double rate;
	int batch_ms;
	int content;
	int slow;
	bool plain;
} opt;

static Member *members;
static int epoll;
static int *room_members; /* how many of each room read */

static unsigned long sent;
static unsigned long acknowledged;
static unsigned long refused;
static unsigned long complete; /* messages that reached everybody */
static unsigned long deliveries;
static unsigned long frames; /* WebSocket messages */
static unsigned long bytes;
static unsigned long repeated;
static unsigned long missed;
static unsigned long ended_by_server;
static unsigned reached[SERIALS]; /* members that a message has reached */
static unsigned to_reach[SERIALS];
static Histogram latency;

static void parse_options(int argc, char **argv);
static void enter(Member *member, int serial, bool listen);
static void set_window(Member *member);
static void run(void);
static void speak(uint64_t due);
static void hear(int timeout_ms);
static void take(Member *member, const Message *message, uint64_t now);
static void take_frame(Member *member, const char *frame, uint64_t now);

int
main(int argc, char **argv)
{
	char line[16];
	int i;

	parse_options(argc, argv);
	raise_descriptors();
	epoll = epoll_create1(EPOLL_CLOEXEC);
	members = calloc((size_t) (opt.members + opt.slow), sizeof(Member));
	room_members = calloc((size_t) opt.nrooms, sizeof(int));
	if (members == NULL || room_members == NULL)
		fail("out of memory");
	for (i = 0; i < opt.members + opt.slow; i++)
		enter(&members[i], i, i < opt.members);
	printf("{\"open\":%d}\n", opt.members + opt.slow);
	fflush(stdout);
	if (fgets(line, sizeof(line), stdin) == NULL)
		return 1;
	run();
	return 0;
}

static void
parse_options(int argc, char **argv)
{
	int c;

	opt.addresses = 1;
	opt.batch_ms = -1;
	opt.content = 100;
	while ((c = getopt(argc, argv, "p:k:R:n:t:f:i:a:b:c:S:P")) != -1)
	{
		if (c == 'p')
			opt.port = (int) strtol(optarg, NULL, 10);
		else if (c == 'k')
			opt.token = read_file(optarg);
		else if (c == 'R')
			opt.rooms = read_lines(optarg, &opt.nrooms);
		else if (c == 'n')
			opt.members = (int) strtol(optarg, NULL, 10);
		else if (c == 't')
			opt.seconds = strtod(optarg, NULL);
		else if (c == 'f')
			opt.in_flight = (int) strtol(optarg, NULL, 10);
		else if (c == 'i')
			opt.rate = strtod(optarg, NULL);
		else if (c == 'a')
			opt.addresses = (int) strtol(optarg, NULL, 10);
		else if (c == 'b')
			opt.batch_ms = (int) strtol(optarg, NULL, 10);
		else if (c == 'c')
			opt.content = (int) strtol(optarg, NULL, 10);
		else if (c == 'S')
			opt.slow = (int) strtol(optarg, NULL, 10);
		else if (c == 'P')
			opt.plain = true;
		else
			exit(2);
	}
	if (opt.port == 0 || opt.token == NULL || opt.nrooms == 0 || opt.members < opt.nrooms ||
		(opt.in_flight == 0) == (opt.rate <= 0) || opt.content > MAX_CONTENT)
		fail("usage: members -p port -k tokenfile -R roomsfile -n members -t seconds "
			 "(-f in flight | -i a second) [-a addresses] [-b ms] [-c bytes] [-S never read] [-P]");
}

/* ---- coming ------------------------------------------------------------------- */

/* Connect and join; a member that does not listen is never read from again. */
static void
enter(Member *member, int serial, bool listen)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = member};
	char request[256];
	Message message;
	bool joined = opt.plain;
	int small = SMALL_BUFFER;

	member->room = serial % opt.nrooms;
	member->ws = (WebSocket){.fd = tcp_socket(serial % opt.addresses + 2, false)};
	if (!listen)
		setsockopt(member->ws.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	if (!tcp_connect_socket(member->ws.fd, opt.port) ||
		!websocket_upgrade(&member->ws, opt.port, opt.token))
		fail("WebSocket %d was refused", serial);
	if (!opt.plain && opt.batch_ms >= 0)
		set_window(member);
	snprintf(request, sizeof(request),
			 "{\"type\":\"join\",\"ref\":\"j\",\"room\":\"conversation:%s\"}",
			 opt.rooms[member->room]);
	if (!opt.plain && !websocket_send(&member->ws, request))
		fail("WebSocket %d ended", serial);
	while (!joined)
	{
		char *version;

		if (!websocket_wait(&member->ws, &message, ANSWER_MS) ||
			strstr(message.data, "\"error\"") != NULL)
			fail("member %d could not join", serial);
		joined = strstr(message.data, "\"joined\"") != NULL;
		if (joined && (version = strstr(message.data, "\"version\":")) != NULL)
			member->version = strtoul(version + 10, NULL, 10);
	}
	if (!listen)
		return;
	room_members[member->room]++;
	epoll_ctl(epoll, EPOLL_CTL_ADD, member->ws.fd, &event);
}

static void
set_window(Member *member)
{
	char request[64];
	Message message;

	snprintf(request, sizeof(request), "{\"type\":\"options\",\"ref\":\"o\",\"batch_ms\":%d}",
			 opt.batch_ms);
	if (!websocket_send(&member->ws, request) ||
		!websocket_wait(&member->ws, &message, ANSWER_MS) ||
		strstr(message.data, "\"ack\"") == NULL)
		fail("the window was refused");
}

/* ---- running ------------------------------------------------------------------ */

static void
run(void)
{
	uint64_t start = now_ns();
	uint64_t end = start + (uint64_t) (opt.seconds * 1e9);
	uint64_t now;
	uint64_t took;
	uint64_t cpu = cpu_ns();

	while ((now = now_ns()) < end)
	{
		uint64_t due = now;

		if (opt.in_flight > 0)
		{
			while (sent - complete < (unsigned long) opt.in_flight)
				speak(now_ns());
			hear(100);
			continue;
		}
		while ((due = start + (uint64_t) ((double) sent * 1e9 / opt.rate)) <= now)
			speak(due);
		hear((int) ((due - now) / 1000000));
	}
	took = now_ns() - start;
	while ((complete < sent || acknowledged + refused < sent) &&
		   now_ns() < end + (uint64_t) LATE_MS * 1000000)
		hear(100);
	printf("{\"sent\":%lu,\"acknowledged\":%lu,\"refused\":%lu,\"complete\":%lu,"
		   "\"deliveries\":%lu,\"frames\":%lu,\"bytes\":%lu,\"repeated\":%lu,\"missed\":%lu,"
		   "\"ended\":%lu,\"seconds\":%.3f,\"cpu_us\":%.3f,"
		   "\"p50_us\":%.1f,\"p99_us\":%.1f,\"max_us\":%.1f}\n",
		   sent, acknowledged, refused, complete, deliveries, frames, bytes, repeated, missed,
		   ended_by_server, (double) took / 1e9, (double) (cpu_ns() - cpu) / 1e3,
		   histogram_us(&latency, 0.5), histogram_us(&latency, 0.99), histogram_us(&latency, 1));
}

/* The next member in turn says something. */
static void
speak(uint64_t due)
{
	static char text[MAX_CONTENT + 512];
	Member *member = &members[sent % (unsigned long) opt.members];
	int len;

	if (member->ws.fd < 0)
		fail("a member that should speak was put out");
	reached[sent % SERIALS] = 0;
	to_reach[sent % SERIALS] = (unsigned) room_members[member->room];
	len = snprintf(text, sizeof(text),
				   "{\"type\":\"message\",\"ref\":\"m\",\"room\":\"conversation:%s\","
				   "\"content\":\"@%lu@%llu@",
				   opt.rooms[member->room], sent, (unsigned long long) due);
	memset(text + len, 'x', (size_t) opt.content);
	strcpy(text + len + opt.content, "\"}");
	sent++;
	if (!websocket_send(&member->ws, text))
		fail("a member that should speak was put out");
}

/* Read what has come. */
static void
hear(int timeout_ms)
{
	struct epoll_event events[256];
	int n = epoll_wait(epoll, events, 256, timeout_ms < 0 ? 0 : timeout_ms);
	int i;

	for (i = 0; i < n; i++)
	{
		Member *member = events[i].data.ptr;
		Message message;
		uint64_t now;

		if (!websocket_read(&member->ws))
		{
			ended_by_server++;
			continue;
		}
		now = now_ns();
		while (websocket_next(&member->ws, &message))
			take(member, &message, now);
	}
}

/* One WebSocket message: an answer, a frame, or a batch of frames. */
static void
take(Member *member, const Message *message, uint64_t now)
{
	static const char mark[] = "{\"type\":\"message\",\"room\":";
	const char *frame = message->data;

	if (message->opcode == CLOSED)
		return;
	if (strncmp(frame, "{\"type\":\"ack\"", 13) == 0)
	{
		acknowledged++;
		return;
	}
	if (strncmp(frame, "{\"type\":\"error\"", 15) == 0)
	{
		refused++;
		return;
	}
	frames++;
	bytes += message->len;
	while ((frame = strstr(frame, mark)) != NULL)
	{
		take_frame(member, frame, now);
		frame += sizeof(mark) - 1;
	}
}

/* A message of the room; "version" comes before the text in it. */
static void
take_frame(Member *member, const char *frame, uint64_t now)
{
	const char *at = strstr(frame, "\"version\":");
	const char *text = strstr(frame, "\"@");
	unsigned long version;
	unsigned long serial;
	char *end;

	if (at == NULL || text == NULL)
		fail("not a frame of ours: %s", frame);
	version = strtoul(at + 10, NULL, 10);
	if (member->version != 0 && version <= member->version)
	{
		repeated++;
		return;
	}
	if (member->version != 0)
		missed += version - member->version - 1;
	member->version = version;
	serial = strtoul(text + 2, &end, 10);
	histogram_add(&latency, now - strtoull(end + 1, NULL, 10));
	deliveries++;
	if (++reached[serial % SERIALS] == to_reach[serial % SERIALS])
		complete++;
}

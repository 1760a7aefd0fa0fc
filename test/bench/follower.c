/*-------------------------------------------------------------------------
 *
 * follower.c
 *		Members of one room that come back, whatever happens, and keep a log.
 *
 *	follower -p port -k tokenfile -r room -n members -o log
 *
 * Each member joins, and after every broken connection joins again with the
 * position that it has: the version of the last frame it saw, nothing else.
 * One that has heard nothing for a while asks, and goes when that is not
 * answered, so a network that is cut silently is found out.  Every second
 * member asks for a batch window of 0.
 *
 * The log has a line for each event, in the order in which a member met them:
 *
 *		J <member> <epoch> <version> whole|reset <reason>	joined
 *		F <member> <version> <text>							frame
 *		P <member> <version>								position
 *		X <member> <code>									connection ended
 *
 * <text> is what the writer wrote: up to the first blank, "-" where there is
 * none.  Nothing is judged here.  A line on the input is answered by a line:
 * frames in all, members that are joined, and the lowest version reached.
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "client.h"

#define MAX_MEMBERS 256
#define SILENT_NS 1000000000u /* then it asks */
#define GONE_NS 3000000000u   /* then it goes */
#define AGAIN_NS 50000000u    /* between two attempts */
#define CLOSED 8              /* opcode */

typedef struct Member
{
	WebSocket ws;
	bool joined;
	bool asked;
	unsigned long version;
	char epoch[64]; /* empty: has no position */
	uint64_t heard;
	uint64_t next_attempt;
} Member;

static struct
{
	int port;
	char *token;
	const char *room;
	int members;
	FILE *log;
} opt;

static Member members[MAX_MEMBERS];
static unsigned long frames;

static void parse_options(int argc, char **argv);
static void come(int i);
static void gone(int i, const char *code);
static void watch(int i, uint64_t now);
static void take(int i, const Message *message);
static void take_joined(int i, const char *text);
static void take_frames(int i, const char *text);
static bool tell(void);

int
main(int argc, char **argv)
{
	struct pollfd fds[MAX_MEMBERS + 1];
	int i;

	parse_options(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	for (i = 0; i < opt.members; i++)
		members[i].ws.fd = -1;
	for (;;)
	{
		for (i = 0; i < opt.members; i++)
		{
			watch(i, now_ns());
			fds[i] = (struct pollfd){.fd = members[i].ws.fd, .events = POLLIN};
		}
		fds[opt.members] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
		poll(fds, (nfds_t) opt.members + 1, 20);
		if (fds[opt.members].revents != 0 && !tell())
			break;
		for (i = 0; i < opt.members; i++)
		{
			Message message;

			if (fds[i].revents == 0 || members[i].ws.fd < 0)
				continue;
			if (!websocket_read(&members[i].ws))
			{
				gone(i, "lost");
				continue;
			}
			members[i].heard = now_ns();
			members[i].asked = false;
			while (members[i].ws.fd >= 0 && websocket_next(&members[i].ws, &message))
				take(i, &message);
		}
	}
	if (fclose(opt.log) != 0)
		fail("could not write the log: %s", strerror(errno));
	return 0;
}

static void
parse_options(int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "p:k:r:n:o:")) != -1)
	{
		if (c == 'p')
			opt.port = (int) strtol(optarg, NULL, 10);
		else if (c == 'k')
			opt.token = read_file(optarg);
		else if (c == 'r')
			opt.room = optarg;
		else if (c == 'n')
			opt.members = (int) strtol(optarg, NULL, 10);
		else if (c == 'o' && (opt.log = fopen(optarg, "w")) == NULL)
			fail("could not open \"%s\": %s", optarg, strerror(errno));
		else if (c != 'o')
			exit(2);
	}
	if (opt.port == 0 || opt.token == NULL || opt.room == NULL || opt.log == NULL ||
		opt.members < 1 || opt.members > MAX_MEMBERS)
		fail("usage: follower -p port -k tokenfile -r room -n members -o log");
}

/* ---- coming and going ----------------------------------------------------------- */

/* Connect and ask to join; what comes of it is seen when it comes. */
static void
come(int i)
{
	Member *member = &members[i];
	struct timeval patience = {.tv_sec = 2};
	char request[512];

	member->ws = (WebSocket){.fd = tcp_connect(opt.port, 0, false)};
	if (member->ws.fd < 0)
		return;
	setsockopt(member->ws.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (!websocket_upgrade(&member->ws, opt.port, opt.token))
		return;
	if (i % 2 == 1 && !websocket_send(&member->ws, "{\"type\":\"options\",\"batch_ms\":0}"))
	{
		websocket_close(&member->ws);
		return;
	}
	if (member->epoch[0] == '\0')
		snprintf(request, sizeof(request), "{\"type\":\"join\",\"room\":\"%s\"}", opt.room);
	else
		snprintf(request, sizeof(request),
				 "{\"type\":\"join\",\"room\":\"%s\",\"since\":{\"epoch\":\"%s\",\"version\":%lu}}",
				 opt.room, member->epoch, member->version);
	if (!websocket_send(&member->ws, request))
		websocket_close(&member->ws);
	member->heard = now_ns();
	member->asked = false;
}

static void
gone(int i, const char *code)
{
	websocket_close(&members[i].ws);
	if (members[i].joined)
		fprintf(opt.log, "X %d %s\n", i, code);
	members[i].joined = false;
}

/* What time brings: an attempt to come back, a question, or the end of patience. */
static void
watch(int i, uint64_t now)
{
	Member *member = &members[i];

	if (member->ws.fd < 0)
	{
		if (now >= member->next_attempt)
		{
			come(i);
			member->next_attempt = now_ns() + AGAIN_NS;
		}
	}
	else if (now - member->heard > GONE_NS && now > member->heard)
		gone(i, "silent");
	else if (now - member->heard > SILENT_NS && now > member->heard && !member->asked)
	{
		member->asked = true;
		if (!websocket_send(&member->ws, "{\"type\":\"ping\"}"))
			gone(i, "lost");
	}
}

/* ---- messages -------------------------------------------------------------------- */

static void
take(int i, const Message *message)
{
	static const char position[] = "{\"type\":\"position\"";

	if (message->opcode == CLOSED)
	{
		char code[16];
		const unsigned char *data = (const unsigned char *) message->data;

		snprintf(code, sizeof(code), "%d", message->len >= 2 ? data[0] << 8 | data[1] : 1005);
		gone(i, code);
	}
	else if (strncmp(message->data, "{\"type\":\"joined\"", 16) == 0)
		take_joined(i, message->data);
	else if (strncmp(message->data, "{\"type\":\"error\"", 15) == 0)
		gone(i, "refused");
	else if (strncmp(message->data, position, sizeof(position) - 1) == 0)
	{
		const char *at = strstr(message->data, "\"version\":");

		members[i].version = at != NULL ? strtoul(at + 10, NULL, 10) : 0;
		fprintf(opt.log, "P %d %lu\n", i, members[i].version);
	}
	else
		take_frames(i, message->data);
}

/* Joined.  Who had a position keeps it, unless told that it is worth nothing. */
static void
take_joined(int i, const char *text)
{
	Member *member = &members[i];
	const char *epoch = strstr(text, "\"epoch\":\"");
	const char *version = strstr(text, "\"version\":");
	const char *reset = strstr(text, "\"reset\":\"");
	bool whole = strstr(text, "\"recovered\":true") != NULL;

	if (epoch == NULL || version == NULL)
		fail("not a joined of ours: %s", text);
	if (!whole)
		member->version = strtoul(version + 10, NULL, 10);
	epoch += 9;
	snprintf(member->epoch, sizeof(member->epoch), "%.*s", (int) strcspn(epoch, "\""), epoch);
	member->joined = true;
	fprintf(opt.log, "J %d %s %lu %s %.*s\n", i, member->epoch, strtoul(version + 10, NULL, 10),
			whole ? "whole" : "reset", reset != NULL ? (int) strcspn(reset + 9, "\"") : 1,
			reset != NULL ? reset + 9 : "-");
}

/* A frame or a batch: each frame of it begins the same way. */
static void
take_frames(int i, const char *text)
{
	const char *at = text;

	for (;;)
	{
		const char *message = strstr(at, "{\"type\":\"message\",\"room\":");
		const char *event = strstr(at, "{\"type\":\"event\",\"room\":");
		const char *frame = message != NULL && (event == NULL || message < event) ? message : event;
		const char *version;
		const char *mark;

		if (frame == NULL)
			return;
		version = strstr(frame, "\"version\":");
		at = frame + 20;
		mark = strstr(frame, "\"content\":\"");
		message = strstr(at, "{\"type\":\"message\",\"room\":");
		event = strstr(at, "{\"type\":\"event\",\"room\":");
		if ((message != NULL && mark > message) || (event != NULL && mark > event))
			mark = NULL;
		if (version == NULL)
			fail("not a frame of ours: %s", frame);
		members[i].version = strtoul(version + 10, NULL, 10);
		frames++;
		fprintf(opt.log, "F %d %lu %.*s\n", i, members[i].version,
				mark != NULL ? (int) strcspn(mark + 11, " \"") : 1, mark != NULL ? mark + 11 : "-");
	}
}

/* A question; false: the input has ended. */
static bool
tell(void)
{
	char line[64];
	ssize_t got = read(STDIN_FILENO, line, sizeof(line));
	unsigned long lowest = members[0].version;
	int joined = 0;
	int i;

	if (got <= 0)
		return false;
	for (i = 0; i < opt.members; i++)
	{
		joined += members[i].joined ? 1 : 0;
		if (members[i].version < lowest)
			lowest = members[i].version;
	}
	printf("%lu %d %lu\n", frames, joined, lowest);
	fflush(stdout);
	return true;
}

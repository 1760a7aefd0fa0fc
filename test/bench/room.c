/*-------------------------------------------------------------------------
 *
 * room.c
 *		WebSocket client of one room, in two modes.
 *
 *	room -p port -k tokenfile -r room -d conninfo -q statement -n count -i ms
 *		Commit to frame.  Joins the room, then commits `count` transactions,
 *		one every `ms`, each of one statement with the parameter $1, a text
 *		that the frame repeats.  The clock starts when COMMIT is sent and
 *		stops when the frame has been read, so it holds the flush to disk;
 *		beside it the time until COMMIT was answered, and by how much the frame
 *		came later than that answer (0 when it came first).
 *
 *	room -p port -k tokenfile -r room -t seconds -i ms -a acknowledged
 *		Writer.  Sends a message with a client_id of its own, waits for its
 *		ack, writes the client_id to the file; connects and joins again when
 *		the connection breaks.
 *
 * Either prints one line of JSON.
 *
 *-------------------------------------------------------------------------
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <libpq-fe.h>

#include "client.h"

#define ANSWER_MS 5000

static struct
{
	int port;
	char *token;
	const char *room;
	const char *conninfo;
	const char *statement;
	int count;
	int interval;
	double seconds;
	FILE *acknowledged;
} opt;

static void parse_options(int argc, char **argv);
static bool join(WebSocket *ws);
static void frames(void);
static void frames_one(PGconn *conn, WebSocket *ws, const char *mark, uint64_t *answered,
					   uint64_t *framed);
static void sql(PGconn *conn, const char *statement, const char *parameter);
static void writer(void);
static bool writer_one(WebSocket *ws, unsigned serial);
static void pause_ms(int ms);

int
main(int argc, char **argv)
{
	parse_options(argc, argv);
	end_on_term();
	if (opt.conninfo != NULL)
		frames();
	else
		writer();
	if (opt.acknowledged != NULL && fclose(opt.acknowledged) != 0)
		fail("could not write the acknowledged messages: %s", strerror(errno));
	return 0;
}

static void
parse_options(int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "p:k:r:d:q:n:i:t:a:")) != -1)
	{
		if (c == 'p')
			opt.port = (int) strtol(optarg, NULL, 10);
		else if (c == 'k')
			opt.token = read_file(optarg);
		else if (c == 'r')
			opt.room = optarg;
		else if (c == 'd')
			opt.conninfo = optarg;
		else if (c == 'q')
			opt.statement = optarg;
		else if (c == 'n')
			opt.count = (int) strtol(optarg, NULL, 10);
		else if (c == 'i')
			opt.interval = (int) strtol(optarg, NULL, 10);
		else if (c == 't')
			opt.seconds = strtod(optarg, NULL);
		else if (c == 'a' && (opt.acknowledged = fopen(optarg, "w")) == NULL)
			fail("could not open \"%s\": %s", optarg, strerror(errno));
		else if (c != 'a')
			exit(2);
	}
	if (opt.port == 0 || opt.token == NULL || opt.room == NULL ||
		(opt.conninfo == NULL ? opt.acknowledged == NULL : opt.statement == NULL))
		fail("usage: room -p port -k tokenfile -r room (-d conninfo -q statement -n count -i ms | "
			 "-t seconds -i ms -a acknowledged)");
}

/* Connect and join the room; false: the server is not there, or not ready. */
static bool
join(WebSocket *ws)
{
	char request[256];
	Message message;

	if (!websocket_open(ws, opt.port, 0, opt.token))
		return false;
	snprintf(request, sizeof(request), "{\"type\":\"join\",\"ref\":\"j\",\"room\":\"%s\"}",
			 opt.room);
	if (!websocket_send(ws, request))
		return false;
	while (websocket_wait(ws, &message, ANSWER_MS))
	{
		if (strstr(message.data, "\"joined\"") != NULL)
			return true;
		if (strstr(message.data, "\"error\"") != NULL)
			return false;
	}
	return false;
}

static void
frames(void)
{
	static Histogram answered;
	static Histogram framed;
	static Histogram behind;
	PGconn *conn = PQconnectdb(opt.conninfo);
	WebSocket ws;
	int i;

	if (PQstatus(conn) != CONNECTION_OK)
		fail("%s", PQerrorMessage(conn));
	PQclear(PQprepare(conn, "write", opt.statement, 1, NULL));
	if (!join(&ws))
		fail("could not join %s", opt.room);
	for (i = 0; i < opt.count; i++)
	{
		char mark[64];
		uint64_t answer;
		uint64_t frame;

		snprintf(mark, sizeof(mark), "frame %d-%d", (int) getpid(), i);
		frames_one(conn, &ws, mark, &answer, &frame);
		if (i > 0)
		{
			/* the first commit pays for what the session has not cached yet */
			histogram_add(&answered, answer);
			histogram_add(&framed, frame);
			histogram_add(&behind, frame > answer ? frame - answer : 0);
		}
		pause_ms(opt.interval);
	}
	printf("{\"count\":%d,\"frame_p50_us\":%.1f,\"frame_p95_us\":%.1f,\"frame_p99_us\":%.1f,"
		   "\"commit_p50_us\":%.1f,\"behind_p50_us\":%.1f,\"behind_p99_us\":%.1f}\n",
		   (int) framed.count, histogram_us(&framed, 0.5), histogram_us(&framed, 0.95),
		   histogram_us(&framed, 0.99), histogram_us(&answered, 0.5), histogram_us(&behind, 0.5),
		   histogram_us(&behind, 0.99));
	websocket_close(&ws);
	PQfinish(conn);
}

/* One transaction; waits for both the answer to COMMIT and the frame. */
static void
frames_one(PGconn *conn, WebSocket *ws, const char *mark, uint64_t *answered, uint64_t *framed)
{
	uint64_t start;
	Message message;

	sql(conn, "BEGIN", NULL);
	sql(conn, NULL, mark);
	*answered = 0;
	*framed = 0;
	start = now_ns();
	if (!PQsendQuery(conn, "COMMIT"))
		fail("%s", PQerrorMessage(conn));
	while (*answered == 0 || *framed == 0)
	{
		struct pollfd fds[2] = {{.fd = PQsocket(conn), .events = POLLIN},
								{.fd = ws->fd, .events = POLLIN}};

		if (*answered != 0)
			fds[0].fd = -1;
		if (poll(fds, 2, ANSWER_MS) <= 0)
			fail("no %s for \"%s\" in time", *framed == 0 ? "frame" : "answer", mark);
		if (fds[1].revents != 0)
		{
			uint64_t now;

			if (!websocket_read(ws))
				fail("the WebSocket ended");
			now = now_ns();
			while (websocket_next(ws, &message))
				if (strstr(message.data, mark) != NULL)
					*framed = now - start;
		}
		if (fds[0].fd >= 0 && fds[0].revents != 0)
		{
			if (!PQconsumeInput(conn))
				fail("%s", PQerrorMessage(conn));
			if (!PQisBusy(conn))
				*answered = now_ns() - start;
		}
	}
	PQclear(PQgetResult(conn));
	PQclear(PQgetResult(conn));
}

/* A statement, or the prepared one with its parameter. */
static void
sql(PGconn *conn, const char *statement, const char *parameter)
{
	PGresult *result = statement != NULL
						   ? PQexec(conn, statement)
						   : PQexecPrepared(conn, "write", 1, &parameter, NULL, NULL, 0);

	if (PQresultStatus(result) != PGRES_COMMAND_OK && PQresultStatus(result) != PGRES_TUPLES_OK)
		fail("%s", PQerrorMessage(conn));
	PQclear(result);
}

static void
writer(void)
{
	WebSocket ws = {.fd = -1};
	uint64_t end = now_ns() + (uint64_t) (opt.seconds * 1e9);
	unsigned acknowledged = 0;
	unsigned lost = 0;
	unsigned serial = 0;

	while (now_ns() < end && !ended())
	{
		if (ws.fd < 0 && !join(&ws))
		{
			websocket_close(&ws);
			pause_ms(1);
			continue;
		}
		if (writer_one(&ws, ++serial))
			acknowledged++;
		else
		{
			lost++;
			websocket_close(&ws);
		}
		pause_ms(opt.interval);
	}
	printf("{\"acknowledged\":%u,\"unanswered\":%u}\n", acknowledged, lost);
}

/* Send one message and wait for its ack; false: it was refused, or the connection ended. */
static bool
writer_one(WebSocket *ws, unsigned serial)
{
	char client_id[64];
	char ref[32];
	char request[512];
	Message message;

	snprintf(client_id, sizeof(client_id), "00000000-0000-4000-9000-%04x%08x",
			 (unsigned) getpid() & 0xffff, serial);
	snprintf(ref, sizeof(ref), "w%u", serial);
	snprintf(request, sizeof(request),
			 "{\"type\":\"message\",\"ref\":\"%s\",\"room\":\"%s\",\"client_id\":\"%s\","
			 "\"content\":\"A message that has to be there after its ack.\"}",
			 ref, opt.room, client_id);
	if (!websocket_send(ws, request))
		return false;
	snprintf(ref, sizeof(ref), "\"w%u\"", serial);
	while (websocket_wait(ws, &message, ANSWER_MS))
	{
		if (strstr(message.data, ref) == NULL)
			continue;
		if (strstr(message.data, "\"ack\"") == NULL)
			return false;
		fprintf(opt.acknowledged, "%s\n", client_id);
		return true;
	}
	return false;
}

static void
pause_ms(int ms)
{
	struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = (long) (ms % 1000) * 1000000};

	nanosleep(&pause, NULL);
}

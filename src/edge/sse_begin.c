/*-------------------------------------------------------------------------
 *
 * sse_begin.c
 *		Requests that are answered by an event stream.
 *
 * GET of a conversation's events: the token is verified, then the room is
 * joined with it, as for a WebSocket.  A route of the user's own at that path
 * comes first.
 *
 * POST of a message with ?stream=true is an ordinary call; an error is an
 * ordinary answer.  When the message is stored, the executor says in a header
 * what to follow:
 *
 *		penny-follow: <room> <epoch>:<version> [<id of the answer>]
 *
 * with the version that brought the message, and the answer if it is there
 * already (the client repeats a message that it has sent before).  The stored
 * message is told at once; then the room is joined from that version, so that
 * nothing is missed, however long that takes.
 *
 *-------------------------------------------------------------------------
 */
#include "edge/sse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "edge/http_target.h"
#include "edge/websocket_frame.h"

#define PATH "/api/v1/conversations/"
#define ID_LEN 36 /* of a UUID */
#define ID_MAX 96 /* bytes of a Last-Event-ID */

/* ---- what is asked ---------------------------------------------------------------- */

/* Is this the path of something of a conversation?  Its id then. */
static bool
match_path(PennySpan path, const char *rest, const char **id)
{
	size_t head_len = strlen(PATH);

	if (path.len != head_len + ID_LEN + strlen(rest) || memcmp(path.data, PATH, head_len) != 0 ||
		memcmp(path.data + head_len + ID_LEN, rest, strlen(rest)) != 0)
		return false;
	*id = path.data + head_len;
	for (int i = 0; i < ID_LEN; i++)
	{
		char c = (*id)[i];
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? c != '-'
				 : !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F')))
			return false;
	}
	return true;
}

bool
penny_sse_is_events(PennySpan path)
{
	const char *id;

	return match_path(path, "/events", &id);
}

/* Does a range of an Accept header, "type/subtype;…", take event streams? */
static bool
range_takes(const char *range, size_t len)
{
	static const char *const types[] = {"text/event-stream", "text/*", "*/*"};
	const char *q = memchr(range, ';', len);
	size_t type_len = q != NULL ? (size_t) (q - range) : len;

	while (type_len > 0 && (range[type_len - 1] == ' ' || range[type_len - 1] == '\t'))
		type_len--;
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
	{
		if (strlen(types[i]) == type_len && strncasecmp(range, types[i], type_len) == 0)
		{
			size_t end = len;

			/* "q=0", "q=0.0": it does not want that */
			while (end > 0 && (range[end - 1] == '0' || range[end - 1] == '.'))
				end--;
			return end == len || end < 2 || range[end - 1] != '=' ||
				   (range[end - 2] != 'q' && range[end - 2] != 'Q');
		}
	}
	return false;
}

/* Does the client take an event stream?  One that does not say takes anything. */
static bool
accepts(const PennyHttpParser *parser, const char *bytes)
{
	PennySpan list;

	if (!penny_http_header(parser, bytes, "accept", &list))
		return true;
	while (list.len > 0)
	{
		const char *comma = memchr(list.data, ',', list.len);
		size_t len = comma != NULL ? (size_t) (comma - list.data) : list.len;

		if (range_takes(list.data, len))
			return true;
		len += comma != NULL ? 1 : 0;
		while (len < list.len && (list.data[len] == ' ' || list.data[len] == '\t'))
			len++;
		list.data += len;
		list.len -= len;
	}
	return false;
}

static void
not_acceptable(PennyHttp *http)
{
	penny_http_problem(http, 406, "the answer would be text/event-stream", NULL);
}

/*
 * Where does the client want to go on?  The header is that of the connection
 * that broke, the query that of the page's first one.  False: it is malformed.
 */
static bool
read_since(const PennyHttpParser *parser, const char *bytes, PennySsePosition *since)
{
	static char decoded[ID_MAX];
	PennySpan id = {NULL, 0};

	since->epoch[0] = '\0';
	if (!penny_http_header(parser, bytes, "last-event-id", &id) || id.len == 0)
	{
		id = (PennySpan){decoded, 0};
		if (parser->query.len > 0)
			penny_http_query_value(penny_http_span(bytes, parser->query), "last_event_id", decoded,
								   sizeof(decoded), &id.len);
	}
	if (id.len == 0 || penny_sse_read_id(id, since))
		return true;
	since->epoch[0] = '\0';
	return false;
}

/* ---- GET events ---------------------------------------------------------------------- */

/* The room of a conversation, as its name is written. */
static void
name_room(const char *id, char room[PENNY_SSE_ROOM_LEN])
{
	memcpy(room, "conversation:", PENNY_SSE_ROOM_LEN - ID_LEN);
	for (int i = 0; i < ID_LEN; i++)
		room[PENNY_SSE_ROOM_LEN - ID_LEN + i] =
			(char) (id[i] >= 'A' && id[i] <= 'F' ? id[i] - 'A' + 'a' : id[i]);
}

void
penny_sse_listen(PennyHttp *http, const char *bytes, PennySpan token)
{
	const PennyHttpParser *parser = http->parser;
	bool local = penny_request_is_local(http, bytes);
	char room[PENNY_SSE_ROOM_LEN];
	PennySsePosition since;
	const char *id;
	PennySse *sse;

	match_path(penny_http_span(bytes, parser->path), "/events", &id);
	name_room(id, room);
	if (!accepts(parser, bytes))
		not_acceptable(http);
	else if (!read_since(parser, bytes, &since))
		penny_http_problem(http, 400, "Last-Event-ID must be an id of this stream", NULL);
	else if (token.len == 0 && !local)
		penny_http_problem(http, 401, "a token is needed", "WWW-Authenticate: Bearer\r\n");
	else if (penny_edge.draining)
		penny_http_unavailable(http, "the server is stopping");
	else
	{
		sse = penny_sse_open(http, (PennySpan){room, PENNY_SSE_ROOM_LEN}, local);
		sse->since = since;
		penny_session_verify(sse->session, token);
	}
}

/* ---- POST a message and follow the answer ----------------------------------------------- */

bool
penny_sse_wants_answer(PennyHttp *http, const char *bytes, bool *refused)
{
	const PennyHttpParser *parser = http->parser;
	char value[8];
	const char *id;
	size_t len;

	*refused = false;
	if (http->method != PENNY_POST || parser->query.len == 0 ||
		!match_path(penny_http_span(bytes, parser->path), "/messages", &id) ||
		!penny_http_query_value(penny_http_span(bytes, parser->query), "stream", value,
								sizeof(value), &len) ||
		len != 4 || memcmp(value, "true", 4) != 0)
		return false;
	*refused = !accepts(parser, bytes);
	if (*refused)
		not_acceptable(http);
	return !*refused;
}

/* What to follow, as an executor says it. */
typedef struct Following
{
	PennySpan room;
	PennySsePosition position;
	char answer[ID_LEN + 2]; /* a JSON string */
	size_t answer_len;       /* 0: not there yet */
} Following;

static PennySpan
next_word(PennySpan *rest)
{
	const char *space = memchr(rest->data, ' ', rest->len);
	PennySpan word = {rest->data, space != NULL ? (size_t) (space - rest->data) : rest->len};

	rest->data += word.len + (space != NULL);
	rest->len -= word.len + (space != NULL);
	return word;
}

/* A header line of an executor's answer. */
static bool
find_line(PennySpan lines, const char *name, PennySpan *value)
{
	size_t len = strlen(name);

	while (lines.len > 0)
	{
		const char *feed = memchr(lines.data, '\n', lines.len);
		size_t line = feed != NULL ? (size_t) (feed - lines.data) : lines.len;

		if (line > len + 1 && strncasecmp(lines.data, name, len) == 0 && lines.data[len] == ':')
		{
			*value = (PennySpan){lines.data + len + 1, line - len - 1};
			while (value->len > 0 && *value->data == ' ')
			{
				value->data++;
				value->len--;
			}
			return true;
		}
		lines.data += line + (feed != NULL);
		lines.len -= line + (feed != NULL);
	}
	return false;
}

static bool
read_following(PennySpan lines, Following *following)
{
	PennySpan rest, answer;

	if (!find_line(lines, "penny-follow", &rest))
		return false;
	following->room = next_word(&rest);
	if (following->room.len != PENNY_SSE_ROOM_LEN ||
		!penny_sse_read_id(next_word(&rest), &following->position))
		return false;
	answer = next_word(&rest);
	following->answer_len = 0;
	if (answer.len == ID_LEN)
	{
		following->answer[0] = following->answer[ID_LEN + 1] = '"';
		memcpy(following->answer + 1, answer.data, ID_LEN);
		following->answer_len = ID_LEN + 2;
	}
	return true;
}

/* The frame of the message as the room is told it. */
static PennyFrame *
make_message(const Following *following, PennySpan message)
{
	char head[160];
	size_t head_len = (size_t) snprintf(
		head, sizeof(head), "{\"type\":\"message\",\"room\":\"%.*s\",\"version\":%llu,\"message\":",
		(int) following->room.len, following->room.data,
		(unsigned long long) following->position.version);
	char *text = malloc(head_len + message.len + 1);
	PennyFrame *events;

	if (text == NULL)
		return NULL;
	memcpy(text, head, head_len);
	memcpy(text + head_len, message.data, message.len);
	text[head_len + message.len] = '}';
	events = penny_sse_event((PennySpan){text, head_len + message.len + 1},
							 following->position.epoch, NULL);
	free(text);
	return events;
}

bool
penny_sse_follow(PennyHttp *http, const PennyAnswer *answer)
{
	PennyConnection *connection = http->connection;
	PennySpan location, seq_text;
	char more[256] = "";
	Following following;
	int64_t seq;
	PennySse *sse;

	if ((answer->status != 200 && answer->status != 201) ||
		!read_following(answer->head, &following) ||
		!penny_sse_member(answer->body, "seq", &seq_text) || !penny_json_integer(seq_text, &seq))
		return false;
	http->call = NULL;
	if (connection->in_len > 0)
		penny_connection_consume(connection, connection->in_len);
	penny_connection_pause(connection, false);
	sse = penny_sse_open(http, following.room, http->local);
	sse->since = sse->joined = following.position;
	sse->follow = penny_alloc(sizeof(*sse->follow));
	penny_follow_begin(sse->follow, (uint64_t) seq,
					   (PennySpan){following.answer, following.answer_len});
	sse->session->window = 0; /* pieces of the answer do not gather */
	if (find_line(answer->head, "location", &location) && location.len < sizeof(more) - 16)
		snprintf(more, sizeof(more), "Location: %.*s\r\n", (int) location.len, location.data);
	penny_sse_start(sse, answer->status, more);
	penny_sse_queue(sse, make_message(&following, answer->body));
	if (penny_edge.draining)
		sse->session->transport->come_back(sse->session, PENNY_CLOSE_RESTART);
	else
		penny_session_verify(sse->session, answer->token);
	return true;
}

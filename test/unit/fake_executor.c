/*-------------------------------------------------------------------------
 *
 * fake_executor.c
 *		Executors without PostgreSQL: they answer calls in a scripted way.
 *
 *		/echo			what arrived, as JSON
 *		/bytes?n=N		an answer of N bytes (several pieces when large)
 *		/slow?ms=N		answers after N ms, or stops when it is cancelled
 *		/status?n=N		an answer of that status
 *		/unchanged		304, for the tag "abc"
 *		/headers		headers, some of which an edge must not pass on
 *		/broken			breaks off after the first piece
 *		POST /api/v1/conversations/{id}/messages?stream=true
 *						a message is stored, the answer says what to follow
 *		and what is in fake_cached.c and fake_jobs.c
 *
 * Rooms count versions; the frame of a version can be made again, so a join
 * brings what was missed, in pages if that is set.  Rooms of names starting with
 * "free" have no versions, "free:read" may not be written to; rooms in which a
 * message grows tell how far it has.  Room names starting with "forbidden" are refused,
 * tokens starting with "bad" too, "short" ones last two seconds.
 *
 *-------------------------------------------------------------------------
 */
#include "fake_gateway.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "edge/json_span.h"
#include "plane/presence.h"

FakeShared *fake_shared;

static PennyPlane *plane;
static int self;
static char *request_bytes;

static uint64_t
now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t) now.tv_sec * 1000000000 + (uint64_t) now.tv_nsec;
}

/* Sleep until woken, or that many ms. */
static void
rest(int ms)
{
	struct pollfd wake = {.fd = plane->sleeper_wake[self], .events = POLLIN};

	poll(&wake, 1, ms);
}

/* Woken for a call that we cannot take now: others shall look, as in a server. */
static void
pass_wake(void)
{
	if (penny_call_backlog(plane) == 0)
		return;
	for (int i = 0; i < (int) plane->config.executors; i++)
	{
		if (i != self)
			penny_wake_sleeper(plane, i);
	}
}

/* Give an answer, in as many pieces as it takes. */
static void
answer_with(const PennyCall *call, uint32_t status, PennySpan head, PennySpan body,
			const PennyResponseExtra *extra)
{
	size_t total = head.len + body.len;
	size_t sent = 0;

	do
	{
		sent += penny_call_write(plane, call, status, head, body, extra, (uint32_t) sent, false);
		while (sent < total)
		{
			penny_sleeper_prepare(plane, self);
			if (penny_call_cancelled(plane, call))
			{
				penny_sleeper_awake(plane, self);
				atomic_fetch_add(&fake_shared->cancelled, 1);
				penny_call_write(plane, call, status, head, body, NULL, (uint32_t) sent, true);
				return;
			}
			if (penny_call_part_taken(plane, call))
			{
				penny_sleeper_awake(plane, self);
				break;
			}
			rest(1000);
			penny_sleeper_awake(plane, self);
			pass_wake();
		}
	} while (sent < total);
}

static void
answer(const PennyCall *call, uint32_t status, PennySpan head, PennySpan body)
{
	answer_with(call, status, head, body, NULL);
}

static void
answer_text(const PennyCall *call, uint32_t status, const char *text)
{
	static const char json[] = "content-type: application/json\n";

	answer(call, status, (PennySpan){json, sizeof(json) - 1}, (PennySpan){text, strlen(text)});
}

static void
answer_problem(const PennyCall *call, uint32_t status, const char *title)
{
	static const char json[] = "content-type: application/problem+json\n";
	char text[256];

	snprintf(text, sizeof(text),
			 "{\"type\":\"about:blank\",\"title\":\"%s\",\"status\":%u,\"detail\":\"as scripted\","
			 "\"code\":\"PY%u\"}",
			 title, status, status);
	answer(call, status, (PennySpan){json, sizeof(json) - 1}, (PennySpan){text, strlen(text)});
}

static bool
starts_with(PennySpan span, const char *text)
{
	return span.len >= strlen(text) && memcmp(span.data, text, strlen(text)) == 0;
}

/* The number after '=' in a target. */
static uint64_t
number(PennySpan target)
{
	const char *at = memchr(target.data, '=', target.len);
	char digits[24] = "";

	if (at == NULL)
		return 0;
	snprintf(digits, sizeof(digits), "%.*s", (int) (target.data + target.len - at - 1), at + 1);
	return strtoull(digits, NULL, 10);
}

/* ---- HTTP ------------------------------------------------------------------ */

static size_t
put_member(char *out, size_t size, const char *name, PennySpan value)
{
	size_t len = (size_t) snprintf(out, size, ",\"%s\":", name);

	return len + penny_json_quote(value, out + len, size - len);
}

static void
echo(const PennyCall *call, const PennyRequest *request)
{
	static const char *const name[] = {"target", "headers", "token", "body", "request_id", "peer"};
	static const char json[] = "content-type: application/json\n";
	static char *text;
	size_t size = 6 * (size_t) plane->config.request_size + 1024;
	size_t len;

	if (text == NULL)
		text = malloc(size);
	len = (size_t) snprintf(text, size, "{\"method\":\"%s\",\"flags\":%u",
							penny_method_name(request->method), request->flags);
	for (int i = 0; i < PENNY_FIELDS; i++)
		len += put_member(text + len, size - len, name[i], request->field[i]);
	text[len++] = '}';
	answer(call, 200, (PennySpan){json, sizeof(json) - 1}, (PennySpan){text, len});
}

static void
bytes_of(const PennyCall *call, uint64_t n)
{
	static char *text;
	static size_t size;
	char head[80];
	size_t head_len = (size_t) snprintf(
		head, sizeof(head), "content-type: text/plain\netag: \"n-%lu\"\n", (unsigned long) n);

	if (n > size)
	{
		text = realloc(text, n);
		for (size_t i = size; i < n; i++)
			text[i] = (char) ('a' + i % 26);
		size = n;
	}
	answer(call, 200, (PennySpan){head, head_len}, (PennySpan){text, n});
}

static void
slow(const PennyCall *call, uint64_t ms)
{
	uint64_t until = now_ns() + ms * 1000000;

	while (now_ns() < until)
	{
		if (penny_call_cancelled(plane, call))
		{
			atomic_fetch_add(&fake_shared->cancelled, 1);
			answer_text(call, 200, "{}");
			return;
		}
		poll(NULL, 0, 5);
	}
	answer_text(call, 200, "{\"slow\":true}");
}

static void store(const PennyCall *call, const PennyRequest *request);

static void
serve_http(const PennyCall *call, const PennyRequest *request)
{
	static const char evil[] = "content-type: text/plain\nconnection: keep-alive\n"
							   "content-length: 3\ntransfer-encoding: chunked\nx-good: yes\n"
							   "bad name: x\nx-split: a\r\n\r\nHTTP/1.1 200 OK\n";
	static const char unchanged[] = "content-type: application/json\netag: \"abc\"\n";
	PennySpan target = request->field[PENNY_FIELD_TARGET];
	PennySpan none = {NULL, 0};
	PennyResponseExtra extra = {.mark = PENNY_MARK_NONE};
	FakeBuilt built;
	uint32_t status;

	if (starts_with(request->field[PENNY_FIELD_TOKEN], "bad"))
		answer_problem(call, 401, "Unauthorized");
	else if ((starts_with(target, "/agents") || starts_with(target, "/secret")) &&
			 !starts_with(request->field[PENNY_FIELD_TOKEN], "agent"))
		answer_problem(call, 403, "Forbidden");
	else if (starts_with(target, "/cached") && request->field[PENNY_FIELD_TOKEN].len == 0)
		answer_problem(call, 401, "Unauthorized");
	else if (fake_cached(plane, request, &extra, &built))
		answer_with(call, 200, (PennySpan){built.head, built.head_len},
					(PennySpan){built.body, built.body_len}, &extra);
	else if ((status = fake_jobs(plane, request, &built)) != 0)
		answer(call, status, (PennySpan){built.head, built.head_len},
			   (PennySpan){built.body, built.body_len});
	else if (starts_with(target, "/bytes"))
		bytes_of(call, number(target));
	else if (starts_with(target, "/slow"))
		slow(call, number(target));
	else if (starts_with(target, "/unchanged"))
		answer(call, 304, (PennySpan){unchanged, sizeof(unchanged) - 1}, none);
	else if (starts_with(target, "/status"))
		answer_text(call, (uint32_t) number(target), "{}");
	else if (starts_with(target, "/headers"))
		answer(call, 200, (PennySpan){evil, sizeof(evil) - 1}, (PennySpan){"hello", 5});
	else if (starts_with(target, "/api/v1/conversations/"))
		store(call, request);
	else if (starts_with(target, "/broken"))
	{
		char *half = calloc(1, plane->config.response_size * 2);

		penny_call_write(plane, call, 200, none, (PennySpan){half, plane->config.response_size * 2},
						 NULL, 0, false);
		while (!penny_call_part_taken(plane, call) && !penny_call_cancelled(plane, call))
			poll(NULL, 0, 1);
		penny_call_write(plane, call, 0, none, (PennySpan){half, 1}, NULL, 0, true);
		free(half);
	}
	else
		echo(call, request);
}

/* ---- rooms ------------------------------------------------------------------- */

static FakeRoom *
find_room(const char *name)
{
	uint64_t at = penny_hash(name, strlen(name), 7);

	for (uint64_t i = 0; i < FAKE_ROOMS; i++)
	{
		FakeRoom *room = &fake_shared->room[(at + i) % FAKE_ROOMS];

		if (room->name[0] == '\0')
			snprintf(room->name, sizeof(room->name), "%s", name);
		if (strcmp(room->name, name) == 0)
			return room;
	}
	abort();
}

static int
make_frame(char *out, size_t size, const char *room, uint64_t version, const char *content,
		   size_t len)
{
	return snprintf(
		out, size,
		"{\"type\":\"message\",\"room\":\"%s\",\"version\":%lu,\"message\":{\"seq\":%lu,"
		"\"content\":%.*s}}",
		room, (unsigned long) version, (unsigned long) version, (int) len, content);
}

uint64_t
fake_commit(PennyPlane *on, const char *name, const char *content, size_t content_len)
{
	static char frame[128 * 1024];
	PennyEventOut event = {.kind = PENNY_EVENT_CHANGE, .room = name};
	FakeRoom *room;

	pthread_mutex_lock(&fake_shared->lock);
	room = find_room(name);
	event.version = ++room->version;
	event.room_len = (uint32_t) strlen(name);
	event.frame_len =
		(uint32_t) make_frame(frame, sizeof(frame), name, event.version, content, content_len);
	event.frame = frame;
	if (atomic_load(&fake_shared->frameless))
		event.frame_len = 0;
	penny_event_publish(on, &event, 1, now_ns());
	pthread_mutex_unlock(&fake_shared->lock);
	penny_wake_edges(on);
	return event.version;
}

uint64_t
fake_stream(PennyPlane *on, const char *name)
{
	PennyEventOut event = {.kind = PENNY_EVENT_STREAM, .room = name};
	char frame[256];

	pthread_mutex_lock(&fake_shared->lock);
	event.version = ++find_room(name)->pieces;
	event.room_len = (uint32_t) strlen(name);
	event.frame_len = (uint32_t) snprintf(
		frame, sizeof(frame), "{\"type\":\"stream\",\"room\":\"%s\",\"index\":%lu,\"delta\":\"x\"}",
		name, (unsigned long) event.version);
	event.frame = frame;
	penny_event_publish(on, &event, 1, now_ns());
	pthread_mutex_unlock(&fake_shared->lock);
	penny_wake_edges(on);
	return event.version;
}

/*
 * A message by HTTP: the body is its content.  "repeat <version> <id>" is one
 * that was there already, with its answer, "bad" none that could be stored.
 */
static void
store(const PennyCall *call, const PennyRequest *request)
{
	PennySpan target = request->field[PENNY_FIELD_TARGET];
	PennySpan body = request->field[PENNY_FIELD_BODY];
	unsigned long version = 0;
	char answer_id[64] = "";
	char copy[128];
	char room[64];
	char head[400];
	char text[256];
	int head_len;
	bool repeated;

	snprintf(room, sizeof(room), "conversation:%.36s",
			 target.data + strlen("/api/v1/conversations/"));
	snprintf(copy, sizeof(copy), "%.*s", (int) body.len, body.data);
	if (strcmp(copy, "\"bad\"") == 0)
	{
		answer_problem(call, 400, "Bad Request");
		return;
	}
	repeated = sscanf(copy, "\"repeat %lu %40[^\"]", &version, answer_id) >= 1;
	if (!repeated)
		version = fake_commit(plane, room, body.data, body.len);
	head_len = snprintf(head, sizeof(head),
						"content-type: application/json\nlocation: /stored\n"
						"penny-follow: %s e%lu:%lu%s%s\n",
						room, (unsigned long) atomic_load(&fake_shared->epoch), version,
						answer_id[0] != '\0' ? " " : "", answer_id);
	snprintf(text, sizeof(text), "{\"id\":\"m-%lu\",\"seq\":%lu,\"role\":\"user\"}", version,
			 version);
	answer(call, repeated ? 200 : 201, (PennySpan){head, (size_t) head_len},
		   (PennySpan){text, strlen(text)});
}

static void
user_of(PennySpan token, char out[37])
{
	uint64_t hash = penny_hash(token.data, token.len, 1);

	snprintf(out, 37, "%08x-0000-4000-8000-%012lx", (uint32_t) hash, (unsigned long) (hash >> 16));
}

/* version of {"since":{"epoch","version"}}; -1 = none, -2 = another epoch */
static int64_t
since_of(PennySpan body)
{
	PennyJsonMember since[] = {{.name = "since"}};
	PennyJsonMember position[] = {{.name = "epoch"}, {.name = "version"}};
	char epoch[32];
	int64_t version;
	size_t where;

	if (body.len == 0 || penny_json_object(body, since, 1, &where) != NULL ||
		since[0].kind != PENNY_JSON_OBJECT)
		return -1;
	snprintf(epoch, sizeof(epoch), "e%lu", (unsigned long) atomic_load(&fake_shared->epoch));
	if (penny_json_object(since[0].raw, position, 2, &where) != NULL ||
		!penny_json_integer(position[1].raw, &version))
		return -1;
	return penny_json_string_is(position[0].raw, epoch) ? version : -2;
}

/* Lines of what changed in (*since, *version], less when they do not fit a page. */
static size_t
join_lines(char *body, size_t size, const char *name, uint64_t since, uint64_t *version)
{
	static char content[1 << 20] = "\"read\"";
	uint64_t page = atomic_load(&fake_shared->page);
	uint32_t pad = atomic_load(&fake_shared->pad);
	size_t len = 0;

	if (pad > 4)
	{
		memset(content + 1, 'x', pad);
		content[pad + 1] = '"';
	}

	if (page > 0 && *version > since + page)
		*version = since + page;
	for (uint64_t v = since + 1; v <= *version; v++)
	{
		len += (size_t) snprintf(body + len, size - len, "%lu ", (unsigned long) v);
		len +=
			(size_t) make_frame(body + len, size - len, name, v, content, (pad > 4 ? pad : 4) + 2);
		body[len++] = '\n';
	}
	return len;
}

static void
serve_join(const PennyCall *call, const PennyRequest *request)
{
	static char body[4 << 20];
	char head[256];
	char name[PENNY_ROOM_NAME_MAX];
	char user[37];
	PennySpan target = request->field[PENNY_FIELD_TARGET];
	int64_t since = since_of(request->field[PENNY_FIELD_BODY]);
	const char *reset = since == -2 ? "\"epoch\"" : "null";
	uint64_t newest, version, pieces;
	size_t len = 0;
	int head_len;

	if (starts_with(target, "forbidden") || atomic_load(&fake_shared->closed))
	{
		answer_problem(call, 404, "Not Found");
		return;
	}
	snprintf(name, sizeof(name), "%.*s", (int) target.len, target.data);
	user_of(request->field[PENNY_FIELD_TOKEN], user);
	pthread_mutex_lock(&fake_shared->lock);
	newest = version = starts_with(target, "free") ? 0 : find_room(name)->version;
	pieces = find_room(name)->pieces;
	pthread_mutex_unlock(&fake_shared->lock);
	if (since > (int64_t) version)
	{
		reset = "\"position\"";
		since = -1;
	}
	if (since >= 0)
		len = join_lines(body, sizeof(body), name, (uint64_t) since, &version);
	if (pieces > 0 && version == newest)
		len +=
			(size_t) snprintf(body + len, sizeof(body) - len,
							  "0 {\"type\":\"stream\",\"room\":\"%s\",\"index\":%lu,\"text\":\"so "
							  "far\"}\n",
							  name, (unsigned long) pieces);
	head_len =
		snprintf(head, sizeof(head),
				 "{\"position\":{\"epoch\":\"e%lu\",\"version\":%lu},\"recovered\":%s,\"reset\":%s,"
				 "\"more\":%s,\"write\":%s,\"user_id\":\"%s\"}",
				 (unsigned long) atomic_load(&fake_shared->epoch), (unsigned long) version,
				 since >= 0 ? "true" : "false", reset, version < newest ? "true" : "false",
				 starts_with(target, "free:read") ? "false" : "true", user);
	answer(call, 200, (PennySpan){head, (size_t) head_len}, (PennySpan){body, len});
}

static void
serve_message(const PennyCall *call, const PennyRequest *request)
{
	PennySpan target = request->field[PENNY_FIELD_TARGET];
	PennyJsonMember member[] = {{.name = "content"}};
	char name[PENNY_ROOM_NAME_MAX];
	char text[128];
	uint64_t version;
	size_t where;

	if (starts_with(target, "forbidden") ||
		penny_json_object(request->field[PENNY_FIELD_BODY], member, 1, &where) != NULL ||
		member[0].kind != PENNY_JSON_STRING)
	{
		answer_problem(call, 422, "Unprocessable Content");
		return;
	}
	snprintf(name, sizeof(name), "%.*s", (int) target.len, target.data);
	version = fake_commit(plane, name, member[0].raw.data, member[0].raw.len);
	snprintf(text, sizeof(text), "{\"id\":\"m-%lu\",\"seq\":%lu,\"version\":%lu}",
			 (unsigned long) version, (unsigned long) version, (unsigned long) version);
	answer_text(call, 201, text);
}

static void
serve_auth(const PennyCall *call, const PennyRequest *request)
{
	PennySpan token = request->field[PENNY_FIELD_TOKEN];
	char text[160];
	char user[37];

	if (token.len == 0 || starts_with(token, "bad"))
	{
		answer_problem(call, 401, "Unauthorized");
		return;
	}
	user_of(token, user);
	snprintf(text, sizeof(text), "{\"user_id\":\"%s\",\"role\":\"penny_user\",\"exp\":%ld}", user,
			 (long) time(NULL) + (starts_with(token, "short") ? 2 : 3600));
	answer_text(call, 200, text);
}

/* ---- the loop ------------------------------------------------------------------ */

/* Statements of presence: on to all edges, as an executor does it. */
static void
serve_presence(const PennyCall *call, const PennyRequest *request)
{
	PennySpan body = request->field[PENNY_FIELD_BODY];
	PennySpan room;
	PennySpan statement;

	while (penny_presence_record(&body, &room, &statement))
	{
		PennyEventSender sender = {(uint64_t) call->edge + 1, call->incarnation};
		PennyEventOut event = {.kind = PENNY_EVENT_PRESENCE,
							   .room = room.data,
							   .room_len = (uint32_t) room.len,
							   .frame = statement.data,
							   .frame_len = (uint32_t) statement.len};

		memcpy(event.user, &sender, sizeof(sender));
		penny_event_publish(plane, &event, 1, 0);
	}
	penny_wake_edges(plane);
	answer(call, 204, (PennySpan){NULL, 0}, (PennySpan){NULL, 0});
}

static void
serve(const PennyCall *call)
{
	static const char routes[] =
		"GET public /echo\nPOST public /echo\nPUT user /echo/{id}\nGET public /bytes\n"
		"GET public /slow\nGET user /cached/{id} ttl=60000 scope=user\n"
		"GET public /shared/{id} ttl=60000 scope=public\n"
		"GET agent /agents/{id} ttl=60000 scope=role\n"
		"GET agent /secret/{id} ttl=60000 scope=public\nGET public /status\nGET public "
		"/headers\nGET public /unchanged\nGET "
		"public /broken\n"
		"POST user /api/v1/conversations/{id}/messages\nGET user /api/v1/jobs/{id}\n"
		"POST user /api/v1/jobs\nPOST user /api/v1/queues/{queue}/claim\n"
		"POST user /api/v1/jobs/complete\nPOST user /api/v1/jobs/release\n"
		"GET public /waits\nGET public /extra\n";
	PennyRequest request;

	atomic_fetch_add(&fake_shared->calls, 1);
	if (!penny_call_request(plane, call, request_bytes, &request))
	{
		answer_problem(call, 400, "Bad Request");
		return;
	}
	if (atomic_load(&fake_shared->refuse))
	{
		answer_problem(call, 503, "Service Unavailable");
		return;
	}
	switch (request.op)
	{
		case PENNY_OP_HTTP:
			serve_http(call, &request);
			return;
		case PENNY_OP_READY:
			if (atomic_load(&fake_shared->unready))
				answer_problem(call, 503, "Service Unavailable");
			else
				answer_text(call, 200, "{\"status\":\"ok\"}");
			return;
		case PENNY_OP_ROUTES:
			answer(call, 200, (PennySpan){NULL, 0},
				   (PennySpan){routes,
							   sizeof(routes) - 1 - (atomic_load(&fake_shared->extra) ? 0 : 18)});
			return;
		case PENNY_OP_AUTH:
			serve_auth(call, &request);
			return;
		case PENNY_OP_JOIN:
			serve_join(call, &request);
			return;
		case PENNY_OP_MESSAGE:
			serve_message(call, &request);
			return;
		case PENNY_OP_PRESENCE:
			serve_presence(call, &request);
			return;
		case PENNY_OP_SIGNAL:
		case PENNY_OPS:
			return;
	}
}

void
fake_executor_run(PennyPlane *with, int number_of_executor)
{
	PennyCall call;

	plane = with;
	self = number_of_executor;
	request_bytes = malloc(plane->config.request_size);
	penny_sleeper_set_present(plane, self, true);
	for (;;)
	{
		while (penny_call_claim(plane, &call))
			serve(&call);
		penny_sleeper_prepare(plane, self);
		if (penny_call_claim(plane, &call))
		{
			penny_sleeper_awake(plane, self);
			serve(&call);
			continue;
		}
		rest(-1);
		penny_sleeper_awake(plane, self);
	}
}

/*-------------------------------------------------------------------------
 *
 * fake_jobs.c
 *		Routes of the fake executor that are about jobs, and answers that wait.
 *
 *		GET /api/v1/jobs/{id}			waits for the end of a job
 *		POST /api/v1/jobs				makes one; waits as the former
 *		POST /api/v1/queues/{q}/claim	waits for jobs; {"worker":"slow"}: the answer is
 *										found at once and told after 400 ms
 *		POST /api/v1/jobs/complete, fail, extend, release
 *		GET /waits						waits for "thing", a room that the path does not tell
 *
 * A job's token is its id times seven, any other is stale.  Tokens of clients
 * that start with "once" are refused when a call is repeated.
 *
 * Commands of the gateway:
 *
 *		ready <queue> <n>		n jobs more, and an event
 *		quiet <queue> <n>		the same without an event
 *		end <id>				the job has ended, with an event
 *		thing <n>				"thing" is n now, with an event
 *		interest <room>			is the bit of the room set?
 *		queue <queue>			name=value
 *
 *-------------------------------------------------------------------------
 */
#include "fake_gateway.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edge/http_target.h"
#include "edge/json_span.h"
#include "edge/sse_text.h"
#include "plane/interest.h"

#define SLOW 400 /* ms */

static char text[1 << 20];

static FakeQueue *
find_queue(const char *name)
{
	for (int i = 0; i < FAKE_QUEUES; i++)
	{
		FakeQueue *queue = &fake_shared->queue[i];

		if (queue->name[0] == '\0')
			snprintf(queue->name, sizeof(queue->name), "%s", name);
		if (strcmp(queue->name, name) == 0)
			return queue;
	}
	abort();
}

/* An event that says no more than that something happened. */
static void
tell(PennyPlane *plane, const char *kind, const char *name)
{
	PennyEventOut event = {.kind = PENNY_EVENT_RECHECK};
	char room[PENNY_ROOM_NAME_MAX];

	event.room_len = (uint32_t) snprintf(room, sizeof(room), "%s%s", kind, name);
	event.room = room;
	penny_event_publish(plane, &event, 1, 1);
	penny_wake_edges(plane);
}

static void
make_ready(PennyPlane *plane, const char *name, uint64_t n)
{
	pthread_mutex_lock(&fake_shared->lock);
	find_queue(name)->ready += n;
	pthread_mutex_unlock(&fake_shared->lock);
	tell(plane, "queue:", name);
}

/* ---- routes ------------------------------------------------------------------- */

static void
put(FakeBuilt *built, size_t len)
{
	built->body = text;
	built->body_len = len;
}

static void
wait_for(FakeBuilt *built, const char *room)
{
	built->head_len +=
		(size_t) snprintf(built->head + built->head_len, sizeof(built->head) - built->head_len,
						  "penny-wait: %s\n", room);
}

static uint32_t
show_job(const PennyRequest *request, unsigned long id, FakeBuilt *built)
{
	bool ended = fake_shared->ended[id % FAKE_JOBS];
	char room[64];

	if (!ended)
	{
		snprintf(room, sizeof(room), "job:%lu", id);
		wait_for(built, room);
	}
	put(built, (size_t) snprintf(text, sizeof(text),
								 "{\"id\":\"%lu\",\"state\":\"%s\",\"again\":%s,\"method\":\"%s\"}",
								 id, ended ? "completed" : "waiting",
								 request->flags & PENNY_REQUEST_AGAIN ? "true" : "false",
								 penny_method_name(request->method)));
	return 200;
}

static uint32_t
make_job(FakeBuilt *built)
{
	unsigned long id = (unsigned long) atomic_fetch_add(&fake_shared->made, 1) + 1;
	char room[64];

	snprintf(room, sizeof(room), "job:%lu", id);
	wait_for(built, room);
	built->head_len += (size_t) snprintf(
		built->head + built->head_len, sizeof(built->head) - built->head_len,
		"penny-wait-path: /api/v1/jobs/%lu\nlocation: /api/v1/jobs/%lu\n", id, id);
	put(built, (size_t) snprintf(text, sizeof(text), "{\"id\":\"%lu\",\"state\":\"waiting\"}", id));
	return 201;
}

static uint32_t
claim(const PennyRequest *request, const char *name, FakeBuilt *built)
{
	PennyJsonMember member[] = {{.name = "n"}, {.name = "worker"}};
	char room[PENNY_ROOM_NAME_MAX];
	FakeQueue *queue;
	int64_t n = 1;
	size_t where;
	size_t len = (size_t) snprintf(text, sizeof(text), "{\"data\": [");

	(void) penny_json_object(request->field[PENNY_FIELD_BODY], member, 2, &where);
	if (member[0].kind == PENNY_JSON_NUMBER)
		penny_json_integer(member[0].raw, &n);
	pthread_mutex_lock(&fake_shared->lock);
	queue = find_queue(name);
	queue->claims++;
	if ((uint64_t) n > queue->ready)
		n = (int64_t) queue->ready;
	queue->ready -= (uint64_t) n;
	queue->claimed += (uint64_t) n;
	for (int64_t i = 0; i < n; i++)
	{
		unsigned long id = (unsigned long) ++fake_shared->next_job;

		len +=
			(size_t) snprintf(text + len, sizeof(text) - len,
							  "%s{\"id\": \"%lu\", \"payload\": {\"id\": 1}, \"token\": \"%lu\"}",
							  i > 0 ? ", " : "", id, id * 7);
	}
	pthread_mutex_unlock(&fake_shared->lock);
	len += (size_t) snprintf(text + len, sizeof(text) - len, "]}");
	if (n == 0)
	{
		snprintf(room, sizeof(room), "queue:%.120s", name);
		wait_for(built, room);
	}
	if (member[1].kind == PENNY_JSON_STRING && penny_json_string_is(member[1].raw, "slow"))
		poll(NULL, 0, SLOW);
	put(built, len);
	return 200;
}

/* Complete, fail, extend, release: how many there were; 409 for a stale token. */
static uint32_t
take_back(PennyPlane *plane, const PennyRequest *request, const char *verb, FakeBuilt *built)
{
	PennyJsonMember member[] = {{.name = "jobs"}, {.name = "lease_ms"}};
	PennySpan body = request->field[PENNY_FIELD_BODY];
	FakeQueue *queue = find_queue("q");
	PennySpan job, id, token;
	unsigned long n = 0;
	size_t where;

	if (penny_json_object(body, member, 2, &where) != NULL || member[0].kind != PENNY_JSON_ARRAY)
		return 400;
	while (penny_sse_element(&member[0].raw, &job))
	{
		if (!penny_sse_member(job, "id", &id) || !penny_sse_member(job, "token", &token) ||
			strtoul(id.data + 1, NULL, 10) * 7 != strtoul(token.data + 1, NULL, 10))
			return 409;
		n++;
	}
	if (strcmp(verb, "release") == 0)
	{
		atomic_fetch_add(&queue->released, n);
		make_ready(plane, "q", n);
	}
	else if (strcmp(verb, "complete") == 0)
		atomic_fetch_add(&queue->completed, n);
	put(built, (size_t) snprintf(text, sizeof(text), "{\"%s\": %lu, \"lease\": \"%.*s\"}", verb, n,
								 (int) member[1].raw.len, member[1].raw.data));
	return 200;
}

uint32_t
fake_jobs(PennyPlane *plane, const PennyRequest *request, FakeBuilt *built)
{
	PennySpan target = request->field[PENNY_FIELD_TARGET];
	PennySpan token = request->field[PENNY_FIELD_TOKEN];
	bool post = request->method == PENNY_POST;
	char path[256];
	char name[128] = "";
	unsigned long id;

	snprintf(path, sizeof(path), "%.*s", (int) target.len, target.data);
	path[strcspn(path, "?")] = '\0';
	built->head_len =
		(size_t) snprintf(built->head, sizeof(built->head), "content-type: application/json\n");
	if (strncmp(path, "/api/v1/jobs", 12) != 0 && strncmp(path, "/api/v1/queues/", 15) != 0 &&
		strcmp(path, "/waits") != 0)
		return 0;
	put(built,
		(size_t) snprintf(text, sizeof(text), "{\"title\":\"No\",\"detail\":\"as scripted\"}"));
	if (token.len >= 4 && memcmp(token.data, "once", 4) == 0 &&
		(request->flags & PENNY_REQUEST_AGAIN))
		return 401;
	if (strcmp(path, "/waits") == 0)
	{
		id = (unsigned long) atomic_load(&fake_shared->thing);
		if (id == 0)
			wait_for(built, "thing");
		put(built, (size_t) snprintf(text, sizeof(text), "{\"thing\":%lu}", id));
		return 200;
	}
	if (post && strcmp(path, "/api/v1/jobs") == 0)
		return make_job(built);
	if (!post && sscanf(path, "/api/v1/jobs/%lu", &id) == 1)
		return show_job(request, id, built);
	if (post && sscanf(path, "/api/v1/queues/%120[^/]/claim", name) == 1)
	{
		char queue[112];
		size_t len;

		if (!penny_http_decode((PennySpan){name, strlen(name)}, queue, sizeof(queue) - 1, &len))
			return 400;
		queue[len] = '\0';
		return claim(request, queue, built);
	}
	if (post && sscanf(path, "/api/v1/jobs/%20s", name) == 1)
		return take_back(plane, request, name, built);
	return 404;
}

/* ---- commands ------------------------------------------------------------------- */

bool
fake_jobs_obey(PennyPlane *plane, const char *command, const char *name, const char *rest)
{
	FakeQueue *queue;

	if (strcmp(command, "ready") == 0)
		make_ready(plane, name, strtoul(rest, NULL, 10));
	else if (strcmp(command, "quiet") == 0)
		find_queue(name)->ready += strtoul(rest, NULL, 10);
	else if (strcmp(command, "end") == 0)
	{
		fake_shared->ended[strtoul(name, NULL, 10) % FAKE_JOBS] = true;
		tell(plane, "job:", name);
	}
	else if (strcmp(command, "thing") == 0)
	{
		atomic_store(&fake_shared->thing, strtoul(name, NULL, 10));
		tell(plane, "thing", "");
	}
	else if (strcmp(command, "interest") == 0)
	{
		printf("%d\n", penny_interest_any(plane, penny_hash(name, strlen(name), 0)));
		return true;
	}
	else if (strcmp(command, "queue") == 0)
	{
		queue = find_queue(name);
		printf("ready=%lu claimed=%lu claims=%lu released=%lu completed=%lu made=%lu\n",
			   (unsigned long) queue->ready, (unsigned long) queue->claimed,
			   (unsigned long) queue->claims, (unsigned long) atomic_load(&queue->released),
			   (unsigned long) atomic_load(&queue->completed),
			   (unsigned long) atomic_load(&fake_shared->made));
		return true;
	}
	else
		return false;
	printf("ok\n");
	return true;
}

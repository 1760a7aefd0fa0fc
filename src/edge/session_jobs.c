/*-------------------------------------------------------------------------
 *
 * session_jobs.c
 *		Workers by WebSocket: claims of jobs, and what became of them.
 *
 *		{"type":"claim","queue","n"?,"lease_ms"?,"worker"?,"wait"?}
 *									-> {"type":"claimed","jobs":[…]}
 *		{"type":"complete","jobs":[{"id","token","result"?}]}
 *									-> {"type":"completed",…}
 *		fail -> failed, extend (with "lease_ms") -> extended, release -> released
 *
 * Each is a call of the HTTP route of the same name (plane/call.h), so rights,
 * limits and errors are the route's, and what is wrong with a member the route
 * says.  Their answers carry the client's "ref" and come as they are ready, in
 * any order; other messages of the socket do not wait for them.
 *
 * A claim waits for jobs as an HTTP request does (waiting.h), with the token
 * that the session has when it looks, and ends with the session.  A session has
 * at most JOBS_MAX of these calls at a time, waiting ones included.
 *
 * What a client has said of its jobs is carried out although it went meanwhile;
 * what it has claimed then, is given back (orphans.c).  When the edge is to stop,
 * claims that wait are answered, and calls that run are waited for.
 *
 *-------------------------------------------------------------------------
 */
#include "edge/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edge/orphans.h"
#include "edge/sse_text.h"
#include "edge/waiting.h"

#define JOBS_MAX 64   /* calls of a session */
#define QUEUE_MAX 128 /* bytes of a queue's name */
/* The longest path of a claim: each byte of the name may take three. */
#define PATH_MAX_LEN (3 * QUEUE_MAX + 64)

/* What may be said of jobs. */
typedef struct Verb
{
	const char *name;
	const char *done; /* type of the answer */
	bool takes_lease;
} Verb;

static const Verb verbs[] = {
	{"claim", "claimed", true},   {"complete", "completed", false}, {"fail", "failed", false},
	{"extend", "extended", true}, {"release", "released", false},
};

#define CLAIM (&verbs[0])

/* Members of these messages; those from N to LEASE_MS are handed on as they are. */
typedef enum Wanted
{
	QUEUE,
	WAIT,
	N,
	WORKER,
	JOBS,
	LEASE_MS,
	WANTED
} Wanted;

/* A call about jobs, and who wants to know. */
struct PennySessionJob
{
	PennySession *session;
	PennySessionJob *next;
	PennySessionJob *prev;
	const Verb *verb;
	PennyPending *call;    /* NULL: it waits */
	PennyWaiting *waiting; /* NULL: it does not wait */
	uint32_t ref_len;
	char ref[];
};

static bool on_answer(void *owner, const PennyAnswer *answer);

/* ---- life -------------------------------------------------------------------- */

static PennySessionJob *
make_job(PennySession *session, const Verb *verb, PennySpan ref)
{
	PennySessionJob *job = penny_alloc(sizeof(*job) + ref.len);

	memset(job, 0, sizeof(*job));
	job->session = session;
	job->verb = verb;
	job->ref_len = (uint32_t) ref.len;
	if (ref.len > 0)
		memcpy(job->ref, ref.data, ref.len);
	job->next = session->jobs;
	if (job->next != NULL)
		job->next->prev = job;
	session->jobs = job;
	session->job_count++;
	return job;
}

/* The session knows it no longer; it is the caller's. */
static void
unlink_job(PennySessionJob *job)
{
	PennySession *session = job->session;

	if (job->prev != NULL)
		job->prev->next = job->next;
	else
		session->jobs = job->next;
	if (job->next != NULL)
		job->next->prev = job->prev;
	session->job_count--;
}

static void
free_job(PennySessionJob *job)
{
	penny_waiting_close(job->waiting);
	free(job);
}

void
penny_session_end_jobs(PennySession *session)
{
	while (session->jobs != NULL)
	{
		PennySessionJob *job = session->jobs;

		if (job->call != NULL && job->verb != CLAIM)
			penny_orphan_finish(job->call);
		else if (job->call != NULL && !penny_orphan_take(job->call))
			penny_call_abandon(job->call);
		unlink_job(job);
		free_job(job);
	}
}

/* Whatever an answer sets off: the list is looked at anew after each. */
void
penny_session_drain_jobs(PennySession *session)
{
	PennySessionJob *job;

	do
	{
		job = session->jobs;
		while (job != NULL && !penny_waiting_rests(job->waiting))
			job = job->next;
		if (job != NULL)
			penny_waiting_give(job->waiting);
	} while (job != NULL);
}

bool
penny_session_awaits(const PennySession *session)
{
	const PennySessionJob *job = session->jobs;

	while (job != NULL && job->call == NULL)
		job = job->next;
	return session->call != NULL || job != NULL;
}

/* ---- what is asked -------------------------------------------------------------- */

/* A name in a path: what is not unreserved, escaped. */
static char *
put_name(char *out, PennySpan name)
{
	static const char hex[] = "0123456789ABCDEF";

	for (size_t i = 0; i < name.len; i++)
	{
		unsigned char c = (unsigned char) name.data[i];

		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
			c == '-' || c == '_' || c == '~')
			*out++ = (char) c;
		else
		{
			*out++ = '%';
			*out++ = hex[c >> 4];
			*out++ = hex[c & 15];
		}
	}
	return out;
}

/* The path of a claim; NULL, or what is wrong. */
static const char *
write_claim(const PennyJsonMember *member, char path[PATH_MAX_LEN], size_t *len)
{
	static const char begin[] = "/api/v1/queues/";
	char name[QUEUE_MAX];
	PennySpan queue = {name, 0};
	char *out = path + sizeof(begin) - 1;
	PennySpan wait = member[WAIT].raw;
	uint32_t ms;

	if (member[QUEUE].kind != PENNY_JSON_STRING ||
		!penny_json_string(member[QUEUE].raw, name, sizeof(name), &queue.len) || queue.len == 0)
		return "queue must be a name of 1 to 128 bytes";
	memcpy(path, begin, sizeof(begin) - 1);
	out = put_name(out, queue);
	*len = (size_t) (out - path);
	if (member[WAIT].kind == PENNY_JSON_ABSENT || member[WAIT].kind == PENNY_JSON_NULL ||
		(wait.len == 1 && wait.data[0] == '0'))
		wait.len = 0;
	else if (member[WAIT].kind != PENNY_JSON_NUMBER || !penny_waiting_seconds(wait, &ms))
		return "wait must be a number of seconds up to 60";
	*len += (size_t) snprintf(out, 32, wait.len > 0 ? "/claim?wait=%.*s" : "/claim%.*s",
							  (int) wait.len, wait.len > 0 ? wait.data : "");
	return NULL;
}

/* The body: the members that are the route's.  It is used once. */
static PennySpan
write_body(const PennyJsonMember *member, const Verb *verb)
{
	static char *body;
	static size_t size;
	size_t len = 1;

	for (int i = N; i < WANTED; i++)
		len += member[i].raw.len + 16;
	if (len > size)
	{
		size = 2 * len;
		body = penny_realloc(body, size);
	}
	body[0] = '{';
	len = 1;
	for (int i = N; i < WANTED; i++)
	{
		bool claims = i == N || i == WORKER;

		if (member[i].kind == PENNY_JSON_ABSENT || (i == LEASE_MS && !verb->takes_lease) ||
			(i != LEASE_MS && claims != (verb == CLAIM)))
			continue;
		len += (size_t) snprintf(body + len, 16, "%s\"%s\":", len > 1 ? "," : "", member[i].name);
		memcpy(body + len, member[i].raw.data, member[i].raw.len);
		len += member[i].raw.len;
	}
	body[len++] = '}';
	return (PennySpan){body, len};
}

/* ---- calls ------------------------------------------------------------------------ */

static bool
ask(void *owner, PennyCallOut *out)
{
	PennySessionJob *job = owner;

	/* another token may be in force by now, of the same user */
	out->field[PENNY_FIELD_TOKEN] = (PennySpan){job->session->token, strlen(job->session->token)};
	job->call = penny_call_start(out, on_answer, job);
	return job->call != NULL;
}

static void
give(void *owner, const PennyAnswer *answer)
{
	(void) on_answer(owner, answer);
}

static const PennyWaitingCallbacks callbacks = {.ask = ask, .give = give};

/* Whose places claims take: the same number as for requests by HTTP. */
static uint64_t
user_of(const PennySession *session)
{
	uint8_t id[16] = {0};
	int n = 0;

	for (const char *c = session->user_id; *c != '\0' && n < 32; c++)
	{
		int digit = *c >= '0' && *c <= '9' ? *c - '0' : *c >= 'a' && *c <= 'f' ? *c - 'a' + 10 : -1;

		if (digit < 0)
			continue;
		id[n / 2] |= (uint8_t) (n % 2 == 0 ? digit << 4 : digit);
		n++;
	}
	return penny_hash(id, sizeof(id), penny_edge.plane.p->generation);
}

static void
start(PennySession *session, PennySpan ref, const Verb *verb, PennySpan path, PennySpan body)
{
	static const char lines[] = "content-type: application/json\n";
	PennyConnection *connection = session->connection;
	PennyCallOut out = {.op = PENNY_OP_HTTP, .method = PENNY_POST, .whole = true};
	PennySessionJob *job;

	if (session->local)
		out.flags |= PENNY_REQUEST_LOOPBACK;
	out.field[PENNY_FIELD_TARGET] = path;
	out.field[PENNY_FIELD_HEADERS] = (PennySpan){lines, sizeof(lines) - 1};
	out.field[PENNY_FIELD_TOKEN] = (PennySpan){session->token, strlen(session->token)};
	out.field[PENNY_FIELD_BODY] = body;
	out.field[PENNY_FIELD_PEER] = (PennySpan){connection->peer, strlen(connection->peer)};
	if (!penny_edge_fits(&penny_edge.plane, out.field))
	{
		penny_say_error(session, ref, 413, "the message is larger than a call may be");
		return;
	}
	job = make_job(session, verb, ref);
	if (verb == CLAIM)
		job->waiting = penny_waiting_open(&callbacks, job, &out, user_of(session));
	if (job->waiting != NULL)
		penny_waiting_asks(job->waiting);
	job->call = penny_call_start(&out, on_answer, job);
	if (job->call != NULL)
		return;
	unlink_job(job);
	free_job(job);
	penny_say_error(session, ref, 503, "too many requests are waiting");
}

void
penny_session_take_jobs(PennySession *session, PennySpan type, PennySpan ref, PennySpan text)
{
	PennyJsonMember member[WANTED] = {
		[QUEUE] = {.name = "queue"}, [WAIT] = {.name = "wait"},
		[N] = {.name = "n"},         [WORKER] = {.name = "worker"},
		[JOBS] = {.name = "jobs"},   [LEASE_MS] = {.name = "lease_ms"}};
	const Verb *verb = verbs;
	char path[PATH_MAX_LEN];
	const char *wrong;
	size_t len;

	while (!penny_json_string_is(type, verb->name))
		verb++;
	wrong = penny_json_object(text, member, WANTED, &len);
	if (wrong == NULL && verb == CLAIM)
		wrong = write_claim(member, path, &len);
	else if (wrong == NULL && member[JOBS].kind != PENNY_JSON_ARRAY)
		wrong = "jobs must be an array";
	else
		len = (size_t) snprintf(path, sizeof(path), "/api/v1/jobs/%s", verb->name);
	if (wrong != NULL)
		penny_say_error(session, ref, 400, wrong);
	else if (session->job_count >= JOBS_MAX)
		penny_say_error(session, ref, 429, "this socket has asked for as much as it may at a time");
	else if (penny_edge.draining)
		penny_say_error(session, ref, 503, "the server is stopping");
	else
		start(session, ref, verb, (PennySpan){path, len}, write_body(member, verb));
}

/* ---- answers -------------------------------------------------------------------------- */

/* What the route has answered, as a frame; false: it makes no sense. */
static bool
tell(PennySessionJob *job, PennySpan body)
{
	PennySpan ref = {job->ref, job->ref_len};
	PennySpan jobs;

	if (job->verb == CLAIM)
	{
		if (!penny_sse_member(body, "data", &jobs) || jobs.data[0] != '[')
			return false;
		penny_say_begin(job->verb->done, ref);
		penny_say_raw("jobs", jobs);
	}
	else
	{
		while (body.len > 0 && (body.data[body.len - 1] == ' ' || body.data[body.len - 1] == '\n'))
			body.len--;
		if (body.len < 2 || body.data[0] != '{' || body.data[body.len - 1] != '}')
			return false;
		penny_say_begin(job->verb->done, ref);
		penny_say_members((PennySpan){body.data + 1, body.len - 2});
	}
	penny_say_send(job->session);
	return true;
}

static void
pass_on(PennySessionJob *job, const PennyAnswer *answer)
{
	PennySession *session = job->session;
	PennySpan ref = {job->ref, job->ref_len};

	if (session->connection->state != PENNY_OPEN)
	{
		if (job->call != NULL)
			penny_orphan_return(job->call, answer);
	}
	else if (answer->kind == PENNY_ANSWER_TIMEOUT)
		penny_say_error(session, ref, 503, "no executor took the request in time");
	else if (answer->kind != PENNY_ANSWER)
		penny_say_error(session, ref, 503, "no answer came: it may have been carried out");
	else if (answer->status != 200)
		penny_say_problem(session, ref, (PennySpan){NULL, 0}, answer->status, answer->body);
	else if (!tell(job, answer->body))
		penny_say_error(session, ref, 500, "the executor's answer makes no sense");
}

static bool
on_answer(void *owner, const PennyAnswer *answer)
{
	PennySessionJob *job = owner;
	PennySession *session = job->session;

	/* given: it is out of the wait already, and has no call */
	if (job->waiting != NULL && job->call != NULL &&
		penny_waiting_keep(job->waiting, job->call, answer))
	{
		job->call = NULL;
		return true;
	}
	unlink_job(job); /* saying something may end the session's jobs */
	pass_on(job, answer);
	free_job(job);
	if (penny_edge.draining)
		session->transport->go_on(session);
	return true;
}

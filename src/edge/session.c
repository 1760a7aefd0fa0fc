/*-------------------------------------------------------------------------
 *
 * session.c
 *		What the messages of a client mean.
 *
 * A message is one JSON object with a "type".  What is not that ends the
 * socket (4400); what is, but cannot be done, is answered by an error frame,
 * and the socket goes on.
 *
 * Messages are taken in order.  Signing in and storing a message wait for an
 * executor, and what comes after waits for them, so acks are in the order of
 * the messages.  Joins do not wait for each other, nor what workers say of jobs
 * (session_jobs.c).
 *
 *-------------------------------------------------------------------------
 */
#include "edge/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edge/websocket_frame.h"

/* Members of a message that the edge looks at. */
typedef enum Wanted
{
	TYPE,
	REF,
	ROOM,
	TOKEN,
	SINCE,
	EVENT,
	FILTER,
	CONFLATE,
	PRESENCE,
	BATCH_MS,
	WANTED
} Wanted;

typedef struct Message
{
	PennySpan text;
	PennySpan ref;  /* as written, or empty */
	PennySpan room; /* unescaped */
	PennyJsonMember member[WANTED];
} Message;

typedef struct Type
{
	const char *name;
	bool needs_room;
	void (*take)(PennySession *session, const Message *message);
} Type;

static void take_auth(PennySession *session, const Message *message);
static void take_join(PennySession *session, const Message *message);
static void take_leave(PennySession *session, const Message *message);
static void take_message(PennySession *session, const Message *message);
static void take_signal(PennySession *session, const Message *message);
static void take_ping(PennySession *session, const Message *message);
static void take_options(PennySession *session, const Message *message);
static void take_jobs(PennySession *session, const Message *message);

static const Type types[] = {
	{"auth", false, take_auth},       {"join", true, take_join},     {"leave", true, take_leave},
	{"message", true, take_message},  {"signal", true, take_signal}, {"ping", false, take_ping},
	{"options", false, take_options}, {"claim", false, take_jobs},   {"complete", false, take_jobs},
	{"fail", false, take_jobs},       {"extend", false, take_jobs},  {"release", false, take_jobs},
};

/* ---- life --------------------------------------------------------------------- */

PennySession *
penny_session_open(const PennyTransport *transport, void *client, PennyConnection *connection,
				   bool local)
{
	PennySession *session = penny_alloc(sizeof(*session));

	memset(session, 0, sizeof(*session));
	session->transport = transport;
	session->client = client;
	session->connection = connection;
	session->ready_end = &session->ready;
	session->local = local;
	session->window = PENNY_WINDOW_DEFAULT;
	penny_session_list(session);
	return session;
}

void
penny_session_close(PennySession *session)
{
	if (session->call != NULL)
		penny_call_abandon(session->call);
	penny_session_unlist(session);
	penny_session_leave_all(session);
	penny_session_end_jobs(session);
	free(session->token);
	free(session->offered);
	free(session);
}

bool
penny_session_busy(const PennySession *session)
{
	return session->call != NULL;
}

void
penny_session_expired(PennySession *session)
{
	if (session->user_id[0] != '\0')
		penny_session_auth_deadline(session);
	else if (session->call != NULL && !session->probing)
		session->transport->deadline(session, penny_edge.now + penny_edge.settings.auth_timeout);
	else
		session->transport->goodbye(session, PENNY_CLOSE_SIGNED_OUT, "nobody signed in in time");
}

/* ---- messages ------------------------------------------------------------------ */

static void
malformed(PennySession *session, const char *what, size_t where)
{
	char reason[120];

	penny_count(&penny_edge.plane, PENNY_COUNT_MALFORMED, 1);
	snprintf(reason, sizeof(reason), "%s at byte %zu", what, where);
	session->transport->goodbye(session, PENNY_CLOSE_MALFORMED, reason);
}

/* Take the client's ref; false when it is none that could be repeated. */
static bool
read_ref(Message *message)
{
	const PennyJsonMember *ref = &message->member[REF];

	message->ref = (PennySpan){NULL, 0};
	if (ref->kind == PENNY_JSON_ABSENT || ref->kind == PENNY_JSON_NULL)
		return true;
	if ((ref->kind != PENNY_JSON_STRING && ref->kind != PENNY_JSON_NUMBER) ||
		ref->raw.len > PENNY_REF_MAX)
		return false;
	message->ref = ref->raw;
	return true;
}

static bool
read_room(Message *message, char name[PENNY_ROOM_NAME_MAX])
{
	size_t len;

	if (message->member[ROOM].kind != PENNY_JSON_STRING ||
		!penny_json_string(message->member[ROOM].raw, name, PENNY_ROOM_NAME_MAX, &len) || len == 0)
		return false;
	message->room = (PennySpan){name, len};
	return true;
}

static const Type *
find_type(const PennyJsonMember *type)
{
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
	{
		if (penny_json_string_is(type->raw, types[i].name))
			return &types[i];
	}
	return NULL;
}

void
penny_session_message(PennySession *session, PennySpan text)
{
	Message message = {.text = text,
					   .member = {[TYPE] = {.name = "type"},
								  [REF] = {.name = "ref"},
								  [ROOM] = {.name = "room"},
								  [TOKEN] = {.name = "token"},
								  [SINCE] = {.name = "since"},
								  [EVENT] = {.name = "event"},
								  [FILTER] = {.name = "filter"},
								  [CONFLATE] = {.name = "conflate"},
								  [PRESENCE] = {.name = "presence"},
								  [BATCH_MS] = {.name = "batch_ms"}}};
	char room[PENNY_ROOM_NAME_MAX];
	size_t where;
	const char *wrong = penny_json_object(text, message.member, WANTED, &where);
	const Type *type;

	if (wrong != NULL || message.member[TYPE].kind != PENNY_JSON_STRING)
	{
		malformed(session, wrong != NULL ? wrong : "no \"type\"", wrong != NULL ? where : 0);
		return;
	}
	type = find_type(&message.member[TYPE]);
	if (session->user_id[0] == '\0' && (type == NULL || type->take != take_auth))
		session->transport->goodbye(session, PENNY_CLOSE_SIGNED_OUT, "sign in first");
	else if (!read_ref(&message))
		penny_say_error(session, message.ref, 400,
						"ref must be a string or a number of at most 128 bytes");
	else if (type == NULL)
		penny_say_error(session, message.ref, 400, "there is no such type of message");
	else if (type->needs_room && !read_room(&message, room))
		penny_say_error(session, message.ref, 400, "room must be a name of 1 to 128 bytes");
	else
		type->take(session, &message);
}

static void
take_auth(PennySession *session, const Message *message)
{
	static char token[8192];
	size_t len;

	if (message->member[TOKEN].kind != PENNY_JSON_STRING ||
		!penny_json_string(message->member[TOKEN].raw, token, sizeof(token), &len) || len == 0)
	{
		penny_say_error(session, message->ref, 400, "token must be a string of 1 to 8192 bytes");
		return;
	}
	session->ref_len = (uint32_t) message->ref.len;
	if (message->ref.len > 0)
		memcpy(session->ref, message->ref.data, message->ref.len);
	penny_session_verify(session, (PennySpan){token, len});
}

/* Is this member not there, or as good as that? */
static bool
is_absent(const PennyJsonMember *member)
{
	return member->kind == PENNY_JSON_ABSENT || member->kind == PENNY_JSON_NULL;
}

/* Take a member that may be true, false or not there; false when it is something else. */
static bool
read_bool(const PennyJsonMember *member, bool *value)
{
	*value = member->kind == PENNY_JSON_TRUE;
	return *value || member->kind == PENNY_JSON_FALSE || is_absent(member);
}

/* What a join wants; NULL, or what is wrong with it. */
static const char *
read_join(const Message *message, PennyJoin *join, char filter[PENNY_ROOMS_FILTER_MAX])
{
	const PennyJsonMember *since = &message->member[SINCE];
	const PennyJsonMember *types = &message->member[FILTER];
	const char *wrong = NULL;

	*join = (PennyJoin){.room = message->room};
	if (!is_absent(since))
	{
		if (since->kind != PENNY_JSON_OBJECT || since->raw.len > PENNY_ROOMS_SINCE_MAX)
			return "since must be a position";
		join->since = since->raw;
	}
	if (!is_absent(types))
	{
		if (types->kind != PENNY_JSON_OBJECT)
			return "filter must be an object with types";
		wrong = penny_filter_read(types->raw, filter, &join->filter.len);
		join->filter.data = filter;
	}
	if (!read_bool(&message->member[CONFLATE], &join->conflate))
		return "conflate must be true or false";
	if (!read_bool(&message->member[PRESENCE], &join->presence))
		return "presence must be true or false";
	return wrong;
}

static void
take_join(PennySession *session, const Message *message)
{
	char filter[PENNY_ROOMS_FILTER_MAX];
	PennyJoin join;
	const char *wrong = read_join(message, &join, filter);

	/* Before it leaves: who is told no is where it was. */
	if (message->room.len >= 4 && memcmp(message->room.data, "job:", 4) == 0)
		penny_say_error(session, message->ref, 404, "room not found"); /* the edge's own */
	else if (wrong != NULL)
		penny_say_error(session, message->ref, 400, wrong);
	else
		penny_session_join(session, message->ref, &join);
}

/* How this socket is to be served. */
static void
take_options(PennySession *session, const Message *message)
{
	const PennyJsonMember *window = &message->member[BATCH_MS];
	int64_t ms;

	if (window->kind != PENNY_JSON_NUMBER || !penny_json_integer(window->raw, &ms) ||
		ms > PENNY_WINDOW_MAX)
	{
		penny_say_error(session, message->ref, 400, "batch_ms must be an integer from 0 to 500");
		return;
	}
	penny_session_set_window(session, (uint32_t) ms);
	if (message->ref.len > 0)
	{
		penny_say_begin("ack", message->ref);
		penny_say_send(session);
	}
}

static void
take_leave(PennySession *session, const Message *message)
{
	penny_session_leave(session, message->ref, message->room);
}

static void
take_signal(PennySession *session, const Message *message)
{
	if (message->member[EVENT].kind != PENNY_JSON_OBJECT)
		penny_say_error(session, message->ref, 400, "event must be an object");
	else
		penny_session_signal(session, message->ref, message->room, message->member[EVENT].raw);
}

static void
take_jobs(PennySession *session, const Message *message)
{
	penny_session_take_jobs(session, message->member[TYPE].raw, message->ref, message->text);
}

static void
take_ping(PennySession *session, const Message *message)
{
	penny_say_begin("pong", message->ref);
	penny_say_send(session);
}

/* ---- storing a message ------------------------------------------------------------ */

/* The ack of what an executor has committed. */
static void
acknowledge(PennySession *session, PennySpan ref, const PennyAnswer *answer)
{
	PennyJsonMember member[] = {{.name = "id"}, {.name = "seq"}, {.name = "version"}};
	size_t where;

	if (penny_json_object(answer->body, member, 3, &where) != NULL)
	{
		penny_say_error(session, ref, 500, "the executor's answer makes no sense");
		return;
	}
	penny_say_begin("ack", ref);
	for (int i = 0; i < 3; i++)
	{
		if (member[i].kind != PENNY_JSON_ABSENT)
			penny_say_raw(member[i].name, member[i].raw);
	}
	penny_say_send(session);
}

static bool
on_stored(void *owner, const PennyAnswer *answer)
{
	PennySession *session = owner;
	PennySpan ref = {session->ref, session->ref_len};

	session->call = NULL;
	session->ref_len = 0;
	if (answer->kind == PENNY_ANSWER_TIMEOUT)
		penny_say_error(session, ref, 503, "no executor took the message in time");
	else if (answer->kind != PENNY_ANSWER)
		penny_say_error(session, ref, 503,
						"no answer came: the message may be stored, a client_id tells");
	else if (answer->status == 200 || answer->status == 201)
		acknowledge(session, ref, answer);
	else
		penny_say_problem(session, ref, (PennySpan){NULL, 0}, answer->status, answer->body);
	session->transport->go_on(session);
	return true;
}

static void
take_message(PennySession *session, const Message *message)
{
	PennyConnection *connection = session->connection;
	PennyCallOut out = {.op = PENNY_OP_MESSAGE, .whole = true};

	if (session->local)
		out.flags |= PENNY_REQUEST_LOOPBACK;
	out.field[PENNY_FIELD_TARGET] = message->room;
	out.field[PENNY_FIELD_TOKEN] = (PennySpan){session->token, strlen(session->token)};
	out.field[PENNY_FIELD_BODY] = message->text;
	out.field[PENNY_FIELD_PEER] = (PennySpan){connection->peer, strlen(connection->peer)};
	if (!penny_edge_fits(&penny_edge.plane, out.field))
	{
		penny_say_error(session, message->ref, 413, "the message is larger than a call may be");
		return;
	}
	session->call = penny_call_start(&out, on_stored, session);
	if (session->call == NULL)
	{
		penny_say_error(session, message->ref, 503, "too many requests are waiting");
		return;
	}
	session->ref_len = (uint32_t) message->ref.len;
	if (message->ref.len > 0)
		memcpy(session->ref, message->ref.data, message->ref.len);
}

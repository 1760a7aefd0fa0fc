/*-------------------------------------------------------------------------
 *
 * session_auth.c
 *		Signing in by a token, and its end.
 *
 * Executors verify tokens; the edge keeps the token for later calls of the
 * same socket, and the time at which it ends.  A client may sign in anew
 * before that, as the same user.  Another user's token would leave rooms
 * joined by the first one, so it is refused.
 *
 * When the keys of tokens have changed (keys_stamp of the plane), every token
 * that was verified before is verified again, a few at a time, so that many
 * sockets do not crowd out requests.  A walk goes over all sessions; one that
 * signs in while it goes on, with a stamp older than the present one, starts
 * it anew.  A token that nobody can verify ends its socket, too: with 1012, so
 * that the client comes back.  Session tokens do not depend on keys; those of
 * a user are verified again when an event says that one of them ended or
 * changed, or that this may be so.
 *
 * A client on this machine that brings no token is asked for one only when an
 * executor says so: a server made for trying penny out lets such clients in.
 *
 *-------------------------------------------------------------------------
 */
#include "edge/session.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "edge/websocket_frame.h"

#define RECHECKS 8 /* at a time */

static PennySession *sessions; /* all of them */
static PennySession *walk;     /* the next to be looked at; NULL = all are */
static uint64_t walk_keys;     /* stamp for which the walk goes on */
static int rechecks;           /* under way */
static uint64_t doubts;        /* events about the end of sessions */

static bool on_verified(void *owner, const PennyAnswer *answer);
static bool on_rechecked(void *owner, const PennyAnswer *answer);

static int64_t
unix_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* When the token ends, by the clock of this machine as it is now. */
void
penny_session_auth_deadline(PennySession *session)
{
	int64_t left;

	if (session->expires == 0)
	{
		session->transport->deadline(session, 0);
		return;
	}
	left = session->expires * 1000 - unix_ms();
	if (left <= 0)
		session->transport->goodbye(session, PENNY_CLOSE_SIGNED_OUT, "the token has ended");
	else
		session->transport->deadline(session, penny_edge.now +
												  (left < INT32_MAX ? (uint64_t) left : INT32_MAX));
}

static uint64_t
keys_stamp(void)
{
	return atomic_load_explicit(&penny_edge.plane.p->keys_stamp, memory_order_acquire);
}

void
penny_session_verify(PennySession *session, PennySpan token)
{
	PennyConnection *connection = session->connection;
	PennyCallOut out = {.op = PENNY_OP_AUTH, .whole = true};

	if (session->local)
		out.flags |= PENNY_REQUEST_LOOPBACK;
	out.field[PENNY_FIELD_TOKEN] = token;
	if (session->request_id != NULL)
		out.field[PENNY_FIELD_REQUEST_ID] =
			(PennySpan){session->request_id, strlen(session->request_id)};
	out.field[PENNY_FIELD_PEER] = (PennySpan){connection->peer, strlen(connection->peer)};
	if (!penny_edge_fits(&penny_edge.plane, out.field))
	{
		session->transport->goodbye(session, PENNY_CLOSE_TOO_LARGE, "the token is too large");
		return;
	}
	session->offered = penny_alloc(token.len + 1);
	if (token.len > 0)
		memcpy(session->offered, token.data, token.len);
	session->offered[token.len] = '\0';
	session->probing = token.len == 0;
	session->offered_keys = keys_stamp();
	session->offered_doubts = doubts;
	session->call = penny_call_start(&out, on_verified, session);
	if (session->call == NULL)
		session->transport->come_back(session, PENNY_CLOSE_RESTART);
}

static void
stop_recheck(PennySession *session)
{
	if (session->recheck == NULL)
		return;
	penny_call_abandon(session->recheck);
	session->recheck = NULL;
	rechecks--;
}

/* Take over the answer; false when it makes no sense or is of another user. */
static bool
sign_in(PennySession *session, PennySpan body)
{
	PennyJsonMember member[] = {{.name = "user_id"}, {.name = "exp"}};
	char user_id[PENNY_USER_ID_MAX + 1];
	int64_t expires = 0;
	size_t len;
	size_t where;

	if (penny_json_object(body, member, 2, &where) != NULL || member[0].kind != PENNY_JSON_STRING ||
		!penny_json_string(member[0].raw, user_id, PENNY_USER_ID_MAX, &len) || len == 0)
		return false;
	if (member[1].kind == PENNY_JSON_NUMBER && !penny_json_integer(member[1].raw, &expires))
		return false;
	user_id[len] = '\0';
	if (session->user_id[0] != '\0' && strcmp(session->user_id, user_id) != 0)
	{
		if (session->token[0] != '\0')
			return false;
		penny_session_leave_all(session); /* they were joined without a token */
		penny_session_end_jobs(session);
	}
	memcpy(session->user_id, user_id, len + 1);
	session->expires = expires;
	free(session->token);
	session->token = session->offered;
	session->offered = NULL;
	session->keys = session->offered_keys;
	stop_recheck(session);
	session->doubted = session->offered_doubts != doubts;
	if (session->keys != keys_stamp() || session->doubted)
		walk = sessions;
	return true;
}

/* The token was refused, or nobody could say. */
static void
refuse(PennySession *session, const PennyAnswer *answer)
{
	free(session->offered);
	session->offered = NULL;
	if (answer->kind != PENNY_ANSWER || answer->status >= 500)
		session->transport->come_back(session, PENNY_CLOSE_RESTART);
	else
		session->transport->refused(session, answer);
}

static bool
on_verified(void *owner, const PennyAnswer *answer)
{
	PennySession *session = owner;
	PennySpan ref = {session->ref, session->ref_len};

	session->call = NULL;
	if (answer->kind != PENNY_ANSWER || answer->status != 200)
		refuse(session, answer);
	else if (!sign_in(session, answer->body))
		session->transport->goodbye(session, PENNY_CLOSE_SIGNED_OUT,
									"the token is of another user");
	else
	{
		penny_session_auth_deadline(session);
		session->transport->signed_in(session);
		if (ref.len > 0)
		{
			penny_say_begin("ack", ref);
			penny_say_send(session);
		}
	}
	session->ref_len = 0;
	session->transport->go_on(session);
	return true;
}

/* ---- other keys ------------------------------------------------------------------ */

void
penny_session_list(PennySession *session)
{
	session->next = sessions;
	if (sessions != NULL)
		sessions->prev = session;
	sessions = session;
}

void
penny_session_unlist(PennySession *session)
{
	stop_recheck(session);
	if (walk == session)
		walk = session->next;
	if (session->prev != NULL)
		session->prev->next = session->next;
	else
		sessions = session->next;
	if (session->next != NULL)
		session->next->prev = session->prev;
}

/* A token of chat.sessions? */
static bool
has_session_token(const PennySession *session)
{
	return session->token != NULL && strncmp(session->token, "pns_", 4) == 0;
}

/* Was the token verified with keys, or before a change, that may have ended it? */
static bool
is_stale(const PennySession *session)
{
	return session->token != NULL && session->token[0] != '\0' &&
		   (has_session_token(session) ? session->doubted : session->keys != walk_keys) &&
		   session->recheck == NULL && session->connection->state == PENNY_OPEN;
}

/* The text of a UUID, as executors write it. */
static void
write_uuid(const uint8_t uuid[16], char text[37])
{
	static const char digits[] = "0123456789abcdef";
	int n = 0;

	for (int i = 0; i < 16; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			text[n++] = '-';
		text[n++] = digits[uuid[i] >> 4];
		text[n++] = digits[uuid[i] & 15];
	}
	text[n] = '\0';
}

void
penny_sessions_doubt(const uint8_t user[16])
{
	static const uint8_t everybody[16];
	bool all = memcmp(user, everybody, sizeof(everybody)) == 0;
	char user_id[37];

	write_uuid(user, user_id);
	doubts++;
	for (PennySession *session = sessions; session != NULL; session = session->next)
	{
		if (!has_session_token(session) || (!all && strcmp(session->user_id, user_id) != 0))
			continue;
		session->doubted = true;
		walk = sessions;
	}
}

/* False when there is no room for the call now. */
static bool
recheck(PennySession *session)
{
	PennyConnection *connection = session->connection;
	PennyCallOut out = {.op = PENNY_OP_AUTH, .whole = true};

	out.field[PENNY_FIELD_TOKEN] = (PennySpan){session->token, strlen(session->token)};
	out.field[PENNY_FIELD_PEER] = (PennySpan){connection->peer, strlen(connection->peer)};
	session->recheck = penny_call_start(&out, on_rechecked, session);
	if (session->recheck == NULL)
		return false;
	session->keys = walk_keys;
	session->doubted = false;
	rechecks++;
	return true;
}

static bool
on_rechecked(void *owner, const PennyAnswer *answer)
{
	PennySession *session = owner;

	session->recheck = NULL;
	rechecks--;
	if (answer->kind != PENNY_ANSWER || answer->status >= 500)
		session->transport->come_back(session, PENNY_CLOSE_RESTART);
	else if (answer->status != 200)
		session->transport->goodbye(session, PENNY_CLOSE_SIGNED_OUT,
									"the token is not valid any more");
	else if (session->keys != keys_stamp() || session->doubted)
		walk = sessions;
	return true;
}

void
penny_sessions_turn(void)
{
	uint64_t stamp = keys_stamp();

	if (stamp != walk_keys)
	{
		walk_keys = stamp;
		walk = sessions;
	}
	while (walk != NULL && rechecks < RECHECKS)
	{
		if (is_stale(walk) && !recheck(walk))
			return; /* answers that are awaited make room, and another turn */
		walk = walk->next;
	}
}

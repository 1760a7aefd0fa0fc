/*-------------------------------------------------------------------------
 *
 * session_rooms.c
 *		Joining and leaving rooms, signals, and what rooms bring.
 *
 * The rooms themselves are in rooms.c, which calls back here.  Those callbacks
 * queue frames and unlink, and never call into rooms.c again; a connection
 * that is cut because of what they queue goes at the end of the turn.
 *
 * Signals.  Where this is the only edge, all members are here and get one at
 * once.  Else it is a call: an executor publishes it for all edges, this one
 * too, and further messages of the socket wait for that, so that its signals
 * stay in order.
 *
 *-------------------------------------------------------------------------
 */
#include "edge/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edge/events.h"

#define SIGNAL_MAX 16384 /* bytes: large ones would push slow members out */

/* The session's place in a room, or NULL. */
static PennySessionRoom *
find(PennySession *session, PennySpan name)
{
	for (PennySessionRoom *in = session->rooms; in != NULL; in = in->next)
	{
		PennySpan room = penny_rooms_name(in->member);

		if (room.len == name.len && memcmp(room.data, name.data, name.len) == 0)
			return in;
	}
	return NULL;
}

/* The room's frames are taken after those of the rooms that are ready by now. */
static void
set_ready(PennySessionRoom *in)
{
	PennySession *session = in->session;

	in->ready = true;
	in->next_ready = NULL;
	*session->ready_end = in;
	session->ready_end = &in->next_ready;
}

static void
unset_ready(PennySessionRoom *in)
{
	PennySession *session = in->session;
	PennySessionRoom **place = &session->ready;

	while (*place != in)
		place = &(*place)->next_ready;
	*place = in->next_ready;
	if (session->ready_end == &in->next_ready)
		session->ready_end = place;
	in->ready = false;
}

static void
unlink_room(PennySessionRoom *in)
{
	PennySession *session = in->session;

	if (in->prev != NULL)
		in->prev->next = in->next;
	else
		session->rooms = in->next;
	if (in->next != NULL)
		in->next->prev = in->prev;
	if (in->ready)
		unset_ready(in);
	session->room_count--;
	penny_events_listen(in->hash, false);
	free(in);
}

static void
leave(PennySessionRoom *in)
{
	penny_rooms_leave(penny_events_rooms(), in->member);
	unlink_room(in);
}

/* ms in which frames for this session gather. */
static uint32_t
window_of(const PennySession *session)
{
	return session->window != PENNY_WINDOW_DEFAULT ? session->window
												   : penny_edge.settings.batch_window;
}

void
penny_session_set_window(PennySession *session, uint32_t window)
{
	session->window = window;
	for (PennySessionRoom *in = session->rooms; in != NULL; in = in->next)
	{
		if (!penny_rooms_set_window(penny_events_rooms(), in->member, window, penny_edge.now))
			penny_log(PENNY_LOG_WARNING, "no memory for another batch window of a client");
	}
}

/*
 * Join, or join again: a client that lost its place asks for what it missed.
 * The member is known to the session before rooms.c can call back about it,
 * since reads are answered in later turns.
 */
void
penny_session_join(PennySession *session, PennySpan ref, PennyJoin *wanted)
{
	PennySpan room = wanted->room;
	PennySessionRoom *in = find(session, room);

	if (in != NULL)
		leave(in);
	if (session->room_count >= penny_edge.settings.rooms_per_connection)
	{
		penny_say_error(session, ref, 429, "this socket has joined as many rooms as it may");
		return;
	}
	in = penny_alloc(sizeof(*in) + ref.len);
	memset(in, 0, sizeof(*in));
	in->session = session;
	in->connection = session->connection;
	in->ref_len = (uint32_t) ref.len;
	if (ref.len > 0)
		memcpy(in->ref, ref.data, ref.len);
	in->next = session->rooms;
	if (in->next != NULL)
		in->next->prev = in;
	session->rooms = in;
	session->room_count++;
	/* before the join is asked, so that no commit falls between it and the read */
	in->hash = penny_hash(room.data, room.len, 0);
	penny_events_listen(in->hash, true);
	wanted->window = window_of(session);
	in->member = penny_rooms_join(penny_events_rooms(), wanted, in, penny_edge.now);
	if (in->member == NULL)
	{
		unlink_room(in);
		penny_say_error(session, ref, 503, "there is no memory for a room");
	}
}

void
penny_session_leave(PennySession *session, PennySpan ref, PennySpan room)
{
	PennySessionRoom *in = find(session, room);

	if (in != NULL)
		leave(in);
	penny_say_begin("left", ref);
	penny_say_text("room", room);
	penny_say_send(session);
}

static bool
on_signalled(void *owner, const PennyAnswer *answer)
{
	PennySession *session = owner;
	PennySpan ref = {session->ref, session->ref_len};

	session->call = NULL;
	session->ref_len = 0;
	if (answer->kind != PENNY_ANSWER)
		penny_say_error(session, ref, 503, "no executor took the signal in time");
	else if (answer->status != 204)
		penny_say_problem(session, ref, (PennySpan){NULL, 0}, answer->status, answer->body);
	session->transport->go_on(session);
	return true;
}

/* To members at all edges. */
static void
signal_all(PennySession *session, PennySpan ref, const PennySessionRoom *in, PennySpan event)
{
	PennyConnection *connection = session->connection;
	PennyCallOut out = {.op = PENNY_OP_SIGNAL, .whole = true};
	char number[24];

	if (session->local)
		out.flags |= PENNY_REQUEST_LOOPBACK;
	out.field[PENNY_FIELD_TARGET] = penny_rooms_name(in->member);
	out.field[PENNY_FIELD_HEADERS].len = (size_t) snprintf(
		number, sizeof(number), "%llu", (unsigned long long) penny_rooms_number(in->member));
	out.field[PENNY_FIELD_HEADERS].data = number;
	out.field[PENNY_FIELD_TOKEN] = (PennySpan){session->token, strlen(session->token)};
	out.field[PENNY_FIELD_BODY] = event;
	out.field[PENNY_FIELD_PEER] = (PennySpan){connection->peer, strlen(connection->peer)};
	if (penny_edge_fits(&penny_edge.plane, out.field))
		session->call = penny_call_start(&out, on_signalled, session);
	if (session->call == NULL)
	{
		penny_say_error(session, ref, 503, "the signal could not be sent");
		return;
	}
	session->ref_len = (uint32_t) ref.len;
	if (ref.len > 0)
		memcpy(session->ref, ref.data, ref.len);
}

/* To the others in the room, with the sender's id; not stored. */
void
penny_session_signal(PennySession *session, PennySpan ref, PennySpan room, PennySpan event)
{
	PennySessionRoom *in = find(session, room);

	if (event.len > SIGNAL_MAX)
	{
		penny_say_error(session, ref, 413, "the event of a signal may have at most 16384 bytes");
		return;
	}
	if (in == NULL || !penny_rooms_is_in(in->member))
	{
		penny_say_error(session, ref, 403, "only members of a room may signal");
		return;
	}
	if (!penny_rooms_may_write(in->member))
	{
		penny_say_error(session, ref, 403, "this room may be read by you, not written to");
		return;
	}
	if (penny_edge.plane.config.edges > 1)
	{
		signal_all(session, ref, in, event);
		return;
	}
	penny_say_begin("event", (PennySpan){NULL, 0});
	penny_say_text("room", room);
	penny_say_text("user_id", (PennySpan){session->user_id, strlen(session->user_id)});
	penny_say_raw("event", event);
	if (!penny_rooms_signal(penny_events_rooms(), in->member, penny_say_end(), penny_edge.now))
		penny_say_error(session, ref, 503, "the signal could not be sent");
}

void
penny_session_leave_all(PennySession *session)
{
	while (session->rooms != NULL)
		leave(session->rooms);
}

/* One frame a turn: a busy room does not keep the others waiting. */
PennyFrame *
penny_session_pull(PennySession *session, size_t most)
{
	PennySessionRoom *in;

	while ((in = session->ready) != NULL)
	{
		PennyFrame *frame = penny_rooms_take(in->member, most);
		bool more = penny_rooms_has_more(in->member);

		if (frame == NULL && more)
			return NULL;
		unset_ready(in);
		if (more)
			set_ready(in);
		if (frame != NULL)
			return frame;
	}
	return NULL;
}

void
penny_session_drained(PennySession *session)
{
	for (PennySessionRoom *in = session->rooms; in != NULL; in = in->next)
		penny_rooms_drained(penny_events_rooms(), in->member, penny_edge.now);
}

/* ---- callbacks of rooms.c --------------------------------------------------- */

void
penny_session_joined(void *arg, void *member, PennySpan room, const PennyJoined *how)
{
	PennySessionRoom *in = member;
	const PennyTransport *transport = in->session->transport;
	PennySpan yes = {"true", 4};
	PennySpan no = {"false", 5};

	(void) arg;
	if (transport->joined != NULL && !transport->joined(in->session, how))
		return;
	penny_say_begin("joined", (PennySpan){in->ref, in->ref_len});
	penny_say_text("room", room);
	penny_say_raw("position", how->position);
	penny_say_raw("recovered", how->recovered ? yes : no);
	if (how->reset.len > 0)
		penny_say_raw("reset", how->reset);
	if (!how->write)
		penny_say_raw("write", no);
	penny_say_send(in->session);
	in->ref_len = 0;
}

void
penny_session_deliver(void *arg, void *member, PennyFrame *frame)
{
	PennySessionRoom *in = member;

	(void) arg;
	in->session->transport->deliver(in->session, frame);
}

void
penny_session_ready(void *arg, void *member)
{
	PennySessionRoom *in = member;

	(void) arg;
	if (in->ready)
		return;
	set_ready(in);
	penny_connection_has_frames(in->connection);
}

bool
penny_session_takes(void *arg, void *member)
{
	PennySessionRoom *in = member;

	(void) arg;
	return !in->connection->blocked;
}

/* Tell that it was not let in; the client may try again. */
static void
tell_barred(PennySession *session, PennySpan ref, PennySpan room, PennyLeaving why, uint32_t status,
			PennySpan problem)
{
	if (why == PENNY_LEAVING_REFUSED)
		penny_say_problem(session, ref, room, status, problem);
	else
		penny_say_error(session, ref, status, "the room changed while it was joined");
}

static void
tell_left(PennySession *session, PennySpan room, PennyLeaving why)
{
	static const char *const reason[] = {"revoked", "deleted", "refused", "reset", "slow"};

	penny_say_begin("left", (PennySpan){NULL, 0});
	penny_say_text("room", room);
	penny_say_text("reason", (PennySpan){reason[why], strlen(reason[why])});
	penny_say_send(session);
}

void
penny_session_left(void *arg, void *member, PennySpan room, PennyLeaving why, bool joined,
				   uint32_t status, PennySpan problem)
{
	PennySessionRoom *in = member;
	PennySession *session = in->session;
	const PennyTransport *transport = session->transport;

	(void) arg;
	if (why != PENNY_LEAVING_REFUSED)
		status = why == PENNY_LEAVING_RESET ? 409 : 404;
	if (why == PENNY_LEAVING_SLOW)
		transport->too_slow(session);
	else if (joined)
		tell_left(session, room, why);
	else if (transport->barred == NULL)
		tell_barred(session, (PennySpan){in->ref, in->ref_len}, room, why, status, problem);
	unlink_room(in);
	if (why != PENNY_LEAVING_SLOW && joined && transport->left != NULL)
		transport->left(session);
	else if (!joined && transport->barred != NULL)
		transport->barred(session, status, problem);
}

/*-------------------------------------------------------------------------
 *
 * websocket.c
 *		WebSocket on one connection.
 *
 * The upgrade is answered here, then frames are taken: messages go to the
 * session, pings are answered, a close is echoed.  A message that comes in one
 * read is handed on where it lies; only one that comes in pieces is gathered.
 *
 * While the session waits for an executor, or the client does not read, input
 * is kept unparsed, up to KEEP_MAX (PENNY_SIGN_IN_MAX of somebody unknown), and then
 * the socket is not read.  So the client is slowed down instead of being served
 * out of order.
 *
 * Heartbeat: a ping every heartbeat_interval in which nothing was heard; when
 * the next one is due and still nothing was heard, the client is gone (4408).
 *
 *-------------------------------------------------------------------------
 */
#include "edge/websocket.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edge/packed.h"
#include "edge/session.h"

#define KEEP_MAX (64 * 1024)  /* bytes kept while busy */
#define CLOSE_REASON_MAX 120  /* bytes of a close frame's reason */
#define COME_BACK_FIRST 200   /* ms after which the first may come back */
#define COME_BACK_SPREAD 2800 /* ms over which they are spread */
#define SLOW_GOODBYE 2000     /* ms in which a slow client may still read its close frame */

static void on_input(PennyConnection *connection, char *bytes, size_t len);
static PennyFrame *on_pull(PennyConnection *connection, size_t most);
static void on_drained(PennyConnection *connection);
static void on_expired(PennyConnection *connection);
static void on_closed(PennyConnection *connection);
static void on_drain(PennyConnection *connection);
static void on_interrupt(PennyConnection *connection);

const PennyProtocol penny_websocket_protocol = {
	.input = on_input,
	.pull = on_pull,
	.drained = on_drained,
	.expired = on_expired,
	.closed = on_closed,
	.drain = on_drain,
	.interrupt = on_interrupt,
};

void
penny_websocket_limit(PennyWebsocket *websocket, uint32_t limit)
{
	uint32_t most = penny_edge.settings.websocket_message_size;

	websocket->parser.limit = limit < most ? limit : most;
}

/* ---- output ---------------------------------------------------------------------- */

/* What goes to this client in place of a frame; borrowed from it. */
static PennyFrame *
form_for(const PennyWebsocket *websocket, PennyFrame *frame)
{
	return websocket->window_bits == 0 ? frame : penny_packed(frame, websocket->window_bits);
}

void
penny_websocket_queue(PennyWebsocket *websocket, PennyFrame *frame)
{
	penny_connection_queue(websocket->connection, form_for(websocket, frame));
	penny_count(&penny_edge.plane, PENNY_COUNT_FRAMES_OUT, 1);
}

void
penny_websocket_send(PennyWebsocket *websocket, PennySpan text)
{
	PennyFrame *frame = penny_frame_make(text);

	if (frame == NULL)
	{
		penny_connection_cut(websocket->connection);
		return;
	}
	penny_websocket_queue(websocket, frame);
	penny_frame_unref(frame);
}

static void
send_control(PennyWebsocket *websocket, PennyWebsocketOpcode opcode, const char *payload,
			 size_t len)
{
	char frame[PENNY_WEBSOCKET_HEAD_MAX + PENNY_WEBSOCKET_CONTROL_MAX];
	size_t head = penny_websocket_head((uint8_t *) frame, opcode, len);

	memcpy(frame + head, payload, len);
	penny_connection_write(websocket->connection, frame, head + len);
}

/* Send a close frame, then close. */
static void
say_goodbye(PennyWebsocket *websocket, uint16_t code, const char *reason)
{
	uint8_t frame[PENNY_WEBSOCKET_CONTROL_MAX + 2];

	penny_connection_write(websocket->connection, (char *) frame,
						   penny_websocket_close(frame, code, reason, strlen(reason)));
	penny_connection_close(websocket->connection);
}

/* It leaves its rooms and jobs at once: the connection may be there for a while. */
void
penny_websocket_goodbye(PennyWebsocket *websocket, uint16_t code, const char *reason)
{
	if (websocket->connection->state != PENNY_OPEN)
		return;
	penny_session_leave_all(websocket->session);
	penny_session_end_jobs(websocket->session);
	say_goodbye(websocket, code, reason);
}

/* ms after which a client may come back. */
uint32_t
penny_come_back_after(void)
{
	uint32_t random;

	penny_random(&random, sizeof(random));
	return COME_BACK_FIRST + random % COME_BACK_SPREAD;
}

/*
 * The close frame waits behind what the client has not read; one that goes on
 * not reading is cut.  A room calls this, so it is not left here.
 */
void
penny_websocket_too_slow(PennyWebsocket *websocket)
{
	char reason[CLOSE_REASON_MAX];

	/* Another of its rooms may have found out before: no more time for that. */
	if (websocket->connection->state != PENNY_OPEN)
		return;
	snprintf(reason, sizeof(reason), "{\"retry_after_ms\":%u,\"reason\":\"slow\"}",
			 penny_come_back_after());
	say_goodbye(websocket, PENNY_CLOSE_SLOW, reason);
	penny_connection_close_by(websocket->connection, penny_edge.now + SLOW_GOODBYE);
}

void
penny_websocket_come_back(PennyWebsocket *websocket, uint16_t code)
{
	char reason[CLOSE_REASON_MAX];

	if (penny_edge.draining)
		code = penny_edge.restarting ? PENNY_CLOSE_RESTART : PENNY_CLOSE_GOING_AWAY;
	snprintf(reason, sizeof(reason), "{\"retry_after_ms\":%u}", penny_come_back_after());
	penny_websocket_goodbye(websocket, code, reason);
}

/* ---- input ----------------------------------------------------------------------- */

/* Must input wait, for the session or for a client that does not read? */
static bool
is_busy(const PennyWebsocket *websocket)
{
	return penny_session_busy(websocket->session) || websocket->connection->blocked;
}

/* Gather a piece of a message that comes in several. */
static void
gather(PennyWebsocket *websocket, const PennyWebsocketEvent *event)
{
	size_t needed = websocket->message_len + event->len;

	if (event->len == 0)
		return;
	if (needed > websocket->message_size)
	{
		/* By what came, not by what is announced: announcing costs nothing. */
		size_t size = needed * 2;

		if (!penny_connection_budget((int64_t) (size - websocket->message_size)))
		{
			penny_connection_cut(websocket->connection);
			return;
		}
		websocket->message = penny_realloc(websocket->message, size);
		websocket->message_size = size;
	}
	memcpy(websocket->message + websocket->message_len, event->data, event->len);
	websocket->message_len = needed;
}

static void
release_message(PennyWebsocket *websocket)
{
	penny_connection_budget(-(int64_t) websocket->message_size);
	free(websocket->message);
	websocket->message = NULL;
	websocket->message_len = websocket->message_size = 0;
}

/* Unpack a message; false when the connection ends. */
static bool
unpack(PennyWebsocket *websocket, PennySpan *text)
{
	switch (penny_unpack(*text, websocket->parser.limit, text))
	{
		case PENNY_UNPACKED:
			if (penny_utf8_valid(text->data, text->len))
				return true;
			penny_websocket_goodbye(websocket, PENNY_CLOSE_INVALID_TEXT, "text is not UTF-8");
			break;
		case PENNY_UNPACK_LARGE:
			penny_websocket_goodbye(websocket, PENNY_CLOSE_TOO_LARGE, "message is too large");
			break;
		case PENNY_UNPACK_BAD:
			penny_websocket_goodbye(websocket, PENNY_CLOSE_INVALID_TEXT,
									"message cannot be unpacked");
			break;
	}
	penny_count(&penny_edge.plane, PENNY_COUNT_MALFORMED, 1);
	return false;
}

/* A message is complete. */
static void
take_message(PennyWebsocket *websocket, PennySpan text, const PennyWebsocketEvent *event)
{
	penny_count(&penny_edge.plane, PENNY_COUNT_FRAMES_IN, 1);
	if (event->packed && !event->binary && !unpack(websocket, &text))
		return;
	if (event->binary)
	{
		penny_count(&penny_edge.plane, PENNY_COUNT_MALFORMED, 1);
		penny_websocket_goodbye(websocket, PENNY_CLOSE_MALFORMED, "messages must be text");
	}
	else
		penny_session_message(websocket->session, text);
}

static void
take_data(PennyWebsocket *websocket, const PennyWebsocketEvent *event)
{
	if (event->first && event->final)
	{
		take_message(websocket, (PennySpan){event->data, event->len}, event);
		return;
	}
	gather(websocket, event);
	if (event->final && websocket->connection->state == PENNY_OPEN)
	{
		take_message(websocket,
					 (PennySpan){websocket->message != NULL ? websocket->message : "",
								 websocket->message_len},
					 event);
		release_message(websocket);
	}
}

/* Is this the end of a message, or a control frame: something to be counted? */
static bool
too_fast(PennyWebsocket *websocket, PennyWebsocketResult result, const PennyWebsocketEvent *event)
{
	bool counts = result == PENNY_WEBSOCKET_GOT_PING || result == PENNY_WEBSOCKET_GOT_PONG ||
				  (result == PENNY_WEBSOCKET_DATA && event->final);

	return counts && !penny_bucket_take(&websocket->bucket, penny_edge.settings.websocket_messages);
}

/* Act on what the parser found. */
static void
take_event(PennyWebsocket *websocket, PennyWebsocketResult result, const PennyWebsocketEvent *event)
{
	char reason[CLOSE_REASON_MAX] = "";

	if (too_fast(websocket, result, event))
	{
		penny_websocket_goodbye(websocket, PENNY_CLOSE_TOO_FAST, "too many messages a second");
		return;
	}
	switch (result)
	{
		case PENNY_WEBSOCKET_DATA:
			take_data(websocket, event);
			return;
		case PENNY_WEBSOCKET_GOT_PING:
			send_control(websocket, PENNY_WEBSOCKET_PONG, event->data, event->len);
			return;
		case PENNY_WEBSOCKET_GOT_CLOSE:
			penny_websocket_goodbye(websocket, event->code, reason);
			return;
		case PENNY_WEBSOCKET_ERROR:
			penny_count(&penny_edge.plane, PENNY_COUNT_MALFORMED, 1);
			snprintf(reason, sizeof(reason), "%s", event->reason);
			penny_websocket_goodbye(websocket, event->code, reason);
			return;
		case PENNY_WEBSOCKET_GOT_PONG:
		case PENNY_WEBSOCKET_NEED_MORE:
			return;
	}
}

/* Parse until input ends, the session is busy, or the connection closes. */
static size_t
process(PennyWebsocket *websocket, char *bytes, size_t len)
{
	size_t used = 0;

	while (used < len && websocket->connection->state == PENNY_OPEN && !is_busy(websocket))
	{
		PennyWebsocketEvent event;
		PennyWebsocketResult result;
		size_t n;

		result = penny_websocket_parse(&websocket->parser, bytes + used, len - used, &n, &event);
		used += n;
		if (result != PENNY_WEBSOCKET_NEED_MORE)
			take_event(websocket, result, &event);
		else if (n == 0)
			break;
	}
	return used;
}

/* Read on, or not while more is kept than somebody unknown, or anybody, may have. */
static void
mind_kept(PennyWebsocket *websocket)
{
	PennyConnection *connection = websocket->connection;
	bool unknown = websocket->session->user_id[0] == '\0';

	penny_connection_pause(connection,
						   connection->in_len > (unknown ? PENNY_SIGN_IN_MAX : KEEP_MAX));
}

static void
on_input(PennyConnection *connection, char *bytes, size_t len)
{
	PennyWebsocket *websocket = connection->session;
	size_t used = 0;

	websocket->pinged = false;
	if (websocket->ping_at != 0)
		websocket->ping_at = penny_edge.now + penny_edge.settings.heartbeat_interval;
	if (connection->in_len == 0)
		used = process(websocket, bytes, len);
	if (connection->state == PENNY_OPEN && used < len)
		penny_connection_keep(connection, bytes + used, len - used);
	mind_kept(websocket);
}

void
penny_websocket_go_on(PennyWebsocket *websocket)
{
	PennyConnection *connection = websocket->connection;
	size_t used;

	if (penny_edge.draining && !penny_session_awaits(websocket->session))
		penny_websocket_come_back(websocket, PENNY_CLOSE_GOING_AWAY);
	if (connection->state != PENNY_OPEN || connection->in_len == 0)
		return;
	used = process(websocket, connection->in, connection->in_len);
	if (used > 0)
		penny_connection_consume(connection, used);
	mind_kept(websocket);
}

static PennyFrame *
on_pull(PennyConnection *connection, size_t most)
{
	PennyWebsocket *websocket = connection->session;

	PennyFrame *frame = penny_session_pull(websocket->session, most);
	PennyFrame *form = frame != NULL ? form_for(websocket, frame) : NULL;

	if (form != frame)
	{
		penny_frame_ref(form);
		penny_frame_unref(frame);
	}
	return form;
}

static void
on_drained(PennyConnection *connection)
{
	PennyWebsocket *websocket = connection->session;

	penny_session_drained(websocket->session);
	penny_websocket_go_on(websocket);
}

/* ---- time ------------------------------------------------------------------------- */

static void
set_deadline(PennyWebsocket *websocket)
{
	uint64_t at = websocket->session_at;

	if (websocket->ping_at != 0 && (at == 0 || websocket->ping_at < at))
		at = websocket->ping_at;
	if (websocket->connection->state == PENNY_OPEN)
		penny_connection_deadline(websocket->connection, at);
}

void
penny_websocket_deadline(PennyWebsocket *websocket, uint64_t at)
{
	websocket->session_at = at;
	set_deadline(websocket);
}

/* A ping is due: or the last one was not answered. */
static void
heartbeat(PennyWebsocket *websocket)
{
	websocket->ping_at = penny_edge.now + penny_edge.settings.heartbeat_interval;
	if (is_busy(websocket) || websocket->connection->paused)
		return; /* what was heard may not have been read */
	if (websocket->pinged)
	{
		penny_websocket_goodbye(websocket, PENNY_CLOSE_SILENT, "no answer to a ping");
		return;
	}
	websocket->pinged = true;
	send_control(websocket, PENNY_WEBSOCKET_PING, "", 0);
}

static void
on_expired(PennyConnection *connection)
{
	PennyWebsocket *websocket = connection->session;

	if (websocket->session_at != 0 && websocket->session_at <= penny_edge.now)
	{
		websocket->session_at = 0;
		penny_session_expired(websocket->session);
	}
	if (connection->state == PENNY_OPEN && websocket->ping_at != 0 &&
		websocket->ping_at <= penny_edge.now)
		heartbeat(websocket);
	set_deadline(websocket);
}

/* ---- the end ------------------------------------------------------------------------ */

static void
on_closed(PennyConnection *connection)
{
	PennyWebsocket *websocket = connection->session;

	penny_session_close(websocket->session);
	release_message(websocket);
	free(websocket);
	penny_count(&penny_edge.plane, PENNY_COUNT_WEBSOCKETS, -1);
}

static void
on_drain(PennyConnection *connection)
{
	PennyWebsocket *websocket = connection->session;

	/* What an executor has is answered first. */
	penny_session_drain_jobs(websocket->session);
	if (penny_edge.closing || !penny_session_awaits(websocket->session))
		penny_websocket_come_back(websocket, PENNY_CLOSE_GOING_AWAY);
}

static void
on_interrupt(PennyConnection *connection)
{
	penny_websocket_come_back(connection->session, PENNY_CLOSE_RESTART);
}

/*-------------------------------------------------------------------------
 *
 * sse.c
 *		Event streams on one connection: head, events, heartbeat, end.  The
 *		transport of their sessions is in sse_session.c.
 *
 * A stream is a session that has joined one room.  Who the client is, the end
 * of its token, other keys, joining, places in the room's log and what becomes
 * of slow clients are those of sessions and rooms; here frames become events.
 *
 * The answer begins when the room has let the client in, so what is wrong
 * before that has its status and problem document.  It is chunked (to a client
 * of HTTP/1.0: ended by the connection's end), because its length is not
 * known, and because the last chunk tells an end from a broken connection.  It
 * is the last answer of its connection: what the client sends after the
 * request is dropped.  It is not compressed: a compressor would hold events
 * back, or cost memory for each client.
 *
 * Ends.  The client always may come back with the last id that it saw, and
 * misses nothing: `retry:` at the beginning tells after which time, different
 * for each; when penny stops, another one does.  A client that is too slow is
 * closed; one that lost its access is told `left`.  Who follows an answer gets
 * the last chunk when that has ended, when it lost its access, or when nothing
 * was heard for stream_timeout; else it sees a broken connection, and may ask
 * the same again.
 *
 * A client says nothing, so a dead one is found by what it does not
 * acknowledge: a comment each heartbeat_interval, and the kernel gives up
 * after two of them, or write_timeout if that is longer.
 *
 *-------------------------------------------------------------------------
 */
#include "edge/sse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edge/origin.h"
#include "edge/websocket.h"

#define UNSENT_MAX (128 * 1024) /* bytes in the kernel that it could not send yet */
#define RETRY_MAX 40            /* bytes of `retry:` */

static void on_input(PennyConnection *connection, char *bytes, size_t len);
static PennyFrame *on_pull(PennyConnection *connection, size_t most);
static void on_drained(PennyConnection *connection);
static void on_expired(PennyConnection *connection);
static void on_closed(PennyConnection *connection);
static void on_drain(PennyConnection *connection);
static void on_interrupt(PennyConnection *connection);

static const PennyProtocol sse_protocol = {
	.input = on_input,
	.pull = on_pull,
	.drained = on_drained,
	.expired = on_expired,
	.closed = on_closed,
	.drain = on_drain,
	.interrupt = on_interrupt,
};

/* ---- time --------------------------------------------------------------------- */

static void
earlier(uint64_t *at, uint64_t other)
{
	if (other != 0 && (*at == 0 || other < *at))
		*at = other;
}

/* When the next comment is due, 0 = never. */
static uint64_t
beat_at(const PennySse *sse)
{
	uint64_t interval = penny_edge.settings.heartbeat_interval;

	return sse->started && interval != 0 ? sse->written + interval : 0;
}

/* When nothing has been heard of the answer for too long, 0 = never. */
static uint64_t
silent_at(const PennySse *sse)
{
	return sse->follow != NULL ? sse->heard + penny_edge.settings.stream_timeout : 0;
}

void
penny_sse_set_deadline(PennySse *sse)
{
	uint64_t at = sse->over ? penny_edge.now : sse->session_at;

	earlier(&at, beat_at(sse));
	earlier(&at, silent_at(sse));
	if (sse->connection->state == PENNY_OPEN)
		penny_connection_deadline(sse->connection, at);
}

/* ---- output ------------------------------------------------------------------- */

/* A client that reads slowly is no dead one before write_timeout. */
static void
limit_silence(PennyConnection *connection)
{
	uint32_t silence = 2 * penny_edge.settings.heartbeat_interval;

	if (silence == 0)
		return;
	if (silence < penny_edge.settings.write_timeout)
		silence = penny_edge.settings.write_timeout;
	penny_connection_limit_silence(connection, silence);
}

PennySse *
penny_sse_open(PennyHttp *http, PennySpan room, bool local)
{
	PennyConnection *connection = http->connection;
	PennySse *sse = penny_alloc(sizeof(*sse));

	memset(sse, 0, sizeof(*sse));
	sse->connection = connection;
	sse->http = http;
	sse->heard = sse->written = penny_edge.now;
	memcpy(sse->room, room.data, PENNY_SSE_ROOM_LEN);
	penny_http_leave(http);
	connection->protocol = &sse_protocol;
	connection->session = sse;
	penny_connection_limit_unsent(connection, UNSENT_MAX);
	limit_silence(connection);
	sse->session = penny_session_open(&penny_sse_transport, sse, connection, local);
	sse->session->request_id = http->request_id;
	penny_count(&penny_edge.plane, PENNY_COUNT_EVENT_STREAMS, 1);
	return sse;
}

/* A chunk as this client is to get it; takes over the reference. */
static PennyFrame *
as_sent(const PennySse *sse, PennyFrame *events)
{
	PennyFrame *plain = NULL;
	PennySpan span;
	char *bytes;

	if (events == NULL || !sse->http->http10)
		return events;
	span = penny_sse_plain(events);
	plain = penny_frame_raw(0, span.len, &bytes);
	if (plain != NULL)
		memcpy(bytes, span.data, span.len);
	penny_frame_unref(events);
	return plain;
}

/* What was taken from the rooms, and waits, goes before what is queued. */
static void
queue_next(PennySse *sse)
{
	if (sse->next == NULL)
		return;
	penny_connection_queue(sse->connection, sse->next);
	penny_frame_unref(sse->next);
	sse->next = NULL;
}

/* Queue what is ready for the wire; takes over the reference. */
void
penny_sse_pass(PennySse *sse, PennyFrame *wire)
{
	queue_next(sse);
	if (wire == NULL)
		penny_connection_cut(sse->connection); /* rather than a hole */
	else
		penny_connection_queue(sse->connection, wire);
	penny_frame_unref(wire);
	sse->written = penny_edge.now;
}

static void
queue_text(PennySse *sse, const char *text)
{
	penny_sse_pass(sse, as_sent(sse, penny_sse_chunk((PennySpan){text, strlen(text)})));
}

void
penny_sse_queue(PennySse *sse, PennyFrame *events)
{
	penny_sse_pass(sse, as_sent(sse, events));
	penny_count(&penny_edge.plane, PENNY_COUNT_FRAMES_OUT, 1);
}

/* When the client is to come back: not all at once. */
void
penny_sse_write_retry(char *out, size_t size)
{
	snprintf(out, size, "retry: %u\n\n", penny_come_back_after());
}

void
penny_sse_start(PennySse *sse, uint32_t status, const char *more)
{
	PennyHttp *http = sse->http;
	PennyReply reply = {.status = status, .endless = true, .close = true};
	char retry[RETRY_MAX];
	char lines[512];
	PennySpan head;

	snprintf(lines, sizeof(lines),
			 "Content-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
			 "X-Accel-Buffering: no\r\n%s",
			 more != NULL ? more : "");
	reply.more = lines;
	reply.request_id = http->request_id;
	reply.cors = penny_origin_listing();
	reply.origin = http->origin;
	reply.chunked = !http->http10;
	head = penny_response(&reply, (PennySpan){NULL, 0});
	penny_connection_write(sse->connection, head.data, head.len);
	penny_count(&penny_edge.plane, PENNY_COUNT_REQUESTS, 1);
	sse->started = true;
	if (http->method == PENNY_HEAD)
	{
		sse->closed = true;
		penny_sse_finish(sse, NULL, true);
		return;
	}
	penny_sse_write_retry(retry, sizeof(retry));
	queue_text(sse, retry);
	penny_sse_set_deadline(sse);
}

void
penny_sse_finish(PennySse *sse, const char *last, bool whole)
{
	if (sse->connection->state != PENNY_OPEN)
		return;
	queue_next(sse);
	if (last != NULL && !sse->closed)
		queue_text(sse, last);
	if (whole && !sse->closed && !sse->http->http10)
		penny_connection_write(sse->connection, PENNY_SSE_LAST_CHUNK,
							   sizeof(PENNY_SSE_LAST_CHUNK) - 1);
	sse->over = sse->closed = true;
	penny_connection_close(sse->connection);
}

/* A frame as it goes out; the last one when that ends the answer that is followed. */
PennyFrame *
penny_sse_take(PennySse *sse, PennyFrame *frame)
{
	PennyFrame *wire = as_sent(sse, penny_sse_events(frame, sse->joined.epoch));
	PennyFrame *whole;
	char *bytes;

	sse->heard = penny_edge.now;
	penny_count(&penny_edge.plane, PENNY_COUNT_FRAMES_OUT, 1);
	if (wire == NULL || sse->follow == NULL ||
		!penny_follow_look(sse->follow, penny_frame_text(frame)))
		return wire;
	sse->over = true;
	penny_sse_set_deadline(sse);
	if (sse->http->http10)
		return wire;
	whole = penny_frame_raw(0, wire->len + sizeof(PENNY_SSE_LAST_CHUNK) - 1, &bytes);
	if (whole != NULL)
	{
		bytes = mempcpy(bytes, wire->bytes, wire->len);
		memcpy(bytes, PENNY_SSE_LAST_CHUNK, sizeof(PENNY_SSE_LAST_CHUNK) - 1);
		sse->closed = true;
	}
	penny_frame_unref(wire);
	return whole;
}

/* ---- the protocol of its connection -------------------------------------------------- */

/* Nothing more is answered on this connection. */
static void
on_input(PennyConnection *connection, char *bytes, size_t len)
{
	(void) connection;
	(void) bytes;
	(void) len;
}

/* Events are longer than frames: one that does not fit waits here. */
static PennyFrame *
on_pull(PennyConnection *connection, size_t most)
{
	PennySse *sse = connection->session;
	PennyFrame *wire = sse->next;

	if (wire == NULL && !sse->over)
	{
		PennyFrame *frame = penny_session_pull(sse->session, most);

		if (frame == NULL)
			return NULL;
		wire = penny_sse_take(sse, frame);
		penny_frame_unref(frame);
		if (wire == NULL)
			penny_connection_cut(connection);
	}
	sse->next = NULL;
	if (wire != NULL && wire->len > most)
	{
		sse->next = wire;
		return NULL;
	}
	sse->written = penny_edge.now;
	return wire;
}

static void
on_drained(PennyConnection *connection)
{
	PennySse *sse = connection->session;

	penny_session_drained(sse->session);
}

static void
on_expired(PennyConnection *connection)
{
	PennySse *sse = connection->session;

	if (sse->over)
	{
		penny_sse_finish(sse, NULL, true);
		return;
	}
	if (sse->session_at != 0 && sse->session_at <= penny_edge.now)
	{
		sse->session_at = 0;
		penny_session_expired(sse->session);
	}
	if (sse->follow != NULL && silent_at(sse) <= penny_edge.now)
		penny_sse_finish(sse, ": nothing was heard of an answer\n\n", true);
	if (connection->state != PENNY_OPEN)
		return;
	if (beat_at(sse) != 0 && beat_at(sse) <= penny_edge.now)
	{
		/* One that does not read has enough to read. */
		if (penny_connection_is_drained(connection))
			queue_text(sse, ":\n\n");
		sse->written = penny_edge.now;
	}
	penny_sse_set_deadline(sse);
}

static void
on_closed(PennyConnection *connection)
{
	PennySse *sse = connection->session;

	penny_session_close(sse->session);
	penny_frame_unref(sse->next);
	penny_http_detach(sse->http);
	free(sse->follow);
	free(sse);
	penny_count(&penny_edge.plane, PENNY_COUNT_EVENT_STREAMS, -1);
}

static void
on_drain(PennyConnection *connection)
{
	PennySse *sse = connection->session;

	sse->session->transport->come_back(sse->session, PENNY_CLOSE_GOING_AWAY);
}

static void
on_interrupt(PennyConnection *connection)
{
	PennySse *sse = connection->session;

	sse->session->transport->come_back(sse->session, PENNY_CLOSE_RESTART);
}

/*-------------------------------------------------------------------------
 *
 * sse.h
 *		Event streams: the answer to an HTTP request that goes on as long as
 *		something happens in a conversation.
 *
 * Two requests have one:
 *
 *		GET /api/v1/conversations/{id}/events
 *			all that the room tells, as to a member with a WebSocket; the
 *			client resumes with Last-Event-ID (or ?last_event_id=)
 *		POST /api/v1/conversations/{id}/messages?stream=true
 *			the message that was stored, and what the room tells from there
 *			until the answer to it has ended
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_SSE_H
#define PENNY_EDGE_SSE_H

#include "edge/http.h"
#include "edge/session.h"
#include "edge/sse_follow.h"
#include "edge/sse_text.h"

#define PENNY_SSE_ROOM_LEN 49 /* "conversation:" and a UUID */

/* Of one connection, from the request to its end. */
typedef struct PennySse
{
	PennyConnection *connection;
	PennyHttp *http; /* the request */
	PennySession *session;
	PennyFrame *next;        /* taken from the rooms, and waits for its write */
	PennyFollow *follow;     /* what ends it; NULL: it has no end */
	PennySsePosition since;  /* an empty epoch: it begins with what is */
	PennySsePosition joined; /* id of `joined` */
	uint64_t session_at;     /* deadline of the session (ms), 0 = none */
	uint64_t written;        /* ms of the last output */
	uint64_t heard;          /* ms of the last frame */
	bool started;            /* the head was sent */
	bool entered;            /* `joined` is to be said with that id */
	bool over;               /* nothing more is to be sent, ... */
	bool closed;             /* ... and the last chunk is on its way */
	char room[PENNY_SSE_ROOM_LEN + 1];
} PennySse;

/* ---- sse_begin.c: requests ------------------------------------------------- */

/* Is this the path of a conversation's events? */
extern bool penny_sse_is_events(PennySpan path);
/* Answer a GET or HEAD of it. */
extern void penny_sse_listen(PennyHttp *http, const char *bytes, PennySpan token);
/*
 * Does the client want to follow the answer to the message that it sends?
 * False, too, when it would not take an event stream; *refused tells, and it
 * was answered.
 */
extern bool penny_sse_wants_answer(PennyHttp *http, const char *bytes, bool *refused);
/*
 * The message was stored, this is the executor's answer: begin the stream.
 * False: it does not say what to follow, it is an answer like others.
 */
extern bool penny_sse_follow(PennyHttp *http, const PennyAnswer *answer);

/* ---- sse.c: the stream ------------------------------------------------------- */

/* The connection is one of an event stream from now on. */
extern PennySse *penny_sse_open(PennyHttp *http, PennySpan room, bool local);
/* Status line and headers; further ones with CR LF, or NULL. */
extern void penny_sse_start(PennySse *sse, uint32_t status, const char *more);
/* Queue an event; takes over the reference. */
extern void penny_sse_queue(PennySse *sse, PennyFrame *events);
/*
 * Say something beside events, or NULL, and end.  whole: the answer has come to
 * its end, it did not break off.
 */
extern void penny_sse_finish(PennySse *sse, const char *last, bool whole);

/* ---- sse.c, for sse_session.c --------------------------------------------------- */

extern const PennyTransport penny_sse_transport;
/* A frame as it goes out; the last one when that ends the answer that is followed. */
extern PennyFrame *penny_sse_take(PennySse *sse, PennyFrame *frame);
/* Queue what is ready for the wire, which NULL is not; takes over the reference. */
extern void penny_sse_pass(PennySse *sse, PennyFrame *wire);
extern void penny_sse_write_retry(char *out, size_t size);
extern void penny_sse_set_deadline(PennySse *sse);

#endif /* PENNY_EDGE_SSE_H */

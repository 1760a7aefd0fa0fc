/*-------------------------------------------------------------------------
 *
 * sse_session.c
 *		The transport of sessions whose client listens to an event stream.
 *
 * What goes wrong before the room has let the client in is answered with its
 * status and problem document; afterwards there is only the end of the stream.
 *
 *-------------------------------------------------------------------------
 */
#include "edge/sse.h"

#include <stdio.h>

#include "edge/websocket_frame.h"

#define SLOW_GOODBYE 2000 /* ms in which a slow client may still read its end */
#define LAST_MAX 160      /* bytes of what is said at the end */

static void
deliver(PennySession *session, PennyFrame *frame)
{
	PennySse *sse = session->client;

	if (sse->started && !sse->over)
		penny_sse_pass(sse, penny_sse_take(sse, frame));
}

/* Frames made for this client: `joined`, `left`. */
static void
say(PennySession *session, PennySpan text)
{
	PennySse *sse = session->client;

	if (!sse->started || sse->over)
		return;
	penny_sse_queue(
		sse, penny_sse_event(text, sse->joined.epoch, sse->entered ? &sse->joined.version : NULL));
	sse->entered = false;
}

/* Before it began, it is answered as any request that fails. */
static void
refuse(PennySse *sse, uint32_t status, const char *detail)
{
	if (sse->connection->state != PENNY_OPEN)
		return;
	sse->over = true;
	if (status == 503)
		penny_http_unavailable(sse->http, detail);
	else
		penny_http_problem(sse->http, status, detail,
						   status == 401 ? "WWW-Authenticate: Bearer\r\n" : NULL);
}

static void
goodbye(PennySession *session, uint16_t code, const char *reason)
{
	PennySse *sse = session->client;
	char last[LAST_MAX];

	if (!sse->started)
	{
		refuse(sse,
			   code == PENNY_CLOSE_SIGNED_OUT  ? 401
			   : code == PENNY_CLOSE_TOO_LARGE ? 413
											   : 503,
			   reason);
		return;
	}
	snprintf(last, sizeof(last), ": %s\n\n", reason);
	penny_sse_finish(sse, last, sse->follow == NULL);
}

static void
come_back(PennySession *session, uint16_t code)
{
	PennySse *sse = session->client;
	char last[LAST_MAX];

	(void) code;
	if (!sse->started)
	{
		refuse(sse, 503,
			   penny_edge.draining ? "the server is stopping" : "the token cannot be verified now");
		return;
	}
	penny_sse_write_retry(last, sizeof(last));
	penny_sse_finish(sse, last, sse->follow == NULL);
}

static void
too_slow(PennySession *session)
{
	come_back(session, PENNY_CLOSE_SLOW);
	penny_connection_close_by(session->connection, penny_edge.now + SLOW_GOODBYE);
}

static void
deadline(PennySession *session, uint64_t at)
{
	PennySse *sse = session->client;

	sse->session_at = at;
	penny_sse_set_deadline(sse);
}

static void
signed_in(PennySession *session)
{
	PennySse *sse = session->client;
	char since[PENNY_SSE_SINCE_MAX];
	PennyJoin join = {.room = {sse->room, PENNY_SSE_ROOM_LEN}};

	if (session->connection->state != PENNY_OPEN)
		return;
	if (sse->since.epoch[0] != '\0')
		join.since = (PennySpan){since, penny_sse_since(&sse->since, since)};
	penny_session_join(session, (PennySpan){NULL, 0}, &join);
	if (session->rooms == NULL)
		come_back(session, PENNY_CLOSE_RESTART);
}

/* Answer with an executor's problem document, if there is one. */
static void
pass_on(PennySse *sse, uint32_t status, PennySpan problem)
{
	if (sse->connection->state != PENNY_OPEN)
		return;
	if (status < 400 || status > 599)
		status = 503;
	if (problem.len == 0 || status >= 500)
	{
		refuse(sse, status, "the conversation cannot be read now");
		return;
	}
	sse->over = true;
	penny_http_document(sse->http, status, problem);
}

static void
refused(PennySession *session, const PennyAnswer *answer)
{
	PennySse *sse = session->client;

	if (sse->started)
		penny_sse_finish(sse, ": the token is not valid\n\n", false);
	else
		pass_on(sse, answer->status, answer->body);
}

static void
go_on(PennySession *session)
{
	(void) session;
}

/* The room has let it in: now it is an event stream. */
static bool
joined(PennySession *session, const PennyJoined *how)
{
	PennySse *sse = session->client;

	if (sse->connection->state != PENNY_OPEN)
		return false;
	if (!penny_sse_read_position(how->position, &sse->joined))
	{
		come_back(session, PENNY_CLOSE_RESTART);
		return false;
	}
	/* What follows was changed after that; so who goes now gets it again. */
	if (how->recovered)
		sse->joined.version = sse->since.version;
	if (sse->follow != NULL)
	{
		if (!how->recovered)
			come_back(session, PENNY_CLOSE_RESTART); /* another history has begun */
		return false;
	}
	penny_sse_start(sse, 200, NULL);
	sse->entered = true;
	return true;
}

static void
barred(PennySession *session, uint32_t status, PennySpan problem)
{
	PennySse *sse = session->client;

	if (!sse->started)
		pass_on(sse, status, problem);
	else if (status >= 500)
		come_back(session, PENNY_CLOSE_RESTART);
	else
		penny_sse_finish(sse, ": the conversation is not there any more\n\n", false);
}

static void
left(PennySession *session)
{
	penny_sse_finish(session->client, NULL, true);
}

const PennyTransport penny_sse_transport = {
	.say = say,
	.deliver = deliver,
	.goodbye = goodbye,
	.come_back = come_back,
	.too_slow = too_slow,
	.deadline = deadline,
	.signed_in = signed_in,
	.refused = refused,
	.go_on = go_on,
	.joined = joined,
	.barred = barred,
	.left = left,
};

/*-------------------------------------------------------------------------
 *
 * websocket_session.c
 *		The transport of sessions whose client has a WebSocket.
 *
 * Sessions know PennyTransport alone (session.h); here its functions become
 * those of websocket.c.  A WebSocket may be opened without a token and sign in
 * by a message, and what becomes of its rooms it is told by frames.
 *
 *-------------------------------------------------------------------------
 */
#include "edge/session.h"
#include "edge/websocket.h"

static void
say(PennySession *session, PennySpan text)
{
	penny_websocket_send(session->client, text);
}

static void
deliver(PennySession *session, PennyFrame *frame)
{
	penny_websocket_queue(session->client, frame);
}

static void
goodbye(PennySession *session, uint16_t code, const char *reason)
{
	penny_websocket_goodbye(session->client, code, reason);
}

static void
come_back(PennySession *session, uint16_t code)
{
	penny_websocket_come_back(session->client, code);
}

static void
too_slow(PennySession *session)
{
	penny_websocket_too_slow(session->client);
}

static void
deadline(PennySession *session, uint64_t at)
{
	penny_websocket_deadline(session->client, at);
}

static void
signed_in(PennySession *session)
{
	penny_websocket_limit(session->client, UINT32_MAX);
}

/* One that brought no token may still sign in. */
static void
refused(PennySession *session, const PennyAnswer *answer)
{
	(void) answer;
	if (!session->probing)
		penny_websocket_goodbye(session->client, PENNY_CLOSE_SIGNED_OUT, "the token is not valid");
}

static void
go_on(PennySession *session)
{
	penny_websocket_go_on(session->client);
}

const PennyTransport penny_websocket_transport = {
	.say = say,
	.deliver = deliver,
	.goodbye = goodbye,
	.come_back = come_back,
	.too_slow = too_slow,
	.deadline = deadline,
	.signed_in = signed_in,
	.refused = refused,
	.go_on = go_on,
};

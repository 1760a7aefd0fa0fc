/*-------------------------------------------------------------------------
 *
 * http.c
 *		Requests and answers of one connection, in order.
 *
 * One request at a time: while it is with an executor, what the client sends
 * on (pipelining) is kept, up to KEEP_MAX, then the socket is not read.  So
 * answers are in order without a queue of their own.
 *
 * A request that comes in one read is parsed where it lies and its fields go
 * from there into the slot; an idle connection has no buffer and no parser.
 *
 * Deadlines: header_timeout from the first byte of a head (from the accept for
 * the first request), body_timeout for its body (http_wait.c), keepalive_timeout
 * between requests.  Calls have their own, and so has an answer that is kept
 * (http_waiting.c).
 *
 * What to do with a request is in request.c, how it is answered in answer.c.
 *
 *-------------------------------------------------------------------------
 */
#include "edge/http_private.h"

#include <stdlib.h>
#include <string.h>

#include "edge/gather.h"
#include "edge/orphans.h"
#include "edge/routes.h"

#define KEEP_MAX (16 * 1024) /* bytes of further requests kept */

static PennyHttpParser *spare_parser; /* one, for the common case */

static void on_input(PennyConnection *connection, char *bytes, size_t len);
static void on_drained(PennyConnection *connection);
static void on_expired(PennyConnection *connection);
static void on_closed(PennyConnection *connection);
static void on_drain(PennyConnection *connection);

static const PennyProtocol http_protocol = {
	.input = on_input,
	.drained = on_drained,
	.expired = on_expired,
	.closed = on_closed,
	.drain = on_drain,
};

void
penny_http_setup(void)
{
	penny_response_init();
	penny_routes_init(penny_http_routes_changed);
}

void
penny_http_open(PennyConnection *connection)
{
	PennyHttp *http = penny_alloc(sizeof(*http));

	memset(http, 0, sizeof(*http));
	http->connection = connection;
	connection->protocol = &http_protocol;
	connection->session = http;
	penny_connection_deadline(connection, penny_edge.now + penny_edge.settings.header_timeout);
}

/* ---- small parts ----------------------------------------------------------- */

static PennyHttpParser *
take_parser(void)
{
	PennyHttpParser *parser = spare_parser;

	if (parser != NULL)
		spare_parser = NULL;
	else
		parser = penny_alloc(sizeof(*parser));
	penny_http_init(parser, penny_edge.settings.header_size, penny_edge.settings.target_size);
	return parser;
}

static void
release_parser(PennyHttp *http)
{
	if (http->parser == NULL)
		return;
	if (spare_parser == NULL)
		spare_parser = http->parser;
	else
		free(http->parser);
	http->parser = NULL;
}

static void
forget_origin(PennyHttp *http)
{
	free(http->origin);
	http->origin = NULL;
}

/* Begin a request: its id is known from here on, whatever becomes of it. */
static void
begin(PennyHttp *http)
{
	http->begun = true;
	http->head_done = false;
	http->body_whole = false;
	http->welcome = false;
	http->started = false;
	http->bodiless = false;
	http->counted = false;
	http->waited = false;
	http->follows = false;
	http->screened = false;
	http->keep_alive = false;
	http->method = PENNY_GET;
	http->request_id[0] = '\0';
	http->parser = take_parser();
	if (http->again)
		penny_connection_deadline(http->connection,
								  penny_edge.now + penny_edge.settings.header_timeout);
}

/* The answer is complete: wait for the next request, or close. */
void
penny_http_end(PennyHttp *http, uint32_t status)
{
	penny_count(&penny_edge.plane, PENNY_COUNT_REQUESTS, 1);
	if (status >= 500)
		penny_count(&penny_edge.plane, PENNY_COUNT_ERRORS, 1);
	penny_gather_end(http);
	penny_http_waiting_end(http);
	release_parser(http);
	forget_origin(http);
	http->begun = false;
	http->again = true;
	if (!http->keep_alive)
	{
		http->state = PENNY_HTTP_OVER;
		penny_connection_close(http->connection);
		return;
	}
	http->state = PENNY_HTTP_HEAD;
	penny_connection_deadline(http->connection,
							  penny_edge.now + penny_edge.settings.keepalive_timeout);
}

void
penny_http_leave(PennyHttp *http)
{
	release_parser(http);
	http->state = PENNY_HTTP_OVER;
	http->keep_alive = false;
}

void
penny_http_detach(PennyHttp *http)
{
	release_parser(http);
	forget_origin(http);
	free(http);
}

/* ---- input ------------------------------------------------------------------- */

/* Answer a head that is refused; an answer to HEAD has no body even then. */
static void
refuse_head(PennyHttp *http)
{
	const PennyHttpParser *parser = http->parser;

	if (parser->method < PENNY_METHODS)
		http->method = parser->method;
	penny_http_problem(http, (uint32_t) parser->status, parser->reason,
					   parser->status == 426 ? PENNY_UPGRADE_LINES : NULL);
}

/* Look at a head; false when more bytes are needed or it was answered. */
static bool
read_head(PennyHttp *http, char *bytes, size_t len)
{
	PennySpan offered = {NULL, 0};

	if (!http->begun)
		begin(http);
	switch (penny_http_parse(http->parser, bytes, len))
	{
		case PENNY_HTTP_NEED_MORE:
			return false;
		case PENNY_HTTP_ERROR:
			penny_request_id(offered, http->request_id);
			penny_count(&penny_edge.plane, PENNY_COUNT_MALFORMED, 1);
			refuse_head(http);
			return false;
		case PENNY_HTTP_DONE:
			break;
	}
	http->head_done = true;
	http->method = http->parser->method;
	http->http10 = http->parser->http10;
	http->keep_alive = http->parser->keep_alive && !penny_edge.draining;
	penny_http_header(http->parser, bytes, "x-request-id", &offered);
	penny_request_id(offered, http->request_id);
	return true;
}

/* Go on after the head; the number of bytes that the request took. */
static size_t
read_body(PennyHttp *http, char *bytes, size_t len)
{
	PennyHttpParser *parser = http->parser;
	size_t body_len = len - parser->head_len;
	size_t whole;

	http->body_whole = body_len >= parser->content_length;
	whole = http->body_whole ? parser->head_len + (size_t) parser->content_length : len;
	if (http->state != PENNY_HTTP_BODY)
	{
		if (!http->screened && !penny_request_screen(http, bytes))
			return whole;
		http->screened = true;
		if (!penny_routes_known() && penny_routes_refusal() == NULL &&
			penny_request_needs_routes(http, bytes))
		{
			penny_http_wait_routes(http);
			return 0;
		}
		if (!penny_request_admit(http, bytes))
			return whole;
		if (penny_request_is_strange(http))
		{
			penny_connection_deadline(http->connection, 0);
			penny_request_sign_in(http, bytes);
			return 0;
		}
		http->state = PENNY_HTTP_BODY;
		if (!http->body_whole)
		{
			http->body_since = penny_edge.now;
			penny_http_wait_body(http);
			if (parser->expect_continue)
				penny_connection_write(http->connection, "HTTP/1.1 100 Continue\r\n\r\n", 25);
		}
	}
	if (!http->body_whole)
		return 0;
	penny_connection_deadline(http->connection, 0);
	return penny_request_dispatch(http, bytes) ? whole : 0;
}

/* Work on what is there; the number of bytes that were used up. */
static size_t
process(PennyHttp *http, char *bytes, size_t len)
{
	PennyConnection *connection = http->connection;
	size_t used = 0;

	while (used < len && connection->protocol == &http_protocol &&
		   connection->state == PENNY_OPEN && http->state <= PENNY_HTTP_BODY &&
		   penny_connection_is_drained(connection))
	{
		size_t n;

		if (!(http->begun && http->head_done) && !read_head(http, bytes + used, len - used))
			break;
		n = read_body(http, bytes + used, len - used);
		if (n == 0)
			break;
		used += n;
	}
	return used;
}

/*
 * It became a WebSocket: what follows the upgrade is for that, which decides
 * anew whether the socket is read.
 */
static void
hand_over(PennyConnection *connection, const char *rest, size_t len)
{
	char *copy = len > 0 ? penny_alloc(len) : NULL;

	if (len > 0)
		memcpy(copy, rest, len);
	if (connection->in_len > 0)
		penny_connection_consume(connection, connection->in_len);
	penny_connection_pause(connection, false);
	if (len > 0)
		connection->protocol->input(connection, copy, len);
	free(copy);
}

/* After process(): drop what was used, keep the rest, mind how much it is. */
static void
settle(PennyConnection *connection, const char *rest, size_t len, size_t used)
{
	if (connection->state != PENNY_OPEN)
		return;
	if (connection->protocol == &http_protocol)
	{
		PennyHttp *http = connection->session;
		bool busy;

		if (rest != connection->in && used < len)
			penny_connection_keep(connection, rest + used, len - used);
		else if (rest == connection->in && used > 0)
			penny_connection_consume(connection, used);
		busy = http->state >= PENNY_HTTP_ROUTES || !penny_connection_is_drained(connection);
		penny_connection_pause(connection, busy && connection->in_len > KEEP_MAX);
	}
	else
		hand_over(connection, rest + used, len - used);
}

static void
on_input(PennyConnection *connection, char *bytes, size_t len)
{
	PennyHttp *http = connection->session;

	if (connection->in_len > 0 || http->state >= PENNY_HTTP_ROUTES)
	{
		penny_connection_keep(connection, bytes, len);
		bytes = connection->in;
		len = connection->in_len;
	}
	settle(connection, bytes, len, process(http, bytes, len));
}

/* The answer is out, or the routes are there: go on with what was kept. */
void
penny_http_go_on(PennyConnection *connection)
{
	PennyHttp *http = connection->session;

	if (connection->state == PENNY_OPEN && connection->in_len > 0)
		settle(connection, connection->in, connection->in_len,
			   process(http, connection->in, connection->in_len));
}

static void
on_drained(PennyConnection *connection)
{
	PennyHttp *http = connection->session;

	if (http->held)
	{
		http->held = false;
		penny_call_resume(http->call);
	}
	penny_http_go_on(connection);
}

void
penny_http_again(PennyHttp *http)
{
	http->waited = true;
	http->state = PENNY_HTTP_BODY;
	penny_http_go_on(http->connection);
}

/* ---- other callbacks ------------------------------------------------------------ */

static void
on_expired(PennyConnection *connection)
{
	PennyHttp *http = connection->session;

	switch (http->state)
	{
		case PENNY_HTTP_HEAD:
			if (!http->begun)
			{
				http->state = PENNY_HTTP_OVER;
				penny_connection_close(connection);
				return;
			}
			http->keep_alive = false;
			penny_http_problem(http, 408, "the head of the request did not come in time", NULL);
			return;
		case PENNY_HTTP_BODY:
			penny_http_look_at_body(http);
			return;
		case PENNY_HTTP_ROUTES:
			penny_http_stop_waiting(http);
			http->keep_alive = false;
			penny_http_unavailable(http, "no executor gave the routes in time");
			return;
		case PENNY_HTTP_GATHER:
			penny_gather_end(http);
			penny_http_again(http);
			return;
		case PENNY_HTTP_WAIT:
		case PENNY_HTTP_CALL:
		case PENNY_HTTP_OVER:
			return;
	}
}

static void
on_closed(PennyConnection *connection)
{
	PennyHttp *http = connection->session;

	penny_http_stop_waiting(http);
	if (http->call != NULL && (http->started || !penny_orphan_take(http->call)))
		penny_call_abandon(http->call);
	penny_http_waiting_end(http);
	penny_gather_leave(http);
	release_parser(http);
	forget_origin(http);
	free(http);
}

/*
 * The edge stops: idle ones close, others after their answer.  Whose request is
 * not complete when time is over is told so.
 */
static void
on_drain(PennyConnection *connection)
{
	PennyHttp *http = connection->session;

	http->keep_alive = false;
	if (http->state == PENNY_HTTP_HEAD && !http->begun)
	{
		http->state = PENNY_HTTP_OVER;
		penny_connection_close(connection);
	}
	else if (penny_http_waiting_give(http))
		return;
	else if (penny_edge.closing && http->state < PENNY_HTTP_CALL)
	{
		penny_http_stop_waiting(http);
		penny_http_unavailable(http, "the server is stopping");
	}
}

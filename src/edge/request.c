/*-------------------------------------------------------------------------
 *
 * request.c
 *		What to do with an HTTP request: answer it here, upgrade it, or make a
 *		call of it.
 *
 * Here are answered: event streams (sse_begin.c), what the cache holds (cached.c), /livez, OPTIONS of the server as a whole, requests for
 * another host (421), preflights of listed origins (CORS), requests without a
 * route (404) or with another method (405), bodies that are too large (413), and an Authorization that holds no
 * bearer token (401).  Whether a token is valid, and what it may do, executors
 * decide.
 *
 * Memory before signing in: a request may take STRANGER_MAX bytes here before
 * an executor has said who sends it; for a larger one the token goes to an
 * executor alone, and meanwhile nothing more is read.  So a client that is
 * nobody costs at most header_size and one read (loop.c), 28 kB by default.
 * Routes that are public take whole bodies from everybody; all that is kept
 * together is bounded (connection.c).
 *
 *-------------------------------------------------------------------------
 */
#include "edge/http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edge/cached.h"
#include "edge/http_target.h"
#include "edge/origin.h"
#include "edge/routes.h"
#include "edge/sse.h"
#include "edge/token_memory.h"
#include "edge/websocket.h"
#include "plane/share.h"

#define TOKEN_MAX 8192           /* bytes of a token in the query */
#define READY_LIMIT 2000         /* ms for the answer to /readyz */
#define BUILTIN_BODY 1024        /* bytes of a body for a built-in path */
#define STRANGER_MAX (24 * 1024) /* bytes of a request of somebody unknown */

/* What pages may send beyond what they always may, and for how long they know (s). */
#define CORS_HEADERS \
	"Authorization, Content-Type, If-Match, If-None-Match, Last-Event-ID, X-Request-Id"
#define CORS_MAX_AGE 600

typedef enum Builtin
{
	NOT_BUILTIN,
	LIVEZ,
	READYZ,
	WEBSOCKET,
	SERVER /* "*": no path, the server */
} Builtin;

/* Of the request that was just admitted, so that it is looked up once: route, token. */
static PennyRouteMatch admitted;
static PennySpan admitted_token;
static const PennyHttp *admitted_of;

static void call_route(PennyHttp *http, const char *bytes);

static bool
span_is(PennySpan span, const char *text)
{
	return span.len == strlen(text) && memcmp(span.data, text, span.len) == 0;
}

/* The paths that the edge serves itself. */
static Builtin
builtin(const PennyHttp *http, const char *bytes)
{
	PennySpan path = penny_http_span(bytes, http->parser->path);

	if (span_is(path, "/livez"))
		return LIVEZ;
	if (span_is(path, "/readyz"))
		return READYZ;
	if (span_is(path, "/ws"))
		return WEBSOCKET;
	if (span_is(path, "*"))
		return SERVER;
	return NOT_BUILTIN;
}

bool
penny_request_needs_routes(const PennyHttp *http, const char *bytes)
{
	return builtin(http, bytes) == NOT_BUILTIN;
}

bool
penny_request_screen(PennyHttp *http, const char *bytes)
{
	PennySpan origin;

	if (!penny_origin_host_allowed(http->parser, bytes))
	{
		http->keep_alive = false;
		penny_http_problem(http, 421, "this server does not go by that host", NULL);
		return false;
	}
	if (penny_origin_listed(http->parser, bytes, &origin))
	{
		http->origin = penny_alloc(origin.len + 1);
		memcpy(http->origin, origin.data, origin.len);
		http->origin[origin.len] = '\0';
	}
	return true;
}

/* Does a browser ask, for a page of a listed origin, what the page may do? */
static bool
is_preflight(const PennyHttp *http, const char *bytes)
{
	PennySpan method;

	return http->method == PENNY_OPTIONS && http->origin != NULL &&
		   penny_http_header(http->parser, bytes, "access-control-request-method", &method);
}

/* The methods that a path has, as a set. */
static uint32_t
methods_of(const PennyHttp *http, const char *bytes)
{
	PennySpan path = penny_http_span(bytes, http->parser->path);
	PennyRouteMatch match;
	uint32_t methods = 0;

	if (builtin(http, bytes) != NOT_BUILTIN)
		return 1 << PENNY_GET | 1 << PENNY_HEAD;
	for (PennyMethod method = PENNY_GET; method < PENNY_METHODS; method++)
	{
		if (penny_routes_find(method, path, &match) == PENNY_ROUTE_FOUND)
			methods |= 1u << method;
	}
	if (methods == 0 && penny_sse_is_events(path))
		methods = 1 << PENNY_GET | 1 << PENNY_HEAD;
	return methods;
}

/* The origin itself is said by every answer, see answer.c. */
static void
answer_preflight(PennyHttp *http, uint32_t methods)
{
	char allowed[128];
	char more[400];
	size_t len = penny_route_allow(methods, allowed, sizeof(allowed));

	snprintf(more, sizeof(more),
			 "Access-Control-Allow-Methods: %.*s\r\nAccess-Control-Allow-Headers: " CORS_HEADERS
			 "\r\nAccess-Control-Max-Age: %d\r\n"
			 "Vary: Access-Control-Request-Method, Access-Control-Request-Headers\r\n",
			 (int) len, allowed, CORS_MAX_AGE);
	penny_http_empty(http, 204, more);
}

static bool
admit_get(PennyHttp *http)
{
	if (http->method == PENNY_GET || http->method == PENNY_HEAD)
		return true;
	penny_http_problem(http, 405, NULL, "Allow: GET, HEAD\r\n");
	return false;
}

/* Only GET and HEAD for a built-in path; the parser lets only OPTIONS ask the server. */
static bool
admit_builtin(PennyHttp *http, Builtin which)
{
	return which == SERVER || admit_get(http);
}

static bool
admit_route(PennyHttp *http, PennySpan path)
{
	PennyRouteMatch match;
	char allowed[128];
	char more[160];
	size_t len;
	PennyRouteResult result = penny_routes_find(http->method, path, &match);

	if (result == PENNY_ROUTE_NOT_FOUND && penny_sse_is_events(path))
		return admit_get(http);
	/* a newer table is on its way: executors know it already */
	if (result != PENNY_ROUTE_FOUND && penny_routes_outdated())
		return true;
	switch (result)
	{
		case PENNY_ROUTE_FOUND:
			http->welcome |= match.access == PENNY_ACCESS_PUBLIC;
			if (http->body_whole)
			{
				admitted = match; /* it is dispatched next */
				admitted_of = http;
			}
			return true;
		case PENNY_ROUTE_NOT_FOUND:
			penny_http_problem(http, 404, "there is no such route", NULL);
			return false;
		case PENNY_ROUTE_METHOD_NOT_ALLOWED:
			len = penny_route_allow(match.allowed, allowed, sizeof(allowed));
			snprintf(more, sizeof(more), "Allow: %.*s\r\n", (int) len, allowed);
			penny_http_problem(http, 405, NULL, more);
			return false;
	}
	return false;
}

/* Not more than its address may make; looks at the server's health are free. */
static bool
admit_rate(PennyHttp *http, const char *bytes)
{
	Builtin path;

	if (penny_edge.settings.requests_per_second == 0)
		return true;
	path = builtin(http, bytes);
	if (path == LIVEZ || path == READYZ || penny_address_request(http->connection->address))
		return true;
	penny_http_problem(http, 429, "your address makes too many requests", "Retry-After: 1\r\n");
	return false;
}

bool
penny_request_admit(PennyHttp *http, const char *bytes)
{
	PennyHttpParser *parser = http->parser;
	uint32_t limit = penny_edge.settings.body_size;
	PennySpan token;

	if (builtin(http, bytes) != NOT_BUILTIN && limit > BUILTIN_BODY)
		limit = BUILTIN_BODY; /* it is read, and nobody wants it */
	if (parser->content_length > limit)
	{
		char detail[80];

		snprintf(detail, sizeof(detail), "the body may have at most %u bytes", limit);
		http->keep_alive = false; /* however much of it has come */
		penny_http_problem(http, 413, detail, NULL);
		return false;
	}
	if (!admit_rate(http, bytes))
		return false;
	if (builtin(http, bytes) == NOT_BUILTIN && penny_routes_refusal() != NULL)
	{
		penny_http_unavailable(http, penny_routes_refusal());
		return false;
	}
	if (is_preflight(http, bytes) && methods_of(http, bytes) != 0)
	{
		answer_preflight(http, methods_of(http, bytes));
		return false;
	}
	if (builtin(http, bytes) != NOT_BUILTIN)
		return admit_builtin(http, builtin(http, bytes));
	if (!admit_route(http, penny_http_span(bytes, parser->path)))
		return false;
	if (!penny_request_token(parser, bytes, &token))
	{
		admitted_of = NULL;
		penny_http_problem(http, 401, "the token is malformed", "WWW-Authenticate: Bearer\r\n");
		return false;
	}
	admitted_token = token;
	return true;
}

bool
penny_request_token(const PennyHttpParser *parser, const char *bytes, PennySpan *token)
{
	static char decoded[TOKEN_MAX];
	size_t len;

	if (penny_http_bearer(parser, bytes, token))
		return token->len > 0;
	*token = (PennySpan){NULL, 0};
	if (parser->query.len > 0 &&
		penny_http_query_value(penny_http_span(bytes, parser->query), "access_token", decoded,
							   sizeof(decoded), &len))
		*token = (PennySpan){decoded, len};
	return true;
}

/*
 * Is the client on this machine, and did it mean to speak to this machine?  A
 * proxy passes on others' requests; a page elsewhere can have the browser send
 * requests here, which then name its origin; and it can let its own name point
 * here, but then the browser says that name.
 */
bool
penny_request_is_local(const PennyHttp *http, const char *bytes)
{
	static const char *const forwarded[] = {"forwarded", "via", "x-forwarded-for", "x-real-ip"};
	PennySpan host = penny_http_span(bytes, http->parser->host);
	PennySpan value;

	if (!http->connection->loopback || !penny_origin_is_loopback(host))
		return false;
	for (size_t i = 0; i < sizeof(forwarded) / sizeof(forwarded[0]); i++)
	{
		if (penny_http_header(http->parser, bytes, forwarded[i], &value))
			return false;
	}
	return penny_origin_allowed(http->parser, bytes);
}

bool
penny_request_is_strange(const PennyHttp *http)
{
	const PennyHttpParser *parser = http->parser;

	return !http->welcome && !http->body_whole &&
		   parser->head_len + parser->content_length > STRANGER_MAX;
}

void
penny_request_sign_in(PennyHttp *http, const char *bytes)
{
	PennyCallOut out = {.op = PENNY_OP_AUTH, .whole = true};

	if (penny_request_is_local(http, bytes))
		out.flags |= PENNY_REQUEST_LOOPBACK;
	penny_request_token(http->parser, bytes, &out.field[PENNY_FIELD_TOKEN]);
	out.field[PENNY_FIELD_REQUEST_ID] = (PennySpan){http->request_id, strlen(http->request_id)};
	out.field[PENNY_FIELD_PEER] =
		(PennySpan){http->connection->peer, strlen(http->connection->peer)};
	penny_http_verify(http, &out);
}

/* Not more than the user may make, as far as it is known here who that is. */
static bool
admit_user(PennyHttp *http, const PennyViewer *viewer)
{
	uint32_t rate = penny_edge.settings.requests_per_second;

	if (viewer == NULL || rate == 0 || http->counted)
		return true;
	http->counted = true;
	if (penny_shared_take_user(&penny_edge.plane, viewer->id_hash, rate, penny_edge.now * 1000))
		return true;
	penny_http_problem(http, 429, "the user makes too many requests", "Retry-After: 1\r\n");
	return false;
}

/* From the cache, if it is there; else a call.  False: it waits for an equal one. */
static bool
serve_route(PennyHttp *http, const char *bytes)
{
	const PennyViewer *viewer;
	PennySpan token = admitted_token;
	bool known = admitted_of == http;
	bool refused;

	admitted_of = NULL;
	if (!known)
	{
		penny_request_token(http->parser, bytes, &token);
		known = penny_routes_find(http->method, penny_http_span(bytes, http->parser->path),
								  &admitted) == PENNY_ROUTE_FOUND;
	}
	viewer = penny_token_viewer(token);
	if (!admit_user(http, viewer))
		return true;
	if (!known && penny_sse_is_events(penny_http_span(bytes, http->parser->path)))
	{
		penny_sse_listen(http, bytes, token);
		return true;
	}
	http->follows = penny_sse_wants_answer(http, bytes, &refused);
	if (refused)
		return true;
	if (known && admitted.ttl != 0 && !penny_routes_outdated())
	{
		switch (penny_cached_answer(http, bytes, &admitted, token, viewer))
		{
			case PENNY_CACHED_SENT:
				return true;
			case PENNY_CACHED_WAIT:
				return false;
			case PENNY_CACHED_CALL:
				break;
		}
	}
	call_route(http, bytes);
	return true;
}

static void
call_route(PennyHttp *http, const char *bytes)
{
	static char *lines;
	static size_t lines_size;
	PennyHttpParser *parser = http->parser;
	PennyCallOut out;
	PennySpan timing;

	if (lines_size < parser->header_size)
	{
		lines = penny_realloc(lines, parser->header_size);
		lines_size = parser->header_size;
	}
	memset(&out, 0, sizeof(out));
	out.op = PENNY_OP_HTTP;
	out.method = http->method;
	out.whole = http->follows;
	http->local = penny_request_is_local(http, bytes);
	if (penny_http_header(parser, bytes, "server-timing", &timing))
		out.flags |= PENNY_REQUEST_TIMING;
	if (http->local)
		out.flags |= PENNY_REQUEST_LOOPBACK;
	out.field[PENNY_FIELD_TARGET] = penny_http_span(bytes, parser->target);
	out.field[PENNY_FIELD_HEADERS] =
		(PennySpan){lines, penny_http_header_lines(parser, bytes, lines, lines_size)};
	penny_request_token(parser, bytes, &out.field[PENNY_FIELD_TOKEN]);
	out.field[PENNY_FIELD_BODY] =
		(PennySpan){bytes + parser->head_len, (size_t) parser->content_length};
	out.field[PENNY_FIELD_REQUEST_ID] = (PennySpan){http->request_id, strlen(http->request_id)};
	out.field[PENNY_FIELD_PEER] =
		(PennySpan){http->connection->peer, strlen(http->connection->peer)};
	penny_http_waiting_begin(http, &out);
	penny_http_call(http, &out);
}

/* Is an executor there that answers within the limit? */
static void
call_ready(PennyHttp *http)
{
	PennyCallOut out = {.op = PENNY_OP_READY, .limit = READY_LIMIT};

	out.field[PENNY_FIELD_REQUEST_ID] = (PennySpan){http->request_id, strlen(http->request_id)};
	penny_http_call(http, &out);
}

/* What the server as a whole knows. */
static void
tell_methods(PennyHttp *http)
{
	char methods[128];
	char more[160];
	size_t len = penny_route_allow((1 << PENNY_METHODS) - 1, methods, sizeof(methods));

	snprintf(more, sizeof(more), "Allow: %.*s\r\n", (int) len, methods);
	penny_http_empty(http, 204, more);
}

bool
penny_request_dispatch(PennyHttp *http, char *bytes)
{
	static const char alive[] = "{\"status\":\"ok\"}";

	switch (builtin(http, bytes))
	{
		case LIVEZ:
			penny_http_json(http, 200, (PennySpan){alive, sizeof(alive) - 1});
			break;
		case READYZ:
			call_ready(http);
			break;
		case WEBSOCKET:
			penny_websocket_upgrade(http, bytes);
			break;
		case SERVER:
			tell_methods(http);
			break;
		case NOT_BUILTIN:
			return serve_route(http, bytes);
	}
	return true;
}

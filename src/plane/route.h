/*-------------------------------------------------------------------------
 *
 * route.h
 *		The compiled route table, the same in executors and edges.
 *
 * Its source is a text, the body of the answer to PENNY_OP_ROUTES.  A line is
 * a route:
 *
 *	<method> SP <access> SP <pattern> [SP <more>] LF
 *
 *	method	GET POST PUT PATCH DELETE HEAD OPTIONS
 *	access	public user agent admin
 *	pattern	/segment/segment..., where a segment is literal text (unreserved
 *			characters, sub-delims, ':' and '@'; no %xx) or a parameter {name}
 *			that takes one whole, non-empty segment; names are
 *			[a-z_][a-z0-9_]*; the root is "/"
 *	more	words, of which unknown ones are ignored: ttl=<ms> (1 to 15 digits)
 *			says that answers to GET are kept for that long, scope=public|role|user
 *			for whom, the user if it is not there; malformed ones refuse the line
 *
 * The number of a route is that of its line, from 0.  A line that is refused
 * (malformed, too many, or the same method and shape as an earlier one) is
 * left out and counted, so that one bad row does not take the others down.
 *
 * Matching: segments are compared one by one, literal ones after
 * percent-decoding the path; a literal segment beats a parameter, the earlier
 * segment decides; a path found under another method alone is
 * METHOD_NOT_ALLOWED with the set of methods over all patterns that match.
 * HEAD is served by GET where no HEAD is there.
 *
 * The table lies in one piece of the caller's memory and holds no copy of the
 * text: the text must live as long.  Matching allocates nothing and looks at
 * each node of the table at most once.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_PLANE_ROUTE_H
#define PENNY_PLANE_ROUTE_H

#include "plane/call.h"

#define PENNY_MAX_ROUTES 1024
#define PENNY_MAX_ROUTE_PARAMS 16
#define PENNY_MAX_ROUTE_SEGMENTS 32

typedef enum PennyAccess
{
	PENNY_ACCESS_PUBLIC,
	PENNY_ACCESS_USER,
	PENNY_ACCESS_AGENT,
	PENNY_ACCESS_ADMIN,
	PENNY_ACCESSES
} PennyAccess;

/* For whom a kept answer is right. */
typedef enum PennyScope
{
	PENNY_SCOPE_PUBLIC, /* everybody who may use the route */
	PENNY_SCOPE_ROLE,   /* everybody in the same role */
	PENNY_SCOPE_USER,   /* the same user, role and claims */
	PENNY_SCOPES
} PennyScope;

typedef struct PennyRoutes PennyRoutes;

typedef struct PennyRouteErrors
{
	int refused;        /* lines left out */
	int first_line;     /* number of the first of them, from 0 */
	const char *reason; /* why, static */
} PennyRouteErrors;

typedef enum PennyRouteResult
{
	PENNY_ROUTE_FOUND,
	PENNY_ROUTE_NOT_FOUND,
	PENNY_ROUTE_METHOD_NOT_ALLOWED
} PennyRouteResult;

typedef struct PennyRouteMatch
{
	int route; /* number of the route's line */
	PennyAccess access;
	uint32_t allowed; /* NOT_ALLOWED: set of 1 << PennyMethod, HEAD with GET */
	uint64_t ttl;     /* ms that answers are kept, 0 = not at all */
	PennyScope scope;
	PennySpan line; /* "<method> <access> <pattern>" of the route, for cache keys */
	int params;
	PennySpan param[PENNY_MAX_ROUTE_PARAMS]; /* in the path, still encoded */
} PennyRouteMatch;

/* Memory that a text needs, aligned like malloc's. */
extern size_t penny_routes_size(PennySpan text);
/* Compile into memory of at least that size; never fails. */
extern PennyRoutes *penny_routes_compile(void *memory, PennySpan text, PennyRouteErrors *errors);
/* Routes in the table. */
extern int penny_routes_count(const PennyRoutes *routes);
/* Find the route of a path that penny_http_target_check() or its like accepted. */
extern PennyRouteResult penny_route_match(const PennyRoutes *routes, PennyMethod method,
										  PennySpan path, PennyRouteMatch *match);
/* Name of a parameter of a matched route, in the order of match.param. */
extern PennySpan penny_route_param_name(const PennyRoutes *routes, int route, int param);
/* Write "GET, HEAD, POST" for a set of methods; returns its length. */
extern size_t penny_route_allow(uint32_t allowed, char *out, size_t size);
extern const char *penny_access_name(PennyAccess access);

#endif /* PENNY_PLANE_ROUTE_H */

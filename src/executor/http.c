/*-------------------------------------------------------------------------
 *
 * http.c
 *		A call of kind HTTP: route, caller, handler, answer.
 *
 * Where a path has no route nobody is asked who they are; where it has one the
 * token is looked at first, so that what a stranger learns of routes is only
 * that they are there.  Then come the quarantine and the rate of the caller's
 * requests, also before an answer that is kept (cached.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "utils/syscache.h"

#include "base/error.h"
#include "config/config.h"
#include "executor/cached.h"
#include "executor/caller.h"
#include "executor/http.h"
#include "executor/params.h"
#include "executor/quarantine.h"
#include "executor/rate.h"
#include "executor/result.h"
#include "executor/routes.h"
#include "executor/plans.h"

#define READ_METHODS ((1u << PENNY_GET) | (1u << PENNY_HEAD))

static void find_route(PennyRun *run, const PennyRouteTable *table, PennySpan path,
					   PennyRouteMatch *match);
static Oid penny_type(const char *name);

void
penny_http_run(PennyRun *run)
{
	PennyRouteMatch match;
	PennyParams params = {.request = &run->request};
	PennyHttpRoute route = {.table = penny_routes_get(run->plane, run->routes_stamp),
							.match = &match};

	route.request_type = penny_type("request");
	penny_params_split_target(run->request.field[PENNY_FIELD_TARGET], &params.path, &params.query);
	find_route(run, route.table, params.path, &match);
	route.row = &route.table->row[match.route];
	penny_run_show(run,
				   psprintf("%s %s", penny_method_name(run->request.method), route.row->pattern));

	penny_caller_find(run);
	penny_caller_check(run, match.access);
	if (!penny_quarantine_route(route.row->method, route.row->pattern,
								run->caller.identity.has_user ? &run->caller.identity.user_id
															  : NULL))
		ereport(ERROR, (errcode(ERRCODE_PENNY_QUARANTINED),
						errmsg("the request or its route is refused: it crashed the server")));
	penny_rate_check(run);
	penny_run_limit(run, route.row->timeout > 0 ? route.row->timeout : penny_statement_timeout);
	params.routes = route.table->compiled;
	params.match = &match;
	params.identity = &run->caller.identity;
	params.role = run->caller.role;
	params.request_id = run->request_id;

	if (penny_cached_route(&run->request, &match))
		penny_cached_run(run, &route, &params);
	else
	{
		penny_http_call(run, &route, &params);
		penny_result_condition(&run->answer, &run->request);
	}
}

void
penny_http_call(PennyRun *run, const PennyHttpRoute *route, const PennyParams *params)
{
	Datum request = penny_params_request(params, route->request_type);
	Oid function;
	Oid type;
	Datum result;
	bool isnull;

	/* names are looked up as the caller, who needs the rights on the schema anyway */
	penny_caller_become(run);
	function = penny_routes_function(route->table, route->match->route, route->request_type);
	result = penny_plan_call(function, route->request_type, request, &isnull, &type);
	if (type != JSONBOID && type != JSONOID && type != penny_type("response"))
		ereport(ERROR, (errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
						errmsg("handler returns neither json, jsonb nor penny.response")));
	run->answer.own = route->row->builtin;
	penny_result_answer(&run->answer, &run->request, result, isnull, type);
	run->handled = penny_run_clock();
}

/* Find the route, or raise what there is to say; notes the methods for Allow. */
static void
find_route(PennyRun *run, const PennyRouteTable *table, PennySpan path, PennyRouteMatch *match)
{

	switch (penny_route_match(table->compiled, run->request.method, path, match))
	{
		case PENNY_ROUTE_FOUND:
			break;
		case PENNY_ROUTE_NOT_FOUND:
			ereport(ERROR, (errcode(ERRCODE_PENNY_NOT_FOUND), errmsg("no route has this path")));
			break;
		case PENNY_ROUTE_METHOD_NOT_ALLOWED:
			run->problem.allowed = match->allowed;
			ereport(ERROR, (errcode(MAKE_SQLSTATE('P', 'Y', '4', '0', '5')),
							errmsg("method %s is not allowed here",
								   penny_method_name(run->request.method))));
			break;
	}
}

/*
 * Methods of the path that may write: what to name to a client whose GET
 * reached a handler that writes.
 */
uint32
penny_http_writing_methods(const PennyRun *run)
{
	PennySpan target = run->request.field[PENNY_FIELD_TARGET];
	const char *mark = memchr(target.data, '?', target.len);
	PennyRouteMatch match;
	uint32 allowed = 0;

	if (mark != NULL)
		target.len = (size_t) (mark - target.data);
	for (int method = 0; method < PENNY_METHODS; method++)
	{
		if ((READ_METHODS & (1u << method)) == 0 &&
			penny_route_match(penny_routes_current()->compiled, (PennyMethod) method, target,
							  &match) == PENNY_ROUTE_FOUND)
			allowed |= 1u << method;
	}
	return allowed;
}

/* OID of a type of schema penny. */
static Oid
penny_type(const char *name)
{
	Oid schema = get_namespace_oid("penny", true);
	Oid type = OidIsValid(schema) ? GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid,
													CStringGetDatum(name), ObjectIdGetDatum(schema))
								  : InvalidOid;

	if (!OidIsValid(type))
		ereport(ERROR, (errcode(ERRCODE_PENNY_UNAVAILABLE),
						errmsg("extension penny is not installed in this database")));
	return type;
}

void
penny_http_timing(PennyRun *run)
{
	int64 now = penny_run_clock();
	char value[128];

	if (run->request.op != PENNY_OP_HTTP || (run->request.flags & PENNY_REQUEST_TIMING) == 0)
		return;
	if (run->authenticated != 0 && run->handled != 0)
		snprintf(value, sizeof(value), "auth;dur=%.3f, handler;dur=%.3f, total;dur=%.3f",
				 (double) (run->authenticated - run->started) / 1000,
				 (double) (run->handled - run->authenticated) / 1000,
				 (double) (now - run->started) / 1000);
	else
		snprintf(value, sizeof(value), "total;dur=%.3f", (double) (now - run->started) / 1000);
	penny_answer_header(&run->answer, "server-timing", value);
}

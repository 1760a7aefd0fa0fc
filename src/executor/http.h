/*-------------------------------------------------------------------------
 *
 * http.h
 *		A call of kind HTTP: route, caller, handler, answer.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EXECUTOR_HTTP_H
#define PENNY_EXECUTOR_HTTP_H

#include "postgres.h"

#include "executor/params.h"
#include "executor/routes.h"
#include "executor/run.h"

/* The route of a request. */
typedef struct PennyHttpRoute
{
	const PennyRouteTable *table;
	const PennyRouteRow *row;
	const PennyRouteMatch *match;
	Oid request_type; /* penny.request */
} PennyHttpRoute;

/* Inside the transaction of the call; see dispatch.h. */
extern void penny_http_run(PennyRun *run);

/*
 * Take the caller's identity, run the route's handler, and make its result the
 * answer.  If-None-Match is still to be looked at.
 */
extern void penny_http_call(PennyRun *run, const PennyHttpRoute *route, const PennyParams *params);

/* Methods of the path that was found, except those that only read. */
extern uint32 penny_http_writing_methods(const PennyRun *run);

/* Once the transaction is over: Server-Timing, if the client asked for it. */
extern void penny_http_timing(PennyRun *run);

#endif /* PENNY_EXECUTOR_HTTP_H */

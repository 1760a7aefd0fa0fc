/*-------------------------------------------------------------------------
 *
 * cached.h
 *		A GET of a route whose answers may be kept.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EXECUTOR_CACHED_H
#define PENNY_EXECUTOR_CACHED_H

#include "postgres.h"

#include "executor/http.h"

/* Are answers to this request of the route kept, or looked for? */
extern bool penny_cached_route(const PennyRequest *request, const PennyRouteMatch *match);

/*
 * Fill in the answer, from the cache or by the handler.  The caller is known
 * and may use the route; the role is still that of the executor.
 */
extern void penny_cached_run(PennyRun *run, const PennyHttpRoute *route, PennyParams *params);

#endif /* PENNY_EXECUTOR_CACHED_H */

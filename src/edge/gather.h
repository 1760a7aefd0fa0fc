/*-------------------------------------------------------------------------
 *
 * gather.h
 *		Equal requests in flight: one call for all.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_GATHER_H
#define PENNY_EDGE_GATHER_H

#include "edge/http.h"
#include "plane/cache.h"

/*
 * The request was not found in the cache.  True: make the call, the others
 * wait for it; false: wait, an equal request is with an executor.
 */
extern bool penny_gather_join(PennyHttp *http, const PennyCacheKey *key);
/* Its answer has begun, or there will be none: whoever waits looks again. */
extern void penny_gather_end(PennyHttp *http);
/* The client is gone: the next of those that wait makes the call, or all do. */
extern void penny_gather_leave(PennyHttp *http);

#endif /* PENNY_EDGE_GATHER_H */

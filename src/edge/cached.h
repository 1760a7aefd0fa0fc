/*-------------------------------------------------------------------------
 *
 * cached.h
 *		Requests that the cache answers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_CACHED_H
#define PENNY_EDGE_CACHED_H

#include "edge/compress.h"
#include "edge/http.h"
#include "plane/route.h"

typedef enum PennyCachedResult
{
	PENNY_CACHED_SENT, /* answered */
	PENNY_CACHED_WAIT, /* waits for the answer to an equal request, see gather.h */
	PENNY_CACHED_CALL  /* an executor has to answer */
} PennyCachedResult;

/*
 * Answer a request of a route that is cached, if that can be done here.
 * viewer: who the token is, NULL when there is none or it is not known here.
 */
extern PennyCachedResult penny_cached_answer(PennyHttp *http, const char *bytes,
											 const PennyRouteMatch *match, PennySpan token,
											 const PennyViewer *viewer);
/*
 * Compress; `small` is empty if that makes it no smaller, and valid until the
 * next call.  False: not now, the loop has spent enough time on that.
 */
extern bool penny_cached_compress(PennyCoding coding, PennyEffort effort, PennySpan body,
								  PennySpan *small);

/* There are other settings. */
extern void penny_cached_settings(void);

#endif /* PENNY_EDGE_CACHED_H */

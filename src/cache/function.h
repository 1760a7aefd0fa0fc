/*-------------------------------------------------------------------------
 *
 * function.h
 *		penny.cached(): results of a user's functions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_CACHE_FUNCTION_H
#define PENNY_CACHE_FUNCTION_H

#include "postgres.h"

#include "utils/jsonb.h"

/* The result of function(arguments), at most ttl_ms old unless tags say it is newer. */
extern Datum penny_cached_call(Oid function, Jsonb *arguments, int64 ttl_ms, bool *isnull);

#endif /* PENNY_CACHE_FUNCTION_H */

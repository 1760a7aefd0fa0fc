/*-------------------------------------------------------------------------
 *
 * check.h
 *		A checker that compares hits with the table, many times a second.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_CACHE_CHECK_H
#define PENNY_CACHE_CHECK_H

#include "postgres.h"

typedef struct PennyCacheCheck
{
	int64 hits;  /* under a snapshot, compared */
	int64 looks; /* without one, as an edge looks, compared */
	int64 misses;
	int64 kept;  /* of them */
	int64 wrong; /* a hit that is not what its snapshot sees */
	int64 stale; /* a look that is older than what was seen before it */
	int64 early; /* a look that is newer than what can be seen after it */
} PennyCacheCheck;

/*
 * Compare so many times, keys 1 .. keys of the table, whose columns are
 * (key integer primary key, version bigint) and whose rows are changed by
 * raising version.  pause_us: between reading and keeping a value.
 */
extern void penny_cache_check_run(Oid table, int64 times, int keys, int pause_us,
								  PennyCacheCheck *result);

#endif /* PENNY_CACHE_CHECK_H */

/*-------------------------------------------------------------------------
 *
 * stats.h
 *		What the cache has counted since the server started.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_CACHE_STATS_H
#define PENNY_CACHE_STATS_H

#include "postgres.h"

#include "cache/cache.h"

/* Fields as in PennyCacheCounts (cache_private.h), in the same order. */
typedef struct PennyCacheTotals
{
	uint64 hits[PENNY_CACHE_KINDS];
	uint64 misses[PENNY_CACHE_KINDS];
	uint64 fills[PENNY_CACHE_KINDS];
	uint64 refused[PENNY_CACHE_REFUSALS];
	uint64 result[PENNY_CACHE_NO_BODY + 1];
	uint64 pushes;
	uint64 pushes_all;
	uint64 waits;
	uint64 waits_won;
	uint64 checked;
	uint64 violations;
} PennyCacheTotals;

extern void penny_cache_totals(PennyCacheTotals *totals);
/* Checkers: so many hits were compared with the tables, so many were wrong. */
extern void penny_cache_checked(uint64 hits, uint64 violations);

#endif /* PENNY_CACHE_STATS_H */

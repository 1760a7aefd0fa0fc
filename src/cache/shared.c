/*-------------------------------------------------------------------------
 *
 * shared.c
 *		The cache's own shared memory, and its counters.
 *
 * Made by the postmaster beside the plane and, as the plane, anew after a
 * crash.  Counters lie in shards, so that processes seldom meet in a line of
 * the processor's cache; who reads them adds the shards up.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/proc.h"

#include "base/compat.h"
#include "base/shmem.h"
#include "cache/cache_private.h"
#include "cache/stats.h"

static PennyCacheShared *shared = NULL;

static Size shared_size(void);
static void shared_start(void);

static const PennyShmemPart cache_part = {.name = "penny_cache",
										  .size = shared_size,
										  .area = (void **) &shared,
										  .init = shared_start,
										  .locks = PENNY_CACHE_LOCKS};

void
penny_cache_shared_init(void)
{
	penny_shmem_register(&cache_part);
}

static Size
shared_size(void)
{
	return sizeof(PennyCacheShared);
}

static void
shared_start(void)
{
	pg_atomic_init_u64(&shared->first_xid, 0);
	pg_atomic_init_u32(&shared->settled, 0);
	pg_atomic_init_u32(&shared->changers, 0);
	penny_flight_table_init(shared);
	for (int i = 0; i < PENNY_CACHE_SHARDS; i++)
	{
		pg_atomic_uint64 *counter = (pg_atomic_uint64 *) &shared->shard[i].count;

		for (Size n = 0; n < sizeof(PennyCacheCounts) / sizeof(pg_atomic_uint64); n++)
			pg_atomic_init_u64(&counter[n], 0);
	}
}

PennyCacheShared *
penny_cache_shared(void)
{
	return penny_plane() == NULL ? NULL : shared;
}

LWLock *
penny_cache_lock(int number)
{
	static LWLockPadded *locks = NULL;

	if (locks == NULL)
		locks = GetNamedLWLockTranche(cache_part.name);
	return &locks[number].lock;
}

PennyCacheCounts *
penny_cache_counts(void)
{
	static int mine = -1;

	if (unlikely(mine < 0) && MyProc != NULL)
		mine = PENNY_MY_PROC_NUMBER % PENNY_CACHE_SHARDS;
	return &shared->shard[Max(mine, 0)].count;
}

/* Add the shards up. */
void
penny_cache_totals(PennyCacheTotals *totals)
{
	uint64 *sum = (uint64 *) totals;

	StaticAssertStmt(sizeof(PennyCacheTotals) == sizeof(PennyCacheCounts),
					 "totals have the shape of the counters");
	memset(totals, 0, sizeof(*totals));
	if (penny_cache_shared() == NULL)
		return;
	for (int i = 0; i < PENNY_CACHE_SHARDS; i++)
	{
		pg_atomic_uint64 *counter = (pg_atomic_uint64 *) &shared->shard[i].count;

		for (Size n = 0; n < sizeof(PennyCacheCounts) / sizeof(pg_atomic_uint64); n++)
			sum[n] += pg_atomic_read_u64(&counter[n]);
	}
}

/* A hit was compared with the tables by a checker. */
void
penny_cache_checked(uint64 hits, uint64 violations)
{
	if (penny_cache_shared() == NULL)
		return;
	pg_atomic_fetch_add_u64(&penny_cache_counts()->checked, hits);
	pg_atomic_fetch_add_u64(&penny_cache_counts()->violations, violations);
}

/*-------------------------------------------------------------------------
 *
 * check.c
 *		A checker that compares hits with the table, many times a second.
 *
 * In each round it takes a snapshot, reads a row by its index, and
 *
 *	- looks without the snapshot, as an edge does: what it finds may not be
 *	  older than the row, since that was read before;
 *	- reads through the cache under the snapshot: a hit must be exactly the
 *	  row; a miss is built from the row and kept;
 *	- takes another snapshot now and then, which may not see less than the look
 *	  did: otherwise something uncommitted was found.
 *
 * Other sessions change the rows meanwhile.  A row's version only grows.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/skey.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/pg_type.h"
#include "common/pg_prng.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "base/clock.h"
#include "base/compat.h"
#include "cache/cache_private.h"
#include "cache/check.h"
#include "cache/stats.h"

#define LOOK_AGAIN 16 /* rounds between second snapshots */
#define TTL (3600 * 1000)

typedef struct Checker
{
	Relation table;
	Relation index;
	TupleTableSlot *slot;
	int pause_us;
	PennyCacheCheck *result;
} Checker;

static void open_table(Checker *checker, Oid table);
static int64 read_row(Checker *checker, int32 key);
static bool look(const PennyCacheKey *key, int64 *version);
static void read_through(Checker *checker, int32 key, const PennyCacheKey *cache_key, int64 seen);
static void one_round(Checker *checker, int32 key, bool again);

void
penny_cache_check_run(Oid table, int64 times, int keys, int pause_us, PennyCacheCheck *result)
{
	Checker checker = {.pause_us = pause_us, .result = result};

	memset(result, 0, sizeof(*result));
	open_table(&checker, table);
	for (int64 i = 0; i < times; i++)
	{
		CHECK_FOR_INTERRUPTS();
		one_round(&checker, 1 + (int32) pg_prng_uint64_range(&pg_global_prng_state, 0, keys - 1),
				  i % LOOK_AGAIN == 0);
	}
	ExecDropSingleTupleTableSlot(checker.slot);
	index_close(checker.index, AccessShareLock);
	table_close(checker.table, AccessShareLock);
	penny_cache_checked((uint64) (result->hits + result->looks),
						(uint64) (result->wrong + result->stale + result->early));
}

static void
open_table(Checker *checker, Oid table)
{
	TupleDesc desc;
	Oid index;

	checker->table = table_open(table, AccessShareLock);
	desc = RelationGetDescr(checker->table);
	index = RelationGetPrimaryKeyIndex(checker->table);
	if (desc->natts < 2 || TupleDescAttr(desc, 0)->atttypid != INT4OID ||
		TupleDescAttr(desc, 1)->atttypid != INT8OID || !OidIsValid(index))
		ereport(ERROR, (errcode(ERRCODE_WRONG_OBJECT_TYPE),
						errmsg("table \"%s\" is not one for the checker",
							   RelationGetRelationName(checker->table)),
						errdetail("Its columns must be an integer, its primary key, and a "
								  "bigint.")));
	checker->index = index_open(index, AccessShareLock);
	checker->slot = table_slot_create(checker->table, NULL);
}

/* The row's version under the active snapshot, 0 when it is not there. */
static int64
read_row(Checker *checker, int32 key)
{
	ScanKeyData scan_key;
	IndexScanDesc scan;
	int64 version = 0;
	bool isnull;

	ScanKeyInit(&scan_key, 1, BTEqualStrategyNumber, F_INT4EQ, Int32GetDatum(key));
	scan = penny_index_beginscan(checker->table, checker->index, GetActiveSnapshot(), 1);
	index_rescan(scan, &scan_key, 1, NULL, 0);
	if (index_getnext_slot(scan, ForwardScanDirection, checker->slot))
		version = DatumGetInt64(slot_getattr(checker->slot, 2, &isnull));
	ExecClearTuple(checker->slot);
	index_endscan(scan);
	return version;
}

/* As an edge: copy, then ask whether the stamps hold. */
static bool
look(const PennyCacheKey *key, int64 *version)
{
	PennyCacheHit hit;

	if (penny_cache_find(penny_plane(), key, (uint64_t) penny_clock_ms(), &hit) !=
			PENNY_CACHE_HIT ||
		hit.head_len + hit.body_len != sizeof(*version))
		return false;
	return penny_cache_copy(penny_plane(), &hit, (char *) version) &&
		   penny_cache_holds(penny_plane(), &hit);
}

static void
read_through(Checker *checker, int32 key, const PennyCacheKey *cache_key, int64 seen)
{
	PennySpan head = {"", 0};
	PennyCacheRead read;
	char value[16];
	int64 built;

	if (penny_cache_open_key(&read, PENNY_CACHE_FUNCTION, cache_key, "checker") == PENNY_CACHE_HIT)
	{
		checker->result->hits++;
		if (read.hit.body_len != sizeof(built) || memcmp(read.body, &seen, sizeof(seen)) != 0)
			checker->result->wrong++;
		pfree(read.head);
		return;
	}
	checker->result->misses++;
	built = read_row(checker, key);
	pg_ltoa(key, value);
	penny_cache_depend("check", value);
	if (checker->pause_us > 0)
		pg_usleep(checker->pause_us);
	if (penny_cache_fill(&read, 0, head, (PennySpan){(char *) &built, sizeof(built)}, NULL, TTL) ==
		PENNY_CACHE_FINE)
		checker->result->kept++;
}

static void
one_round(Checker *checker, int32 key, bool again)
{
	PennySpan part = {(char *) &key, sizeof(key)};
	PennyCacheKey cache_key;
	int64 seen;
	int64 looked = 0;
	bool found;

	penny_cache_make_key(PENNY_CACHE_FUNCTION, PENNY_CACHE_FOR_ALL, &part, 1, &cache_key);
	PushActiveSnapshot(GetLatestSnapshot());
	seen = read_row(checker, key);
	found = look(&cache_key, &looked);
	if (found)
	{
		checker->result->looks++;
		checker->result->stale += looked < seen;
	}
	read_through(checker, key, &cache_key, seen);
	PopActiveSnapshot();

	if (found && (again || looked > seen))
	{
		PushActiveSnapshot(GetLatestSnapshot());
		checker->result->early += read_row(checker, key) < looked;
		PopActiveSnapshot();
	}
}

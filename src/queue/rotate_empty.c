/*-------------------------------------------------------------------------
 *
 * rotate_empty.c
 *		Emptying the tables of a segment.
 *
 * Both tables are locked against everybody, without waiting: who reads them (a
 * dump, a view) or has a prepared transaction with rows there is not disturbed, and
 * it is tried again later.  Under the lock the receipts are read into a bitmap of
 * the ids that have ended, and each visible row must be in it; so nothing depends
 * on what memory says.  The newest completed jobs of each queue are copied to
 * jobs_history before.
 *
 * TRUNCATE does not wait for old snapshots.  One that looks afterwards finds the
 * segment empty; what it would have seen had ended.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "commands/tablecmds.h"
#include "executor/tuptable.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "queue/ending_private.h"
#include "queue/load.h"
#include "queue/shared.h"
#include "queue/storage.h"

#define SEGMENT_IDS (1 << PENNY_SEGMENT_BITS)
#define KEEP_MAX 10000 /* of one queue */

/* A job that completed. */
typedef struct Kept
{
	int64 id;
	ItemPointerData receipt;
} Kept;

/* The last ones of a queue, a ring. */
typedef struct Ring
{
	bool asked;
	int keep;
	int n; /* ever put in */
	Kept *kept;
} Ring;

typedef struct Emptying
{
	int64 segment;
	Snapshot snapshot;
	uint64 *ended; /* bitmap */
	Ring ring[PENNY_SCHED_QUEUES];
	/* the receipt that is being read */
	ItemPointerData at;
	Ring *into; /* NULL: not completed, or nothing is kept */
} Emptying;

static bool lock_tables(int64 segment);
static void read_receipts(Emptying *emptying, PennyOpenTable *receipts);
static bool check_rows(Emptying *emptying, PennyOpenTable *jobs, int64 *first);
static void keep_history(Emptying *emptying, PennyOpenTable *jobs, PennyOpenTable *receipts);
static void truncate_tables(PennyOpenTable *jobs, PennyOpenTable *receipts);

PennyEmptied
penny_segment_empty(int64 segment, int64 *first)
{
	Emptying *emptying;
	PennyOpenTable jobs;
	PennyOpenTable receipts;
	PennyEmptied how = PENNY_EMPTIED_NOT;
	int64 id = segment << PENNY_SEGMENT_BITS;

	if (!lock_tables(segment))
		return PENNY_EMPTIED_BUSY;
	emptying = palloc0(sizeof(*emptying));
	emptying->segment = segment;
	emptying->snapshot = RegisterSnapshot(GetLatestSnapshot());
	emptying->ended = palloc0(SEGMENT_IDS / 8);
	penny_table_open(&jobs, penny_job_table(id), AccessExclusiveLock);
	penny_table_open(&receipts, penny_receipt_table(id), AccessExclusiveLock);
	read_receipts(emptying, &receipts);
	if (check_rows(emptying, &jobs, first))
	{
		keep_history(emptying, &jobs, &receipts);
		how = PENNY_EMPTIED;
	}
	UnregisterSnapshot(emptying->snapshot);
	penny_table_close(&jobs);
	penny_table_close(&receipts);
	if (how == PENNY_EMPTIED)
		truncate_tables(&jobs, &receipts);
	return how;
}

static bool
lock_tables(int64 segment)
{
	int64 id = segment << PENNY_SEGMENT_BITS;
	Oid jobs = penny_queue_table_oid(penny_job_table(id));
	Oid receipts = penny_queue_table_oid(penny_receipt_table(id));

	return OidIsValid(jobs) && OidIsValid(receipts) &&
		   ConditionalLockRelationOid(jobs, AccessExclusiveLock) &&
		   ConditionalLockRelationOid(receipts, AccessExclusiveLock);
}

/* ---- what the receipts say ------------------------------------------------------------ */

static void
add_ended(int64 id, void *arg)
{
	Emptying *emptying = arg;
	uint32 bit = (uint32) id & (SEGMENT_IDS - 1);

	if (penny_segment_of(id) != emptying->segment)
		return;
	emptying->ended[bit / 64] |= UINT64CONST(1) << (bit % 64);
	if (emptying->into != NULL)
	{
		Kept *kept = &emptying->into->kept[emptying->into->n++ % emptying->into->keep];

		kept->id = id;
		kept->receipt = emptying->at;
	}
}

static Ring *
ring_of(Emptying *emptying, uint16 queue)
{
	Ring *ring = &emptying->ring[queue % PENNY_SCHED_QUEUES];
	PennyQueueConfig config;

	if (!ring->asked)
	{
		ring->asked = true;
		if (penny_queue_by_id(queue, &config))
			ring->keep = Min(config.keep_completed, KEEP_MAX);
		if (ring->keep > 0)
			ring->kept = palloc((Size) ring->keep * sizeof(Kept));
	}
	return ring->keep > 0 ? ring : NULL;
}

static void
read_receipts(Emptying *emptying, PennyOpenTable *receipts)
{
	TupleDesc desc = RelationGetDescr(receipts->relation);
	TableScanDesc scan =
		table_beginscan_strat(receipts->relation, emptying->snapshot, 0, NULL, true, false);
	HeapTuple tuple;

	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		bool isnull;
		int outcome = DatumGetInt16(heap_getattr(tuple, RECEIPT_OUTCOME + 1, desc, &isnull));
		int64 id = DatumGetInt64(heap_getattr(tuple, RECEIPT_ID + 1, desc, &isnull));
		uint16 queue =
			(uint16) DatumGetInt16(heap_getattr(tuple, RECEIPT_QUEUE + 1, desc, &isnull));
		Datum ids = heap_getattr(tuple, RECEIPT_IDS + 1, desc, &isnull);

		CHECK_FOR_INTERRUPTS();
		if (outcome == PENNY_OUTCOME_RETRY)
			continue;
		emptying->at = tuple->t_self;
		emptying->into = outcome == PENNY_OUTCOME_COMPLETED || outcome == PENNY_OUTCOME_BATCH
							 ? ring_of(emptying, queue)
							 : NULL;
		if (isnull)
			add_ended(id, emptying);
		else
		{
			bytea *packed = DatumGetByteaPP(ids);

			penny_receipt_unpack(id, packed, add_ended, emptying);
			if ((Pointer) packed != DatumGetPointer(ids))
				pfree(packed);
		}
	}
	table_endscan(scan);
}

static bool
check_rows(Emptying *emptying, PennyOpenTable *jobs, int64 *first)
{
	TupleDesc desc = RelationGetDescr(jobs->relation);
	TableScanDesc scan =
		table_beginscan_strat(jobs->relation, emptying->snapshot, 0, NULL, true, false);
	HeapTuple tuple;
	bool all = true;

	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		bool isnull;
		int64 id = DatumGetInt64(heap_getattr(tuple, JOB_ID + 1, desc, &isnull));
		uint32 bit = (uint32) id & (SEGMENT_IDS - 1);

		CHECK_FOR_INTERRUPTS();
		if (penny_segment_of(id) == emptying->segment &&
			(emptying->ended[bit / 64] & (UINT64CONST(1) << (bit % 64))) != 0)
			continue;
		all = false;
		*first = Min(*first, id);
	}
	table_endscan(scan);
	return all;
}

/* ---- what is kept ------------------------------------------------------------------------ */

/* What a history row says of the end; false: the receipt is not there. */
static bool
read_receipt(Emptying *emptying, PennyOpenTable *receipts, TupleTableSlot *slot, const Kept *kept,
			 PennyReceipt *receipt)
{
	ItemPointerData tid = kept->receipt;
	Datum value[RECEIPT_COLUMNS];
	bool isnull[RECEIPT_COLUMNS];

	if (!table_tuple_fetch_row_version(receipts->relation, &tid, emptying->snapshot, slot))
		return false;
	heap_deform_tuple(ExecFetchSlotHeapTuple(slot, false, NULL),
					  RelationGetDescr(receipts->relation), value, isnull);
	memset(receipt, 0, sizeof(*receipt));
	receipt->id = kept->id;
	receipt->outcome = PENNY_OUTCOME_COMPLETED;
	receipt->attempt = DatumGetInt16(value[RECEIPT_ATTEMPT]);
	receipt->started = DatumGetTimestampTz(value[RECEIPT_STARTED]);
	receipt->ended = DatumGetTimestampTz(value[RECEIPT_ENDED]);
	if (!isnull[RECEIPT_RESULT])
		receipt->result = DatumGetJsonbPCopy(value[RECEIPT_RESULT]);
	if (!isnull[RECEIPT_WORKER])
		receipt->worker = TextDatumGetCString(value[RECEIPT_WORKER]);
	return true;
}

static void
keep_one(Emptying *emptying, PennyOpenTable *jobs, PennyOpenTable *receipts, TupleTableSlot *slot,
		 const Kept *kept)
{
	Datum key = Int64GetDatum(kept->id);
	PennyTableScan *scan = penny_table_scan(jobs, JOB_ID, emptying->snapshot, 1, &key);
	HeapTuple tuple;
	PennyReceipt receipt;
	PennyJobRow row;

	if (penny_table_next(scan, &tuple) && read_receipt(emptying, receipts, slot, kept, &receipt))
	{
		penny_job_from_tuple(tuple, RelationGetDescr(jobs->relation), false, &row);
		penny_history_insert(&row, &receipt);
	}
	penny_table_scan_end(scan);
}

static void
keep_history(Emptying *emptying, PennyOpenTable *jobs, PennyOpenTable *receipts)
{
	TupleTableSlot *slot = table_slot_create(receipts->relation, NULL);
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "penny history", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);

	for (int q = 0; q < PENNY_SCHED_QUEUES; q++)
	{
		Ring *ring = &emptying->ring[q];

		for (int i = 0; i < Min(ring->n, ring->keep); i++)
		{
			CHECK_FOR_INTERRUPTS();
			keep_one(emptying, jobs, receipts, slot, &ring->kept[i]);
			MemoryContextReset(context);
		}
	}
	MemoryContextSwitchTo(old);
	ExecDropSingleTupleTableSlot(slot);
}

/* ---- the end ---------------------------------------------------------------------------------- */

/* By the command, as the owner: it does what has to be done to indexes, toast and files. */
static void
truncate_tables(PennyOpenTable *jobs, PennyOpenTable *receipts)
{
	PennyQueueTable table[2] = {jobs->table, receipts->table};
	TruncateStmt *statement = makeNode(TruncateStmt);
	Oid saved_user;
	int saved_context;
	Oid owner = InvalidOid;

	for (int i = 0; i < 2; i++)
	{
		PennyOpenTable open;

		penny_table_open(&open, table[i], AccessExclusiveLock);
		owner = open.relation->rd_rel->relowner;
		statement->relations =
			lappend(statement->relations,
					makeRangeVar("_penny", pstrdup(RelationGetRelationName(open.relation)), -1));
		penny_table_close(&open);
	}
	statement->behavior = DROP_RESTRICT;
	GetUserIdAndSecContext(&saved_user, &saved_context);
	SetUserIdAndSecContext(owner, saved_context | SECURITY_LOCAL_USERID_CHANGE);
	ExecuteTruncate(statement);
	SetUserIdAndSecContext(saved_user, saved_context);
}

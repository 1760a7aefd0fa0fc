/*-------------------------------------------------------------------------
 *
 * ending_receipt.c
 *		Receipts: what is written down of an attempt that ended.
 *
 * One row for an attempt; or one for many jobs that completed without a result,
 * whose ids are packed: `id` is the first, and `ids` holds the differences to the
 * one before as numbers of 7 bits a byte, the last byte of each below 128.  A batch
 * of neighbours costs a byte a job.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "queue/ending_private.h"
#include "queue/storage.h"

#define VARINT_MAX 10
#define BATCHES_BACK 2000 /* receipts before the job's id that are looked at */

void
penny_receipt_write(const PennyReceipt *receipt)
{
	Datum values[RECEIPT_COLUMNS];
	bool isnull[RECEIPT_COLUMNS] = {false};
	PennyOpenTable open;

	values[RECEIPT_ID] = Int64GetDatum(receipt->id);
	values[RECEIPT_LAST_ID] = Int64GetDatum(receipt->last_id);
	values[RECEIPT_QUEUE] = Int16GetDatum((int16) receipt->queue);
	values[RECEIPT_OUTCOME] = Int16GetDatum((int16) receipt->outcome);
	values[RECEIPT_ATTEMPT] = Int16GetDatum((int16) receipt->attempt);
	values[RECEIPT_JOBS] = Int32GetDatum(receipt->jobs);
	values[RECEIPT_STARTED] = TimestampTzGetDatum(receipt->started);
	values[RECEIPT_ENDED] = TimestampTzGetDatum(receipt->ended);
	values[RECEIPT_DUE] = TimestampTzGetDatum(receipt->due);
	isnull[RECEIPT_DUE] = receipt->due == 0;
	values[RECEIPT_GROUP] = Int64GetDatum((int64) receipt->group);
	isnull[RECEIPT_GROUP] = receipt->group == 0;
	values[RECEIPT_IDS] = PointerGetDatum(receipt->ids);
	isnull[RECEIPT_IDS] = receipt->ids == NULL;
	values[RECEIPT_RESULT] = PointerGetDatum(receipt->result);
	isnull[RECEIPT_RESULT] = receipt->result == NULL;
	isnull[RECEIPT_ERROR] = receipt->error == NULL;
	values[RECEIPT_ERROR] =
		receipt->error == NULL ? (Datum) 0 : CStringGetTextDatum(receipt->error);
	isnull[RECEIPT_WORKER] = receipt->worker == NULL;
	values[RECEIPT_WORKER] =
		receipt->worker == NULL ? (Datum) 0 : CStringGetTextDatum(receipt->worker);

	penny_table_open(&open, penny_receipt_table(receipt->id), RowExclusiveLock);
	heap_freetuple(penny_table_insert(&open, values, isnull));
	penny_table_close(&open);
}

bytea *
penny_receipt_pack(const int64 *ids, int n)
{
	bytea *packed = palloc(VARHDRSZ + (Size) n * VARINT_MAX);
	uint8 *at = (uint8 *) VARDATA(packed);

	for (int i = 1; i < n; i++)
	{
		uint64 step = (uint64) (ids[i] - ids[i - 1]);

		for (; step >= 0x80; step >>= 7)
			*at++ = (uint8) (step | 0x80);
		*at++ = (uint8) step;
	}
	SET_VARSIZE(packed, at - (uint8 *) packed);
	return packed;
}

/* What is no such text ends early: these tables may be written by a superuser. */
void
penny_receipt_unpack(int64 first, const bytea *ids, void (*each)(int64 id, void *arg), void *arg)
{
	const uint8 *at = (const uint8 *) VARDATA_ANY(ids);
	const uint8 *end = at + VARSIZE_ANY_EXHDR(ids);
	int64 id = first;
	uint64 step = 0;
	int shift = 0;

	each(id, arg);
	for (; at < end && shift < 64; at++)
	{
		step |= (uint64) (*at & 0x7f) << shift;
		shift += 7;
		if (*at & 0x80)
			continue;
		id += (int64) step;
		each(id, arg);
		step = 0;
		shift = 0;
	}
}

/* ---- does one tell of a job's end? ------------------------------------------------------ */

typedef struct Search
{
	int64 id;
	bool found;
} Search;

static void
compare(int64 id, void *arg)
{
	Search *search = arg;

	search->found |= id == search->id;
}

static bool
tells_end(HeapTuple tuple, TupleDesc desc, int64 id)
{
	bool isnull;
	int outcome = DatumGetInt16(heap_getattr(tuple, RECEIPT_OUTCOME + 1, desc, &isnull));
	int64 first = DatumGetInt64(heap_getattr(tuple, RECEIPT_ID + 1, desc, &isnull));
	Datum ids = heap_getattr(tuple, RECEIPT_IDS + 1, desc, &isnull);
	Search search = {.id = id};

	if (outcome == PENNY_OUTCOME_RETRY)
		return false;
	if (isnull)
		return first == id;
	penny_receipt_unpack(first, DatumGetByteaPP(ids), compare, &search);
	return search.found;
}

bool
penny_receipt_tells_end(int64 id)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	PennyOpenTable open;
	PennyTableScan *scan;
	HeapTuple tuple;
	bool found = false;

	penny_table_open(&open, penny_receipt_table(id), AccessShareLock);
	scan = penny_table_scan_to(&open, RECEIPT_ID, snapshot, id);
	for (int i = 0; !found && i < BATCHES_BACK && penny_table_previous(scan, &tuple); i++)
		found = tells_end(tuple, RelationGetDescr(open.relation), id);
	penny_table_scan_end(scan);
	penny_table_close(&open);
	UnregisterSnapshot(snapshot);
	return found;
}

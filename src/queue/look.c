/*-------------------------------------------------------------------------
 *
 * look.c
 *		What is known of a job: from memory, its row, its receipt, or what is kept of
 *		it.
 *
 * Memory is asked first, so a job that starts or ends meanwhile is found in a later
 * state by the tables.  The receipt of a batch is looked for among those shortly
 * before the job's id; where it is not, the end is known and its time is not.
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
#include "queue/look.h"
#include "queue/shared.h"
#include "queue/storage.h"

#define BATCHES 64 /* receipts before the job's id that are looked at */

typedef struct Search
{
	int64 id;
	bool found;
} Search;

static const char *const outcome_name[] = {
	[PENNY_OUTCOME_COMPLETED] = "completed",
	[PENNY_OUTCOME_FAILED] = "failed",
	[PENNY_OUTCOME_CANCELLED] = "cancelled",
	[PENNY_OUTCOME_BATCH] = "completed",
};

/* ---- memory ------------------------------------------------------------------------ */

static const char *
state_name(const PennyJob *job)
{
	uint8 state = job->state == PENNY_JOB_ENDING ? job->before : job->state;

	return state == PENNY_JOB_ACTIVE    ? "active"
		   : state == PENNY_JOB_DELAYED ? "delayed"
										: "waiting";
}

/* True: it is there.  `done`: its row in a segment has ended. */
static bool
look_into_memory(int64 id, PennyJobLook *out, bool *done)
{
	PennySched *sched = penny_queue_sched();
	PennyJobRef ref;
	PennyJob job;

	*done = false;
	if (!penny_queue_current())
		return false;
	penny_queue_lock();
	ref = penny_sched_find(sched, id, penny_queue_now());
	if (ref != 0)
		job = *penny_sched_job(sched, ref);
	else
		*done = penny_sched_done(sched, id);
	penny_queue_unlock();
	if (ref == 0)
		return false;
	out->state = state_name(&job);
	out->attempt = job.attempt;
	out->due = job.due;
	out->started = strcmp(out->state, "active") == 0 ? job.started : 0;
	return true;
}

/* ---- receipts ------------------------------------------------------------------------ */

static void
compare(int64 id, void *arg)
{
	Search *search = arg;

	search->found |= id == search->id;
}

static bool
covers(HeapTuple tuple, TupleDesc desc, int64 id)
{
	bool isnull;
	Datum ids = heap_getattr(tuple, RECEIPT_IDS + 1, desc, &isnull);
	int64 first = DatumGetInt64(heap_getattr(tuple, RECEIPT_ID + 1, desc, &isnull));
	int64 last = DatumGetInt64(heap_getattr(tuple, RECEIPT_LAST_ID + 1, desc, &isnull));
	Search search = {.id = id};

	if (id < first || id > last)
		return false;
	(void) heap_getattr(tuple, RECEIPT_IDS + 1, desc, &isnull);
	if (isnull)
		return first == id;
	penny_receipt_unpack(first, DatumGetByteaPP(ids), compare, &search);
	return search.found;
}

static void
read_end(HeapTuple tuple, TupleDesc desc, PennyJobLook *out)
{
	Datum value[RECEIPT_COLUMNS];
	bool isnull[RECEIPT_COLUMNS];

	heap_deform_tuple(tuple, desc, value, isnull);
	out->state = outcome_name[DatumGetInt16(value[RECEIPT_OUTCOME])];
	out->attempt = DatumGetInt16(value[RECEIPT_ATTEMPT]);
	out->started = DatumGetTimestampTz(value[RECEIPT_STARTED]);
	out->ended = DatumGetTimestampTz(value[RECEIPT_ENDED]);
	if (!isnull[RECEIPT_RESULT])
		out->result = DatumGetJsonbPCopy(value[RECEIPT_RESULT]);
	if (!isnull[RECEIPT_ERROR])
		out->error = TextDatumGetCString(value[RECEIPT_ERROR]);
	if (!isnull[RECEIPT_WORKER])
		out->worker = TextDatumGetCString(value[RECEIPT_WORKER]);
}

/* The receipt that says how a job of a segment ended. */
static bool
look_at_receipts(int64 id, Snapshot snapshot, PennyJobLook *out)
{
	PennyOpenTable open;
	PennyTableScan *scan;
	HeapTuple tuple;
	bool found = false;
	int looked = 0;

	penny_table_open(&open, penny_receipt_table(id), AccessShareLock);
	scan = penny_table_scan_to(&open, RECEIPT_ID, snapshot, id);
	while (!found && looked < BATCHES && penny_table_previous(scan, &tuple))
	{
		TupleDesc desc = RelationGetDescr(open.relation);
		bool isnull;
		int outcome = DatumGetInt16(heap_getattr(tuple, RECEIPT_OUTCOME + 1, desc, &isnull));
		int64 first = DatumGetInt64(heap_getattr(tuple, RECEIPT_ID + 1, desc, &isnull));

		looked += first != id;
		if (outcome == PENNY_OUTCOME_RETRY || outcome == PENNY_OUTCOME_MOVED || outcome < 1 ||
			outcome > PENNY_OUTCOME_BATCH)
			continue;
		found = covers(tuple, desc, id);
		if (found)
			read_end(tuple, desc, out);
	}
	penny_table_scan_end(scan);
	penny_table_close(&open);
	return found;
}

bool
penny_receipt_tells_end(int64 id)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	PennyJobLook look;
	bool ended = look_at_receipts(id, snapshot, &look);

	UnregisterSnapshot(snapshot);
	return ended;
}

/* ---- what is kept ----------------------------------------------------------------------- */

/* A column of the one row with this id; false: there is none. */
static bool
look_at_kept(PennyQueueTable table, int64 id, Snapshot snapshot, PennyJobLook *out)
{
	Datum key = Int64GetDatum(id);
	PennyOpenTable open;
	PennyTableScan *scan;
	HeapTuple tuple;
	bool found;

	penny_table_open(&open, table, AccessShareLock);
	scan = penny_table_scan(&open, 0, snapshot, 1, &key);
	found = penny_table_next(scan, &tuple);
	if (found && table == PENNY_TABLE_DEAD)
		penny_dead_read(tuple, RelationGetDescr(open.relation), out);
	else if (found)
		penny_history_read(tuple, RelationGetDescr(open.relation), out);
	penny_table_scan_end(scan);
	penny_table_close(&open);
	return found;
}

bool
penny_job_look(int64 id, PennyJobLook *out)
{
	Snapshot snapshot;
	bool done;
	bool in_memory;
	bool found = true;

	memset(out, 0, sizeof(*out));
	in_memory = look_into_memory(id, out, &done);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	out->has_row = penny_job_read_id(id, &out->row);
	if (out->has_row && (out->row.flags & PENNY_JOB_DEFERRED))
	{
		if (!in_memory)
			out->state = out->row.pending > 0 ? "blocked" : "delayed";
		out->due = in_memory ? out->due : out->row.due;
		out->attempt = out->row.made;
	}
	else if (out->has_row && look_at_receipts(id, snapshot, out))
		;
	else if (look_at_kept(PENNY_TABLE_DEAD, id, snapshot, out) ||
			 look_at_kept(PENNY_TABLE_HISTORY, id, snapshot, out))
		;
	else if (out->has_row && !in_memory)
	{
		out->state = done ? "completed" : out->row.due > penny_queue_now() ? "delayed" : "waiting";
		out->due = out->row.due;
	}
	else
		found = out->has_row;
	UnregisterSnapshot(snapshot);
	return found;
}

/*-------------------------------------------------------------------------
 *
 * dump.c
 *		What dumps, restores and tests ask of the queue.
 *
 * _penny.job_ended() is asked for each row of a segment by pg_dump.  The first time
 * in a statement it reads all receipts of the segment under the statement's
 * snapshot into a bitmap, and answers from that.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "base/error.h"
#include "config/config.h"
#include "queue/ending_private.h"
#include "queue/pending.h"
#include "queue/shared.h"
#include "queue/storage.h"

#define SEGMENT_IDS (1 << PENNY_SEGMENT_BITS)
#define MEMORY_COLUMNS 8

PG_FUNCTION_INFO_V1(penny_job_ended);
PG_FUNCTION_INFO_V1(penny_receipt_ids);
PG_FUNCTION_INFO_V1(penny_jobs_in_memory_sql);
PG_FUNCTION_INFO_V1(penny_queue_counters);
PG_FUNCTION_INFO_V1(penny_reload_jobs);
PG_FUNCTION_INFO_V1(penny_rotate_jobs);

/* ---- what has ended --------------------------------------------------------------------- */

/* Ids of one table's receipts that have ended. */
typedef struct Ended
{
	int table; /* 0 to 7 */
	int64 segment;
	uint64 *bits;
} Ended;

static void
add_ended(int64 id, void *arg)
{
	Ended *ended = arg;
	uint32 bit = (uint32) id & (SEGMENT_IDS - 1);

	if (penny_segment_of(id) == ended->segment)
		ended->bits[bit / 64] |= UINT64CONST(1) << (bit % 64);
}

static void
read_ended(Ended *ended)
{
	PennyOpenTable open;
	TableScanDesc scan;
	HeapTuple tuple;

	penny_table_open(&open, (PennyQueueTable) (PENNY_TABLE_RECEIPT + ended->table),
					 AccessShareLock);
	scan = table_beginscan_strat(open.relation, GetActiveSnapshot(), 0, NULL, true, false);
	while ((tuple = heap_getnext(scan, ForwardScanDirection)) != NULL)
	{
		TupleDesc desc = RelationGetDescr(open.relation);
		bool isnull;
		int64 id = DatumGetInt64(heap_getattr(tuple, RECEIPT_ID + 1, desc, &isnull));
		Datum ids;

		CHECK_FOR_INTERRUPTS();
		if (DatumGetInt16(heap_getattr(tuple, RECEIPT_OUTCOME + 1, desc, &isnull)) ==
			PENNY_OUTCOME_RETRY)
			continue;
		ids = heap_getattr(tuple, RECEIPT_IDS + 1, desc, &isnull);
		if (isnull)
			add_ended(id, ended);
		else
			penny_receipt_unpack(id, DatumGetByteaPP(ids), add_ended, ended);
	}
	table_endscan(scan);
	penny_table_close(&open);
}

/* _penny.job_ended(segment integer, id bigint) */
Datum
penny_job_ended(PG_FUNCTION_ARGS)
{
	int table = PG_GETARG_INT32(0);
	int64 id = PG_GETARG_INT64(1);
	Ended *ended = fcinfo->flinfo->fn_extra;
	uint32 bit = (uint32) id & (SEGMENT_IDS - 1);

	if (table < 0 || table >= PENNY_SEGMENTS || penny_segment_of(id) % PENNY_SEGMENTS != table)
		PG_RETURN_BOOL(false);
	if (ended == NULL || ended->table != table || ended->segment != penny_segment_of(id))
	{
		MemoryContext old = MemoryContextSwitchTo(fcinfo->flinfo->fn_mcxt);

		if (ended == NULL)
			ended = palloc0(sizeof(*ended));
		if (ended->bits == NULL)
			ended->bits = palloc(SEGMENT_IDS / 8);
		MemoryContextSwitchTo(old);
		memset(ended->bits, 0, SEGMENT_IDS / 8);
		ended->table = table;
		ended->segment = penny_segment_of(id);
		fcinfo->flinfo->fn_extra = NULL;
		read_ended(ended);
		fcinfo->flinfo->fn_extra = ended;
	}
	PG_RETURN_BOOL((ended->bits[bit / 64] & (UINT64CONST(1) << (bit % 64))) != 0);
}

/* ---- sets --------------------------------------------------------------------------------- */

static void
put_id(int64 id, void *arg)
{
	ReturnSetInfo *result = arg;
	Datum value = Int64GetDatum(id);
	bool isnull = false;

	tuplestore_putvalues(result->setResult, result->setDesc, &value, &isnull);
}

/* _penny.receipt_ids(id bigint, ids bytea) */
Datum
penny_receipt_ids(PG_FUNCTION_ARGS)
{
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	penny_receipt_unpack(PG_GETARG_INT64(0), PG_GETARG_BYTEA_PP(1), put_id, fcinfo->resultinfo);
	return (Datum) 0;
}

typedef struct Copies
{
	PennyJob *job;
	uint32 n;
} Copies;

static void
copy_job(const PennyJob *job, void *arg)
{
	Copies *copies = arg;

	copies->job[copies->n++] = *job;
}

/* _penny.jobs_in_memory() */
Datum
penny_jobs_in_memory_sql(PG_FUNCTION_ARGS)
{
	static const char *const states[] = {"free",    "reserved", "delayed",
										 "waiting", "active",   "ending"};
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	Copies copies = {NULL, 0};

	InitMaterializedSRF(fcinfo, 0);
	if (!penny_queue_current())
		return (Datum) 0;
	copies.job = palloc_extended((Size) penny_jobs_in_memory * sizeof(PennyJob), MCXT_ALLOC_HUGE);
	penny_queue_lock();
	penny_sched_drain(penny_queue_sched(), penny_queue_now());
	penny_sched_each(penny_queue_sched(), PENNY_SCHED_ANY, copy_job, &copies);
	penny_queue_unlock();
	for (uint32 i = 0; i < copies.n; i++)
	{
		const PennyJob *job = &copies.job[i];
		bool active = job->state == PENNY_JOB_ACTIVE ||
					  (job->state == PENNY_JOB_ENDING && job->before == PENNY_JOB_ACTIVE);
		Datum value[MEMORY_COLUMNS];
		bool isnull[MEMORY_COLUMNS] = {false};

		value[0] = Int64GetDatum(job->id);
		value[1] = Int16GetDatum((int16) job->queue);
		value[2] = CStringGetTextDatum(states[job->state]);
		value[3] = TimestampTzGetDatum(job->due);
		value[4] = Int32GetDatum(job->attempt);
		value[5] = TimestampTzGetDatum(job->started);
		value[6] = TimestampTzGetDatum(job->until);
		value[7] = Int32GetDatum((int32) job->holder);
		isnull[5] = isnull[7] = !active;
		isnull[6] = !active || job->until == PENNY_SCHED_NEVER;
		tuplestore_putvalues(result->setResult, result->setDesc, value, isnull);
	}
	pfree(copies.job);
	return (Datum) 0;
}

/* _penny.queue_counters() */
Datum
penny_queue_counters(PG_FUNCTION_ARGS)
{
	static const char *const names[PENNY_QUEUE_COUNTERS] = {
		[PENNY_QUEUE_ENQUEUED] = "enqueued",   [PENNY_QUEUE_GONE_ROWS] = "gone_rows",
		[PENNY_QUEUE_RESCANS] = "rescans",     [PENNY_QUEUE_RESCANNED] = "rescanned",
		[PENNY_QUEUE_LOADED_ROWS] = "loaded",  [PENNY_QUEUE_DEFERRED_LOADED] = "deferred_loaded",
		[PENNY_QUEUE_ROTATIONS] = "rotations", [PENNY_QUEUE_MOVED] = "moved",
		[PENNY_QUEUE_SPILLED] = "spilled",
	};
	StringInfoData out;

	(void) fcinfo;
	penny_require_preload();
	initStringInfo(&out);
	appendStringInfo(&out, "{\"ready\":%s",
					 penny_queue_current() &&
							 pg_atomic_read_u32(&penny_queue_shared->load) == PENNY_QUEUE_LOADED
						 ? "true"
						 : "false");
	for (int i = 0; i < PENNY_QUEUE_COUNTERS; i++)
		appendStringInfo(&out, ",\"%s\":" UINT64_FORMAT, names[i],
						 pg_atomic_read_u64(&penny_queue_shared->counter[i]));
	appendStringInfoChar(&out, '}');
	PG_RETURN_DATUM(DirectFunctionCall1(jsonb_in, CStringGetDatum(out.data)));
}

/* _penny.reload_jobs() */
Datum
penny_reload_jobs(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	penny_require_preload();
	if (!penny_queue_here())
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("this is not the database that penny serves"),
						errhint("It is named by the setting penny.database.")));
	penny_pending_reload();
	PG_RETURN_VOID();
}

/* _penny.rotate_jobs() */
Datum
penny_rotate_jobs(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	penny_require_preload();
	pg_atomic_write_u32(&penny_queue_shared->rotate_now, 1);
	penny_queue_upkeep_by(0);
	PG_RETURN_VOID();
}

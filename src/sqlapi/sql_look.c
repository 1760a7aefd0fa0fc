/*-------------------------------------------------------------------------
 *
 * sql_look.c
 *		SQL entry points for who looks at jobs and queues: what views are made of.
 *
 * Functions of single jobs answer null where the caller may not see the job.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "config/config.h"
#include "queue/flow.h"
#include "queue/job_view.h"
#include "queue/queue.h"
#include "queue/shared.h"

PG_FUNCTION_INFO_V1(penny_job_state_sql);
PG_FUNCTION_INFO_V1(penny_job_attempt_sql);
PG_FUNCTION_INFO_V1(penny_job_errors_sql);
PG_FUNCTION_INFO_V1(penny_job_children_sql);
PG_FUNCTION_INFO_V1(penny_queue_counts_sql);
PG_FUNCTION_INFO_V1(penny_queue_segments_sql);
PG_FUNCTION_INFO_V1(penny_queue_facts_sql);

/* ---- jobs --------------------------------------------------------------------------- */

/* _penny.job_state(id bigint, due timestamptz) */
Datum
penny_job_state_sql(PG_FUNCTION_ARGS)
{
	PennyJobView view;

	if (!penny_job_view_allowed(PG_GETARG_INT64(0)))
		PG_RETURN_NULL();
	penny_job_view(PG_GETARG_INT64(0), PG_GETARG_TIMESTAMPTZ(1), false, &view);
	/* what failed is a dead letter, or was one */
	if (view.state == NULL || strcmp(view.state, "failed") == 0)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(view.state));
}

static void
put_time(Datum *value, bool *isnull, TimestampTz at)
{
	*isnull = at == 0;
	*value = TimestampTzGetDatum(at);
}

static void
put_text(Datum *value, bool *isnull, const char *text)
{
	*isnull = text == NULL;
	*value = text == NULL ? (Datum) 0 : CStringGetTextDatum(text);
}

/*
 * _penny.job_attempt(id bigint, OUT attempt, OUT due, OUT started_at, OUT ended_at,
 * OUT lease_until, OUT worker, OUT result, OUT error)
 */
Datum
penny_job_attempt_sql(PG_FUNCTION_ARGS)
{
	int64 id = PG_GETARG_INT64(0);
	bool isnull[8] = {false};
	Datum values[8];
	PennyJobView view;
	TupleDesc desc;

	if (!penny_job_view_allowed(id))
		PG_RETURN_NULL();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("return type must be a row")));
	penny_job_view(id, 0, true, &view);
	values[0] = Int32GetDatum(view.attempt);
	put_time(&values[1], &isnull[1], view.due);
	put_time(&values[2], &isnull[2], view.started);
	put_time(&values[3], &isnull[3], view.ended);
	put_time(&values[4], &isnull[4], view.until);
	put_text(&values[5], &isnull[5], view.worker);
	isnull[6] = view.result == NULL;
	values[6] = PointerGetDatum(view.result);
	put_text(&values[7], &isnull[7], view.error);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, isnull));
}

/* _penny.job_errors(id bigint) */
Datum
penny_job_errors_sql(PG_FUNCTION_ARGS)
{
	PennyJobRow row;

	if (!penny_job_view_allowed(PG_GETARG_INT64(0)) || !penny_job_read_id(PG_GETARG_INT64(0), &row))
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(penny_job_errors(&row));
}

/* _penny.job_children(id bigint) */
Datum
penny_job_children_sql(PG_FUNCTION_ARGS)
{
	Jsonb *children;

	if (!penny_job_view_allowed(PG_GETARG_INT64(0)))
		PG_RETURN_NULL();
	children = penny_flow_children(PG_GETARG_INT64(0));
	if (children == NULL)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(children);
}

/* ---- queues -------------------------------------------------------------------------- */

/*
 * _penny.queue_counts(OUT queue, OUT waiting, OUT delayed, OUT active, OUT oldest_at,
 * OUT started, OUT ended, OUT limited): of those that memory knows of
 */
Datum
penny_queue_counts_sql(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *out = (ReturnSetInfo *) fcinfo->resultinfo;
	PennyQueueCounts *counts;

	InitMaterializedSRF(fcinfo, 0);
	if (!penny_queue_here())
		return (Datum) 0;
	counts = palloc(sizeof(*counts) * PENNY_SCHED_QUEUES);
	(void) penny_queue_counts_all(counts);
	for (int q = 0; q < PENNY_SCHED_QUEUES; q++)
	{
		const PennyQueueCounts *of = &counts[q];
		bool isnull[8] = {false};
		Datum values[8];
		uint64 ready = 0;

		for (int runner = 0; runner < PENNY_RUNNERS; runner++)
			ready += of->ready[runner];
		values[0] = Int16GetDatum((int16) q);
		values[1] = Int64GetDatum((int64) ready);
		values[2] = Int64GetDatum((int64) of->delayed);
		values[3] = Int64GetDatum((int64) (of->active + of->ending));
		isnull[4] = of->oldest_ready == PENNY_SCHED_NEVER;
		values[4] = TimestampTzGetDatum(of->oldest_ready);
		values[5] = Int64GetDatum((int64) of->started);
		values[6] = Int64GetDatum((int64) of->ended);
		values[7] = Int64GetDatum((int64) of->limited);
		tuplestore_putvalues(out->setResult, out->setDesc, values, isnull);
	}
	return (Datum) 0;
}

/* _penny.queue_segments(OUT number, OUT segment, OUT seen, OUT done) */
Datum
penny_queue_segments_sql(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *out = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	if (!penny_queue_here())
		return (Datum) 0;
	for (int number = 0; number < PENNY_SEGMENTS; number++)
	{
		int64 segment = (int64) pg_atomic_read_u64(&penny_queue_shared->open[number]) - 1;
		bool isnull[4] = {false};
		Datum values[4];
		uint32 seen = 0;
		uint32 done = 0;

		if (segment < 0)
			continue;
		penny_queue_lock();
		penny_sched_segment_counts(penny_queue_sched(), segment, &seen, &done);
		penny_queue_unlock();
		values[0] = Int32GetDatum(number);
		values[1] = Int64GetDatum(segment);
		values[2] = Int64GetDatum(seen);
		values[3] = Int64GetDatum(done);
		tuplestore_putvalues(out->setResult, out->setDesc, values, isnull);
	}
	return (Datum) 0;
}

/* _penny.queue_facts(OUT loaded, OUT memory_jobs, OUT missed): null where there is no memory */
Datum
penny_queue_facts_sql(PG_FUNCTION_ARGS)
{
	bool isnull[3] = {false};
	Datum values[3];
	TupleDesc desc;

	if (!penny_queue_here())
		PG_RETURN_NULL();
	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("return type must be a row")));
	values[0] = BoolGetDatum(penny_queue_current() &&
							 pg_atomic_read_u32(&penny_queue_shared->load) == PENNY_QUEUE_LOADED);
	values[1] = Int32GetDatum(penny_jobs_in_memory);
	values[2] = BoolGetDatum(pg_atomic_read_u32(&penny_queue_shared->any_missed) != 0);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), values, isnull));
}

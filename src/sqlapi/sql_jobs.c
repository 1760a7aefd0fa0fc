/*-------------------------------------------------------------------------
 *
 * sql_jobs.c
 *		Jobs in SQL: cancelling, progress, waiting for an end.
 *
 * A job is the caller's own when the identity of the session enqueued it; agents
 * may do with every job what they may do with their own.  Of other jobs nothing is
 * said, not even that they are there.
 *
 * The procedures commit before they wait, so they are refused inside a
 * transaction block and where a function calls them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "auth/identity.h"
#include "base/clock.h"
#include "base/error.h"
#include "queue/cancel.h"
#include "queue/claim.h"
#include "queue/enqueue.h"
#include "queue/job_view.h"
#include "queue/keys.h"
#include "queue/progress.h"
#include "queue/queue.h"
#include "queue/run.h"
#include "queue/statements.h"
#include "queue/wait.h"
#include "sqlapi/sql_jobs.h"

PG_FUNCTION_INFO_V1(penny_cancel_sql);
PG_FUNCTION_INFO_V1(penny_job_of_key_sql);
PG_FUNCTION_INFO_V1(penny_progress_sql);
PG_FUNCTION_INFO_V1(penny_job_progress_sql);
PG_FUNCTION_INFO_V1(penny_await_job_sql);
PG_FUNCTION_INFO_V1(penny_check_alone_sql);
PG_FUNCTION_INFO_V1(penny_ask_job_sql);
PG_FUNCTION_INFO_V1(penny_has_queue_sql);

/* ---- what functions about jobs have in common ------------------------------------------- */

int64
penny_interval_arg(const Interval *interval, const char *what, int64 low, int64 high)
{
	double us = penny_interval_us(interval);

	if (us < (double) low || us > (double) high)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("%s must be from " INT64_FORMAT " ms to " INT64_FORMAT " s", what,
							   low / 1000, high / USECS_PER_SEC)));
	return (int64) us;
}

void
penny_require_alone(FunctionCallInfo fcinfo, const char *what)
{
	CallContext *context = (CallContext *) fcinfo->context;

	if (context == NULL || !IsA(context, CallContext) || context->atomic)
		ereport(ERROR, (errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
						errmsg("%s cannot run inside a transaction block", what),
						errdetail("It commits before it waits, so that it holds no snapshot."),
						errhint("CALL it by itself, not within BEGIN and COMMIT or a function.")));
}

Datum
penny_procedure_result(FunctionCallInfo fcinfo, Datum value, bool isnull)
{
	TupleDesc desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR), errmsg("the procedure has no result row")));
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), &value, &isnull));
}

/* ---- cancelling ------------------------------------------------------------------------- */

/* penny.cancel(id bigint) */
Datum
penny_cancel_sql(PG_FUNCTION_ARGS)
{
	int64 id = PG_GETARG_INT64(0);

	penny_queue_require();
	PreventCommandIfReadOnly("penny.cancel()");
	PG_RETURN_BOOL(penny_job_view_allowed(id) && penny_job_cancel(id));
}

/* _penny.job_of_key(queue text, key text) */
Datum
penny_job_of_key_sql(PG_FUNCTION_ARGS)
{
	int64 id = penny_key_holder(penny_queue_find(text_to_cstring(PG_GETARG_TEXT_PP(0))),
								text_to_cstring(PG_GETARG_TEXT_PP(1)));

	if (id == 0 || !penny_job_view_allowed(id))
		PG_RETURN_NULL();
	PG_RETURN_INT64(id);
}

/* ---- progress -------------------------------------------------------------------------- */

static Jsonb *
progress_arg(Jsonb *progress)
{
	if (VARSIZE_ANY_EXHDR(progress) > PENNY_PROGRESS_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PENNY_TOO_LARGE),
				 errmsg("the progress of a job must be at most %d bytes", PENNY_PROGRESS_MAX),
				 errhint("Say how far it is; what it gives is its result.")));
	return progress;
}

/* penny.progress(progress jsonb, id bigint, token bigint) */
Datum
penny_progress_sql(PG_FUNCTION_ARGS)
{
	const PennyRunningJob *running = penny_running_job();
	const PennyJobRow *of;
	PennyJobRow row;
	int64 id;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) != PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("progress must not be null, and neither one of id and token alone")));
	penny_queue_require();
	if (!PG_ARGISNULL(1))
	{
		if (!penny_enqueue_has_role('a'))
			ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
							errmsg("progress of a claimed job needs role penny_agent")));
		id = PG_GETARG_INT64(1);
		penny_claim_check(id, (uint64) PG_GETARG_INT64(2));
		of = penny_job_read_id(id, &row) ? &row : NULL;
	}
	else if (running != NULL)
		of = running->row;
	else
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("no job runs in this session"),
						errhint("Outside of a handler give id and token of a claim.")));
	if (of != NULL)
		penny_progress_set(of, progress_arg(PG_GETARG_JSONB_P(0)));
	PG_RETURN_VOID();
}

/* _penny.job_progress(id bigint) */
Datum
penny_job_progress_sql(PG_FUNCTION_ARGS)
{
	int64 id = PG_GETARG_INT64(0);
	Jsonb *progress =
		penny_queue_here() && penny_job_view_allowed(id) ? penny_progress_get(id) : NULL;

	if (progress == NULL)
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(progress);
}

/* ---- waiting -------------------------------------------------------------------------- */

/* _penny.await_job(id bigint, wait interval, INOUT ended boolean) */
Datum
penny_await_job_sql(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	int64 id;
	int64 until;
	bool ended;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("id and wait must not be null")));
	id = PG_GETARG_INT64(0);
	penny_queue_require();
	penny_require_alone(fcinfo, "waiting for a job");
	if (!penny_job_view_allowed(id))
		ereport(ERROR,
				(errcode(ERRCODE_PENNY_NOT_FOUND), errmsg("job " INT64_FORMAT " not found", id),
				 errdetail("There is no such job that the caller may see.")));
	until =
		penny_queue_now() + penny_interval_arg(PG_GETARG_INTERVAL_P(1), "wait", 0, PENNY_MAX_WAIT);
	penny_statements_commit();
	ended = penny_wait_for_end(id, until);
	MemoryContextSwitchTo(caller);
	return penny_procedure_result(fcinfo, BoolGetDatum(ended), false);
}

/* _penny.check_alone(what text): a procedure that will commit says so in time. */
Datum
penny_check_alone_sql(PG_FUNCTION_ARGS)
{
	penny_queue_require();
	penny_require_alone(fcinfo,
						PG_ARGISNULL(0) ? "a procedure" : text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_VOID();
}

/* ---- requests over HTTP ------------------------------------------------------------------ */

/* _penny.ask_job(id bigint): a request is about to be told of a job, and may wait for its end */
Datum
penny_ask_job_sql(PG_FUNCTION_ARGS)
{
	if (penny_queue_here())
		penny_wait_ask(PG_GETARG_INT64(0));
	PG_RETURN_VOID();
}

/* _penny.has_queue(name text) */
Datum
penny_has_queue_sql(PG_FUNCTION_ARGS)
{
	PennyQueueConfig queue;

	PG_RETURN_BOOL(penny_queue_by_name(text_to_cstring(PG_GETARG_TEXT_PP(0)), &queue));
}

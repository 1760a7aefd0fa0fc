/*-------------------------------------------------------------------------
 *
 * sql_queues.c
 *		SQL functions about queues and handlers, and of a job that runs.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "queue/config.h"
#include "queue/flow.h"
#include "queue/handler.h"
#include "queue/run.h"

PG_FUNCTION_INFO_V1(penny_queue_settings_changed);
PG_FUNCTION_INFO_V1(penny_queue_in_use);
PG_FUNCTION_INFO_V1(penny_job_function_signature);
PG_FUNCTION_INFO_V1(penny_job_id);
PG_FUNCTION_INFO_V1(penny_job_context);

/* Trigger, each statement, on both tables. */
Datum
penny_queue_settings_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("function \"%s\" was not called as a trigger",
							   "_penny.queue_settings_changed")));
	penny_queue_config_changed();
	return PointerGetDatum(NULL);
}

/* _penny.queue_in_use(queue integer) */
Datum
penny_queue_in_use(PG_FUNCTION_ARGS)
{
	int32 queue = PG_GETARG_INT32(0);
	PennyQueueCounts counts;
	uint64 jobs;

	if (queue < 0 || queue >= PENNY_SCHED_QUEUES)
		PG_RETURN_BOOL(false);
	if (!penny_queue_here())
		PG_RETURN_BOOL(penny_queue_has_deferred((uint16) queue));
	penny_queue_lock();
	penny_sched_drain(penny_queue_sched(), penny_queue_now());
	penny_sched_counts(penny_queue_sched(), (uint16) queue, penny_queue_now(), &counts);
	penny_queue_unlock();
	jobs = counts.delayed + counts.active + counts.ending;
	for (int i = 0; i < PENNY_RUNNERS; i++)
		jobs += counts.ready[i];
	PG_RETURN_BOOL(jobs > 0 || penny_queue_has_deferred((uint16) queue));
}

/* _penny.job_function(function text): a name alone will do. */
Datum
penny_job_function_signature(PG_FUNCTION_ARGS)
{
	char *signature = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Oid function;

	if (strchr(signature, '(') == NULL)
		signature = psprintf("%s(pg_catalog.jsonb)", signature);
	function = penny_job_function_check(signature, GetUserId());
	signature = psprintf(
		"%s(jsonb)", quote_qualified_identifier(get_namespace_name(get_func_namespace(function)),
												get_func_name(function)));
	PG_RETURN_TEXT_P(cstring_to_text(signature));
}

/* penny.job_id() */
Datum
penny_job_id(PG_FUNCTION_ARGS)
{
	const PennyRunningJob *job = penny_running_job();

	if (job == NULL)
		PG_RETURN_NULL();
	PG_RETURN_INT64(job->row->id);
}

/* ---- penny.job_context() --------------------------------------------------------- */

static void
append_text(StringInfo out, const char *name, const char *value)
{
	appendStringInfo(out, ",\"%s\":", name);
	if (value == NULL)
		appendStringInfoString(out, "null");
	else
		escape_json(out, value);
}

Datum
penny_job_context(PG_FUNCTION_ARGS)
{
	const PennyRunningJob *job = penny_running_job();
	PennyQueueConfig queue;
	StringInfoData out;
	Jsonb *children;

	if (job == NULL)
		PG_RETURN_NULL();
	initStringInfo(&out);
	appendStringInfo(&out, "{\"id\":" INT64_FORMAT ",\"attempt\":%d,\"attempts\":%d", job->row->id,
					 job->attempt, job->attempts);
	append_text(&out, "kind", job->row->kind);
	append_text(&out, "queue",
				penny_queue_by_id(job->row->queue, &queue) ? NameStr(queue.name) : NULL);
	append_text(&out, "key", job->row->key);
	append_text(&out, "group", job->row->group_key);
	append_text(&out, "user_id",
				job->row->user_id == NULL ? NULL
										  : DatumGetCString(DirectFunctionCall1(
												uuid_out, UUIDPGetDatum(job->row->user_id))));
	if (job->row->parent != 0)
		appendStringInfo(&out, ",\"parent\":" INT64_FORMAT, job->row->parent);
	else
		appendStringInfoString(&out, ",\"parent\":null");
	appendStringInfoString(&out, ",\"enqueued_at\":");
	escape_json(&out, JsonEncodeDateTime(NULL, TimestampTzGetDatum(job->row->enqueued_at),
										 TIMESTAMPTZOID, NULL));
	children = penny_flow_is_parent(job->row) ? penny_flow_children(job->row->id) : NULL;
	appendStringInfo(
		&out, ",\"children\":%s}",
		children != NULL ? JsonbToCString(NULL, &children->root, (int) VARSIZE(children)) : "[]");
	PG_RETURN_DATUM(DirectFunctionCall1(jsonb_in, CStringGetDatum(out.data)));
}

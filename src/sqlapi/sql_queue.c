/*-------------------------------------------------------------------------
 *
 * sql_queue.c
 *		SQL entry points of flows and dead letters.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "queue/dead.h"
#include "queue/enqueue.h"
#include "queue/flow.h"
#include "queue/queue.h"

PG_FUNCTION_INFO_V1(penny_enqueue_flow_sql);
PG_FUNCTION_INFO_V1(penny_redrive_sql);
PG_FUNCTION_INFO_V1(penny_redrive_queue_sql);
PG_FUNCTION_INFO_V1(penny_purge_dead_sql);

static uint16
queue_arg(FunctionCallInfo fcinfo, int n)
{
	if (PG_ARGISNULL(n))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("queue must not be null")));
	return penny_queue_find(text_to_cstring(PG_GETARG_TEXT_PP(n)));
}

/* A positive number, or what null stands for. */
static int
positive_arg(FunctionCallInfo fcinfo, int n, const char *what, int missing)
{
	int number = PG_ARGISNULL(n) ? missing : PG_GETARG_INT32(n);

	if (!PG_ARGISNULL(n) && number < 1)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("%s must be 1 or more, not %d", what, number)));
	return number;
}

/* penny.enqueue_flow(flow jsonb) */
Datum
penny_enqueue_flow_sql(PG_FUNCTION_ARGS)
{
	penny_enqueue_allowed("penny.enqueue_flow()");
	PG_RETURN_INT64(penny_flow_enqueue(PG_GETARG_JSONB_P(0)));
}

/* penny.redrive(id bigint) */
Datum
penny_redrive_sql(PG_FUNCTION_ARGS)
{
	int64 id;

	penny_enqueue_allowed("penny.redrive()");
	id = penny_dead_redrive(PG_GETARG_INT64(0), GetCurrentTimestamp());
	if (id == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT64(id);
}

/* penny.redrive(queue text, n integer, rate integer) */
Datum
penny_redrive_queue_sql(PG_FUNCTION_ARGS)
{
	penny_enqueue_allowed("penny.redrive()");
	PG_RETURN_INT64(penny_dead_redrive_queue(queue_arg(fcinfo, 0), positive_arg(fcinfo, 1, "n", -1),
											 positive_arg(fcinfo, 2, "rate", 0)));
}

/* penny.purge_dead(queue text, older_than interval) */
Datum
penny_purge_dead_sql(PG_FUNCTION_ARGS)
{
	TimestampTz before = DT_NOEND;

	penny_enqueue_allowed("penny.purge_dead()");
	if (!PG_ARGISNULL(1))
		before = DatumGetTimestampTz(DirectFunctionCall2(timestamptz_mi_interval,
														 TimestampTzGetDatum(GetCurrentTimestamp()),
														 PG_GETARG_DATUM(1)));
	PG_RETURN_INT64(penny_dead_purge(queue_arg(fcinfo, 0), before));
}

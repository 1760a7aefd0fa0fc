/*-------------------------------------------------------------------------
 *
 * enqueue_sql.c
 *		penny.enqueue() and penny.enqueue_many().
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "queue/enqueue.h"

PG_FUNCTION_INFO_V1(penny_enqueue);
PG_FUNCTION_INFO_V1(penny_enqueue_payloads);
PG_FUNCTION_INFO_V1(penny_enqueue_jobs);

static char *
text_argument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

static Interval *
interval_argument(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : PG_GETARG_INTERVAL_P(n);
}

/* penny.enqueue(kind, payload, queue, priority, run_at, delay, attempts, backoff, timeout, key,
 * key_mode, group_key, room) */
Datum
penny_enqueue(PG_FUNCTION_ARGS)
{
	PennyEnqueue what = {0};

	penny_enqueue_allowed("penny.enqueue()");
	what.kind = text_argument(fcinfo, 0);
	what.payload = PG_ARGISNULL(1) ? NULL : PG_GETARG_JSONB_P(1);
	what.queue = text_argument(fcinfo, 2);
	what.priority = PG_ARGISNULL(3) ? 0 : PG_GETARG_INT32(3);
	what.has_run_at = !PG_ARGISNULL(4);
	what.run_at = what.has_run_at ? PG_GETARG_TIMESTAMPTZ(4) : 0;
	what.delay = interval_argument(fcinfo, 5);
	what.has_attempts = !PG_ARGISNULL(6);
	what.attempts = what.has_attempts ? PG_GETARG_INT32(6) : 0;
	what.backoff = interval_argument(fcinfo, 7);
	what.timeout = interval_argument(fcinfo, 8);
	what.key = text_argument(fcinfo, 9);
	what.key_mode = text_argument(fcinfo, 10);
	what.group_key = text_argument(fcinfo, 11);
	what.room = text_argument(fcinfo, 12);
	PG_RETURN_INT64(penny_enqueue_one(&what));
}

static Datum
id_array(const PennyJobRow *rows, int n)
{
	Datum *ids = palloc(Max(n, 1) * sizeof(*ids));

	for (int i = 0; i < n; i++)
		ids[i] = Int64GetDatum(rows[i].id);
	return PointerGetDatum(construct_array(ids, n, INT8OID, 8, FLOAT8PASSBYVAL, TYPALIGN_DOUBLE));
}

/* penny.enqueue_many(kind, payloads, queue, priority, run_at, delay, group_key) */
Datum
penny_enqueue_payloads(PG_FUNCTION_ARGS)
{
	PennyEnqueue what = {0};
	PennyJobRow *rows;
	Datum *payload;
	bool *isnull;
	int n;

	penny_enqueue_allowed("penny.enqueue_many()");
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("payloads must not be null")));
	what.kind = text_argument(fcinfo, 0);
	what.queue = text_argument(fcinfo, 2);
	what.priority = PG_ARGISNULL(3) ? 0 : PG_GETARG_INT32(3);
	what.has_run_at = !PG_ARGISNULL(4);
	what.run_at = what.has_run_at ? PG_GETARG_TIMESTAMPTZ(4) : 0;
	what.delay = interval_argument(fcinfo, 5);
	what.group_key = text_argument(fcinfo, 6);
	deconstruct_array(PG_GETARG_ARRAYTYPE_P(1), JSONBOID, -1, false, TYPALIGN_INT, &payload,
					  &isnull, &n);
	rows = palloc_extended(Max(n, 1) * sizeof(*rows), MCXT_ALLOC_HUGE);
	for (int i = 0; i < n; i++)
	{
		what.payload = isnull[i] ? NULL : DatumGetJsonbP(payload[i]);
		if (i == 0)
			penny_enqueue_row(&what, &rows[i]);
		else
		{
			/* all but the payload is the same */
			if (what.payload == NULL)
				penny_enqueue_row(&what, &rows[i]);
			penny_job_check_size(what.payload, "payload");
			rows[i] = rows[0];
			rows[i].payload = what.payload;
		}
	}
	if (n > 0)
		penny_job_insert_many(rows, n);
	PG_RETURN_DATUM(id_array(rows, n));
}

/* The objects of an array. */
static PennyEnqueue *
read_jobs(Jsonb *jobs, int *n)
{
	PennyEnqueue *what;
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue value;

	if (!JB_ROOT_IS_ARRAY(jobs) || JB_ROOT_IS_SCALAR(jobs))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("jobs must be an array of objects")));
	what = palloc_extended(Max(JB_ROOT_COUNT(jobs), 1) * sizeof(*what), MCXT_ALLOC_HUGE);
	*n = 0;
	it = JsonbIteratorInit(&jobs->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token != WJB_ELEM)
			continue;
		if (value.type != jbvBinary || !JsonContainerIsObject(value.val.binary.data))
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("jobs must be an array of objects"),
							errdetail("Element %d is no object.", *n)));
		penny_enqueue_from_json(value.val.binary.data, &what[(*n)++]);
	}
	return what;
}

/* penny.enqueue_many(jobs jsonb); with keys one by one, since one may replace another. */
Datum
penny_enqueue_jobs(PG_FUNCTION_ARGS)
{
	PennyEnqueue *what;
	PennyJobRow *rows;
	bool keyed = false;
	int n;

	penny_enqueue_allowed("penny.enqueue_many()");
	what = read_jobs(PG_GETARG_JSONB_P(0), &n);
	rows = palloc_extended(Max(n, 1) * sizeof(*rows), MCXT_ALLOC_HUGE);
	for (int i = 0; i < n; i++)
		keyed |= what[i].key != NULL;
	for (int i = 0; i < n; i++)
	{
		if (keyed)
			rows[i].id = penny_enqueue_one(&what[i]);
		else
			penny_enqueue_row(&what[i], &rows[i]);
	}
	if (!keyed && n > 0)
		penny_job_insert_many(rows, n);
	PG_RETURN_DATUM(id_array(rows, n));
}

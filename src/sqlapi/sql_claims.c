/*-------------------------------------------------------------------------
 *
 * sql_claims.c
 *		Jobs in SQL: claiming them, and what becomes of claims.
 *
 * Ids and tokens are counted before anything is taken, texts and sizes checked
 * before anything is recorded; what an argument may be is said here, what it does
 * in queue/claim.h.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"

#include "base/error.h"
#include "queue/claim.h"
#include "queue/queue.h"
#include "queue/statements.h"
#include "queue/wait.h"
#include "sqlapi/sql_jobs.h"

#define CLAIM_COLUMNS 9
#define MIN_LEASE INT64CONST(100000)                  /* us */
#define MAX_LEASE (INT64CONST(86400) * USECS_PER_SEC) /* us */

PG_FUNCTION_INFO_V1(penny_claim_sql);
PG_FUNCTION_INFO_V1(penny_claim_wait_sql);
PG_FUNCTION_INFO_V1(penny_complete_sql);
PG_FUNCTION_INFO_V1(penny_complete_many_sql);
PG_FUNCTION_INFO_V1(penny_fail_sql);
PG_FUNCTION_INFO_V1(penny_extend_sql);
PG_FUNCTION_INFO_V1(penny_release_sql);

static int claim_count(int n);
static void claim_values(const PennyClaimed *claimed, Datum *values, bool *nulls);
static Jsonb *claims_as_json(const PennyClaimed *claimed, int n);

/* ---- arguments ------------------------------------------------------------------ */

static int
claim_count(int n)
{
	if (n < 1 || n > PENNY_CLAIM_MAX)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("n must be from 1 to %d", PENNY_CLAIM_MAX)));
	return n;
}

/* An array of bigint without NULLs. */
static int
bigint_array(ArrayType *array, const char *what, int64 **out)
{
	Datum *value;
	bool *null;
	int n;

	deconstruct_array(array, INT8OID, sizeof(int64), true, TYPALIGN_DOUBLE, &value, &null, &n);
	*out = palloc(sizeof(int64) * (Size) Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		if (null[i])
			ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
							errmsg("%s must not contain nulls", what)));
		(*out)[i] = DatumGetInt64(value[i]);
	}
	return n;
}

/* Ids and tokens, as many of one as of the other. */
static int
claims_arg(FunctionCallInfo fcinfo, int64 **ids, uint64 **tokens)
{
	int n = bigint_array(PG_GETARG_ARRAYTYPE_P(0), "ids", ids);

	if (bigint_array(PG_GETARG_ARRAYTYPE_P(1), "tokens", (int64 **) tokens) != n)
		ereport(ERROR, (errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
						errmsg("there must be as many tokens as ids")));
	return n;
}

/* ---- claiming ------------------------------------------------------------------- */

/* penny.claim(queue text, n integer, lease interval, worker text) */
Datum
penny_claim_sql(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	PennyClaimed *claimed;
	uint16 queue;
	int n;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("queue, n and lease must not be null")));
	penny_queue_require();
	queue = penny_queue_find(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	InitMaterializedSRF(fcinfo, 0);
	n = penny_claim(queue, claim_count(PG_GETARG_INT32(1)),
					penny_interval_arg(PG_GETARG_INTERVAL_P(2), "lease", MIN_LEASE, MAX_LEASE),
					PG_ARGISNULL(3) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(3)), &claimed);
	for (int i = 0; i < n; i++)
	{
		Datum values[CLAIM_COLUMNS];
		bool nulls[CLAIM_COLUMNS] = {false};

		claim_values(&claimed[i], values, nulls);
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, nulls);
	}
	return (Datum) 0;
}

/* (id, kind, payload, attempt, token, lease_until, key, group_key, children) */
static void
claim_values(const PennyClaimed *claimed, Datum *values, bool *nulls)
{
	const PennyJobRow *row = &claimed->row;
	Jsonb *children = claimed->children;

	values[0] = Int64GetDatum(row->id);
	values[1] = CStringGetTextDatum(row->kind);
	values[2] = JsonbPGetDatum(row->payload);
	values[3] = Int32GetDatum(claimed->job.attempt + 1);
	values[4] = Int64GetDatum((int64) claimed->job.token);
	values[5] = TimestampTzGetDatum(claimed->job.until);
	nulls[6] = row->key == NULL;
	values[6] = nulls[6] ? (Datum) 0 : CStringGetTextDatum(row->key);
	nulls[7] = row->group_key == NULL;
	values[7] = nulls[7] ? (Datum) 0 : CStringGetTextDatum(row->group_key);
	nulls[8] = children == NULL;
	values[8] = nulls[8] ? (Datum) 0 : JsonbPGetDatum(children);
}

static void
push_string(JsonbParseState **state, const char *key, const char *text)
{
	JsonbValue name = {.type = jbvString};
	JsonbValue value = {.type = text == NULL ? jbvNull : jbvString};

	name.val.string.val = unconstify(char *, key);
	name.val.string.len = (int) strlen(key);
	if (text != NULL)
	{
		value.val.string.val = unconstify(char *, text);
		value.val.string.len = (int) strlen(text);
	}
	pushJsonbValue(state, WJB_KEY, &name);
	pushJsonbValue(state, WJB_VALUE, &value);
}

static void
push_number(JsonbParseState **state, const char *key, int64 number)
{
	JsonbValue name = {.type = jbvString};
	JsonbValue value = {.type = jbvNumeric};

	name.val.string.val = unconstify(char *, key);
	name.val.string.len = (int) strlen(key);
	value.val.numeric = int64_to_numeric(number);
	pushJsonbValue(state, WJB_KEY, &name);
	pushJsonbValue(state, WJB_VALUE, &value);
}

static void
push_json(JsonbParseState **state, const char *key, Jsonb *json)
{
	JsonbValue name = {.type = jbvString};
	JsonbValue value;

	if (json == NULL)
		return;
	name.val.string.val = unconstify(char *, key);
	name.val.string.len = (int) strlen(key);
	pushJsonbValue(state, WJB_KEY, &name);
	if (JB_ROOT_IS_SCALAR(json))
	{
		(void) JsonbExtractScalar(&json->root, &value);
		pushJsonbValue(state, WJB_VALUE, &value);
		return;
	}
	value.type = jbvBinary;
	value.val.binary.data = &json->root;
	value.val.binary.len = (int) VARSIZE_ANY_EXHDR(json);
	pushJsonbValue(state, WJB_VALUE, &value);
}

/* The same as an array; 64-bit numbers as strings, as over HTTP. */
static Jsonb *
claims_as_json(const PennyClaimed *claimed, int n)
{
	JsonbParseState *state = NULL;
	JsonbValue *all;

	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < n; i++)
	{
		const PennyJobRow *row = &claimed[i].row;

		pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
		push_string(&state, "id", psprintf(INT64_FORMAT, row->id));
		push_string(&state, "kind", row->kind);
		push_json(&state, "payload", row->payload);
		push_number(&state, "attempt", claimed[i].job.attempt + 1);
		push_string(&state, "token", psprintf(INT64_FORMAT, (int64) claimed[i].job.token));
		push_number(&state, "lease_ms", (claimed[i].job.until - claimed[i].job.started) / 1000);
		if (row->key != NULL)
			push_string(&state, "key", row->key);
		if (row->group_key != NULL)
			push_string(&state, "group", row->group_key);
		push_json(&state, "children", claimed[i].children);
		pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	}
	all = pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	return JsonbValueToJsonb(all);
}

/* ---- ends of claims ---------------------------------------------------------------- */

static Jsonb *
result_arg(Jsonb *result)
{
	if (result != NULL && VARSIZE_ANY_EXHDR(result) > PENNY_JOB_PAYLOAD_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PENNY_TOO_LARGE),
				 errmsg("the result of a job must be at most %d bytes", PENNY_JOB_PAYLOAD_MAX),
				 errhint("Store it in a table, and let the result name it.")));
	return result;
}

/* penny.complete(id bigint, token bigint, result jsonb) */
Datum
penny_complete_sql(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED), errmsg("id and token must not be null")));
	penny_queue_require();
	penny_claim_complete(PG_GETARG_INT64(0), (uint64) PG_GETARG_INT64(1),
						 PG_ARGISNULL(2) ? NULL : result_arg(PG_GETARG_JSONB_P(2)));
	PG_RETURN_BOOL(true);
}

/* penny.complete(ids bigint[], tokens bigint[], results jsonb[]) */
Datum
penny_complete_many_sql(PG_FUNCTION_ARGS)
{
	int64 *ids;
	uint64 *tokens;
	Jsonb **results = NULL;
	int n;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("ids and tokens must not be null")));
	penny_queue_require();
	n = claims_arg(fcinfo, &ids, &tokens);
	if (!PG_ARGISNULL(2))
	{
		Datum *value;
		bool *null;
		int nresults;

		deconstruct_array(PG_GETARG_ARRAYTYPE_P(2), JSONBOID, -1, false, TYPALIGN_INT, &value,
						  &null, &nresults);
		if (nresults != n)
			ereport(ERROR, (errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
							errmsg("there must be as many results as ids")));
		results = palloc(sizeof(Jsonb *) * (Size) Max(n, 1));
		for (int i = 0; i < n; i++)
			results[i] = null[i] ? NULL : result_arg(DatumGetJsonbP(value[i]));
	}
	penny_claim_complete_many(ids, tokens, n, results);
	PG_RETURN_INT32(n);
}

/* penny.fail(id bigint, token bigint, error text, retry_in interval, permanent boolean) */
Datum
penny_fail_sql(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2) || PG_ARGISNULL(4))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("id, token, error and permanent must not be null")));
	penny_queue_require();
	penny_claim_fail(PG_GETARG_INT64(0), (uint64) PG_GETARG_INT64(1),
					 text_to_cstring(PG_GETARG_TEXT_PP(2)),
					 PG_ARGISNULL(3) ? -1
									 : penny_interval_arg(PG_GETARG_INTERVAL_P(3), "retry_in", 0,
														  INT64CONST(366) * USECS_PER_DAY),
					 PG_GETARG_BOOL(4));
	PG_RETURN_BOOL(true);
}

/* penny.extend(ids bigint[], tokens bigint[], lease interval) */
Datum
penny_extend_sql(PG_FUNCTION_ARGS)
{
	int64 *ids;
	uint64 *tokens;
	int n;
	int64 lease;
	bool *held;
	Datum *value;

	penny_queue_require();
	n = claims_arg(fcinfo, &ids, &tokens);
	lease = penny_interval_arg(PG_GETARG_INTERVAL_P(2), "lease", MIN_LEASE, MAX_LEASE);
	held = palloc(sizeof(bool) * (Size) Max(n, 1));
	value = palloc(sizeof(Datum) * (Size) Max(n, 1));
	penny_claim_extend(ids, tokens, n, lease, held);
	for (int i = 0; i < n; i++)
		value[i] = BoolGetDatum(held[i]);
	PG_RETURN_ARRAYTYPE_P(construct_array(value, n, BOOLOID, 1, true, TYPALIGN_CHAR));
}

/* penny.release(ids bigint[], tokens bigint[]) */
Datum
penny_release_sql(PG_FUNCTION_ARGS)
{
	int64 *ids;
	uint64 *tokens;
	int n;

	penny_queue_require();
	n = claims_arg(fcinfo, &ids, &tokens);
	PG_RETURN_INT32(penny_claim_release(ids, tokens, n));
}

/* ---- waiting for jobs ------------------------------------------------------------------ */

/* penny.claim_wait(queue text, n integer, wait interval, lease interval, worker text, INOUT jobs jsonb) */
Datum
penny_claim_wait_sql(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	PennyClaimed *claimed;
	const char *worker;
	uint16 queue;
	int64 lease;
	int64 until;
	int n;
	int found;
	Jsonb *jobs;

	for (int i = 0; i < 4; i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
							errmsg("queue, n, wait and lease must not be null")));
	penny_queue_require();
	penny_require_alone(fcinfo, "penny.claim_wait()");
	queue = penny_queue_find(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	n = claim_count(PG_GETARG_INT32(1));
	until =
		penny_queue_now() + penny_interval_arg(PG_GETARG_INTERVAL_P(2), "wait", 0, PENNY_MAX_WAIT);
	lease = penny_interval_arg(PG_GETARG_INTERVAL_P(3), "lease", MIN_LEASE, MAX_LEASE);
	worker = PG_ARGISNULL(4) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(4));

	penny_statements_commit();
	found = penny_claim(queue, n, lease, worker, &claimed);
	while (found == 0 && penny_queue_now() < until)
	{
		penny_wait_for_jobs(queue, until);
		found = penny_claim(queue, n, lease, worker, &claimed);
	}
	MemoryContextSwitchTo(caller);
	jobs = claims_as_json(claimed, found);
	return penny_procedure_result(fcinfo, JsonbPGetDatum(jobs), false);
}

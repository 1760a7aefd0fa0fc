/*-------------------------------------------------------------------------
 *
 * sql_claims.c
 *		Jobs in SQL: claiming, what becomes of claims, cancelling, waiting.
 *
 * The procedures commit before they wait, so they are refused inside a
 * transaction block and where a function calls them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "auth/identity.h"
#include "base/error.h"
#include "queue/cancel.h"
#include "queue/claim.h"
#include "queue/flow.h"
#include "queue/job_view.h"
#include "queue/keys.h"
#include "queue/queue.h"
#include "queue/statements.h"
#include "queue/wait.h"

#define CLAIM_COLUMNS 9
#define MIN_LEASE INT64CONST(100000)                  /* us */
#define MAX_LEASE (INT64CONST(86400) * USECS_PER_SEC) /* us */
#define MAX_WAIT (INT64CONST(3600) * USECS_PER_SEC)   /* us */

PG_FUNCTION_INFO_V1(penny_claim_sql);
PG_FUNCTION_INFO_V1(penny_claim_wait_sql);
PG_FUNCTION_INFO_V1(penny_complete_sql);
PG_FUNCTION_INFO_V1(penny_complete_many_sql);
PG_FUNCTION_INFO_V1(penny_fail_sql);
PG_FUNCTION_INFO_V1(penny_extend_sql);
PG_FUNCTION_INFO_V1(penny_release_sql);
PG_FUNCTION_INFO_V1(penny_cancel_sql);
PG_FUNCTION_INFO_V1(penny_job_of_key_sql);
PG_FUNCTION_INFO_V1(penny_await_job_sql);
PG_FUNCTION_INFO_V1(penny_check_alone_sql);

static void require_queue(void);
static uint16 queue_arg(const char *name);
static int64 interval_arg(const Interval *interval, const char *what, int64 low, int64 high);
static int claim_count(int n);
static void claim_values(const PennyClaimed *claimed, Datum *values, bool *nulls);
static Jsonb *claims_as_json(const PennyClaimed *claimed, int n);
static void require_alone(FunctionCallInfo fcinfo, const char *what);
static Datum as_record(FunctionCallInfo fcinfo, Datum value, bool isnull);

/* ---- arguments ------------------------------------------------------------------ */

static void
require_queue(void)
{
	penny_require_preload();
	if (!penny_queue_here())
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("jobs are given out in the database of penny alone"),
						errdetail("This session is in another database than \"penny.database\"."),
						errhint("Connect to the database that \"penny.database\" names.")));
}

static uint16
queue_arg(const char *name)
{
	PennyQueueConfig queue;

	if (!penny_queue_by_name(name, &queue))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("queue \"%s\" does not exist", name),
				 errhint("Make it with penny.create_queue().")));
	return queue.id;
}

static int64
interval_arg(const Interval *interval, const char *what, int64 low, int64 high)
{
	double us =
		((double) interval->month * DAYS_PER_MONTH + interval->day) * (double) USECS_PER_DAY +
		(double) interval->time;

	if (us < (double) low || us > (double) high)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("%s must be from " INT64_FORMAT " ms to " INT64_FORMAT " s", what,
							   low / 1000, high / USECS_PER_SEC)));
	return (int64) us;
}

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
	require_queue();
	queue = queue_arg(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	InitMaterializedSRF(fcinfo, 0);
	n = penny_claim(queue, claim_count(PG_GETARG_INT32(1)),
					interval_arg(PG_GETARG_INTERVAL_P(2), "lease", MIN_LEASE, MAX_LEASE),
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
	Jsonb *children = penny_flow_is_parent(row) ? penny_flow_children(row->id) : NULL;

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
		push_json(&state, "children",
				  penny_flow_is_parent(row) ? penny_flow_children(row->id) : NULL);
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
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
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
	require_queue();
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
	require_queue();
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
	require_queue();
	penny_claim_fail(PG_GETARG_INT64(0), (uint64) PG_GETARG_INT64(1),
					 text_to_cstring(PG_GETARG_TEXT_PP(2)),
					 PG_ARGISNULL(3) ? -1
									 : interval_arg(PG_GETARG_INTERVAL_P(3), "retry_in", 0,
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
	Datum *held;

	require_queue();
	n = claims_arg(fcinfo, &ids, &tokens);
	lease = interval_arg(PG_GETARG_INTERVAL_P(2), "lease", MIN_LEASE, MAX_LEASE);
	held = palloc(sizeof(Datum) * (Size) Max(n, 1));
	for (int i = 0; i < n; i++)
		held[i] = BoolGetDatum(penny_claim_extend(ids[i], tokens[i], lease));
	PG_RETURN_ARRAYTYPE_P(construct_array(held, n, BOOLOID, 1, true, TYPALIGN_CHAR));
}

/* penny.release(ids bigint[], tokens bigint[]) */
Datum
penny_release_sql(PG_FUNCTION_ARGS)
{
	int64 *ids;
	uint64 *tokens;
	int n;
	int released = 0;

	require_queue();
	n = claims_arg(fcinfo, &ids, &tokens);
	for (int i = 0; i < n; i++)
		released += penny_claim_release(ids[i], tokens[i]);
	PG_RETURN_INT32(released);
}

/* penny.cancel(id bigint) */
Datum
penny_cancel_sql(PG_FUNCTION_ARGS)
{
	PennyJobRow row;
	const PennyIdentity *identity = penny_identity_get();
	int64 id = PG_GETARG_INT64(0);

	require_queue();
	PreventCommandIfReadOnly("penny.cancel()");
	if (!has_privs_of_role(GetUserId(), get_role_oid("penny_agent", false)) &&
		(!penny_job_read_id(id, &row) || row.user_id == NULL || !identity->has_user ||
		 memcmp(row.user_id, &identity->user_id, sizeof(pg_uuid_t)) != 0))
		PG_RETURN_BOOL(false);
	PG_RETURN_BOOL(penny_job_cancel(id));
}

/* _penny.job_of_key(queue text, key text) */
Datum
penny_job_of_key_sql(PG_FUNCTION_ARGS)
{
	int64 id = penny_key_holder(queue_arg(text_to_cstring(PG_GETARG_TEXT_PP(0))),
								text_to_cstring(PG_GETARG_TEXT_PP(1)));

	if (id == 0 || !penny_job_view_allowed(id))
		PG_RETURN_NULL();
	PG_RETURN_INT64(id);
}

/* ---- waiting -------------------------------------------------------------------------- */

/* A procedure that commits; `what` is its name. */
static void
require_alone(FunctionCallInfo fcinfo, const char *what)
{
	CallContext *context = (CallContext *) fcinfo->context;

	if (context == NULL || !IsA(context, CallContext) || context->atomic)
		ereport(ERROR, (errcode(ERRCODE_ACTIVE_SQL_TRANSACTION),
						errmsg("%s cannot run inside a transaction block", what),
						errdetail("It commits before it waits, so that it holds no snapshot."),
						errhint("CALL it by itself, not within BEGIN and COMMIT or a function.")));
}

/* The one INOUT parameter, as a procedure gives it. */
static Datum
as_record(FunctionCallInfo fcinfo, Datum value, bool isnull)
{
	TupleDesc desc;

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "procedure without a result row");
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), &value, &isnull));
}

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
	require_queue();
	require_alone(fcinfo, "penny.claim_wait()");
	queue = queue_arg(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	n = claim_count(PG_GETARG_INT32(1));
	until = penny_queue_now() + interval_arg(PG_GETARG_INTERVAL_P(2), "wait", 0, MAX_WAIT);
	lease = interval_arg(PG_GETARG_INTERVAL_P(3), "lease", MIN_LEASE, MAX_LEASE);
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
	return as_record(fcinfo, JsonbPGetDatum(jobs), false);
}

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
	require_queue();
	require_alone(fcinfo, "waiting for a job");
	until = penny_queue_now() + interval_arg(PG_GETARG_INTERVAL_P(1), "wait", 0, MAX_WAIT);
	penny_statements_commit();
	ended = penny_wait_for_end(id, until);
	MemoryContextSwitchTo(caller);
	return as_record(fcinfo, BoolGetDatum(ended), false);
}

/* _penny.check_alone(what text): a procedure that will commit says so in time. */
Datum
penny_check_alone_sql(PG_FUNCTION_ARGS)
{
	require_queue();
	require_alone(fcinfo, PG_ARGISNULL(0) ? "a procedure" : text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_VOID();
}

/*-------------------------------------------------------------------------
 *
 * ending_errors.c
 *		The errors of a job: [{"attempt", "at", "error", "worker"}], oldest first.
 *
 * Those of a job in a segment are in its receipts.  A deferred job, whose segment
 * may be gone, carries them in its row.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type_d.h"
#include "utils/builtins.h"
#include "utils/datetime.h"
#include "utils/json.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "queue/ending_private.h"
#include "queue/storage.h"

static void
push_text(JsonbParseState **state, JsonbIteratorToken token, const char *text)
{
	JsonbValue value;

	if (text == NULL)
		value.type = jbvNull;
	else
	{
		value.type = jbvString;
		value.val.string.val = unconstify(char *, text);
		value.val.string.len = (int) strlen(text);
	}
	(void) pushJsonbValue(state, token, &value);
}

static void
push_error(JsonbParseState **state, int attempt, TimestampTz at, const char *error,
		   const char *worker)
{
	JsonbValue number;
	char time[MAXDATELEN + 1];

	JsonEncodeDateTime(time, TimestampTzGetDatum(at), TIMESTAMPTZOID, NULL);
	number.type = jbvNumeric;
	number.val.numeric = int64_to_numeric(attempt);
	(void) pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	push_text(state, WJB_KEY, "attempt");
	(void) pushJsonbValue(state, WJB_VALUE, &number);
	push_text(state, WJB_KEY, "at");
	push_text(state, WJB_VALUE, pstrdup(time));
	push_text(state, WJB_KEY, "error");
	push_text(state, WJB_VALUE, error);
	push_text(state, WJB_KEY, "worker");
	push_text(state, WJB_VALUE, worker);
	(void) pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/* Elements of an array that is there already. */
static void
push_all(JsonbParseState **state, Jsonb *errors)
{
	JsonbIterator *it;
	JsonbIteratorToken token;
	JsonbValue value;

	if (errors == NULL || !JB_ROOT_IS_ARRAY(errors))
		return;
	it = JsonbIteratorInit(&errors->root);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
		if (token == WJB_ELEM)
			(void) pushJsonbValue(state, WJB_ELEM, &value);
}

static char *
column_text(HeapTuple tuple, TupleDesc desc, int column)
{
	bool isnull;
	Datum value = heap_getattr(tuple, column + 1, desc, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

/* Errors of failed attempts, by the receipts of the job's segment. */
static void
push_receipts(JsonbParseState **state, int64 id)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	Datum key = Int64GetDatum(id);
	PennyOpenTable open;
	PennyTableScan *scan;
	HeapTuple tuple;

	penny_table_open(&open, penny_receipt_table(id), AccessShareLock);
	scan = penny_table_scan(&open, RECEIPT_ID, snapshot, 1, &key);
	while (penny_table_next(scan, &tuple))
	{
		TupleDesc desc = RelationGetDescr(open.relation);
		bool isnull;
		int outcome = DatumGetInt16(heap_getattr(tuple, RECEIPT_OUTCOME + 1, desc, &isnull));

		if (outcome != PENNY_OUTCOME_RETRY && outcome != PENNY_OUTCOME_FAILED)
			continue;
		push_error(state, DatumGetInt16(heap_getattr(tuple, RECEIPT_ATTEMPT + 1, desc, &isnull)),
				   DatumGetTimestampTz(heap_getattr(tuple, RECEIPT_ENDED + 1, desc, &isnull)),
				   column_text(tuple, desc, RECEIPT_ERROR),
				   column_text(tuple, desc, RECEIPT_WORKER));
	}
	penny_table_scan_end(scan);
	penny_table_close(&open);
	UnregisterSnapshot(snapshot);
}

static JsonbParseState *
begin(const PennyJobRow *row)
{
	JsonbParseState *state = NULL;

	(void) pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	if (row->flags & PENNY_JOB_DEFERRED)
		push_all(&state, row->errors);
	else
		push_receipts(&state, row->id);
	return state;
}

Jsonb *
penny_job_errors(const PennyJobRow *row)
{
	JsonbParseState *state = begin(row);

	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL));
}

Jsonb *
penny_errors_with(const PennyJobRow *row, int attempt, TimestampTz at, const char *error,
				  const char *worker)
{
	JsonbParseState *state = begin(row);

	push_error(&state, attempt, at, error, worker);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL));
}

/*-------------------------------------------------------------------------
 *
 * enqueue_json.c
 *		Jobs as JSON: an object with the names of the arguments of penny.enqueue().
 *
 * Times are texts as PostgreSQL reads them; an unknown member is an error, since a
 * misspelt delay would otherwise run at once.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "utils/builtins.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "queue/enqueue.h"

static void
wrong(const char *name, const char *wanted)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("member \"%s\" of a job must be %s", name, wanted)));
}

static const char *
text_of(const char *name, const JsonbValue *value)
{
	if (value->type == jbvNull)
		return NULL;
	if (value->type != jbvString)
		wrong(name, "a string");
	return pnstrdup(value->val.string.val, (Size) value->val.string.len);
}

static bool
number_of(const char *name, const JsonbValue *value, int *number)
{
	if (value->type == jbvNull)
		return false;
	if (value->type != jbvNumeric)
		wrong(name, "a number");
	*number = DatumGetInt32(DirectFunctionCall1(numeric_int4, NumericGetDatum(value->val.numeric)));
	return true;
}

static const Interval *
interval_of(const char *name, const JsonbValue *value)
{
	const char *text = text_of(name, value);

	if (text == NULL)
		return NULL;
	return DatumGetIntervalP(DirectFunctionCall3(interval_in, CStringGetDatum(text),
												 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

static void
read_time(PennyEnqueue *what, const JsonbValue *value)
{
	const char *text = text_of("run_at", value);

	what->has_run_at = text != NULL;
	if (text != NULL)
		what->run_at = DatumGetTimestampTz(
			DirectFunctionCall3(timestamptz_in, CStringGetDatum(text), ObjectIdGetDatum(InvalidOid),
								Int32GetDatum(-1)));
}

static void
read_member(PennyEnqueue *what, const char *name, JsonbValue *value)
{
	if (strcmp(name, "kind") == 0)
		what->kind = text_of(name, value);
	else if (strcmp(name, "payload") == 0)
		what->payload = JsonbValueToJsonb(value);
	else if (strcmp(name, "queue") == 0)
		what->queue = text_of(name, value);
	else if (strcmp(name, "priority") == 0)
		(void) number_of(name, value, &what->priority);
	else if (strcmp(name, "run_at") == 0)
		read_time(what, value);
	else if (strcmp(name, "delay") == 0)
		what->delay = interval_of(name, value);
	else if (strcmp(name, "attempts") == 0)
		what->has_attempts = number_of(name, value, &what->attempts);
	else if (strcmp(name, "backoff") == 0)
		what->backoff = interval_of(name, value);
	else if (strcmp(name, "timeout") == 0)
		what->timeout = interval_of(name, value);
	else if (strcmp(name, "key") == 0)
		what->key = text_of(name, value);
	else if (strcmp(name, "key_mode") == 0)
		what->key_mode = text_of(name, value);
	else if (strcmp(name, "group_key") == 0)
		what->group_key = text_of(name, value);
	else if (strcmp(name, "room") == 0)
		what->room = text_of(name, value);
	else
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("unknown member \"%s\" of a job", name),
						errhint("Members are named as the arguments of penny.enqueue().")));
}

void
penny_enqueue_from_json(JsonbContainer *object, PennyEnqueue *what)
{
	JsonbIterator *it = JsonbIteratorInit(object);
	JsonbIteratorToken token;
	JsonbValue value;
	char *name = NULL;

	memset(what, 0, sizeof(*what));
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = pnstrdup(value.val.string.val, (Size) value.val.string.len);
		else if (token == WJB_VALUE)
			read_member(what, name, &value);
	}
	if (what->payload == NULL)
		what->payload = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum("{}")));
}

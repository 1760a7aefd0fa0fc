/*-------------------------------------------------------------------------
 *
 * flow.c
 *		Enqueueing a flow, and what children gave.
 *
 * A flow is a tree of jobs as JSON: each as penny.enqueue_many() has them, with
 * `children` and `on_child_failure` beside.  It is enqueued from the root down, in
 * one transaction, so that each child can name its parent; nothing can start before
 * the commit.  The number of children that a parent waits for is in its row from the
 * start.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "base/error.h"
#include "queue/enqueue.h"
#include "queue/flow.h"
#include "queue/keys.h"
#include "queue/statements.h"

#define SQL_CHILD                                                                                 \
	"pg_catalog.jsonb_strip_nulls(pg_catalog.jsonb_build_object('id', e.child::pg_catalog.text, " \
	"'kind', e.kind, 'state', coalesce(e.outcome, 'waiting'), 'error', e.error))"

static PennyQueueStatement insert_edge = {
	"INSERT INTO _penny.job_edges (child, parent, position, kind, on_failure) "
	"VALUES ($1, $2, $3, $4, $5)",
	5,
	{INT8OID, INT8OID, INT4OID, TEXTOID, TEXTOID},
	NULL};
static PennyQueueStatement children = {
	"SELECT pg_catalog.jsonb_agg(" SQL_CHILD " OPERATOR(pg_catalog.||) CASE WHEN e.result IS NULL "
	"THEN '{}' WHEN e.bytes" PENNY_SQL_GT "$2 THEN '{\"omitted\": true}' "
	"ELSE pg_catalog.jsonb_build_object('result', e.result) END ORDER BY e.position) "
	"FROM (SELECT j.*, pg_catalog.sum(pg_catalog.octet_length(j.result::pg_catalog.text)) OVER "
	"(ORDER BY j.position) AS bytes FROM _penny.job_edges j WHERE j.parent" PENNY_SQL_EQ "$1) e",
	2,
	{INT8OID, INT8OID},
	NULL};

typedef struct Flow
{
	int jobs;
} Flow;

/* Whose child a job is. */
typedef struct Place
{
	int64 parent; /* 0: nobody's */
	char mode;    /* of the parent */
	int position;
	int depth;
} Place;

static int64 insert_job(Flow *flow, Jsonb *job, Place place);

/* ---- reading ------------------------------------------------------------------- */

static void
read_children(const Datum *values, const bool *nulls, void *arg)
{
	Jsonb **result = arg;

	if (!nulls[0])
		*result = DatumGetJsonbPCopy(values[0]);
}

Jsonb *
penny_flow_children(int64 parent)
{
	Datum values[2] = {Int64GetDatum(parent), Int64GetDatum(PENNY_FLOW_RESULTS)};
	Jsonb *result = NULL;

	(void) penny_queue_run(&children, values, NULL, false, read_children, &result);
	return result;
}

/* ---- enqueueing ---------------------------------------------------------------- */

void
penny_flow_edge(int64 parent, int64 child, const char *kind, int position, char mode)
{
	Datum values[5];

	values[0] = Int64GetDatum(child);
	values[1] = Int64GetDatum(parent);
	values[2] = Int32GetDatum(position);
	values[3] = CStringGetTextDatum(kind);
	values[4] = CStringGetTextDatum(mode == 'i' ? "ignore" : mode == 'w' ? "wait" : "fail");
	(void) penny_queue_run(&insert_edge, values, NULL, false, NULL, NULL);
}

/* A member of an object; false: it is not there, or null. */
static bool
member(Jsonb *object, const char *name, JsonbValue *value)
{
	return getKeyJsonValueFromContainer(&object->root, name, (int) strlen(name), value) != NULL &&
		   value->type != jbvNull;
}

static char
failure_mode(Jsonb *job)
{
	JsonbValue value;

	if (!member(job, "on_child_failure", &value))
		return 'f';
	if (value.type == jbvString)
		for (const char *const *mode = (const char *const[]){"fail", "ignore", "wait", NULL};
			 *mode != NULL; mode++)
			if (value.val.string.len == (int) strlen(*mode) &&
				memcmp(value.val.string.val, *mode, strlen(*mode)) == 0)
				return **mode;
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("on_child_failure of a job must be fail, ignore or wait")));
}

/* The array of children, or NULL: none. */
static Jsonb *
children_of(Jsonb *job)
{
	JsonbValue value;
	Jsonb *array;

	if (!member(job, "children", &value))
		return NULL;
	if (value.type != jbvBinary || !JsonContainerIsArray(value.val.binary.data) ||
		JsonContainerIsScalar(value.val.binary.data))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("children of a job must be an array")));
	array = JsonbValueToJsonb(&value);
	return JB_ROOT_COUNT(array) > 0 ? array : NULL;
}

static Jsonb *
without(Jsonb *object, const char *name)
{
	return DatumGetJsonbP(
		DirectFunctionCall2(jsonb_delete, JsonbPGetDatum(object), CStringGetTextDatum(name)));
}

/* The job alone. */
static int64
insert_one(Jsonb *job, int64 parent, int pending, char mode, const char **kind)
{
	PennyEnqueue what;
	PennyJobRow row;
	int64 id;

	penny_enqueue_from_json(&without(without(job, "children"), "on_child_failure")->root, &what);
	penny_enqueue_row(&what, &row);
	row.parent = parent;
	row.pending = pending;
	row.on_child_failure = pending > 0 ? mode : '\0';
	*kind = row.kind;
	if (row.key == NULL)
		return penny_job_insert(&row);
	id = penny_job_insert_keyed(
		&row, penny_key_mode(what.key_mode != NULL ? what.key_mode : "keep"), true);
	if (id != row.id)
		ereport(ERROR, (errcode(ERRCODE_PENNY_CONFLICT),
						errmsg("key \"%s\" is held by job " INT64_FORMAT, row.key, id),
						errdetail("A job in a flow cannot stand for one that is there already.")));
	return id;
}

static void
insert_children(Flow *flow, Jsonb *array, Place place)
{
	JsonbIterator *it = JsonbIteratorInit(&array->root);
	JsonbIteratorToken token;
	JsonbValue value;

	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
		if (token == WJB_ELEM)
		{
			(void) insert_job(flow, JsonbValueToJsonb(&value), place);
			place.position++;
		}
}

static int64
insert_job(Flow *flow, Jsonb *job, Place place)
{
	Jsonb *array;
	const char *kind;
	char mode;
	int64 id;

	CHECK_FOR_INTERRUPTS();
	if (!JB_ROOT_IS_OBJECT(job))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("a job of a flow must be an object")));
	if (place.depth > PENNY_FLOW_DEPTH || ++flow->jobs > PENNY_FLOW_JOBS)
		ereport(ERROR, (errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("the flow is too large"),
						errdetail("It may have %d jobs, %d levels deep.", PENNY_FLOW_JOBS,
								  PENNY_FLOW_DEPTH)));
	array = children_of(job);
	mode = failure_mode(job);
	id = insert_one(job, place.parent, array != NULL ? JB_ROOT_COUNT(array) : 0, mode, &kind);
	if (place.parent != 0)
		penny_flow_edge(place.parent, id, kind, place.position, place.mode);
	if (array != NULL)
		insert_children(flow, array, (Place){id, mode, 0, place.depth + 1});
	return id;
}

int64
penny_flow_enqueue(Jsonb *job)
{
	Flow flow = {0};

	return insert_job(&flow, job, (Place){0, 'f', 0, 1});
}

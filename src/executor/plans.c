/*-------------------------------------------------------------------------
 *
 * plans.c
 *		The statements an executor runs, by saved plans.
 *
 * A plan is made as one role and kept for that role alone: row-level security
 * and privileges that planning looked at are those of the role that uses it.
 * The plan cache makes a plan anew when what it depends on changes; a change
 * of roles or memberships, which it does not watch, drops all plans here.
 *
 * A statement is run with the snapshot that the transaction began with (SPI's
 * read-only mode: it is about snapshots, a volatile function still writes).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "base/error.h"
#include "executor/plans.h"

#define MAX_PLANS 1024 /* then all are dropped and made again as needed */

/* `text` is NULL for a handler, else the address of a constant query. */
typedef struct PlanKey
{
	const char *text;
	Oid function;
	Oid role;
} PlanKey;

typedef struct SavedPlan
{
	PlanKey key;
	SPIPlanPtr plan; /* NULL: not made yet */
} SavedPlan;

static HTAB *plans = NULL;
static bool plans_valid = true;

static SPIPlanPtr find_plan(const PlanKey *key, const char *query, int nargs, const Oid *types);
static void drop_plans(void);
static void on_role(Datum arg, int cacheid, uint32 hash);

void
penny_plan_init(void)
{
	HASHCTL info = {.keysize = sizeof(PlanKey), .entrysize = sizeof(SavedPlan)};

	info.hcxt = TopMemoryContext;
	plans = hash_create("penny plans", 64, &info, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	CacheRegisterSyscacheCallback(AUTHOID, on_role, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, on_role, (Datum) 0);
}

static void
on_role(Datum arg, int cacheid, uint32 hash)
{
	(void) arg;
	(void) cacheid;
	(void) hash;
	plans_valid = false;
}

/* The plan of this key, made now if need be. */
static SPIPlanPtr
find_plan(const PlanKey *key, const char *query, int nargs, const Oid *types)
{
	SavedPlan *entry;
	SPIPlanPtr plan;

	if (!plans_valid || hash_get_num_entries(plans) > MAX_PLANS)
		drop_plans();
	entry = hash_search(plans, key, HASH_FIND, NULL);
	if (entry != NULL)
		return entry->plan;

	plan = SPI_prepare(query, nargs, unconstify(Oid *, types));
	if (plan == NULL)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not prepare a statement"),
						errdetail("%s", SPI_result_code_string(SPI_result))));
	if (SPI_keepplan(plan) != 0)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not keep a plan")));
	entry = hash_search(plans, key, HASH_ENTER, NULL);
	entry->plan = plan;
	return plan;
}

static void
drop_plans(void)
{
	HASH_SEQ_STATUS status;
	SavedPlan *entry;

	plans_valid = true;
	hash_seq_init(&status, plans);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		SPIPlanPtr plan = entry->plan;

		hash_search(plans, &entry->key, HASH_REMOVE, NULL);
		SPI_freeplan(plan);
	}
}

/* SELECT schema.function($1) */
static char *
call_query(Oid function)
{
	char *schema = get_namespace_name(get_func_namespace(function));
	char *name = get_func_name(function);

	if (schema == NULL || name == NULL)
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FUNCTION),
						errmsg("function with OID %u does not exist", function)));
	return psprintf("SELECT %s($1)", quote_qualified_identifier(schema, name));
}

Datum
penny_plan_call(Oid function, Oid request_type, Datum request, bool *isnull, Oid *type)
{
	PlanKey key = {.text = NULL, .function = function, .role = GetUserId()};
	SavedPlan *known = plans_valid ? hash_search(plans, &key, HASH_FIND, NULL) : NULL;
	SPIPlanPtr plan =
		known != NULL ? known->plan : find_plan(&key, call_query(function), 1, &request_type);

	if (SPI_execute_plan(plan, &request, NULL, true, 2) != SPI_OK_SELECT || SPI_processed != 1)
		ereport(ERROR, (errcode(ERRCODE_EXTERNAL_ROUTINE_EXCEPTION),
						errmsg("handler did not return one row")));
	*type = SPI_gettypeid(SPI_tuptable->tupdesc, 1);
	return SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, isnull);
}

void
penny_plan_run(const char *query, int nargs, const Oid *types, const Datum *values,
			   const char *nulls, long limit)
{
	PlanKey key = {.text = query, .function = InvalidOid, .role = GetUserId()};
	SPIPlanPtr plan = find_plan(&key, query, nargs, types);

	if (SPI_execute_plan(plan, unconstify(Datum *, values), nulls, true, limit) != SPI_OK_SELECT)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not run a statement"),
						errdetail("%s", SPI_result_code_string(SPI_result))));
}

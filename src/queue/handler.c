/*-------------------------------------------------------------------------
 *
 * handler.c
 *		The function of an SQL handler, ready to be called.
 *
 * A handler is kept as text: a role's name and the signature of a function with
 * its schema.  Both are looked up when a kind is first run and again whenever
 * functions, schemas, roles or memberships have changed, in that role; so are its
 * rights.  The call is one of the function manager's, with whatever the language
 * keeps at its FmgrInfo, so a job pays neither a parser nor a plan.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type_d.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "queue/handler.h"

#define TEXT_SURELY_SHORT \
	(PENNY_JOB_PAYLOAD_MAX / 8) /* bytes of a jsonb whose text is not longer than allowed */

typedef struct FunctionEntry
{
	char kind[132];
	uint64 generation; /* when it was looked up; 0: is not */
	char *signature;
	char *role;
	MemoryContext context;
	PennyJobFunction function;
} FunctionEntry;

static HTAB *functions = NULL;
static uint64 generation = 1; /* of the catalogs */

static void on_change(Datum arg, int cacheid, uint32 hash);
static void look_up(FunctionEntry *entry, const PennyHandler *handler);
static void check_result(const Jsonb *result);

void
penny_job_function_init(void)
{
	static const int watched[] = {PROCOID, NAMESPACEOID, AUTHOID, AUTHMEMROLEMEM};
	HASHCTL info = {.keysize = sizeof(((FunctionEntry *) NULL)->kind),
					.entrysize = sizeof(FunctionEntry),
					.hcxt = TopMemoryContext};

	functions =
		hash_create("penny job functions", 64, &info, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	for (int i = 0; i < lengthof(watched); i++)
		CacheRegisterSyscacheCallback(watched[i], on_change, (Datum) 0);
}

static void
on_change(Datum arg, int cacheid, uint32 hash)
{
	(void) arg;
	(void) cacheid;
	(void) hash;
	generation++;
}

Oid
penny_job_function_check(const char *signature, Oid role)
{
	Datum oid;
	HeapTuple tuple;
	Form_pg_proc proc;
	bool fits;
	Oid schema;

	LOCAL_FCINFO(fcinfo, 1);

	InitFunctionCallInfoData(*fcinfo, NULL, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = CStringGetTextDatum(signature);
	fcinfo->args[0].isnull = false;
	oid = to_regprocedure(fcinfo);
	tuple = fcinfo->isnull ? NULL : SearchSysCache1(PROCOID, oid);
	if (!HeapTupleIsValid(tuple))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_FUNCTION),
				 errmsg("function %s does not exist", signature),
				 errhint("What runs jobs is a function (jsonb) RETURNS jsonb; name its schema, "
						 "or set search_path.")));
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	fits = proc->prokind == PROKIND_FUNCTION && !proc->proretset && proc->pronargs == 1 &&
		   proc->proargtypes.values[0] == JSONBOID && proc->prorettype == JSONBOID;
	schema = proc->pronamespace;
	ReleaseSysCache(tuple);
	if (!fits)
		ereport(ERROR, (errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
						errmsg("function %s cannot run jobs", signature),
						errdetail("It must take one argument of type jsonb and return jsonb.")));
	if (!penny_may_use_schema(schema, role) || !penny_may_execute(DatumGetObjectId(oid), role))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("role \"%s\" may not execute function %s",
							   GetUserNameFromId(role, false), signature)));
	return DatumGetObjectId(oid);
}

/* Is the entry what the handler says, by the catalogs as they are? */
static bool
is_current(const FunctionEntry *entry, const PennyHandler *handler)
{
	return entry->generation == generation && strcmp(entry->signature, handler->function) == 0 &&
		   strcmp(entry->role, handler->role) == 0;
}

static void
look_up(FunctionEntry *entry, const PennyHandler *handler)
{
	Oid saved_user;
	int saved_context;
	Oid function;

	GetUserIdAndSecContext(&saved_user, &saved_context);
	entry->generation = 0;
	if (entry->context != NULL)
		MemoryContextDelete(entry->context);
	entry->context =
		AllocSetContextCreate(TopMemoryContext, "penny job function", ALLOCSET_SMALL_SIZES);
	entry->signature = MemoryContextStrdup(entry->context, handler->function);
	entry->role = MemoryContextStrdup(entry->context, handler->role);
	for (;;)
	{
		uint64 before = generation;

		entry->function.role = get_role_oid(entry->role, false);
		SetUserIdAndSecContext(entry->function.role, saved_context | SECURITY_LOCAL_USERID_CHANGE);
		function = penny_job_function_check(entry->signature, entry->function.role);
		SetUserIdAndSecContext(saved_user, saved_context);
		fmgr_info_cxt(function, &entry->function.flinfo, entry->context);
		if (before == generation)
			break;
	}
	entry->generation = generation;
}

PennyJobFunction *
penny_job_function(const PennyHandler *handler)
{
	bool found;
	FunctionEntry *entry = hash_search(functions, handler->kind, HASH_ENTER, &found);

	if (!found)
	{
		entry->generation = 0;
		entry->context = NULL;
	}
	if (entry->generation == 0 || !is_current(entry, handler))
		look_up(entry, handler);
	return &entry->function;
}

/* The limit is one of bytes as text, which are made only when in doubt. */
static void
check_result(const Jsonb *result)
{
	char *text;

	if (VARSIZE(result) <= TEXT_SURELY_SHORT)
		return;
	text = JsonbToCString(NULL, unconstify(JsonbContainer *, &result->root), VARSIZE(result));
	if (strlen(text) > PENNY_JOB_PAYLOAD_MAX)
		ereport(
			ERROR,
			(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED), errmsg("the result of the job is too long"),
			 errdetail("It has %zu bytes, allowed are %d.", strlen(text), PENNY_JOB_PAYLOAD_MAX)));
	pfree(text);
}

Jsonb *
penny_job_call(PennyJobFunction *function, const Jsonb *payload)
{
	PgStat_FunctionCallUsage usage;
	Jsonb *result;
	Datum value;

	LOCAL_FCINFO(fcinfo, 1);

	InitFunctionCallInfoData(*fcinfo, &function->flinfo, 1, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = PointerGetDatum(payload);
	fcinfo->args[0].isnull = false;
	pgstat_init_function_usage(fcinfo, &usage);
	value = FunctionCallInvoke(fcinfo);
	pgstat_end_function_usage(&usage, true);
	if (fcinfo->isnull)
		return NULL;
	result = DatumGetJsonbP(value);
	check_result(result);
	return result;
}

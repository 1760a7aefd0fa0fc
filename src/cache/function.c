/*-------------------------------------------------------------------------
 *
 * function.c
 *		penny.cached(): results of a user's functions.
 *
 * What is kept is the jsonb as it lies in memory, so a hit is one copy.  An
 * SQL null is kept as a value of no bytes.
 *
 * The function runs as its caller would run it, and each caller has an entry
 * of his own, so it can show him no more than he would see without the cache.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

#include "base/compat.h"
#include "cache/cache.h"
#include "cache/function.h"

/* A function that was found right, and whom it was found right for. */
typedef struct Checked
{
	Oid function; /* InvalidOid: free */
	Oid role;
	int nargs;
	NameData name;
} Checked;

#define CHECKED 16 /* remembered, each in the place of its number */

static Checked checked[CHECKED];
static uint32 changes = 0; /* counts what could have changed them */

static const Checked *checked_function(Oid function);
static int check_function(Oid function);
static Datum call(Oid function, int nargs, Jsonb *arguments, bool *isnull);

Datum
penny_cached_call(Oid function, Jsonb *arguments, int64 ttl_ms, bool *isnull)
{
	const Checked *known = checked_function(function);
	int nargs = known->nargs;
	PennySpan part[2];
	PennyCacheRead read;
	PennySpan head = {"", 0};
	PennySpan body = {"", 0};
	Datum value;

	if (nargs == 0 && arguments != NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("function \"%s\" takes no arguments", NameStr(known->name))));
	part[0] = (PennySpan){(const char *) &function, sizeof(function)};
	part[1] = (PennySpan){(const char *) arguments, arguments != NULL ? VARSIZE(arguments) : 0};
	if (penny_cache_open(&read, PENNY_CACHE_FUNCTION, PENNY_CACHE_FOR_VIEWER, NameStr(known->name),
						 part, 2) == PENNY_CACHE_HIT)
	{
		*isnull = read.hit.body_len == 0;
		return *isnull ? (Datum) 0 : PointerGetDatum(read.body);
	}

	value = call(function, nargs, arguments, isnull);
	if (!*isnull)
	{
		Jsonb *json = DatumGetJsonbP(value);

		value = JsonbPGetDatum(json);
		body = (PennySpan){(const char *) json, VARSIZE(json)};
	}
	(void) penny_cache_fill(&read, 0, head, body, NULL, ttl_ms);
	return value;
}

/* A definition, a right, or who belongs to a role has changed. */
static void
forget_checked(Datum arg, int cacheid, uint32 hash)
{
	(void) arg;
	(void) cacheid;
	(void) hash;
	changes++;
	for (int i = 0; i < CHECKED; i++)
		checked[i].function = InvalidOid;
}

/*
 * Check the function, or remember that it was.  What was found is forgotten
 * when the catalogs change that it was read from, as their own caches forget it.
 */
static const Checked *
checked_function(Oid function)
{
	static bool registered = false;
	Checked *known = &checked[function % CHECKED];
	Checked found = {.function = function, .role = GetUserId()};
	uint32 before;
	char *name;

	if (OidIsValid(function) && known->function == function && known->role == found.role)
		return known;
	if (!registered)
	{
		CacheRegisterSyscacheCallback(PROCOID, forget_checked, (Datum) 0);
		CacheRegisterSyscacheCallback(NAMESPACEOID, forget_checked, (Datum) 0);
		CacheRegisterSyscacheCallback(AUTHOID, forget_checked, (Datum) 0);
		CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, forget_checked, (Datum) 0);
		CacheRegisterSyscacheCallback(DATABASEOID, forget_checked, (Datum) 0);
		registered = true;
	}
	before = changes;
	found.nargs = check_function(function);
	name = get_func_name(function);
	namestrcpy(&found.name, name != NULL ? name : "");
	*known = found;
	if (changes != before)
		known->function = InvalidOid; /* it was read while something changed */
	return known;
}

/* A function of the right kind, that the caller may call; gives its number of arguments. */
static int
check_function(Oid function)
{
	HeapTuple tuple = SearchSysCache1(PROCOID, ObjectIdGetDatum(function));
	Form_pg_proc proc;
	Oid schema;
	int nargs;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_FUNCTION),
						errmsg("function with OID %u does not exist", function)));
	proc = (Form_pg_proc) GETSTRUCT(tuple);
	nargs = proc->pronargs;
	schema = proc->pronamespace;
	if (proc->prokind != PROKIND_FUNCTION || proc->proretset || proc->prorettype != JSONBOID ||
		nargs > 1 || (nargs == 1 && proc->proargtypes.values[0] != JSONBOID))
		ereport(ERROR, (errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
						errmsg("function %s cannot be cached", format_procedure(function)),
						errdetail("It must take one jsonb or nothing, and return one jsonb.")));
	if (proc->provolatile == PROVOLATILE_VOLATILE)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_FUNCTION_DEFINITION),
				 errmsg("function %s cannot be cached", format_procedure(function)),
				 errdetail("It is VOLATILE."), errhint("Declare it STABLE, if it only reads.")));
	ReleaseSysCache(tuple);
	/* a number instead of a name would go around the right to find it */
	if (!penny_may_use_schema(schema, GetUserId()))
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_SCHEMA, get_namespace_name(schema));
	if (!penny_may_execute(function, GetUserId()))
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_FUNCTION, get_func_name(function));
	return nargs;
}

static Datum
call(Oid function, int nargs, Jsonb *arguments, bool *isnull)
{
	LOCAL_FCINFO(fcinfo, 1);
	FmgrInfo flinfo;
	Datum value;

	fmgr_info(function, &flinfo);
	if (nargs == 1 && flinfo.fn_strict && arguments == NULL)
	{
		*isnull = true;
		return (Datum) 0;
	}
	InitFunctionCallInfoData(*fcinfo, &flinfo, nargs, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = PointerGetDatum(arguments);
	fcinfo->args[0].isnull = arguments == NULL;
	value = FunctionCallInvoke(fcinfo);
	*isnull = fcinfo->isnull;
	return value;
}

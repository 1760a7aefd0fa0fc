/*-------------------------------------------------------------------------
 *
 * routes.c
 *		The executor's view of penny.routes.
 *
 * Read whole into a memory context of its own, and read again when
 *
 *	- routes_stamp in the plane was raised: a transaction that changed the
 *	  table committed.  The stamp is taken before the snapshot that reads, so
 *	  a change in between makes another reading, never a missed one;
 *	- where answers are kept, the stamp of everything (plane/cache.h) moved,
 *	  which that transaction does before its change can be seen; or it was in
 *	  progress in the snapshot that read.  So the table is the one that the
 *	  request's snapshot sees, and no answer of a handler that was replaced can
 *	  be kept;
 *	- the relation changed (TRUNCATE, ALTER, the extension dropped): relcache
 *	  invalidation.
 *
 * Handlers stand in the table as text and are resolved at their first call;
 * any change in pg_proc or pg_namespace forgets what was resolved, so a function that was
 * dropped and made anew is found again.
 *
 * Built-in rows come first, so that no row of a user can take their place.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "lib/stringinfo.h"
#include "parser/parse_func.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/regproc.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "base/error.h"
#include "cache/cache.h"
#include "executor/routes.h"

#define MAX_TTL 999999999999999.0 /* ms, as plane/route.h reads it */

/* Columns of the query below. */
enum
{
	COLUMN_METHOD = 1,
	COLUMN_PATTERN,
	COLUMN_HANDLER,
	COLUMN_ACCESS,
	COLUMN_TIMEOUT,
	COLUMN_TTL,
	COLUMN_SCOPE,
	COLUMN_BUILTIN
};

static const char routes_query[] =
	"SELECT r.method, r.pattern, r.handler, r.access,"
	"       pg_catalog.extract('epoch', r.statement_timeout)::pg_catalog.float8"
	"         OPERATOR(pg_catalog.*) 1000,"
	"       pg_catalog.extract('epoch', r.cache_ttl)::pg_catalog.float8"
	"         OPERATOR(pg_catalog.*) 1000,"
	"       r.cache_scope, r.builtin"
	"  FROM penny.routes r"
	" ORDER BY r.builtin DESC, r.pattern, r.method";

static PennyRouteTable table;
static MemoryContext table_context = NULL;
static bool table_valid = false;
static Oid table_relid = InvalidOid;
static bool functions_valid = false;

static void on_relcache(Datum arg, Oid relid);
static void on_function(Datum arg, int cacheid, uint32 hash);
static void read_table(uint64 stamp);
static void take_rows(PennyRouteTable *fresh);

void
penny_routes_init(void)
{
	CacheRegisterRelcacheCallback(on_relcache, (Datum) 0);
	CacheRegisterSyscacheCallback(PROCOID, on_function, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, on_function, (Datum) 0);
}

static void
on_relcache(Datum arg, Oid relid)
{
	(void) arg;
	if (relid == InvalidOid || relid == table_relid)
		table_valid = false;
}

static void
on_function(Datum arg, int cacheid, uint32 hash)
{
	(void) arg;
	(void) cacheid;
	(void) hash;
	functions_valid = false;
}

/* Is the table that was read one that the active snapshot sees? */
static bool
is_current(const PennyPlane *plane, uint64 stamp)
{
	if (!table_valid || table.stamp != stamp)
		return false;
	return !penny_cache_is_on() ||
		   (table.settled && table.seq == penny_stamp_seq(plane, PENNY_STAMP_ALL));
}

const PennyRouteTable *
penny_routes_get(PennyPlane *plane, uint64 stamp)
{
	if (!is_current(plane, stamp))
		read_table(stamp);
	if (!functions_valid)
	{
		for (int i = 0; i < table.n; i++)
			table.row[i].function = InvalidOid;
		functions_valid = true;
	}
	return &table;
}

const PennyRouteTable *
penny_routes_current(void)
{
	return &table;
}

/* Read the table into a fresh context; an error leaves the old one. */
static void
read_table(uint64 stamp)
{
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "penny routes", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	PennyRouteTable fresh = {0};
	PennyRouteErrors errors = {0};

	/* set before reading: an invalidation that comes meanwhile must count */
	table_valid = true;
	PG_TRY();
	{
		Oid schema = get_namespace_oid("penny", true);

		fresh.stamp = stamp;
		fresh.settled = penny_cache_settled(PENNY_STAMP_ALL, &fresh.seq);
		table_relid = OidIsValid(schema) ? get_relname_relid("routes", schema) : InvalidOid;
		if (!OidIsValid(table_relid))
			ereport(ERROR, (errcode(ERRCODE_PENNY_UNAVAILABLE),
							errmsg("extension penny is not installed in this database")));
		take_rows(&fresh);
	}
	PG_CATCH();
	{
		table_valid = false;
		PG_RE_THROW();
	}
	PG_END_TRY();
	fresh.compiled =
		penny_routes_compile(palloc(penny_routes_size(fresh.text)), fresh.text, &errors);
	MemoryContextSwitchTo(old);
	if (errors.refused > 0)
		ereport(WARNING, (errcode(ERRCODE_CONFIG_FILE_ERROR),
						  errmsg("%d routes were left out", errors.refused),
						  errdetail("The first is %s %s: %s.",
									penny_method_name(fresh.row[errors.first_line].method),
									fresh.row[errors.first_line].pattern, errors.reason)));

	MemoryContextSetParent(context, TopMemoryContext);
	if (table_context != NULL)
		MemoryContextDelete(table_context);
	table_context = context;
	table = fresh;
	functions_valid = true;
}

/* Number of a method's name; PENNY_METHODS if there is none. */
static PennyMethod
method_of(const char *name)
{
	int method = 0;

	while (method < PENNY_METHODS && strcmp(penny_method_name((PennyMethod) method), name) != 0)
		method++;
	return (PennyMethod) method;
}

/* One column of one row as text in the current context; "" for NULL. */
static char *
column_text(HeapTuple row, int column)
{
	char *text = SPI_getvalue(row, SPI_tuptable->tupdesc, column);

	return text != NULL ? text : pstrdup("");
}

/* " ttl=<ms> scope=<scope>" of a row whose answers are kept. */
static void
append_caching(StringInfo text, HeapTuple tuple)
{
	double ttl = strtod(column_text(tuple, COLUMN_TTL), NULL);
	char *scope = column_text(tuple, COLUMN_SCOPE);

	if (!(ttl > 0))
		return;
	appendStringInfo(text, " ttl=%.0f", Min(ceil(ttl), MAX_TTL));
	if (*scope != '\0')
		appendStringInfo(text, " scope=%s", scope);
}

/* Run the query and keep its rows: the text, a line a row, and the rest. */
static void
take_rows(PennyRouteTable *fresh)
{
	MemoryContext context = CurrentMemoryContext;
	StringInfoData text;

	initStringInfo(&text);
	if (SPI_execute(routes_query, true, 0) != SPI_OK_SELECT)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not read penny.routes")));
	MemoryContextSwitchTo(context);
	fresh->row = palloc0(sizeof(PennyRouteRow) * (SPI_processed + 1));
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		HeapTuple tuple = SPI_tuptable->vals[i];
		char *method = column_text(tuple, COLUMN_METHOD);
		PennyRouteRow *row = &fresh->row[fresh->n];
		double timeout;

		row->method = method_of(method);
		if (row->method == PENNY_METHODS)
			continue;
		row->pattern = column_text(tuple, COLUMN_PATTERN);
		row->handler = column_text(tuple, COLUMN_HANDLER);
		row->builtin = *column_text(tuple, COLUMN_BUILTIN) == 't';
		timeout = strtod(column_text(tuple, COLUMN_TIMEOUT), NULL);
		row->timeout = timeout >= 1 && timeout < INT_MAX ? (int) timeout : 0;
		appendStringInfo(&text, "%s %s %s", method, column_text(tuple, COLUMN_ACCESS),
						 row->pattern);
		append_caching(&text, tuple);
		appendStringInfoChar(&text, '\n');
		fresh->n++;
	}
	SPI_freetuptable(SPI_tuptable);
	fresh->text.data = text.data;
	fresh->text.len = (size_t) text.len;
}

Oid
penny_routes_function(const PennyRouteTable *of, int route, Oid request_type)
{
	PennyRouteRow *row = &of->row[route];

	if (!OidIsValid(row->function))
	{
		char *name = pnstrdup(row->handler, strcspn(row->handler, "("));

		row->function = LookupFuncName(stringToQualifiedNameList(name), 1, &request_type, false);
	}
	return row->function;
}

/*-------------------------------------------------------------------------
 *
 * statements.c
 *		SQL from C, for what is rare in the queue; the one file of the queue that
 *		includes executor/spi.h.
 *
 * The owner of penny's tables is the role in force while a statement runs, and
 * again the caller while a row is handed out.  On error the abort of the
 * (sub)transaction gives the role back.  SECURITY_LOCAL_USERID_CHANGE keeps
 * triggers on these tables, which only their owner can have made, from changing
 * the role further.
 *
 * What changes rows sees them as they are when it runs, in any isolation level.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "optimizer/cost.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

#include "queue/statements.h"

#define COLUMNS_MAX 48

static Oid
tables_owner(void)
{
	Oid table = get_relname_relid("jobs_deferred", get_namespace_oid("_penny", false));
	HeapTuple tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(table));
	Oid owner;

	if (!HeapTupleIsValid(tuple))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
						errmsg("table _penny.jobs_deferred does not exist"),
						errhint("CREATE EXTENSION penny in this database.")));
	owner = ((Form_pg_class) GETSTRUCT(tuple))->relowner;
	ReleaseSysCache(tuple);
	return owner;
}

static SPIPlanPtr
plan_of(PennyQueueStatement *statement)
{
	SPIPlanPtr plan;

	if (statement->plan != NULL)
		return statement->plan;
	plan = SPI_prepare_cursor(statement->sql, statement->nargs, statement->argtypes,
							  CURSOR_OPT_GENERIC_PLAN);
	if (plan == NULL || SPI_keepplan(plan) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not prepare a statement: %s", SPI_result_code_string(SPI_result))));
	statement->plan = plan;
	return plan;
}

/*
 * What a change sees: rows as they are.  In a transaction that goes by one snapshot
 * what came after that would be missed, such as the parent of the job that it ends.
 */
static Snapshot
snapshot_of(bool read_only)
{
	return read_only || !IsolationUsesXactSnapshot() ? InvalidSnapshot : GetLatestSnapshot();
}

/* Prepare and execute, without sequential scans should a plan have to be made. */
static pg_noinline int
execute(PennyQueueStatement *statement, const Datum *values, const char *nulls, bool read_only)
{
	bool saved = enable_seqscan;
	int rc;

	enable_seqscan = false;
	PG_TRY();
	{
		SPIPlanPtr plan = plan_of(statement);

		rc = SPI_execute_snapshot(plan, unconstify(Datum *, values), nulls, snapshot_of(read_only),
								  InvalidSnapshot, read_only, true, 0);
	}
	PG_FINALLY();
	{
		enable_seqscan = saved;
	}
	PG_END_TRY();
	return rc;
}

static void
hand_out(MemoryContext caller, PennyQueueRowFn each, void *arg)
{
	SPITupleTable *table = SPI_tuptable;
	MemoryContext context = MemoryContextSwitchTo(caller);

	for (uint64 i = 0; i < table->numvals; i++)
	{
		Datum values[COLUMNS_MAX];
		bool nulls[COLUMNS_MAX];

		Assert(table->tupdesc->natts <= COLUMNS_MAX);
		heap_deform_tuple(table->vals[i], table->tupdesc, values, nulls);
		each(values, nulls, arg);
	}
	MemoryContextSwitchTo(context);
}

uint64
penny_queue_run(PennyQueueStatement *statement, const Datum *values, const char *nulls,
				bool read_only, PennyQueueRowFn each, void *arg)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid owner = tables_owner();
	Oid user;
	int security;
	int rc;
	uint64 rows;
	bool snapshot = !ActiveSnapshotSet(); /* a worker between two things has none */

	if (snapshot)
		PushActiveSnapshot(GetTransactionSnapshot());
	GetUserIdAndSecContext(&user, &security);
	if (SPI_connect() != SPI_OK_CONNECT)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not run a statement")));
	SetUserIdAndSecContext(owner, security | SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS);
	rc = execute(statement, values, nulls, read_only);
	SetUserIdAndSecContext(user, security);
	if (rc < 0)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR),
						errmsg("could not run a statement: %s", SPI_result_code_string(rc))));
	rows = SPI_processed;
	if (each != NULL && SPI_tuptable != NULL)
		hand_out(caller, each, arg);
	SPI_finish();
	if (snapshot)
		PopActiveSnapshot();
	return rows;
}

typedef struct OneInt64
{
	int64 value;
	bool found;
} OneInt64;

static void
take_int64(const Datum *values, const bool *nulls, void *arg)
{
	OneInt64 *one = arg;

	one->found = !nulls[0];
	if (one->found)
		one->value = DatumGetInt64(values[0]);
}

bool
penny_queue_run_int64(PennyQueueStatement *statement, const Datum *values, const char *nulls,
					  bool read_only, int64 *out)
{
	OneInt64 one = {0, false};

	(void) penny_queue_run(statement, values, nulls, read_only, take_int64, &one);
	if (one.found)
		*out = one.value;
	return one.found;
}

void
penny_statements_commit(void)
{
	if (SPI_connect_ext(SPI_OPT_NONATOMIC) != SPI_OK_CONNECT)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not end the transaction")));
	SPI_commit();
	SPI_finish();
}

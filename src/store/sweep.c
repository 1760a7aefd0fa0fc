/*-------------------------------------------------------------------------
 *
 * sweep.c
 *		Rows that nobody ends, ended by penny: what sweeps have in common.
 *
 * An executor runs a sweep when the supervisor asks (executor/chores.c), in a
 * transaction of its own.  Rows are read and written as the owner of the table, in
 * a security-restricted context: what else the owner has put on the table runs
 * with no more rights than there.
 *
 * Nobody's row keeps those of others open: each is ended in a subtransaction of
 * its own, whose error concerns it alone, and locks are waited for only for a
 * moment.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/resowner.h"

#include "store/sweep.h"

#define LOCK_TIMEOUT_TEXT "100ms"

static void give_up(const PennySwept *row, const char *what, const char *why, ErrorData *error);

void
penny_sweep_begin(PennySweep *sweep, PennyTable table)
{
	Oid owner = penny_table_owner(table);

	sweep->settings = NewGUCNestLevel();
	(void) set_config_option("lock_timeout", LOCK_TIMEOUT_TEXT, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	GetUserIdAndSecContext(&sweep->user, &sweep->context);
	SetUserIdAndSecContext(owner, sweep->context | SECURITY_LOCAL_USERID_CHANGE |
									  SECURITY_RESTRICTED_OPERATION | SECURITY_NOFORCE_RLS);
}

void
penny_sweep_step_back(const PennySweep *sweep)
{
	SetUserIdAndSecContext(sweep->user, sweep->context);
}

void
penny_sweep_end(const PennySweep *sweep)
{
	penny_sweep_step_back(sweep);
	AtEOXact_GUC(true, sweep->settings);
}

int
penny_sweep_find(PennyStatement *statement, Datum *values, PennySwept **found)
{
	MemoryContext context = CurrentMemoryContext;
	int n;

	SPI_connect();
	n = (int) penny_statement_run(statement, values, NULL, false);
	*found = MemoryContextAlloc(context, Max(n, 1) * sizeof(PennySwept));
	for (int i = 0; i < n; i++)
	{
		HeapTuple row = SPI_tuptable->vals[i];
		TupleDesc desc = SPI_tuptable->tupdesc;
		bool isnull;

		(*found)[i].id = *DatumGetUUIDP(SPI_getbinval(row, desc, 1, &isnull));
		(*found)[i].conversation = *DatumGetUUIDP(SPI_getbinval(row, desc, 2, &isnull));
	}
	SPI_finish();
	return n;
}

bool
penny_sweep_try(const PennySwept *row, PennySweepFn end, void *arg, const char *what,
				const char *why)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner resources = CurrentResourceOwner;
	ErrorData *volatile error = NULL;
	volatile bool ended = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		ended = end(row, arg);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		ended = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = resources;
	if (error != NULL)
		give_up(row, what, why, error);
	return ended;
}

/* After an error within the subtransaction: it concerns this row alone, unless we are to end. */
static void
give_up(const PennySwept *row, const char *what, const char *why, ErrorData *error)
{
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		ReThrowError(error);
	if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE &&
		error->sqlerrcode != ERRCODE_T_R_DEADLOCK_DETECTED)
		ereport(LOG,
				(errcode(error->sqlerrcode),
				 errmsg("could not close %s %s, %s: %s", what,
						DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&row->id))),
						why, error->message)));
	FreeErrorData(error);
}

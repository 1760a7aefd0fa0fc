/*-------------------------------------------------------------------------
 *
 * chores.c
 *		What executors do for the supervisor, which is in no database.
 *
 * Messages that grow, and executions of tools that run.  As long as there may be
 * any (streams or executions of the registry is not 0), the supervisor asks from
 * time to time for a sweep of those that nobody will bring to an end
 * (store/stream_sweep.c, execution_sweep.c).  One executor takes the order, in a
 * transaction of its own with a short timeout: a table that somebody has locked
 * must not take an executor away.
 *
 * The word goes up after the commit of what begins.  It is read before the
 * sweep's snapshot and taken back to 0 only if it is still the same, so
 * whatever the sweep could not see yet leaves it raised.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/lsyscache.h"
#include "utils/snapmgr.h"
#include "utils/timeout.h"

#include "base/planemap.h"
#include "base/registry.h"
#include "base/worker.h"
#include "executor/chores.h"
#include "executor/idle.h"
#include "executor/plans.h"

#define TIME_LIMIT 5000 /* ms */

typedef struct Chore
{
	const char *table; /* of the store: without it there is nothing to do */
	const char *query; /* gives how much is left, 0: nothing */
	const char *activity;
} Chore;

static const Chore chores[PENNY_CHORES] = {
	[PENNY_CHORE_STREAMS] = {"messages", "SELECT _penny.stream_sweep()",
							 "penny: close messages whose producers are gone"},
	[PENNY_CHORE_EXECUTIONS] = {"tool_executions",
								"SELECT _penny.execution_sweep(pg_catalog.clock_timestamp())",
								"penny: fail executions of tools that are too old"},
};

/* Raised after the commit of what makes the chore necessary; 0: nothing is there. */
static pg_atomic_uint32 *
reason(PennyChore chore)
{
	return chore == PENNY_CHORE_STREAMS ? &penny_registry()->streams
										: &penny_registry()->executions;
}

bool
penny_chores_due(PennyChore chore)
{
	return penny_readiness() == PENNY_READY && pg_atomic_read_u32(reason(chore)) != 0;
}

void
penny_chores_ask(PennyChore chore)
{
	pg_atomic_fetch_or_u32(&penny_registry()->sweep, 1U << chore);
	penny_idle_pass_wake(penny_plane());
}

/* What is left afterwards. */
static int
run(const Chore *chore)
{
	Oid schema = get_namespace_oid("chat", true);
	bool isnull;
	int left;

	if (!OidIsValid(schema) || !OidIsValid(get_relname_relid(chore->table, schema)))
		return 0;
	PushActiveSnapshot(GetTransactionSnapshot());
	if (SPI_connect() != SPI_OK_CONNECT)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not connect to SPI")));
	penny_plan_run(chore->query, 0, NULL, NULL, NULL, 1);
	left = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	PopActiveSnapshot();
	return left;
}

static void
sweep(void *arg)
{
	PennyChore number = *(PennyChore *) arg;
	uint32 seen = pg_atomic_read_u32(reason(number));
	int left;

	StartTransactionCommand();
	pgstat_report_activity(STATE_RUNNING, chores[number].activity);
	enable_timeout_after(STATEMENT_TIMEOUT, TIME_LIMIT);
	QueryCancelPending = false;
	RESUME_CANCEL_INTERRUPTS();
	left = run(&chores[number]);
	HOLD_CANCEL_INTERRUPTS();
	disable_timeout(STATEMENT_TIMEOUT, false);
	CommitTransactionCommand();
	if (left == 0)
		(void) pg_atomic_compare_exchange_u32(reason(number), &seen, 0);
}

/* On an error, which is logged, the supervisor asks again. */
void
penny_chores_do(void)
{
	uint32 asked;

	if (pg_atomic_read_u32(&penny_registry()->sweep) == 0)
		return;
	asked = pg_atomic_exchange_u32(&penny_registry()->sweep, 0);
	for (PennyChore chore = 0; chore < PENNY_CHORES; chore++)
	{
		if ((asked & (1U << chore)) == 0)
			continue;
		if (!penny_worker_guard(sweep, &chore))
		{
			disable_timeout(STATEMENT_TIMEOUT, false);
			QueryCancelHoldoffCount = 1; /* the error took it back */
		}
		QueryCancelPending = false;
	}
	pgstat_report_activity(STATE_IDLE, NULL);
}

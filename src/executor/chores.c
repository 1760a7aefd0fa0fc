/*-------------------------------------------------------------------------
 *
 * chores.c
 *		What executors do for the supervisor, which is in no database.
 *
 * Messages that grow.  As long as there may be any (streams of the registry is
 * not 0), the supervisor asks from time to time for a sweep that closes those
 * whose producers are gone (store/stream_sweep.c).  One executor takes the
 * order, in a transaction of its own with a short timeout: a table that
 * somebody has locked must not take an executor away.
 *
 * streams goes up after the commit of what begins to grow.  It is read before
 * the sweep's snapshot and taken back to 0 only if it is still the same, so
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

void
penny_chores_ask(void)
{
	pg_atomic_write_u32(&penny_registry()->sweep, 1);
	penny_idle_pass_wake(penny_plane());
}

/* Messages that still grow after a sweep. */
static int
sweep(void)
{
	static const char query[] = "SELECT _penny.stream_sweep()";
	Oid schema = get_namespace_oid("chat", true);
	bool isnull;
	int left;

	if (!OidIsValid(schema) || !OidIsValid(get_relname_relid("messages", schema)))
		return 0;
	PushActiveSnapshot(GetTransactionSnapshot());
	if (SPI_connect() != SPI_OK_CONNECT)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not connect to SPI")));
	penny_plan_run(query, 0, NULL, NULL, NULL, 1);
	left = DatumGetInt32(SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull));
	SPI_finish();
	PopActiveSnapshot();
	return left;
}

static void
sweep_streams(void *arg)
{
	uint32 seen = pg_atomic_read_u32(&penny_registry()->streams);
	int left;

	(void) arg;
	StartTransactionCommand();
	pgstat_report_activity(STATE_RUNNING, "penny: close messages whose producers are gone");
	enable_timeout_after(STATEMENT_TIMEOUT, TIME_LIMIT);
	QueryCancelPending = false;
	RESUME_CANCEL_INTERRUPTS();
	left = sweep();
	HOLD_CANCEL_INTERRUPTS();
	disable_timeout(STATEMENT_TIMEOUT, false);
	CommitTransactionCommand();
	if (left == 0)
		(void) pg_atomic_compare_exchange_u32(&penny_registry()->streams, &seen, 0);
}

/* On an error, which is logged, the supervisor asks again. */
void
penny_chores_do(void)
{
	if (pg_atomic_read_u32(&penny_registry()->sweep) == 0 ||
		pg_atomic_exchange_u32(&penny_registry()->sweep, 0) == 0)
		return;
	if (!penny_worker_guard(sweep_streams, NULL))
	{
		disable_timeout(STATEMENT_TIMEOUT, false);
		QueryCancelHoldoffCount = 1; /* the error took it back */
	}
	QueryCancelPending = false;
	pgstat_report_activity(STATE_IDLE, NULL);
}

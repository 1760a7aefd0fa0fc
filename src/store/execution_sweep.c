/*-------------------------------------------------------------------------
 *
 * execution_sweep.c
 *		Executions of tools that never came to an end.
 *
 * An executor runs this when the supervisor asks (executor/chores.c).  A row that
 * is pending or running since more than penny.execution_timeout fails, with an
 * error that says so: by an UPDATE, so that version, events and the cache follow as
 * with anybody's (sweep.h).  What waits for somebody's approval is left alone.
 *
 * It is the last resort for tools whose process is gone without a word.  Each row
 * is closed under the lock of its conversation.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "config/config.h"
#include "store/change.h"
#include "store/execution.h"
#include "store/statement.h"
#include "store/sweep.h"
#include "store/tables.h"

#define MAX_CLOSED 100
#define OPEN "t.status" PENNY_EQ "ANY (ARRAY['pending','running'])"
#define SINCE "COALESCE(t.started_at, t.created_at)"

static PennyStatement find_stale = {
	"SELECT t.id, t.conversation_id FROM chat.tool_executions t WHERE " OPEN " AND " SINCE PENNY_LT
	"$1 ORDER BY t.created_at LIMIT 100",
	1,
	{TIMESTAMPTZOID}};

static PennyStatement count_open = {
	"SELECT 1 FROM chat.tool_executions t WHERE " OPEN " LIMIT 1", 0, {0}};

static PennyStatement fail_stale = {
	"UPDATE chat.tool_executions t SET status = 'failed', error = $2, finished_at = $3"
	" WHERE t.id" PENNY_EQ "$1 AND " OPEN,
	3,
	{UUIDOID, TEXTOID, TIMESTAMPTZOID}};

bool
penny_execution_is_open(const PennyRow *execution)
{
	static const char *const open[] = {"pending", "running"};
	text *status;

	if (execution->isnull[PENNY_TOOL_STATUS])
		return false;
	status = DatumGetTextPP(execution->value[PENNY_TOOL_STATUS]);
	for (int i = 0; i < lengthof(open); i++)
	{
		if (VARSIZE_ANY_EXHDR(status) == strlen(open[i]) &&
			memcmp(VARDATA_ANY(status), open[i], strlen(open[i])) == 0)
			return true;
	}
	return false;
}

/* A PennySweepFn. */
static bool
fail(const PennySwept *stale, void *arg)
{
	char error[128];
	Datum values[3];

	if (penny_change_open(&stale->conversation)->gone)
		return false;
	snprintf(error, sizeof(error), "the tool did not come to an end within %d s",
			 penny_execution_timeout / 1000);
	values[0] = UUIDPGetDatum(&stale->id);
	values[1] = CStringGetTextDatum(error);
	values[2] = TimestampTzGetDatum(*(TimestampTz *) arg);
	SPI_connect();
	(void) penny_statement_run(&fail_stale, values, NULL, false);
	SPI_finish();
	return true;
}

/* Is any open, whatever its age? */
static bool
any_open(void)
{
	bool any;

	SPI_connect();
	any = penny_statement_run(&count_open, NULL, NULL, false) > 0;
	SPI_finish();
	return any;
}

bool
penny_execution_sweep(TimestampTz at)
{
	TimestampTz begun = GetCurrentTimestamp();
	Datum before = TimestampTzGetDatum(at - (int64) penny_execution_timeout * 1000);
	PennySweep sweep;
	PennySwept *stale;
	bool left;
	int n;

	penny_sweep_begin(&sweep, PENNY_TOOL_EXECUTIONS);
	n = penny_sweep_find(&find_stale, &before, &stale);
	for (int i = 0; i < Min(n, MAX_CLOSED) &&
					!TimestampDifferenceExceeds(begun, GetCurrentTimestamp(), PENNY_SWEEP_TIME);
		 i++)
	{
		CHECK_FOR_INTERRUPTS();
		(void) penny_sweep_try(&stale[i], fail, &at, "execution", "which is too old");
	}
	CommandCounterIncrement();
	left = any_open();
	pfree(stale);
	penny_sweep_end(&sweep);
	return left;
}

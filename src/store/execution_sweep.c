/*-------------------------------------------------------------------------
 *
 * execution_sweep.c
 *		Executions of tools that never came to an end.
 *
 * An executor runs this when the supervisor asks (executor/chores.c).  A row that
 * is pending or running since more than penny.execution_timeout fails, with an
 * error that says so: by an UPDATE as the owner of the table, in a
 * security-restricted context, so that version, events and the cache follow as
 * with anybody's.  What waits for somebody's approval is left alone.
 *
 * It is the last resort for tools whose process is gone without a word.  Each row
 * is closed in a subtransaction of its own, under the lock of its conversation;
 * an error is logged and concerns that row alone.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "config/config.h"
#include "store/change.h"
#include "store/execution.h"
#include "store/statement.h"
#include "store/tables.h"

#define MAX_CLOSED 100
#define MAX_TIME 2000 /* ms, of the executor's 5 s */
#define LOCK_TIMEOUT_TEXT "100ms"
#define OPEN "t.status" PENNY_EQ "ANY (ARRAY['pending','running'])"
#define SINCE "COALESCE(t.started_at, t.created_at)"

typedef struct Stale
{
	pg_uuid_t id;
	pg_uuid_t conversation;
} Stale;

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

/* Rows that began before; in the caller's context. */
static int
find(TimestampTz before, Stale **found)
{
	MemoryContext context = CurrentMemoryContext;
	Datum value = TimestampTzGetDatum(before);
	int n;

	SPI_connect();
	n = (int) penny_statement_run(&find_stale, &value, NULL, false);
	*found = MemoryContextAlloc(context, Max(n, 1) * sizeof(Stale));
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

static void
fail(const Stale *stale, TimestampTz at)
{
	char error[128];
	Datum values[3];

	if (penny_change_open(&stale->conversation)->gone)
		return;
	snprintf(error, sizeof(error), "the tool did not come to an end within %d s",
			 penny_execution_timeout / 1000);
	values[0] = UUIDPGetDatum(&stale->id);
	values[1] = CStringGetTextDatum(error);
	values[2] = TimestampTzGetDatum(at);
	SPI_connect();
	(void) penny_statement_run(&fail_stale, values, NULL, false);
	SPI_finish();
}

/* After an error within the subtransaction: it concerns this row alone, unless we are to end. */
static void
give_up(const Stale *stale, ErrorData *error)
{
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		ReThrowError(error);
	if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE &&
		error->sqlerrcode != ERRCODE_T_R_DEADLOCK_DETECTED)
		ereport(LOG,
				(errcode(error->sqlerrcode),
				 errmsg("could not close execution %s, which is too old: %s",
						DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&stale->id))),
						error->message)));
	FreeErrorData(error);
}

static void
try_fail(const Stale *stale, TimestampTz at)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner resources = CurrentResourceOwner;
	ErrorData *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		fail(stale, at);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = resources;
	if (error != NULL)
		give_up(stale, error);
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
	int settings = NewGUCNestLevel();
	Oid saved_user;
	int saved_context;
	Stale *stale;
	bool left;
	int n;

	(void) set_config_option("lock_timeout", LOCK_TIMEOUT_TEXT, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	GetUserIdAndSecContext(&saved_user, &saved_context);
	SetUserIdAndSecContext(penny_table_owner(PENNY_TOOL_EXECUTIONS),
						   saved_context | SECURITY_LOCAL_USERID_CHANGE |
							   SECURITY_RESTRICTED_OPERATION | SECURITY_NOFORCE_RLS);
	n = find(at - (int64) penny_execution_timeout * 1000, &stale);
	for (int i = 0; i < Min(n, MAX_CLOSED) &&
					!TimestampDifferenceExceeds(begun, GetCurrentTimestamp(), MAX_TIME);
		 i++)
	{
		CHECK_FOR_INTERRUPTS();
		try_fail(&stale[i], at);
	}
	CommandCounterIncrement();
	left = any_open();
	SetUserIdAndSecContext(saved_user, saved_context);
	pfree(stale);
	AtEOXact_GUC(true, settings);
	return left;
}

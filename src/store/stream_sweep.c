/*-------------------------------------------------------------------------
 *
 * stream_sweep.c
 *		Messages that grow and whose producer is gone.
 *
 * An executor runs this when the supervisor asks (executor/chores.c), in a
 * transaction of its own.  Messages are read and closed as the owner of the
 * table, in a security-restricted context: what else the owner has put on the
 * table runs with no more rights than there.  A message is looked at once more
 * under its locks, so a piece that comes at the same moment is not cut off.
 *
 * Nobody's message keeps those of others open: each is closed in a
 * subtransaction of its own, whose error is logged, locks are waited for only
 * for a moment, and a sweep begins anywhere.  It closes so many and takes so
 * long at most; the rest are for the next one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/resowner.h"
#include "utils/fmgrprotos.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "config/config.h"
#include "store/change.h"
#include "store/lookup.h"
#include "store/statement.h"
#include "store/stream.h"
#include "store/stream_private.h"

#define MAX_CLOSED 50
#define MAX_TIME 2000 /* ms, of the executor's 5 s */
#define LOCK_TIMEOUT_TEXT "100ms"

typedef struct Open
{
	pg_uuid_t message;
	pg_uuid_t conversation;
} Open;

static PennyStatement find_streams = {
	"SELECT m.id, m.conversation_id FROM chat.messages m WHERE m.status" PENNY_EQ "'streaming'",
	0,
	{0}};

static PennyStatement interrupt_stream = {
	"UPDATE chat.messages SET status = 'interrupted' WHERE id" PENNY_EQ "$1"
	" AND status" PENNY_EQ "'streaming'",
	1,
	{UUIDOID}};

/* All messages that grow; in the caller's context. */
static int
find_open(Open **found)
{
	MemoryContext context = CurrentMemoryContext;
	int n;

	SPI_connect();
	n = (int) penny_statement_run(&find_streams, NULL, NULL, false);
	*found = MemoryContextAlloc(context, Max(n, 1) * sizeof(Open));
	for (int i = 0; i < n; i++)
	{
		HeapTuple row = SPI_tuptable->vals[i];
		TupleDesc desc = SPI_tuptable->tupdesc;
		bool isnull;

		(*found)[i].message = *DatumGetUUIDP(SPI_getbinval(row, desc, 1, &isnull));
		(*found)[i].conversation = *DatumGetUUIDP(SPI_getbinval(row, desc, 2, &isnull));
	}
	SPI_finish();
	return n;
}

/* Is the producer silent for too long? */
static bool
is_dead(const pg_uuid_t *message)
{
	Datum key = UUIDPGetDatum(message);
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	PennyStreamTail tail;
	PennyLookup lookup;
	bool dead = false;

	penny_lookup_begin(&lookup, PENNY_KEY_MESSAGE, snapshot, AccessShareLock, 1, &key);
	if (penny_lookup_next(&lookup, ForwardScanDirection))
	{
		TimestampTz heard;
		PennyRow row;

		penny_row_from_slot(&row, PENNY_MESSAGES, lookup.slot);
		heard = DatumGetTimestampTz(row.value[PENNY_CREATED_AT]);
		if (!row.isnull[PENNY_UPDATED_AT])
			heard = Max(heard, DatumGetTimestampTz(row.value[PENNY_UPDATED_AT]));
		if (penny_stream_tail(message, snapshot, &tail))
			heard = Max(heard, tail.written_at);
		else
			dead = penny_stream_is_lost(&row);
		dead = penny_stream_is_open(&row) &&
			   (dead ||
				TimestampDifferenceExceeds(heard, GetCurrentTimestamp(), penny_stream_timeout));
	}
	penny_lookup_end(&lookup);
	UnregisterSnapshot(snapshot);
	return dead;
}

/* Close one, unless its producer is heard again. */
static bool
interrupt(const Open *open)
{
	Datum value = UUIDPGetDatum(&open->message);

	if (penny_change_open(&open->conversation)->gone)
		return false;
	penny_stream_lock(&open->message);
	CommandCounterIncrement();
	if (!is_dead(&open->message))
		return false;
	SPI_connect();
	(void) penny_statement_run(&interrupt_stream, &value, NULL, false);
	SPI_finish();
	return true;
}

/* After an error within the subtransaction: is it one that only concerns this message? */
static void
give_up(const Open *open, ErrorData *error)
{
	if (error->sqlerrcode == ERRCODE_QUERY_CANCELED)
		ReThrowError(error);
	if (error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE &&
		error->sqlerrcode != ERRCODE_T_R_DEADLOCK_DETECTED)
		ereport(
			LOG,
			(errcode(error->sqlerrcode),
			 errmsg("could not close message %s, whose producer is gone: %s",
					DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&open->message))),
					error->message)));
	FreeErrorData(error);
}

/* Close one in a subtransaction. */
static bool
try_interrupt(const Open *open)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner resources = CurrentResourceOwner;
	ErrorData *volatile error = NULL;
	volatile bool closed = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		closed = interrupt(open);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		closed = false;
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = resources;
	if (error != NULL)
		give_up(open, error);
	return closed;
}

/* Close what is dead among these; gives how many were. */
static int
interrupt_all(const Open *open, int n)
{
	TimestampTz begun = GetCurrentTimestamp();
	int first = n > 0 ? (int) ((uint64) begun % (uint64) n) : 0;
	int closed = 0;

	for (int i = 0; i < n && closed < MAX_CLOSED &&
					!TimestampDifferenceExceeds(begun, GetCurrentTimestamp(), MAX_TIME);
		 i++)
	{
		const Open *one = &open[(first + i) % n];

		CHECK_FOR_INTERRUPTS();
		if (is_dead(&one->message))
			closed += try_interrupt(one);
	}
	return closed;
}

int
penny_stream_sweep(void)
{
	Oid owner = penny_table_owner(PENNY_MESSAGES);
	int settings = NewGUCNestLevel();
	int closed;
	Oid saved_user;
	int saved_context;
	Open *open;
	int n;

	(void) set_config_option("lock_timeout", LOCK_TIMEOUT_TEXT, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	GetUserIdAndSecContext(&saved_user, &saved_context);
	SetUserIdAndSecContext(owner, saved_context | SECURITY_LOCAL_USERID_CHANGE |
									  SECURITY_RESTRICTED_OPERATION | SECURITY_NOFORCE_RLS);
	n = find_open(&open);
	closed = interrupt_all(open, n);
	SetUserIdAndSecContext(saved_user, saved_context);
	pfree(open);
	if (n == closed)
		penny_stream_drop_orphans();
	AtEOXact_GUC(true, settings);
	return n - closed;
}

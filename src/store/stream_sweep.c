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
 * A sweep closes so many at most; the rest are for the next one.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "config/config.h"
#include "store/change.h"
#include "store/lookup.h"
#include "store/statement.h"
#include "store/stream.h"
#include "store/stream_private.h"

#define MAX_CLOSED 50

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

	if (!is_dead(&open->message))
		return false;
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

int
penny_stream_sweep(void)
{
	Oid owner = penny_table_owner(PENNY_MESSAGES);
	int closed = 0;
	Oid saved_user;
	int saved_context;
	Open *open;
	int n;

	GetUserIdAndSecContext(&saved_user, &saved_context);
	SetUserIdAndSecContext(owner, saved_context | SECURITY_LOCAL_USERID_CHANGE |
									  SECURITY_RESTRICTED_OPERATION | SECURITY_NOFORCE_RLS);
	n = find_open(&open);
	for (int i = 0; i < n && closed < MAX_CLOSED; i++)
		closed += interrupt(&open[i]);
	SetUserIdAndSecContext(saved_user, saved_context);
	pfree(open);
	if (n == closed)
		penny_stream_drop_orphans();
	return n - closed;
}

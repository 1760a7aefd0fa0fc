/*-------------------------------------------------------------------------
 *
 * stream_sweep.c
 *		Messages that grow and whose producer is gone.
 *
 * An executor runs this when the supervisor asks (executor/chores.c); how rows are
 * closed is in sweep.h.  A message is looked at once more under its locks, so a
 * piece that comes at the same moment is not cut off.
 *
 * A sweep begins anywhere, closes so many and takes so long at most; the rest are
 * for the next one.
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
#include "store/sweep.h"

#define MAX_CLOSED 50

static PennyStatement find_streams = {
	"SELECT m.id, m.conversation_id FROM chat.messages m WHERE m.status" PENNY_EQ "'streaming'",
	0,
	{0}};

static PennyStatement interrupt_stream = {
	"UPDATE chat.messages SET status = 'interrupted' WHERE id" PENNY_EQ "$1"
	" AND status" PENNY_EQ "'streaming'",
	1,
	{UUIDOID}};

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

/* Close one, unless its producer is heard again: a PennySweepFn. */
static bool
interrupt(const PennySwept *open, void *arg)
{
	Datum value = UUIDPGetDatum(&open->id);

	(void) arg;
	if (penny_change_open(&open->conversation)->gone)
		return false;
	penny_stream_lock(&open->id);
	CommandCounterIncrement();
	if (!is_dead(&open->id))
		return false;
	SPI_connect();
	(void) penny_statement_run(&interrupt_stream, &value, NULL, false);
	SPI_finish();
	return true;
}

/* Close what is dead among these; gives how many were. */
static int
interrupt_all(const PennySwept *open, int n)
{
	TimestampTz begun = GetCurrentTimestamp();
	int first = n > 0 ? (int) ((uint64) begun % (uint64) n) : 0;
	int closed = 0;

	for (int i = 0; i < n && closed < MAX_CLOSED &&
					!TimestampDifferenceExceeds(begun, GetCurrentTimestamp(), PENNY_SWEEP_TIME);
		 i++)
	{
		const PennySwept *one = &open[(first + i) % n];

		CHECK_FOR_INTERRUPTS();
		if (is_dead(&one->id))
			closed += penny_sweep_try(one, interrupt, NULL, "message", "whose producer is gone");
	}
	return closed;
}

int
penny_stream_sweep(void)
{
	PennySweep sweep;
	PennySwept *open;
	int closed;
	int n;

	penny_sweep_begin(&sweep, PENNY_MESSAGES);
	n = penny_sweep_find(&find_streams, NULL, &open);
	closed = interrupt_all(open, n);
	pfree(open);
	penny_sweep_step_back(&sweep);
	if (n == closed)
		penny_stream_drop_orphans();
	penny_sweep_end(&sweep);
	return n - closed;
}

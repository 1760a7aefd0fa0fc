/*-------------------------------------------------------------------------
 *
 * change.c
 *		The order of a conversation: its lock and its counters.
 *
 * Everything that changes in a conversation gets the next version, a new
 * message also the next seq.  Commit order is version order, since the first
 * change of a conversation locks its row until the transaction ends.  The lock
 * covers one conversation.
 *
 * The counters of a locked conversation live in this process while a statement
 * runs (change_known.c): a statement that writes twenty-four messages takes one
 * lock and writes the conversation's row once (change_write.c), at its end
 * (AFTER STATEMENT trigger; as a safety net also before commit).  Until then
 * only this transaction could see the difference.
 *
 * Lock order: the conversation's row, then rows that belong to it.  A plain
 * UPDATE or DELETE of a message locks the message first (PostgreSQL does that
 * before any trigger), so two transactions that change several messages of one
 * conversation that way can deadlock; penny's functions lock the conversation
 * first and cannot.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/tableam.h"
#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "store/change.h"
#include "store/change_private.h"
#include "store/lookup.h"
#include "store/tables.h"

static void load_change(PennyChange *change, const PennyRow *row);
static bool lock_row(const pg_uuid_t *conversation, PennyChange *change);

/*
 * Lock a conversation for this transaction, and know its counters.
 */
PennyChange *
penny_change_open(const pg_uuid_t *conversation)
{
	PennyChange *change = penny_change_find(conversation);

	if (change == NULL)
	{
		change = penny_change_add(conversation);
		change->gone = !lock_row(conversation, change);
	}
	else if (change->deleting && !change->gone)
	{
		/* a DELETE began; whether it went through, the table says */
		penny_change_touch(change);
		change->deleting = false;
		change->gone = !lock_row(conversation, NULL);
	}
	return change;
}

/*
 * Know the counters of a row that the executor has locked for a trigger.
 */
PennyChange *
penny_change_adopt(const PennyRow *conversation)
{
	PennyChange *change = penny_change_find(PENNY_UUID(conversation, PENNY_ID));

	if (change == NULL)
	{
		change = penny_change_add(PENNY_UUID(conversation, PENNY_ID));
		load_change(change, conversation);
	}
	return change;
}

/*
 * A row that this transaction has made.
 */
PennyChange *
penny_change_created(const PennyRow *conversation)
{
	PennyChange *change = penny_change_find(PENNY_UUID(conversation, PENNY_ID));

	if (change == NULL)
	{
		change = penny_change_add(PENNY_UUID(conversation, PENNY_ID));
		change->gone = true;
	}
	else
		penny_change_touch(change);
	/* its statement may have written to it already: those counters are newer */
	if (change->gone || change->deleting)
		load_change(change, conversation);
	change->gone = change->deleting = false;
	change->created_here = true;
	return change;
}

/*
 * Give the next version.
 */
int64
penny_change_next_version(PennyChange *change)
{
	penny_change_touch(change);
	change->version++;
	penny_change_mark(change);
	if (change->nopen == change->maxopen)
	{
		change->maxopen = Max(8, change->maxopen * 2);
		if (change->open == NULL)
			change->open =
				MemoryContextAlloc(TopTransactionContext, change->maxopen * sizeof(int64));
		else
			change->open = repalloc(change->open, change->maxopen * sizeof(int64));
	}
	change->open[change->nopen++] = change->version;
	return change->version;
}

/*
 * A version was published.
 */
void
penny_change_published(PennyChange *change, int64 version)
{
	int i;

	for (i = 0; i < change->nopen; i++)
		if (change->open[i] == version)
		{
			penny_change_touch(change);
			change->nopen--;
			memmove(&change->open[i], &change->open[i + 1], (change->nopen - i) * sizeof(int64));
			return;
		}
}

/* Take the counters from the conversation's row. */
static void
load_change(PennyChange *change, const PennyRow *row)
{
	change->version = DatumGetInt64(row->value[PENNY_ROW_VERSION]);
	change->last_seq = DatumGetInt64(row->value[PENNY_CONVERSATION_LAST_SEQ]);
	change->count = DatumGetInt64(row->value[PENNY_CONVERSATION_COUNT]);
	change->has_head = !row->isnull[PENNY_CONVERSATION_HEAD];
	if (change->has_head)
		change->head = *PENNY_UUID(row, PENNY_CONVERSATION_HEAD);
	change->head_seq = change->last_seq;
	change->has_tail = change->has_head;
	change->tail = change->head;
	change->has_last_message_at = !row->isnull[PENNY_CONVERSATION_LAST_MESSAGE_AT];
	change->last_message_at = DatumGetTimestampTz(row->value[PENNY_CONVERSATION_LAST_MESSAGE_AT]);
	change->created_at = DatumGetTimestampTz(row->value[PENNY_CREATED_AT]);
}

/* Lock what a look-up has found; false if it is gone meanwhile. */
static bool
lock_found(PennyLookup *lookup, Snapshot snapshot)
{
	bool fixed = IsolationUsesXactSnapshot();
	TM_FailureData failure;
	TM_Result result;

	result = table_tuple_lock(lookup->table, &lookup->slot->tts_tid, snapshot, lookup->slot,
							  GetCurrentCommandId(false), LockTupleNoKeyExclusive, LockWaitBlock,
							  fixed ? 0 : TUPLE_LOCK_FLAG_FIND_LAST_VERSION, &failure);
	if (result == TM_Ok)
		return true;
	if (fixed && (result == TM_Updated || result == TM_Deleted))
		ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
						errmsg("could not serialize access due to concurrent update")));
	if (result == TM_Deleted)
		return false;
	ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR),
					errmsg("could not lock a conversation: result %d", (int) result)));
}

/* Lock a conversation's row and take its counters; false if there is none. */
static bool
lock_row(const pg_uuid_t *conversation, PennyChange *change)
{
	Datum key = UUIDPGetDatum(conversation);
	PennyLookup lookup;
	Snapshot snapshot;
	bool found;

	/* what earlier commands of this transaction did counts */
	CommandCounterIncrement();
	snapshot = RegisterSnapshot(IsolationUsesXactSnapshot() ? GetTransactionSnapshot()
															: GetLatestSnapshot());
	penny_lookup_begin(&lookup, PENNY_KEY_CONVERSATION, snapshot, RowExclusiveLock, 1, &key);
	found = penny_lookup_next(&lookup, ForwardScanDirection) && lock_found(&lookup, snapshot);
	if (found && change != NULL)
	{
		PennyRow row;

		penny_row_from_slot(&row, PENNY_CONVERSATIONS, lookup.slot);
		load_change(change, &row);
	}
	penny_lookup_end(&lookup);
	UnregisterSnapshot(snapshot);
	return found;
}

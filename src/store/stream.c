/*-------------------------------------------------------------------------
 *
 * stream.c
 *		Messages that grow: pieces, text so far, checkpoints.
 *
 * A message of status 'streaming' is content (a column of chat.messages) and
 * the pieces after it, rows of _penny.stream_chunks.  Both change together in
 * one transaction and are read by one snapshot, so the text so far is exact at
 * any moment.  A checkpoint moves pieces into content when there are 16 kB of
 * them or 2 s have passed; it is no change of the message (no version, no
 * frame), since the text does not change.  Behind it stays one row without
 * text, which says how many pieces there were.
 *
 * Pieces are unlogged, so adding one does not wait for the disk.  A crash
 * takes them, at most those since the last checkpoint; a message that may have
 * lost some is closed as 'interrupted' and takes no more.  One of them is any
 * that has no row of pieces and was last written before this server began.
 *
 * Producers of one message queue up at a lock of their own (an advisory lock
 * in a space that SQL cannot reach), which costs no write and does not keep
 * others off the conversation.  Order of locks: conversation, this one, the
 * message's row.
 *
 * What else is done to a message that grows: an UPDATE that leaves its content
 * alone and ends it takes the pieces along; one that changes the content puts
 * that in the place of the whole text so far.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/skey.h"
#include "access/stratnum.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_type_d.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "store/lookup.h"
#include "store/publish_rows.h"
#include "store/render.h"
#include "store/stream.h"
#include "store/stream_private.h"
#include "store/uuid.h"

#define STREAMING "streaming"

/* Columns of _penny.stream_chunks. */
enum
{
	CHUNK_MESSAGE = 1,
	CHUNK_INDEX,
	CHUNK_TEXT,
	CHUNK_PENDING,
	CHUNK_SAVED_AT,
	CHUNK_WRITTEN_AT
};

/* A walk through the pieces of a message. */
typedef struct Walk
{
	Relation table;
	Relation index;
	IndexScanDesc scan;
	TupleTableSlot *slot;
} Walk;

/* ---- the table of pieces --------------------------------------------------- */

/*
 * The table of pieces.
 */
Oid
penny_stream_table(void)
{
	Oid relid = get_relname_relid("stream_chunks", get_namespace_oid("_penny", false));

	if (!OidIsValid(relid))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_TABLE),
						errmsg("table \"_penny.stream_chunks\" does not exist")));
	return relid;
}

/*
 * By its primary key, past privileges: who may see the message may see them.
 * Without a message: all pieces, by message.
 */
static void
walk_begin(Walk *walk, const pg_uuid_t *message, Snapshot snapshot, LOCKMODE lockmode)
{
	int nkeys = message != NULL ? 1 : 0;
	ScanKeyData key;

	walk->table = table_open(penny_stream_table(), lockmode);
	walk->index = index_open(RelationGetPrimaryKeyIndex(walk->table), lockmode);
	if (message != NULL)
		ScanKeyInit(&key, 1, BTEqualStrategyNumber, F_UUID_EQ, UUIDPGetDatum(message));
	walk->slot = table_slot_create(walk->table, NULL);
	walk->scan = penny_index_beginscan(walk->table, walk->index, snapshot, nkeys);
	index_rescan(walk->scan, &key, nkeys, NULL, 0);
}

static bool
walk_next(Walk *walk, ScanDirection direction)
{
	return index_getnext_slot(walk->scan, direction, walk->slot);
}

static Datum
walk_value(Walk *walk, AttrNumber column)
{
	bool isnull;

	return slot_getattr(walk->slot, column, &isnull);
}

static void
walk_end(Walk *walk)
{
	index_endscan(walk->scan);
	ExecDropSingleTupleTableSlot(walk->slot);
	index_close(walk->index, NoLock);
	table_close(walk->table, NoLock);
}

/*
 * Where the pieces of a message stand; false when it has no row of them.
 */
bool
penny_stream_tail(const pg_uuid_t *message, Snapshot snapshot, PennyStreamTail *tail)
{
	bool found;
	Walk walk;

	memset(tail, 0, sizeof(*tail));
	walk_begin(&walk, message, snapshot, AccessShareLock);
	found = walk_next(&walk, BackwardScanDirection);
	if (found)
	{
		tail->index = DatumGetInt64(walk_value(&walk, CHUNK_INDEX));
		tail->pending = DatumGetInt32(walk_value(&walk, CHUNK_PENDING));
		tail->saved_at = DatumGetTimestampTz(walk_value(&walk, CHUNK_SAVED_AT));
		tail->written_at = DatumGetTimestampTz(walk_value(&walk, CHUNK_WRITTEN_AT));
	}
	walk_end(&walk);
	return found;
}

/* Append the text of the pieces; gives the index of the last, 0 = none. */
static int64
append_chunks(StringInfo out, const pg_uuid_t *message, Snapshot snapshot)
{
	int64 index = 0;
	Walk walk;

	walk_begin(&walk, message, snapshot, AccessShareLock);
	while (walk_next(&walk, ForwardScanDirection))
	{
		text *chunk = DatumGetTextPP(walk_value(&walk, CHUNK_TEXT));

		index = DatumGetInt64(walk_value(&walk, CHUNK_INDEX));
		appendBinaryStringInfo(out, VARDATA_ANY(chunk), VARSIZE_ANY_EXHDR(chunk));
	}
	walk_end(&walk);
	return index;
}

/*
 * Delete the pieces of a message: all that are there, whatever the snapshot of
 * the transaction sees, as what goes into the message's row is all, too.
 */
void
penny_stream_forget(const pg_uuid_t *message)
{
	Snapshot snapshot;
	Walk walk;

	CommandCounterIncrement();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	walk_begin(&walk, message, snapshot, RowExclusiveLock);
	while (walk_next(&walk, ForwardScanDirection))
		simple_table_tuple_delete(walk.table, &walk.slot->tts_tid, snapshot);
	walk_end(&walk);
	UnregisterSnapshot(snapshot);
	CommandCounterIncrement();
}

/* Is there such a message, and does it grow? */
static bool
is_growing(const pg_uuid_t *message)
{
	Datum key = UUIDPGetDatum(message);
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	PennyLookup lookup;
	bool yes = false;

	penny_lookup_begin(&lookup, PENNY_KEY_MESSAGE, snapshot, AccessShareLock, 1, &key);
	if (penny_lookup_next(&lookup, ForwardScanDirection))
	{
		PennyRow row;

		penny_row_from_slot(&row, PENNY_MESSAGES, lookup.slot);
		yes = penny_stream_is_open(&row);
	}
	penny_lookup_end(&lookup);
	UnregisterSnapshot(snapshot);
	return yes;
}

/*
 * Delete pieces whose message does not grow or is gone.  The pieces belong to
 * the extension and the messages to somebody who may do less: no statement
 * reads both, since it would run with the rights of one over what the other
 * has made of the table.
 */
void
penny_stream_drop_orphans(void)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	pg_uuid_t last = {{0}};
	Walk walk;

	walk_begin(&walk, NULL, snapshot, AccessShareLock);
	while (walk_next(&walk, ForwardScanDirection))
	{
		pg_uuid_t message = *DatumGetUUIDP(walk_value(&walk, CHUNK_MESSAGE));

		CHECK_FOR_INTERRUPTS();
		if (penny_uuid_equal(&message, &last))
			continue;
		last = message;
		/* whoever has the lock is at it, and the pieces are younger than they look */
		if (!is_growing(&message) && penny_stream_try_lock(&message) && !is_growing(&message))
			penny_stream_forget(&message);
	}
	walk_end(&walk);
	UnregisterSnapshot(snapshot);
}

/* ---- reading ------------------------------------------------------------------ */

bool
penny_stream_is_open(const PennyRow *message)
{
	text *status;

	if (message->isnull[PENNY_MESSAGE_STATUS])
		return false;
	status = DatumGetTextPP(message->value[PENNY_MESSAGE_STATUS]);
	return VARSIZE_ANY_EXHDR(status) == strlen(STREAMING) &&
		   memcmp(VARDATA_ANY(status), STREAMING, strlen(STREAMING)) == 0;
}

/*
 * Give a row its text so far.
 */
int64
penny_stream_complete(PennyRow *message, Snapshot snapshot)
{
	StringInfoData whole;
	int64 index;
	int before;

	initStringInfo(&whole);
	if (!message->isnull[PENNY_MESSAGE_CONTENT])
	{
		text *content = DatumGetTextPP(message->value[PENNY_MESSAGE_CONTENT]);

		appendBinaryStringInfo(&whole, VARDATA_ANY(content), VARSIZE_ANY_EXHDR(content));
	}
	before = whole.len;
	index = append_chunks(&whole, PENNY_UUID(message, PENNY_ID), snapshot);
	if (whole.len > before)
	{
		message->value[PENNY_MESSAGE_CONTENT] =
			PointerGetDatum(cstring_to_text_with_len(whole.data, whole.len));
		message->isnull[PENNY_MESSAGE_CONTENT] = false;
	}
	pfree(whole.data);
	return index;
}

/*
 * Begin a frame of a stream, up to and with the index and a comma.
 */
void
penny_stream_begin_frame(StringInfo out, const pg_uuid_t *conversation, const pg_uuid_t *message,
						 int64 index)
{
	appendStringInfoString(out, "{\"type\":\"stream\",\"room\":\"" PENNY_CONVERSATION_ROOM);
	enlargeStringInfo(out, PENNY_UUID_TEXT);
	penny_uuid_write(out->data + out->len, conversation);
	out->len += PENNY_UUID_TEXT;
	appendStringInfoString(out, "\",\"message_id\":");
	penny_render_uuid(out, message);
	appendStringInfo(out, ",\"index\":" INT64_FORMAT ",", index);
}

/*
 * The line with the state of a message that grows.
 */
void
penny_stream_state(StringInfo out, const PennyRow *message, Snapshot snapshot)
{
	PennyRow whole = *message;
	PennyStreamTail tail;
	text *content;

	/* its text is complete already; only the index is asked for */
	(void) penny_stream_tail(PENNY_UUID(&whole, PENNY_ID), snapshot, &tail);
	appendStringInfoString(out, "0 ");
	penny_stream_begin_frame(out, PENNY_UUID(&whole, PENNY_CONVERSATION_ID),
							 PENNY_UUID(&whole, PENNY_ID), tail.index);
	appendStringInfoString(out, "\"text\":");
	if (whole.isnull[PENNY_MESSAGE_CONTENT])
		appendStringInfoString(out, "\"\"");
	else
	{
		content = DatumGetTextPP(whole.value[PENNY_MESSAGE_CONTENT]);
		penny_render_string(out, VARDATA_ANY(content), VARSIZE_ANY_EXHDR(content));
	}
	appendStringInfoString(out, "}\n");
}

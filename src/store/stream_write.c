/*-------------------------------------------------------------------------
 *
 * stream_write.c
 *		Messages that grow: adding pieces, checkpoints, the end.
 *
 * See stream.c for the design.  Everything here has the message's lock.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/error.h"
#include "base/registry.h"
#include "realtime/publish.h"
#include "store/access.h"
#include "store/change.h"
#include "store/lookup.h"
#include "store/publish_rows.h"
#include "store/render.h"
#include "store/statement.h"
#include "store/stream.h"
#include "store/stream_private.h"
#include "store/uuid.h"

#define SAVE_BYTES 16384
#define SAVE_INTERVAL 2000 /* ms */
#define STREAM_LOCK 3      /* SQL's advisory locks are 1 and 2 */

static PennyStatement see_message = {
	"SELECT m.conversation_id FROM chat.messages m WHERE m.id" PENNY_EQ "$1", 1, {UUIDOID}};

/*
 * The policies for UPDATE let rows through to the function, which notes the
 * conversation and holds the row back, so that none is locked: that would cost
 * a write, and with it waiting for the disk.
 */
static PennyStatement find_writable = {
	"SELECT FROM chat.messages m WHERE m.id" PENNY_EQ
	"$1 AND _penny.stream_writable(m.conversation_id) FOR KEY SHARE",
	1,
	{UUIDOID}};

static pg_uuid_t writable_in; /* the conversation that was noted */
static bool is_writable;

static PennyStatement add_chunk = {
	"INSERT INTO _penny.stream_chunks (message_id, index, chunk, pending, saved_at, written_at)"
	" VALUES ($1, $2, $3, $4, $5, $6)",
	6,
	{UUIDOID, INT8OID, TEXTOID, INT4OID, TIMESTAMPTZOID, TIMESTAMPTZOID}};

static PennyStatement save_content = {
	"UPDATE chat.messages SET content = $2 WHERE id" PENNY_EQ "$1", 2, {UUIDOID, TEXTOID}};

static void write_chunk(const pg_uuid_t *message, const PennyStreamTail *tail, text *chunk);
static void publish_chunk(const pg_uuid_t *conversation, const pg_uuid_t *message, int64 index,
						  text *chunk);

static Oid
chunks_owner(void)
{
	Relation table = table_open(penny_stream_table(), AccessShareLock);
	Oid owner = table->rd_rel->relowner;

	table_close(table, NoLock);
	return owner;
}

static bool
lock(const pg_uuid_t *message, bool wait)
{
	LOCKTAG tag;
	uint32 key[2];

	memcpy(key, message->data + UUID_LEN - sizeof(key), sizeof(key));
	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, key[0], key[1], STREAM_LOCK);
	return LockAcquire(&tag, ExclusiveLock, false, !wait) != LOCKACQUIRE_NOT_AVAIL;
}

void
penny_stream_lock(const pg_uuid_t *message)
{
	(void) lock(message, true);
}

bool
penny_stream_try_lock(const pg_uuid_t *message)
{
	return lock(message, false);
}

/* Note that the caller may change a message in this conversation. */
void
penny_stream_note_writable(const pg_uuid_t *conversation)
{
	writable_in = *conversation;
	is_writable = true;
}

/* Run a statement about a message; did it find a row? */
static bool
finds(PennyStatement *statement, const pg_uuid_t *message)
{
	Datum value = UUIDPGetDatum(message);
	bool found;

	SPI_connect();
	found = penny_statement_run(statement, &value, NULL, false) > 0;
	SPI_finish();
	return found;
}

/* The conversation of a message that the caller may stream. */
static void
check_producer(const pg_uuid_t *message, pg_uuid_t *conversation)
{
	bool may_stream = penny_access_is_agent() || penny_access_is_above();

	is_writable = false;
	if (may_stream)
		(void) finds(&find_writable, message);
	*conversation = writable_in;
	if (is_writable)
		return;
	if (!finds(&see_message, message))
		ereport(ERROR, (errcode(ERRCODE_PENNY_NOT_FOUND), errmsg("message not found")));
	if (!may_stream)
		ereport(ERROR, (errcode(ERRCODE_PENNY_FORBIDDEN),
						errmsg("streaming a message needs penny_agent")));
	ereport(ERROR,
			(errcode(ERRCODE_PENNY_FORBIDDEN), errmsg("the caller may not change the message")));
}

/*
 * The message's row as it is under the lock; an error when it takes no pieces.
 * The row lives in the current context.
 */
static void
find_open(const pg_uuid_t *message, Snapshot snapshot, PennyRow *row, PennyStreamTail *tail)
{
	Datum key = UUIDPGetDatum(message);
	PennyLookup lookup;
	bool found;
	bool lost;

	penny_lookup_begin(&lookup, PENNY_KEY_MESSAGE, snapshot, AccessShareLock, 1, &key);
	found = penny_lookup_next(&lookup, ForwardScanDirection);
	if (found)
		penny_row_from_tuple(row, PENNY_MESSAGES, ExecCopySlotHeapTuple(lookup.slot),
							 RelationGetDescr(lookup.table));
	penny_lookup_end(&lookup);
	if (!found)
		ereport(ERROR, (errcode(ERRCODE_PENNY_NOT_FOUND), errmsg("message not found")));
	if (!penny_stream_is_open(row))
		ereport(ERROR,
				(errcode(ERRCODE_PENNY_CONFLICT), errmsg("the message does not grow any more"),
				 errdetail("Its status is %s.",
						   TextDatumGetCString(row->value[PENNY_MESSAGE_STATUS]))));
	lost = !penny_stream_tail(message, snapshot, tail) && penny_stream_is_lost(row);
	if (lost)
		ereport(ERROR, (errcode(ERRCODE_PENNY_CONFLICT),
						errmsg("the stream of the message was interrupted"),
						errdetail("The server began anew since the message was written.")));
}

/* Was the message, which has no pieces, last written before those that are kept? */
bool
penny_stream_is_lost(const PennyRow *message)
{
	TimestampTz written = DatumGetTimestampTz(message->value[PENNY_CREATED_AT]);

	if (!message->isnull[PENNY_UPDATED_AT])
		written = Max(written, DatumGetTimestampTz(message->value[PENNY_UPDATED_AT]));
	return penny_registry() != NULL &&
		   written < (TimestampTz) pg_atomic_read_u64(&penny_registry()->begun);
}

/* Does the caller's index say that the piece is known, or that one is missing? */
static bool
is_known(int64 wanted, int64 last)
{
	if (wanted > last + 1)
		ereport(ERROR, (errcode(ERRCODE_PENNY_CONFLICT),
						errmsg("piece %lld of the message is missing", (long long) last + 1),
						errdetail("The one given is %lld.", (long long) wanted)));
	return wanted > 0 && wanted <= last;
}

/* Put content and pieces, with a new one, into the message's row. */
static void
checkpoint(PennyRow *row, Snapshot snapshot, PennyStreamTail *tail, text *chunk)
{
	const pg_uuid_t *message = PENNY_UUID(row, PENNY_ID);
	StringInfoData whole;
	Datum values[2];
	text *content;

	(void) penny_stream_complete(row, snapshot);
	initStringInfo(&whole);
	if (!row->isnull[PENNY_MESSAGE_CONTENT])
	{
		content = DatumGetTextPP(row->value[PENNY_MESSAGE_CONTENT]);
		appendBinaryStringInfo(&whole, VARDATA_ANY(content), VARSIZE_ANY_EXHDR(content));
	}
	appendBinaryStringInfo(&whole, VARDATA_ANY(chunk), VARSIZE_ANY_EXHDR(chunk));
	values[0] = UUIDPGetDatum(message);
	values[1] = PointerGetDatum(cstring_to_text_with_len(whole.data, whole.len));
	penny_change_enter_internal();
	penny_statement_run_as(&save_content, penny_table_owner(PENNY_MESSAGES), values, NULL);
	penny_change_leave_internal();
	pfree(whole.data);

	penny_stream_forget(message);
	tail->pending = 0;
	tail->saved_at = tail->written_at;
	write_chunk(message, tail, cstring_to_text(""));
}

int64
penny_stream_append(const pg_uuid_t *message, text *chunk, int64 wanted)
{
	int len = VARSIZE_ANY_EXHDR(chunk);
	pg_uuid_t conversation;
	PennyStreamTail tail;
	Snapshot snapshot;
	PennyRow row;

	if (len == 0 || len > PENNY_STREAM_CHUNK)
		ereport(ERROR, (errcode(len == 0 ? ERRCODE_PENNY_BAD_REQUEST : ERRCODE_PENNY_TOO_LARGE),
						errmsg("a piece of a message has 1 to %d bytes, not %d", PENNY_STREAM_CHUNK,
							   len)));
	check_producer(message, &conversation);
	if (!penny_stream_try_lock(message))
	{
		/* the transaction waited for may have taken the right away */
		penny_stream_lock(message);
		check_producer(message, &conversation);
	}
	CommandCounterIncrement();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	find_open(message, snapshot, &row, &tail);
	if (is_known(wanted, tail.index))
	{
		UnregisterSnapshot(snapshot);
		return wanted;
	}
	tail.written_at = GetCurrentTimestamp();
	if (tail.index++ == 0)
	{
		tail.saved_at = tail.written_at;
		penny_publish_streaming();
	}
	tail.pending += len;
	if (tail.pending >= SAVE_BYTES ||
		TimestampDifferenceExceeds(tail.saved_at, tail.written_at, SAVE_INTERVAL))
		checkpoint(&row, snapshot, &tail, chunk);
	else
		write_chunk(message, &tail, chunk);
	UnregisterSnapshot(snapshot);
	publish_chunk(&conversation, message, tail.index, chunk);
	return tail.index;
}

/*
 * Put the pieces into the row, if the message grows and has any: so other
 * content, which replaces them, is seen to be other than that of the row.
 */
void
penny_stream_save(const pg_uuid_t *message)
{
	PennyStreamTail tail;
	Snapshot snapshot;
	PennyRow row;

	if (!finds(&see_message, message))
		return;
	penny_stream_lock(message);
	CommandCounterIncrement();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	if (penny_stream_tail(message, snapshot, &tail) && tail.pending > 0)
	{
		find_open(message, snapshot, &row, &tail);
		checkpoint(&row, snapshot, &tail, cstring_to_text(""));
	}
	UnregisterSnapshot(snapshot);
}

static void
write_chunk(const pg_uuid_t *message, const PennyStreamTail *tail, text *chunk)
{
	Datum values[6];

	values[0] = UUIDPGetDatum(message);
	values[1] = Int64GetDatum(tail->index);
	values[2] = PointerGetDatum(chunk);
	values[3] = Int32GetDatum(tail->pending);
	values[4] = TimestampTzGetDatum(tail->saved_at);
	values[5] = TimestampTzGetDatum(tail->written_at);
	penny_statement_run_as(&add_chunk, chunks_owner(), values, NULL);
}

static void
publish_chunk(const pg_uuid_t *conversation, const pg_uuid_t *message, int64 index, text *chunk)
{
	char room[sizeof(PENNY_CONVERSATION_ROOM) + PENNY_UUID_TEXT];
	StringInfoData frame;

	penny_room_write(room, conversation);
	if (!penny_publish_wanted(room, sizeof(room) - 1))
	{
		penny_publish_stream(room, index, NULL, 0);
		return;
	}
	initStringInfo(&frame);
	penny_stream_begin_frame(&frame, conversation, message, index);
	appendStringInfoString(&frame, "\"delta\":");
	penny_render_string(&frame, VARDATA_ANY(chunk), VARSIZE_ANY_EXHDR(chunk));
	appendStringInfoChar(&frame, '}');
	penny_publish_stream(room, index, frame.data, frame.len);
	pfree(frame.data);
}

/* ---- other changes of a message that grows -------------------------------------- */

static bool
same_content(const PennyRow *a, const PennyRow *b)
{
	text *ta;
	text *tb;

	if (a->isnull[PENNY_MESSAGE_CONTENT] || b->isnull[PENNY_MESSAGE_CONTENT])
		return a->isnull[PENNY_MESSAGE_CONTENT] == b->isnull[PENNY_MESSAGE_CONTENT];
	ta = DatumGetTextPP(a->value[PENNY_MESSAGE_CONTENT]);
	tb = DatumGetTextPP(b->value[PENNY_MESSAGE_CONTENT]);
	return VARSIZE_ANY_EXHDR(ta) == VARSIZE_ANY_EXHDR(tb) &&
		   memcmp(VARDATA_ANY(ta), VARDATA_ANY(tb), VARSIZE_ANY_EXHDR(ta)) == 0;
}

/*
 * Take the pieces along, or let them go.
 */
bool
penny_stream_fold(const PennyRow *old, const PennyRow *row, Datum *content)
{
	const pg_uuid_t *message = PENNY_UUID(old, PENNY_ID);
	bool ends = !penny_stream_is_open(row);
	bool same = same_content(old, row);
	PennyRow whole = *old;
	PennyStreamTail tail;
	Snapshot snapshot;
	bool found;

	penny_stream_lock(message);
	CommandCounterIncrement();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	found = penny_stream_tail(message, snapshot, &tail);
	if (found && ends && same)
		(void) penny_stream_complete(&whole, snapshot);
	UnregisterSnapshot(snapshot);
	if (!found || (!ends && same))
		return false;
	penny_stream_forget(message);
	if (!ends)
	{
		tail.pending = 0;
		tail.saved_at = tail.written_at = GetCurrentTimestamp();
		write_chunk(message, &tail, cstring_to_text(""));
	}
	*content = whole.value[PENNY_MESSAGE_CONTENT];
	return ends && same && !whole.isnull[PENNY_MESSAGE_CONTENT];
}

/*-------------------------------------------------------------------------
 *
 * triggers_order.c
 *		penny_order, the BEFORE ROW trigger: what only penny knows of a row.
 *
 * It opens the conversation (change.c), gives the change its version, and fills
 * identifiers, seq and counters.  What a statement says about these is not
 * heeded, and what ties a row to its place (conversation, artifact, user)
 * cannot be changed.
 *
 * Before anybody's conversation is locked, the caller must be one who may know
 * of it, so that nobody keeps a conversation waiting that is not theirs; after
 * it is locked, one who still is a member, since the lock may have waited for
 * the transaction that removed the caller.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "auth/identity.h"
#include "store/access.h"
#include "store/change.h"
#include "store/lookup.h"
#include "store/stream.h"
#include "store/triggers_private.h"
#include "store/uuid.h"

#define MAX_EDITS 12
#define FIRST_VERSION 2 /* of a conversation: 1 made it, 2 its owner's participation */

/* Columns to set in the new row. */
typedef struct Edit
{
	PennyTable table;
	int n;
	int attribute[MAX_EDITS];
	Datum value[MAX_EDITS];
	bool isnull[MAX_EDITS];
} Edit;

static void order_insert(Edit *edit, PennyTable table, PennyRow *row);
static void order_update(Edit *edit, PennyTable table, PennyRow *old, PennyRow *row);
static void order_new_conversation(Edit *edit, PennyRow *row);
static void order_conversation(Edit *edit, PennyRow *old, PennyRow *row);
static void order_new_message(Edit *edit, PennyChange *change, PennyRow *row);
static void check_member(PennyChange *change);
static void find_conversation(Edit *edit, PennyTable table, PennyRow *row);
static Datum next_number(PennyRow *row);
static void ensure_caller(PennyRow *row, PennyColumn column);

static void
set(Edit *edit, PennyColumn column, Datum value)
{
	edit->attribute[edit->n] = penny_table_attribute(edit->table, column);
	edit->value[edit->n] = value;
	edit->isnull[edit->n++] = false;
}

static void
set_optional(Edit *edit, PennyColumn column, Datum value, bool isnull)
{
	set(edit, column, value);
	edit->isnull[edit->n - 1] = isnull;
}

static Datum
copy_uuid(const pg_uuid_t *uuid)
{
	pg_uuid_t *copy = palloc(sizeof(pg_uuid_t));

	*copy = *uuid;
	return UUIDPGetDatum(copy);
}

/* Give the row an identifier if it has none. */
static void
set_identifier(Edit *edit, PennyRow *row)
{
	pg_uuid_t *uuid;

	if (!row->isnull[PENNY_ID])
		return;
	uuid = palloc(sizeof(pg_uuid_t));
	penny_uuid_make(uuid);
	row->value[PENNY_ID] = UUIDPGetDatum(uuid);
	row->isnull[PENNY_ID] = false;
	set(edit, PENNY_ID, row->value[PENNY_ID]);
}

/*
 * BEFORE INSERT OR UPDATE, each row; conversations also BEFORE DELETE.
 */
HeapTuple
penny_trigger_order(TriggerData *trigger)
{
	bool update = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event);
	HeapTuple tuple = update ? trigger->tg_newtuple : trigger->tg_trigtuple;
	TupleDesc desc = RelationGetDescr(trigger->tg_relation);
	Edit edit;
	PennyRow row;

	if (penny_change_is_internal() || penny_trigger_is_replicated())
		return tuple;
	edit.table = penny_trigger_table(trigger);
	edit.n = 0;
	penny_row_from_tuple(&row, edit.table, tuple, desc);
	if (update)
	{
		PennyRow old;

		penny_row_from_tuple(&old, edit.table, trigger->tg_trigtuple, desc);
		order_update(&edit, edit.table, &old, &row);
	}
	else if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		order_insert(&edit, edit.table, &row);
	else
	{
		PennyChange *change = penny_change_adopt(&row);

		penny_change_touch(change);
		change->deleting = true;
		return tuple;
	}
	return heap_modify_tuple_by_cols(tuple, desc, edit.n, edit.attribute, edit.value, edit.isnull);
}

/* May the caller know that there is such a conversation? */
static bool
may_see(const pg_uuid_t *conversation)
{
	return penny_access_conversation(conversation) || penny_access_is_above();
}

static void
order_insert(Edit *edit, PennyTable table, PennyRow *row)
{
	PennyChange *change;
	Datum version;

	if (table == PENNY_CONVERSATIONS)
	{
		order_new_conversation(edit, row);
		return;
	}
	if (table == PENNY_TOOL_EXECUTIONS || table == PENNY_ARTIFACTS ||
		table == PENNY_ARTIFACT_VERSIONS)
		find_conversation(edit, table, row);
	/* before the lock: nobody keeps a conversation waiting that is not theirs */
	if (row->isnull[PENNY_CONVERSATION_ID])
		ereport(ERROR,
				(errcode(ERRCODE_NOT_NULL_VIOLATION),
				 errmsg("a row of \"chat.%s\" needs a conversation", penny_table_name(table))));
	if (!may_see(PENNY_UUID(row, PENNY_CONVERSATION_ID)))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("new row violates row-level security policy for table \"%s\"",
							   penny_table_name(table))));
	change = penny_change_open(PENNY_UUID(row, PENNY_CONVERSATION_ID));
	if (change->gone)
		ereport(ERROR, (errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
						errmsg("conversation %s does not exist",
							   DatumGetCString(DirectFunctionCall1(
								   uuid_out, row->value[PENNY_CONVERSATION_ID])))));
	check_member(change);
	ensure_caller(row, PENNY_USER_ID);
	version = Int64GetDatum(penny_change_next_version(change));
	set(edit, PENNY_ROW_VERSION, version);
	switch (table)
	{
		case PENNY_MESSAGES:
			set(edit, PENNY_MESSAGE_CREATED_VERSION, version);
			order_new_message(edit, change, row);
			break;
		case PENNY_PARTICIPANTS:
			set(edit, PENNY_PARTICIPANT_ACTIVE_AT,
				TimestampTzGetDatum(change->has_last_message_at ? change->last_message_at
																: change->created_at));
			break;
		case PENNY_ARTIFACT_VERSIONS:
			if (row->isnull[PENNY_ARTIFACT_VERSION_NUMBER])
				set(edit, PENNY_ARTIFACT_VERSION_NUMBER, next_number(row));
			break;
		default:
			set_identifier(edit, row);
			break;
	}
}

/* A new message: seq, parent, identifier. */
static void
order_new_message(Edit *edit, PennyChange *change, PennyRow *row)
{
	change->last_seq++;
	set(edit, PENNY_MESSAGE_SEQ, Int64GetDatum(change->last_seq));
	set_optional(edit, PENNY_UPDATED_AT, (Datum) 0, true);
	if (row->isnull[PENNY_MESSAGE_PARENT] && change->has_tail)
		set(edit, PENNY_MESSAGE_PARENT, copy_uuid(&change->tail));
	set_identifier(edit, row);
	change->tail = *PENNY_UUID(row, PENNY_ID);
	change->has_tail = true;
}

/*
 * A new conversation: everything that penny keeps begins anew.  Only where the
 * identifier was that of a deleted one do the versions go on, so that an older
 * position is never one of the newer conversation.
 */
static void
order_new_conversation(Edit *edit, PennyRow *row)
{
	int64 before = 0;

	ensure_caller(row, PENNY_CONVERSATION_OWNER);
	if (row->isnull[PENNY_ID])
		set_identifier(edit, row);
	else
		before = penny_trigger_deleted_version(PENNY_UUID(row, PENNY_ID));
	set(edit, PENNY_ROW_VERSION, Int64GetDatum(before + FIRST_VERSION));
	set(edit, PENNY_CONVERSATION_STATE_VERSION, Int64GetDatum(before + 1));
	set(edit, PENNY_CONVERSATION_LAST_SEQ, Int64GetDatum(0));
	set(edit, PENNY_CONVERSATION_COUNT, Int64GetDatum(0));
	set_optional(edit, PENNY_CONVERSATION_HEAD, (Datum) 0, true);
	set_optional(edit, PENNY_CONVERSATION_LAST_MESSAGE_AT, (Datum) 0, true);
}

static void
refuse_move(PennyTable table, const char *what)
{
	ereport(ERROR, (errcode(ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION),
					errmsg("the %s of a row of \"chat.%s\" cannot be changed", what,
						   penny_table_name(table)),
					errhint("Delete the row and insert another.")));
}

static void
order_update(Edit *edit, PennyTable table, PennyRow *old, PennyRow *row)
{
	PennyChange *change;

	if (!penny_row_same_uuid(old, row, PENNY_ID))
		refuse_move(table, table == PENNY_ARTIFACT_VERSIONS ? "artifact" : "identifier");
	if (table == PENNY_CONVERSATIONS)
	{
		order_conversation(edit, old, row);
		return;
	}
	if (!penny_row_same_uuid(old, row, PENNY_CONVERSATION_ID))
		refuse_move(table, "conversation");
	if (table == PENNY_PARTICIPANTS && !penny_row_same_uuid(old, row, PENNY_USER_ID))
		refuse_move(table, "user");
	if (table == PENNY_TOOL_EXECUTIONS && penny_row_same_uuid(old, row, PENNY_TOOL_MESSAGE))
		set_optional(edit, PENNY_TOOL_MESSAGE_SEQ, old->value[PENNY_TOOL_MESSAGE_SEQ],
					 old->isnull[PENNY_TOOL_MESSAGE_SEQ]);
	else if (table == PENNY_TOOL_EXECUTIONS || table == PENNY_ARTIFACTS)
		find_conversation(edit, table, row);
	change = penny_change_open(PENNY_UUID(old, PENNY_CONVERSATION_ID));
	if (change->gone)
		return;
	check_member(change);
	set(edit, PENNY_ROW_VERSION, Int64GetDatum(penny_change_next_version(change)));
	if (table == PENNY_MESSAGES && penny_stream_is_open(old))
	{
		Datum content;

		if (penny_stream_fold(old, row, &content))
			set(edit, PENNY_MESSAGE_CONTENT, content);
	}
	if (table == PENNY_MESSAGES)
	{
		set(edit, PENNY_MESSAGE_SEQ, old->value[PENNY_MESSAGE_SEQ]);
		set(edit, PENNY_MESSAGE_CREATED_VERSION, old->value[PENNY_MESSAGE_CREATED_VERSION]);
	}
	if (table == PENNY_PARTICIPANTS)
		set(edit, PENNY_PARTICIPANT_ACTIVE_AT, old->value[PENNY_PARTICIPANT_ACTIVE_AT]);
	if (table == PENNY_MESSAGES || table == PENNY_ARTIFACTS)
		set(edit, PENNY_UPDATED_AT, TimestampTzGetDatum(GetCurrentTransactionStartTimestamp()));
}

/* A change of the conversation's own row takes the counters along. */
static void
order_conversation(Edit *edit, PennyRow *old, PennyRow *row)
{
	PennyChange *change = penny_change_adopt(old);
	Datum version = Int64GetDatum(penny_change_next_version(change));

	if (!penny_row_same_uuid(old, row, PENNY_CONVERSATION_OWNER))
		ensure_caller(row, PENNY_CONVERSATION_OWNER);
	set(edit, PENNY_ROW_VERSION, version);
	set(edit, PENNY_CONVERSATION_STATE_VERSION, version);
	set(edit, PENNY_CONVERSATION_LAST_SEQ, Int64GetDatum(change->last_seq));
	set(edit, PENNY_CONVERSATION_COUNT, Int64GetDatum(change->count));
	set_optional(edit, PENNY_CONVERSATION_HEAD, copy_uuid(&change->head), !change->has_head);
	set_optional(edit, PENNY_CONVERSATION_LAST_MESSAGE_AT,
				 TimestampTzGetDatum(change->last_message_at), !change->has_last_message_at);
	set(edit, PENNY_UPDATED_AT, TimestampTzGetDatum(GetCurrentTransactionStartTimestamp()));
}

/*
 * Take the conversation from the row above, and see that they agree.  Of a row
 * above that the caller may not see, nothing is told, not even that it is there.
 */
static void
find_conversation(Edit *edit, PennyTable table, PennyRow *row)
{
	bool version = table == PENNY_ARTIFACT_VERSIONS;
	PennyColumn above = version ? PENNY_ID : PENNY_TOOL_MESSAGE;
	PennyTable above_table = version ? PENNY_ARTIFACTS : PENNY_MESSAGES;
	Snapshot snapshot;
	PennyLookup lookup;
	PennyRow found;
	bool seen = false;

	StaticAssertStmt(PENNY_TOOL_MESSAGE == PENNY_ARTIFACT_MESSAGE, "one column for both");
	if (table == PENNY_TOOL_EXECUTIONS && row->isnull[above])
		set_optional(edit, PENNY_TOOL_MESSAGE_SEQ, (Datum) 0, true);
	if (row->isnull[above])
		return;
	CommandCounterIncrement();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	penny_lookup_begin(&lookup, version ? PENNY_KEY_ARTIFACT : PENNY_KEY_MESSAGE, snapshot,
					   AccessShareLock, 1, &row->value[above]);
	if (penny_lookup_next(&lookup, ForwardScanDirection))
	{
		penny_row_from_slot(&found, above_table, lookup.slot);
		seen = may_see(PENNY_UUID(&found, PENNY_CONVERSATION_ID));
	}
	if (!seen)
		ereport(ERROR, (errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
						errmsg("%s %s does not exist", version ? "artifact" : "message",
							   DatumGetCString(DirectFunctionCall1(uuid_out, row->value[above])))));
	if (table == PENNY_TOOL_EXECUTIONS)
		set(edit, PENNY_TOOL_MESSAGE_SEQ, found.value[PENNY_MESSAGE_SEQ]);
	if (row->isnull[PENNY_CONVERSATION_ID])
	{
		row->value[PENNY_CONVERSATION_ID] = copy_uuid(PENNY_UUID(&found, PENNY_CONVERSATION_ID));
		row->isnull[PENNY_CONVERSATION_ID] = false;
		set(edit, PENNY_CONVERSATION_ID, row->value[PENNY_CONVERSATION_ID]);
	}
	else if (!penny_row_same_uuid(row, &found, PENNY_CONVERSATION_ID))
		ereport(ERROR,
				(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
				 errmsg("%s %s belongs to another conversation", version ? "artifact" : "message",
						DatumGetCString(DirectFunctionCall1(uuid_out, row->value[above])))));
	penny_lookup_end(&lookup);
	UnregisterSnapshot(snapshot);
}

/* The number after an artifact's newest version; its conversation is locked. */
static Datum
next_number(PennyRow *row)
{
	Snapshot snapshot;
	PennyLookup lookup;
	int32 number = 1;

	if (row->isnull[PENNY_ID])
		return Int32GetDatum(number);
	CommandCounterIncrement();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	penny_lookup_begin(&lookup, PENNY_KEY_ARTIFACT_NUMBER, snapshot, AccessShareLock, 1,
					   &row->value[PENNY_ID]);
	if (penny_lookup_next(&lookup, BackwardScanDirection))
	{
		PennyRow newest;

		penny_row_from_slot(&newest, PENNY_ARTIFACT_VERSIONS, lookup.slot);
		number = DatumGetInt32(newest.value[PENNY_ARTIFACT_VERSION_NUMBER]) + 1;
	}
	penny_lookup_end(&lookup);
	UnregisterSnapshot(snapshot);
	return Int32GetDatum(number);
}

/*
 * The policies ask with the snapshot that the statement began with, and then it
 * may have waited for the lock: who lost access meanwhile must not write behind
 * the removal.
 */
static void
check_member(PennyChange *change)
{
	if (change->member_seen || change->created_here || penny_access_is_above())
		return;
	PushActiveSnapshot(GetLatestSnapshot());
	if (!penny_access_conversation(&change->id))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("the caller takes no part in the conversation any more")));
	PopActiveSnapshot();
	penny_change_touch(change);
	change->member_seen = true;
}

/* The caller may be known from a token alone: make the user's row. */
static void
ensure_caller(PennyRow *row, PennyColumn column)
{
	const PennyIdentity *caller = penny_identity_get();

	if (caller->has_user && !row->isnull[column] &&
		penny_uuid_equal(PENNY_UUID(row, column), &caller->user_id))
		penny_change_ensure_user(&caller->user_id);
}

/*-------------------------------------------------------------------------
 *
 * triggers.c
 *		The triggers of schema chat.
 *
 * penny_order (BEFORE ROW, triggers_order.c) opens the conversation, gives the
 * change its version and fills what only penny knows: identifiers, seq,
 * counters.  penny_publish (AFTER ROW) sees the row as written, so what another
 * trigger suppressed is not counted; it keeps counters, leaves tombstones,
 * publishes.  penny_flush (AFTER STATEMENT) writes the conversations back.
 *
 * The conversation's own row carries its counters itself when a statement
 * changes it, and a new conversation gets its owner as first participant.
 * In a session that replicates (session_replication_role) rows come with their
 * numbers, participants and tombstones as rows of their own: nothing is changed
 * or added, and the rooms are told that there is something to read.
 *
 * A conversation that is archived, brought back or given away comes to lists of
 * its participants that do not show it, or goes from them: the cache is told of
 * each list.  The conversation is locked, so nobody is added meanwhile; in a
 * session that replicates nothing locks it, so there the whole cache ends.
 *
 * What changes a user's list is told in the user's own room; so are changes of
 * sessions, and the end of one lets the sockets of its user be verified again.
 *
 * When a conversation is deleted, its rows go with it (foreign keys) without
 * versions and tombstones of their own: one tombstone stands for all.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type_d.h"
#include "commands/trigger.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "cache/cache.h"
#include "realtime/publish.h"
#include "store/change.h"
#include "store/lookup.h"
#include "store/publish_rows.h"
#include "store/statement.h"
#include "store/stream.h"
#include "store/triggers_private.h"
#include "store/uuid.h"

static PennyStatement add_owner = {
	"INSERT INTO chat.participants (conversation_id, user_id, version, active_at)"
	" VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
	4,
	{UUIDOID, UUIDOID, INT8OID, TIMESTAMPTZOID}};

static PennyStatement add_participant = {
	"INSERT INTO chat.participants (conversation_id, user_id) VALUES ($1, $2)"
	" ON CONFLICT DO NOTHING",
	2,
	{UUIDOID, UUIDOID}};

static PennyStatement empty_conversations = {
	"UPDATE chat.conversations SET version = version OPERATOR(pg_catalog.+) 1,"
	" message_count = 0, head_message_id = NULL, last_message_at = NULL"
	" WHERE message_count" PENNY_GT "0",
	0,
	{0}};

static void published_internally(TriggerData *trigger);
static void session_changed(TriggerData *trigger);
static void publish_recheck(const PennyRow *conversation);
static void participant_changed(TriggerData *trigger, const PennyRow *row);
static void message_written(PennyChange *change, PennyRow *row);
static void message_deleted(PennyChange *change, PennyRow *row);
static void publish_conversation(TriggerData *trigger, PennyRow *old, PennyRow *row);
static void invalidate_lists(const PennyRow *old, const PennyRow *row);
static void truncated(PennyTable table);

bool
penny_trigger_is_replicated(void)
{
	return SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA;
}

/* The table that a trigger fires on. */
PennyTable
penny_trigger_table(TriggerData *trigger)
{
	PennyTable table = penny_table_of(RelationGetRelid(trigger->tg_relation));

	if (table == PENNY_TABLES || table == PENNY_USERS || table == PENNY_TOMBSTONES ||
		table == PENNY_SESSIONS || table == PENNY_MODELS)
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("penny's triggers do not belong on table \"%s\"",
							   RelationGetRelationName(trigger->tg_relation))));
	return table;
}

int64
penny_trigger_deleted_version(const pg_uuid_t *conversation)
{
	Datum key = UUIDPGetDatum(conversation);
	int64 version = 0;
	Snapshot snapshot;
	PennyLookup lookup;

	CommandCounterIncrement();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	penny_lookup_begin(&lookup, PENNY_KEY_TOMBSTONES, snapshot, AccessShareLock, 1, &key);
	if (penny_lookup_next(&lookup, BackwardScanDirection))
	{
		PennyRow tombstone;

		penny_row_from_slot(&tombstone, PENNY_TOMBSTONES, lookup.slot);
		version = DatumGetInt64(tombstone.value[PENNY_ROW_VERSION]);
	}
	penny_lookup_end(&lookup);
	UnregisterSnapshot(snapshot);
	return version;
}

bool
penny_row_same_uuid(const PennyRow *a, const PennyRow *b, PennyColumn column)
{
	if (a->isnull[column] || b->isnull[column])
		return a->isnull[column] == b->isnull[column];
	return penny_uuid_equal(PENNY_UUID(a, column), PENNY_UUID(b, column));
}

/*
 * AFTER INSERT OR UPDATE OR DELETE, each row.
 */
void
penny_trigger_publish(TriggerData *trigger)
{
	TupleDesc desc = RelationGetDescr(trigger->tg_relation);
	bool update = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event);
	PennyTable table;
	PennyChange *change;
	PennyRow old;
	PennyRow row;

	if (penny_table_of(RelationGetRelid(trigger->tg_relation)) == PENNY_SESSIONS)
	{
		session_changed(trigger);
		return;
	}
	if (penny_change_is_internal())
	{
		published_internally(trigger);
		return;
	}
	table = penny_trigger_table(trigger);
	penny_row_from_tuple(&row, table, update ? trigger->tg_newtuple : trigger->tg_trigtuple, desc);
	if (table == PENNY_CONVERSATIONS && update)
	{
		penny_row_from_tuple(&old, table, trigger->tg_trigtuple, desc);
		invalidate_lists(&old, &row);
	}
	if (table == PENNY_CONVERSATIONS && update &&
		!penny_row_same_uuid(&old, &row, PENNY_CONVERSATION_OWNER))
		publish_recheck(&row);
	if (penny_trigger_is_replicated())
	{
		penny_rows_publish_replicated(table, &row, TRIGGER_FIRED_BY_DELETE(trigger->tg_event));
		if (table == PENNY_PARTICIPANTS)
			participant_changed(trigger, &row);
		return;
	}
	if (table == PENNY_CONVERSATIONS)
	{
		publish_conversation(trigger, &old, &row);
		return;
	}
	if (table == PENNY_PARTICIPANTS)
		participant_changed(trigger, &row);
	if (table == PENNY_MESSAGES && TRIGGER_FIRED_BY_DELETE(trigger->tg_event) &&
		penny_stream_is_open(&row))
		penny_stream_forget(PENNY_UUID(&row, PENNY_ID));
	change = penny_change_open(PENNY_UUID(&row, PENNY_CONVERSATION_ID));
	if (change->gone)
		return;
	if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
	{
		if (table == PENNY_MESSAGES)
			message_deleted(change, &row);
		penny_rows_publish_deleted(change, table, &row);
		return;
	}
	if (table == PENNY_MESSAGES && !update)
		message_written(change, &row);
	penny_rows_publish(change, table, &row, !update);
}

/* Who owned the conversation may have been in its room for that alone. */
static void
publish_recheck(const PennyRow *conversation)
{
	char room[sizeof(PENNY_CONVERSATION_ROOM) + PENNY_UUID_TEXT];

	penny_room_write(room, PENNY_UUID(conversation, PENNY_ID));
	penny_publish_recheck(room);
}

/* What penny writes itself: of a new message participants learn by their rows. */
static void
published_internally(TriggerData *trigger)
{
	PennyRow row;

	if (!TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ||
		penny_table_of(RelationGetRelid(trigger->tg_relation)) != PENNY_PARTICIPANTS)
		return;
	penny_row_from_tuple(&row, PENNY_PARTICIPANTS, trigger->tg_newtuple,
						 RelationGetDescr(trigger->tg_relation));
	participant_changed(trigger, &row);
}

/* A row of somebody's list. */
static void
participant_changed(TriggerData *trigger, const PennyRow *row)
{
	const char *what = PENNY_LIST_CHANGED;

	if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		what = PENNY_LIST_ADDED;
	else if (TRIGGER_FIRED_BY_DELETE(trigger->tg_event))
		what = PENNY_LIST_REMOVED;
	penny_list_publish(PENNY_UUID(row, PENNY_USER_ID), what,
					   PENNY_UUID(row, PENNY_CONVERSATION_ID));
}

/*
 * A row of chat.sessions.  One that has run out anyway is no news: sockets end
 * with their token by themselves, and expired rows are deleted in masses.
 */
static void
session_changed(TriggerData *trigger)
{
	TupleDesc desc = RelationGetDescr(trigger->tg_relation);
	const pg_uuid_t *user;
	PennyRow row;

	penny_row_from_tuple(&row, PENNY_SESSIONS, trigger->tg_trigtuple, desc);
	if (DatumGetTimestampTz(row.value[PENNY_SESSION_EXPIRES_AT]) <= GetCurrentTimestamp())
		return;
	user = PENNY_UUID(&row, PENNY_USER_ID);
	if (!TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		penny_publish_session(user);
	penny_list_publish(user, PENNY_SESSIONS_CHANGED, NULL);
}

/*
 * A message is there.  It is the newest, unless a trigger of the owner has
 * written another one between its numbering and now.
 */
static void
message_written(PennyChange *change, PennyRow *row)
{
	int64 seq = DatumGetInt64(row->value[PENNY_MESSAGE_SEQ]);

	penny_change_touch(change);
	penny_change_mark(change);
	change->count++;
	if (seq < change->head_seq)
		return;
	change->head_seq = seq;
	change->head = *PENNY_UUID(row, PENNY_ID);
	change->has_head = true;
	change->head_lost = false;
	change->last_message_at = DatumGetTimestampTz(row->value[PENNY_CREATED_AT]);
	change->has_last_message_at = true;
	change->active_changed = true;
}

static void
message_deleted(PennyChange *change, PennyRow *row)
{
	penny_change_touch(change);
	change->count--;
	if (change->has_head && penny_uuid_equal(&change->head, PENNY_UUID(row, PENNY_ID)))
		change->head_lost = true;
	penny_change_mark(change);
}

/* The conversation's own row was written. */
static void
publish_conversation(TriggerData *trigger, PennyRow *old, PennyRow *row)
{
	PennyChange *change;
	Datum values[4];

	values[0] = row->value[PENNY_ID];
	values[1] = row->value[PENNY_CONVERSATION_OWNER];
	if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
	{
		change = penny_change_created(row);
		if (penny_trigger_deleted_version(&change->id) >=
			DatumGetInt64(row->value[PENNY_ROW_VERSION]))
			ereport(ERROR, (errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
							errmsg("a conversation of this identifier has just been deleted")));
		values[2] = row->value[PENNY_ROW_VERSION];
		values[3] = row->value[PENNY_CREATED_AT];
		penny_change_enter_internal();
		penny_statement_run_as(&add_owner, penny_table_owner(PENNY_PARTICIPANTS), values, NULL);
		penny_change_leave_internal();
		penny_list_publish(PENNY_UUID(row, PENNY_CONVERSATION_OWNER), PENNY_LIST_ADDED,
						   &change->id);
	}
	else if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
	{
		change = penny_change_adopt(row);
		penny_change_touch(change);
		if (!change->active_changed && !change->head_lost &&
			change->version == DatumGetInt64(row->value[PENNY_ROW_VERSION]))
			change->pending = false;
		penny_rows_publish(change, PENNY_CONVERSATIONS, row, false);
		penny_lists_publish_changed(&change->id);
		if (!penny_row_same_uuid(old, row, PENNY_CONVERSATION_OWNER))
			penny_statement_run_as(&add_participant, penny_table_owner(PENNY_PARTICIPANTS), values,
								   NULL);
	}
	else
	{
		change = penny_change_adopt(row);
		penny_rows_publish_deleted(change, PENNY_CONVERSATIONS, row);
		change->gone = true;
		change->pending = false;
	}
}

/*
 * Tell the cache of the lists that a changed conversation may have come to or
 * gone from.  What else lists go by, they depend on themselves (read_list.c).
 */
static void
invalidate_lists(const PennyRow *old, const PennyRow *row)
{
	Datum key = row->value[PENNY_ID];
	Snapshot snapshot;
	PennyLookup lookup;

	if (old->isnull[PENNY_CONVERSATION_ARCHIVED_AT] ==
			row->isnull[PENNY_CONVERSATION_ARCHIVED_AT] &&
		penny_row_same_uuid(old, row, PENNY_CONVERSATION_OWNER))
		return;
	if (penny_trigger_is_replicated())
	{
		penny_cache_invalidate_all();
		return;
	}
	CommandCounterIncrement();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	penny_lookup_begin(&lookup, PENNY_KEY_PARTICIPANT, snapshot, AccessShareLock, 1, &key);
	while (penny_lookup_next(&lookup, ForwardScanDirection))
	{
		bool isnull;
		Datum user = slot_getattr(
			lookup.slot, penny_table_attribute(PENNY_PARTICIPANTS, PENNY_USER_ID), &isnull);

		penny_cache_invalidate_uuid("list", DatumGetUUIDP(user));
	}
	penny_lookup_end(&lookup);
	UnregisterSnapshot(snapshot);
}

/*
 * AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE, each statement.
 */
void
penny_trigger_flush(TriggerData *trigger)
{
	static const pg_uuid_t everybody;

	if (penny_table_of(RelationGetRelid(trigger->tg_relation)) == PENNY_SESSIONS)
	{
		penny_publish_session(&everybody);
		return;
	}
	if (penny_change_is_internal())
		return;
	if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
		truncated(penny_trigger_table(trigger));
	penny_change_flush();
}

/*
 * A table was emptied without a word about its rows.  The counters of the
 * conversations follow; who watches reads anew.  No tombstones are left.
 */
static void
truncated(PennyTable table)
{
	if (table == PENNY_MESSAGES && !penny_trigger_is_replicated())
	{
		penny_change_flush();
		penny_change_enter_internal();
		penny_statement_run_as(&empty_conversations, penny_table_owner(PENNY_CONVERSATIONS), NULL,
							   NULL);
		penny_change_leave_internal();
		penny_change_forget();
	}
	if (table == PENNY_MESSAGES)
		penny_stream_drop_orphans();
	penny_publish_resync();
}

/*-------------------------------------------------------------------------
 *
 * change_direct.c
 *		Writing counters back without a statement.
 *
 * Every message costs an update of its conversation's row and of each
 * participant's.  As statements they cost more than the insertion of the
 * message itself, most of it for starting and ending an executor twice, so the
 * rows are updated here as the executor would do it: new tuple, heap, indexes.
 *
 * That is the same only while nobody wants to see such an update: no trigger
 * but penny's own, those of the cache (whose tags are raised here) and those of
 * foreign keys (which look at columns that do not change), no rule, no check or domain on a column that changes, no generated
 * column, an ordinary heap.  Whether it is so is found out once and kept until
 * the table's description changes; otherwise, and always in a session that
 * replicates or where an update could fail to serialize, the statement is run.
 *
 * The conversation's row is locked by this transaction.  A participant's row
 * can be deleted meanwhile only by who has locked the conversation too, so the
 * rows found are ours.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_trigger.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/nodeFuncs.h"
#include "optimizer/optimizer.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/compat.h"
#include "cache/cache.h"
#include "realtime/publish.h"
#include "store/change.h"
#include "store/change_private.h"
#include "store/lookup.h"
#include "store/publish_rows.h"
#include "store/uuid.h"

#define MAX_SET 6

/* What is known of a table that is written here. */
typedef struct Plain
{
	Oid relid; /* InvalidOid: not looked at */
	bool plain;
} Plain;

static Plain conversations;
static Plain participants;

/* Columns to set, and their values. */
typedef struct Set
{
	int n;
	int attribute[MAX_SET];
	Datum value[MAX_SET];
	bool isnull[MAX_SET];
} Set;

static const PennyColumn conversation_set[] = {
	PENNY_ROW_VERSION,       PENNY_CONVERSATION_LAST_SEQ,        PENNY_CONVERSATION_COUNT,
	PENNY_CONVERSATION_HEAD, PENNY_CONVERSATION_LAST_MESSAGE_AT, PENNY_UPDATED_AT};
static const PennyColumn participant_set[] = {PENNY_PARTICIPANT_ACTIVE_AT};

static void
forget(Datum arg, Oid relid)
{
	(void) arg;
	if (!OidIsValid(relid) || relid == conversations.relid)
		conversations.relid = InvalidOid;
	if (!OidIsValid(relid) || relid == participants.relid)
		participants.relid = InvalidOid;
}

/* ---- may the table be written here? ------------------------------------------ */

/* Is it penny.invalidate() with these arguments? */
static bool
invalidates(const Trigger *trigger, const char *const *args, int nargs)
{
	if (trigger->tgnargs != nargs || trigger->tgoldtable != NULL || trigger->tgnewtable != NULL ||
		get_func_namespace(trigger->tgfoid) != get_namespace_oid("penny", true))
		return false;
	for (int i = 0; i < nargs; i++)
		if (strcmp(trigger->tgargs[i], args[i]) != 0)
			return false;
	return true;
}

/*
 * A trigger of the cache, in whose place the tags are raised here; or one that
 * looks at members, who do not change.
 */
static bool
is_of_cache(const Trigger *trigger, PennyTable table)
{
	static const char *const conversation[] = {"conversation", "id"};
	static const char *const participant[] = {"conversation", "conversation_id", "list", "user_id"};
	static const char *const member[] = {"member", "user_id"};

	if (strcmp(trigger->tgname, "penny_invalidate") == 0 && trigger->tgqual == NULL)
		return table == PENNY_CONVERSATIONS
				   ? invalidates(trigger, conversation, lengthof(conversation))
				   : invalidates(trigger, participant, lengthof(participant));
	return strcmp(trigger->tgname, "penny_invalidate_moved") == 0 && trigger->tgqual != NULL &&
		   table == PENNY_PARTICIPANTS && invalidates(trigger, member, lengthof(member));
}

/* A trigger that has nothing to do when penny itself changes these columns. */
static bool
is_ours(const Trigger *trigger, PennyTable table)
{
	Oid schema = get_namespace_oid("_penny", true);
	char *name;

	if (trigger->tgisinternal || !TRIGGER_FOR_UPDATE(trigger->tgtype) ||
		is_of_cache(trigger, table))
		return true;
	if (!OidIsValid(schema) || get_func_namespace(trigger->tgfoid) != schema)
		return false;
	name = get_func_name(trigger->tgfoid);
	return name != NULL &&
		   (strcmp(name, "order_change") == 0 || strcmp(name, "publish_change") == 0 ||
			strcmp(name, "flush_changes") == 0);
}

/* Does a check look at one of the columns? */
static bool
is_checked(Relation relation, const Bitmapset *columns)
{
	TupleConstr *constraints = RelationGetDescr(relation)->constr;

	for (int i = 0; constraints != NULL && i < constraints->num_check; i++)
	{
		Bitmapset *used = NULL;

		pull_varattnos(stringToNode(constraints->check[i].ccbin), 1, &used);
		if (bms_is_member(0 - FirstLowInvalidHeapAttributeNumber, used) ||
			bms_overlap(used, columns))
			return true;
	}
	return false;
}

static bool
look(Relation relation, PennyTable table, const PennyColumn *set, int n)
{
	TupleDesc desc = RelationGetDescr(relation);
	Bitmapset *columns = NULL;

	if (relation->rd_rel->relam != HEAP_TABLE_AM_OID || relation->rd_rel->relispartition ||
		relation->rd_rel->relhassubclass || relation->rd_rules != NULL ||
		(desc->constr != NULL && desc->constr->has_generated_stored))
		return false;
	for (int i = 0; i < n; i++)
	{
		AttrNumber attribute = penny_table_attribute(table, set[i]);
		Oid type = attribute > 0 ? TupleDescAttr(desc, attribute - 1)->atttypid : InvalidOid;

		if (attribute <= 0 || type != getBaseType(type))
			return false;
		columns = bms_add_member(columns, attribute - FirstLowInvalidHeapAttributeNumber);
	}
	for (int i = 0; relation->trigdesc != NULL && i < relation->trigdesc->numtriggers; i++)
		if (!is_ours(&relation->trigdesc->triggers[i], table))
			return false;
	return !is_checked(relation, columns);
}

static bool
may_write(Plain *known, Relation relation, PennyTable table, const PennyColumn *set, int n)
{
	static bool registered = false;

	if (!registered)
	{
		CacheRegisterRelcacheCallback(forget, (Datum) 0);
		registered = true;
	}
	if (known->relid != RelationGetRelid(relation))
	{
		known->plain = look(relation, table, set, n);
		known->relid = RelationGetRelid(relation);
	}
	return known->plain;
}

/* ---- writing --------------------------------------------------------------------- */

static void
set(Set *what, PennyTable table, PennyColumn column, Datum value, bool isnull)
{
	what->attribute[what->n] = penny_table_attribute(table, column);
	what->value[what->n] = value;
	what->isnull[what->n++] = isnull;
}

/* The indexes of a table, opened for the first row that needs them. */
typedef struct Indexes
{
	EState *estate;
	ResultRelInfo *result; /* NULL: not opened */
} Indexes;

/* Put a new row into the indexes of the table. */
static void
insert_index_entries(Indexes *open, Relation relation, TupleTableSlot *slot,
					 PennyUpdatedIndexes indexes)
{
	(void) indexes;
	if (open->result == NULL)
	{
		open->estate = CreateExecutorState();
		open->result = makeNode(ResultRelInfo);
		InitResultRelInfo(open->result, relation, 0, NULL, 0);
		ExecOpenIndices(open->result, false);
	}
	penny_insert_index_entries(open->result, slot, open->estate, indexes);
	ResetPerTupleExprContext(open->estate);
}

static void
close_indexes(Indexes *open)
{
	if (open->result == NULL)
		return;
	ExecCloseIndices(open->result);
	FreeExecutorState(open->estate);
	open->result = NULL;
}

/*
 * Update the row in the slot of a look-up, as the table's owner: indexes may
 * have functions.
 */
static void
update_row(PennyLookup *lookup, Indexes *open, Set *what)
{
	Oid saved_user;
	int saved_context;

	TupleDesc desc = RelationGetDescr(lookup->table);
	TupleTableSlot *slot = MakeSingleTupleTableSlot(desc, table_slot_callbacks(lookup->table));
	PennyUpdatedIndexes indexes;
	HeapTuple old;
	bool should_free;

	GetUserIdAndSecContext(&saved_user, &saved_context);
	SetUserIdAndSecContext(lookup->table->rd_rel->relowner,
						   saved_context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS);
	old = ExecFetchSlotHeapTuple(lookup->slot, false, &should_free);
	ExecForceStoreHeapTuple(
		heap_modify_tuple_by_cols(old, desc, what->n, what->attribute, what->value, what->isnull),
		slot, true);
	simple_table_tuple_update(lookup->table, &lookup->slot->tts_tid, slot, GetLatestSnapshot(),
							  &indexes);
	if (penny_indexes_updated(indexes))
		insert_index_entries(open, lookup->table, slot, indexes);
	ExecDropSingleTupleTableSlot(slot);
	SetUserIdAndSecContext(saved_user, saved_context);
}

/* Is a statement to be run in any case? */
static bool
is_special(void)
{
	return IsolationUsesXactSnapshot() ||
		   SessionReplicationRole == SESSION_REPLICATION_ROLE_REPLICA;
}

/*
 * Write a conversation's counters; false: run the statement.
 */
bool
penny_change_write_counters(const PennyChange *change)
{
	Datum key = UUIDPGetDatum(&change->id);
	Snapshot snapshot;
	PennyLookup lookup;
	bool done = false;
	Indexes open = {NULL, NULL};
	Set what = {0};

	if (is_special())
		return false;
	CommandCounterIncrement();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	penny_lookup_begin(&lookup, PENNY_KEY_CONVERSATION, snapshot, RowExclusiveLock, 1, &key);
	if (may_write(&conversations, lookup.table, PENNY_CONVERSATIONS, conversation_set,
				  lengthof(conversation_set)) &&
		penny_lookup_next(&lookup, ForwardScanDirection))
	{
		const PennyTable table = PENNY_CONVERSATIONS;

		set(&what, table, PENNY_ROW_VERSION, Int64GetDatum(change->version), false);
		set(&what, table, PENNY_CONVERSATION_LAST_SEQ, Int64GetDatum(change->last_seq), false);
		set(&what, table, PENNY_CONVERSATION_COUNT, Int64GetDatum(change->count), false);
		set(&what, table, PENNY_CONVERSATION_HEAD, UUIDPGetDatum(&change->head), !change->has_head);
		set(&what, table, PENNY_CONVERSATION_LAST_MESSAGE_AT,
			TimestampTzGetDatum(change->last_message_at), !change->has_last_message_at);
		set(&what, table, PENNY_UPDATED_AT,
			TimestampTzGetDatum(GetCurrentTransactionStartTimestamp()), false);
		update_row(&lookup, &open, &what);
		penny_cache_invalidate_uuid("conversation", &change->id);
		done = true;
	}
	close_indexes(&open);
	penny_lookup_end(&lookup);
	UnregisterSnapshot(snapshot);
	return done;
}

/*
 * Move the participants of a conversation in their lists; false: run the
 * statement.
 */
bool
penny_change_move_participants(const PennyChange *change, TimestampTz active_at)
{
	AttrNumber user_id = penny_table_attribute(PENNY_PARTICIPANTS, PENNY_USER_ID);
	AttrNumber active = penny_table_attribute(PENNY_PARTICIPANTS, PENNY_PARTICIPANT_ACTIVE_AT);
	Datum key = UUIDPGetDatum(&change->id);
	Snapshot snapshot;
	PennyLookup lookup;
	bool plain;
	Indexes open = {NULL, NULL};
	Set what = {0};

	if (is_special())
		return false;
	CommandCounterIncrement();
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	penny_lookup_begin(&lookup, PENNY_KEY_PARTICIPANT, snapshot, RowExclusiveLock, 1, &key);
	plain = may_write(&participants, lookup.table, PENNY_PARTICIPANTS, participant_set,
					  lengthof(participant_set));
	set(&what, PENNY_PARTICIPANTS, PENNY_PARTICIPANT_ACTIVE_AT, TimestampTzGetDatum(active_at),
		false);
	while (plain && penny_lookup_next(&lookup, ForwardScanDirection))
	{
		bool isnull;
		Datum now = slot_getattr(lookup.slot, active, &isnull);
		pg_uuid_t user;

		if (!isnull && DatumGetTimestampTz(now) == active_at)
			continue;
		user = *DatumGetUUIDP(slot_getattr(lookup.slot, user_id, &isnull));
		update_row(&lookup, &open, &what);
		penny_cache_invalidate_uuid("list", &user);
		penny_list_publish(&user, PENNY_LIST_CHANGED, &change->id);
	}
	close_indexes(&open);
	penny_lookup_end(&lookup);
	UnregisterSnapshot(snapshot);
	return plain;
}

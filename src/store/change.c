/*-------------------------------------------------------------------------
 *
 * change.c
 *		The order of a conversation: lock, counters, write-back.
 *
 * Everything that changes in a conversation gets the next version, a new
 * message also the next seq.  Commit order is version order, since the first
 * change of a conversation locks its row until the transaction ends.  The lock
 * covers one conversation.
 *
 * The counters of a locked conversation live in this process while a statement
 * runs: a statement that writes twenty-four messages takes one lock and writes
 * the conversation's row once, at its end (AFTER STATEMENT trigger; as a
 * safety net also before commit).  Until then only this transaction could see
 * the difference.  Subtransactions: a state is copied before a deeper level
 * changes it, dropped when that level commits, restored when it rolls back;
 * what a rolled-back level locked is forgotten with it.
 *
 * Rows are written back as the owner of the table, with saved plans and with
 * penny's triggers told to look away (penny_change_is_internal).
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
#include "catalog/pg_type_d.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/fmgrprotos.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "realtime/publish.h"
#include "store/change.h"
#include "store/publish_rows.h"
#include "store/statement.h"
#include "store/uuid.h"

#define RECENT_CHANGES 8 /* searched one by one before the hash */
#define MAX_INTERNAL 32

typedef struct ChangeEntry
{
	pg_uuid_t id; /* key */
	PennyChange *change;
} ChangeEntry;

/* All in TopTransactionContext; reset at its end. */
static HTAB *all_changes = NULL;
static PennyChange *recent[RECENT_CHANGES];
static int next_recent = 0;
static PennyChange **dirty = NULL;
static int ndirty = 0;
static int maxdirty = 0;
static dlist_head nested_changes = DLIST_STATIC_INIT(nested_changes);
static pg_uuid_t known_user; /* has a row; zero: none known */

/*
 * Statements of penny's own that are running.  There are several only where a
 * trigger of the owner's, fired by one, changes a conversation.
 */
typedef struct Internal
{
	int nest;  /* transaction nesting level */
	int depth; /* triggers around it */
} Internal;

static Internal internals[MAX_INTERNAL];
static int ninternals = 0;

static PennyStatement write_back = {
	"UPDATE chat.conversations SET version = $2, last_seq = $3, message_count = $4,"
	" head_message_id = $5, last_message_at = $6, updated_at = pg_catalog.now()"
	" WHERE id" PENNY_EQ "$1",
	6,
	{UUIDOID, INT8OID, INT8OID, INT8OID, UUIDOID, TIMESTAMPTZOID}};

static PennyStatement move_participants = {"UPDATE chat.participants SET active_at = $2"
										   " WHERE conversation_id" PENNY_EQ
										   "$1 AND active_at" PENNY_NE "$2",
										   2,
										   {UUIDOID, TIMESTAMPTZOID}};

static PennyStatement find_head = {
	"SELECT id, created_at FROM chat.messages WHERE conversation_id" PENNY_EQ "$1"
	" ORDER BY seq DESC LIMIT 1",
	1,
	{UUIDOID}};

static PennyStatement make_user = {
	"INSERT INTO chat.users (id) VALUES ($1) ON CONFLICT DO NOTHING", 1, {UUIDOID}};

static PennyChange *find_change(const pg_uuid_t *conversation);
static PennyChange *add_change(const pg_uuid_t *conversation);
static void load_change(PennyChange *change, const PennyRow *row);
static bool lock_row(const pg_uuid_t *conversation, PennyChange *change);
static void flush_one(PennyChange *change);
static void find_new_head(PennyChange *change);
static void end_transaction(XactEvent event, void *arg);
static void end_subtransaction(SubXactEvent event, SubTransactionId sub, SubTransactionId parent,
							   void *arg);

/*
 * Install the callbacks; from _PG_init.
 */
void
penny_change_init(void)
{
	RegisterXactCallback(end_transaction, NULL);
	RegisterSubXactCallback(end_subtransaction, NULL);
}

/* How many triggers are running, each within the one before. */
static int
trigger_depth(void)
{
	return DatumGetInt32(pg_trigger_depth(NULL));
}

/*
 * Is the trigger that asks fired by a statement of penny's own?  One that is
 * fired by what a trigger of the owner's does on such an occasion is not.
 */
bool
penny_change_is_internal(void)
{
	return ninternals > 0 && trigger_depth() == internals[ninternals - 1].depth + 1;
}

void
penny_change_enter_internal(void)
{
	if (ninternals == MAX_INTERNAL)
		ereport(ERROR, (errcode(ERRCODE_STATEMENT_TOO_COMPLEX),
						errmsg("triggers that change conversations fire each other without end")));
	internals[ninternals].nest = GetCurrentTransactionNestLevel();
	internals[ninternals++].depth = trigger_depth();
}

void
penny_change_leave_internal(void)
{
	ninternals--;
}

/*
 * Lock a conversation for this transaction, and know its counters.
 */
PennyChange *
penny_change_open(const pg_uuid_t *conversation)
{
	PennyChange *change = find_change(conversation);

	if (change == NULL)
	{
		change = add_change(conversation);
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
	PennyChange *change = find_change(PENNY_UUID(conversation, PENNY_ID));

	if (change == NULL)
	{
		change = add_change(PENNY_UUID(conversation, PENNY_ID));
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
	PennyChange *change = find_change(PENNY_UUID(conversation, PENNY_ID));

	if (change == NULL)
	{
		change = add_change(PENNY_UUID(conversation, PENNY_ID));
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

void
penny_change_mark(PennyChange *change)
{
	change->pending = true;
	if (change->dirty)
		return;
	if (ndirty == maxdirty)
	{
		maxdirty = Max(8, maxdirty * 2);
		if (dirty == NULL)
			dirty = MemoryContextAlloc(TopTransactionContext, maxdirty * sizeof(PennyChange *));
		else
			dirty = repalloc(dirty, maxdirty * sizeof(PennyChange *));
	}
	dirty[ndirty++] = change;
	change->dirty = true;
}

/*
 * Keep a copy before a deeper subtransaction changes it.
 */
void
penny_change_touch(PennyChange *change)
{
	int nest = GetCurrentTransactionNestLevel();
	PennyChange *saved;

	if (change->nest >= nest)
		return;
	saved = MemoryContextAlloc(TopTransactionContext, sizeof(PennyChange));
	*saved = *change;
	if (change->maxopen > 0)
	{
		saved->open = MemoryContextAlloc(TopTransactionContext, change->maxopen * sizeof(int64));
		memcpy(saved->open, change->open, change->nopen * sizeof(int64));
	}
	if (change->nest <= 1)
		dlist_push_head(&nested_changes, &change->nested);
	change->saved = saved;
	change->nest = nest;
}

/*
 * Write all marked conversations back.
 */
void
penny_change_flush(void)
{
	while (ndirty > 0)
	{
		PennyChange *change = dirty[--ndirty];

		change->dirty = false;
		if (change->pending)
			flush_one(change);
	}
}

/*
 * Know nothing any more: what is asked next is read from the tables.
 */
void
penny_change_forget(void)
{
	Assert(ndirty == 0);
	all_changes = NULL;
	memset(recent, 0, sizeof(recent));
	next_recent = 0;
	dirty = NULL;
	ndirty = maxdirty = 0;
	dlist_init(&nested_changes);
	memset(&known_user, 0, sizeof(known_user));
}

/*
 * Make a user's row if there is none.
 */
void
penny_change_ensure_user(const pg_uuid_t *user)
{
	Datum value = UUIDPGetDatum(user);
	bool exists;

	if (penny_uuid_equal(user, &known_user))
		return;
	PushActiveSnapshot(GetLatestSnapshot());
	exists = penny_lookup_exists(PENNY_KEY_USER_ID, GetActiveSnapshot(), 1, &value);
	PopActiveSnapshot();
	if (!exists)
		penny_statement_run_as(&make_user, penny_table_owner(PENNY_USERS), &value, NULL);
	known_user = *user;
}

static PennyChange *
find_change(const pg_uuid_t *conversation)
{
	ChangeEntry *entry;
	int i;

	for (i = 0; i < RECENT_CHANGES; i++)
		if (recent[i] != NULL && penny_uuid_equal(&recent[i]->id, conversation))
			return recent[i];
	if (all_changes == NULL)
		return NULL;
	entry = hash_search(all_changes, conversation, HASH_FIND, NULL);
	return entry == NULL ? NULL : entry->change;
}

/* Put a change into the hash. */
static void
hash_change(PennyChange *change)
{
	ChangeEntry *entry;

	if (all_changes == NULL)
	{
		HASHCTL control;

		memset(&control, 0, sizeof(control));
		control.keysize = sizeof(pg_uuid_t);
		control.entrysize = sizeof(ChangeEntry);
		control.hcxt = TopTransactionContext;
		all_changes =
			hash_create("penny changes", 256, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	entry = hash_search(all_changes, &change->id, HASH_ENTER, NULL);
	entry->change = change;
}

/* Begin to know a conversation; what does not fit the recent ones is hashed. */
static PennyChange *
add_change(const pg_uuid_t *conversation)
{
	PennyChange *change = MemoryContextAllocZero(TopTransactionContext, sizeof(PennyChange));

	change->id = *conversation;
	change->nest = GetCurrentTransactionNestLevel();
	if (change->nest > 1)
		dlist_push_head(&nested_changes, &change->nested);
	if (recent[next_recent] != NULL)
		hash_change(recent[next_recent]);
	recent[next_recent] = change;
	next_recent = (next_recent + 1) % RECENT_CHANGES;
	return change;
}

/* Stop knowing a conversation. */
static void
remove_change(PennyChange *change)
{
	int i;

	for (i = 0; i < RECENT_CHANGES; i++)
		if (recent[i] == change)
			recent[i] = NULL;
	if (all_changes != NULL)
		(void) hash_search(all_changes, &change->id, HASH_REMOVE, NULL);
	for (i = 0; i < ndirty; i++)
		if (dirty[i] == change)
			dirty[i--] = dirty[--ndirty];
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

/* Write one conversation back, and publish what no row has published. */
static void
flush_one(PennyChange *change)
{
	Datum values[6];
	char nulls[7] = "      ";
	int i;

	penny_change_touch(change);
	change->pending = false;
	if (change->gone)
	{
		change->nopen = 0;
		return;
	}
	penny_change_enter_internal();
	if (change->head_lost)
		find_new_head(change);
	values[0] = UUIDPGetDatum(&change->id);
	values[1] = Int64GetDatum(change->version);
	values[2] = Int64GetDatum(change->last_seq);
	values[3] = Int64GetDatum(change->count);
	values[4] = UUIDPGetDatum(&change->head);
	values[5] = TimestampTzGetDatum(change->last_message_at);
	nulls[4] = change->has_head ? ' ' : 'n';
	nulls[5] = change->has_last_message_at ? ' ' : 'n';
	penny_statement_run_as(&write_back, penny_table_owner(PENNY_CONVERSATIONS), values, nulls);
	if (change->active_changed)
	{
		values[1] = TimestampTzGetDatum(change->has_last_message_at ? change->last_message_at
																	: change->created_at);
		penny_statement_run_as(&move_participants, penny_table_owner(PENNY_PARTICIPANTS), values,
							   NULL);
		change->active_changed = false;
	}
	penny_change_leave_internal();
	change->has_tail = change->has_head;
	change->tail = change->head;
	for (i = 0; i < change->nopen; i++)
		penny_rows_publish_version(change, change->open[i]);
	if (change->created_here)
		penny_rows_publish_created(change);
	change->nopen = 0;
}

/* The newest message is gone: which one is it now? */
static void
find_new_head(PennyChange *change)
{
	Datum value = UUIDPGetDatum(&change->id);
	Oid user;
	int context;

	change->head_lost = change->has_head = change->has_last_message_at = false;
	change->active_changed = true;
	GetUserIdAndSecContext(&user, &context);
	SPI_connect();
	SetUserIdAndSecContext(penny_table_owner(PENNY_MESSAGES),
						   context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS);
	if (penny_statement_run(&find_head, &value, NULL, false) > 0)
	{
		HeapTuple tuple = SPI_tuptable->vals[0];
		bool isnull;

		change->head = *DatumGetUUIDP(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 1, &isnull));
		change->last_message_at =
			DatumGetTimestampTz(SPI_getbinval(tuple, SPI_tuptable->tupdesc, 2, &isnull));
		change->has_head = change->has_last_message_at = true;
	}
	SetUserIdAndSecContext(user, context);
	SPI_finish();
}

static void
end_transaction(XactEvent event, void *arg)
{
	(void) arg;
	if (event == XACT_EVENT_PRE_COMMIT || event == XACT_EVENT_PRE_PREPARE)
	{
		if (ndirty > 0)
		{
			/* a trigger that should have done it is disabled */
			PushActiveSnapshot(GetTransactionSnapshot());
			penny_change_flush();
			PopActiveSnapshot();
		}
		return;
	}
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE)
		return;
	ndirty = 0;
	penny_change_forget();
	ninternals = 0;
}

/* A level commits: its states are its parent's. */
static void
merge_level(int nest)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &nested_changes)
	{
		PennyChange *change = dlist_container(PennyChange, nested, iter.cur);

		if (change->nest < nest)
			continue;
		change->nest = nest - 1;
		if (change->saved != NULL && change->saved->nest == change->nest)
			change->saved = change->saved->saved;
		if (change->nest <= 1)
			dlist_delete(&change->nested);
	}
}

/* A level rolls back: the states from before it. */
static void
restore_level(int nest)
{
	dlist_mutable_iter iter;

	dlist_foreach_modify(iter, &nested_changes)
	{
		PennyChange *change = dlist_container(PennyChange, nested, iter.cur);
		dlist_node node = change->nested;
		bool was_dirty = change->dirty;

		if (change->nest < nest)
			continue;
		if (change->saved == NULL)
		{
			dlist_delete(&change->nested);
			remove_change(change);
			continue;
		}
		*change = *change->saved;
		change->nested = node;
		change->dirty = was_dirty;
		if (change->nest <= 1)
			dlist_delete(&change->nested);
		if (change->pending)
			penny_change_mark(change);
	}
}

static void
end_subtransaction(SubXactEvent event, SubTransactionId sub, SubTransactionId parent, void *arg)
{
	(void) sub;
	(void) parent;
	(void) arg;
	if (event == SUBXACT_EVENT_COMMIT_SUB)
		merge_level(GetCurrentTransactionNestLevel());
	else if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		int nest = GetCurrentTransactionNestLevel();

		restore_level(nest);
		memset(&known_user, 0, sizeof(known_user));
		while (ninternals > 0 && internals[ninternals - 1].nest >= nest)
			ninternals--;
	}
}

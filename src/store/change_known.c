/*-------------------------------------------------------------------------
 *
 * change_known.c
 *		The conversations that the current transaction knows, through
 *		subtransactions to its end.
 *
 * A state is copied before a deeper level of the transaction changes it; the
 * copy is dropped when that level commits, and put back when it rolls back.
 * What a rolled-back level locked is forgotten with it.  Everything lives in
 * TopTransactionContext.
 *
 * The few conversations of an ordinary transaction are found one by one; an
 * import that goes through thousands finds them by a hash.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "store/change.h"
#include "store/change_private.h"
#include "store/uuid.h"

#define RECENT_CHANGES 8 /* searched one by one before the hash */

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

/*
 * The state of a conversation, or NULL.
 */
PennyChange *
penny_change_find(const pg_uuid_t *conversation)
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

/*
 * Begin to know a conversation; what does not fit the recent ones is hashed.
 */
PennyChange *
penny_change_add(const pg_uuid_t *conversation)
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

/*
 * Mark for penny_change_flush().
 */
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
 * The next marked conversation, which is marked no more; NULL: none is left.
 */
PennyChange *
penny_change_next_marked(void)
{
	PennyChange *change;

	if (ndirty == 0)
		return NULL;
	change = dirty[--ndirty];
	change->dirty = false;
	return change;
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
	penny_change_forget_user();
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
	penny_change_leave_level(1);
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
		restore_level(GetCurrentTransactionNestLevel());
		penny_change_leave_level(GetCurrentTransactionNestLevel());
		penny_change_forget_user();
	}
}

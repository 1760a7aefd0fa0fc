/*-------------------------------------------------------------------------
 *
 * fence.c
 *		What a transaction has changed, and the stamps that say so.
 *
 * The dirty set of a transaction is the slots of the tags that it has changed.
 * It lasts as long as the transaction and never shrinks: rolling back to a
 * savepoint leaves tags that were not changed after all, and costs a miss.
 * More than MAX_TAGS become PENNY_STAMP_ALL.
 *
 * Its transaction id is pushed into those slots at PRE_COMMIT and PRE_PREPARE,
 * that is, before anybody can see the change.  Nothing has to be done after
 * the commit: a synchronous standby that does not answer, a prepared
 * transaction, a backend that dies, are all the same case, a pusher that is
 * still in progress.  Whoever changes something later still, in another
 * module's PRE_COMMIT callback, pushes at once.
 *
 * Catalogs are not read by snapshot but by caches that are told of changes
 * after these can be seen.  A fill between these two moments could see the
 * change as over and yet have obeyed the old policy, right or trigger.  So a
 * transaction that has changed catalogs counts itself among the changers
 * before its push, pushes PENNY_STAMP_ALL once more after the processes were
 * told, and then leaves the count; nothing is kept while it is not 0.  In
 * detail, for a fill that opened (and took the seq of PENNY_STAMP_ALL)
 *	 before the first push: the seq has moved, refused;
 *	 between the two pushes: refused by the count if it ends before the second,
 *		by the seq if after it;
 *	 after the second: it takes what others were told (read.c asks at the
 *		start), so it obeys the new catalogs.
 * COMMIT PREPARED of such a transaction does the same (watch.c).
 *
 * Transactions of before the start of the server that are still prepared have
 * pushed into stamps that are gone.  So nothing is read or kept under a
 * snapshot whose xmin is below first_xid, the next xid when the cache was
 * first asked for something.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/procarray.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "cache/cache_private.h"
#include "config/config.h"
#include "redis/redis.h"

#define MAX_TAGS 1024
#define FEW_TAGS 16     /* searched one by one */
#define TABLE_SIZE 4096 /* of the hash table of more; a power of two */
#define FREE_PLACE PENNY_STAMP_NONE

typedef struct DirtySet
{
	bool all;
	bool pushed; /* PRE_COMMIT is over: what comes now is pushed at once */
	int n;
	uint32 *table; /* NULL while there are few */
	uint32 slot[MAX_TAGS];
} DirtySet;

/* Of the current transaction; NULL: it changed nothing that is cached. */
static DirtySet *dirty = NULL;

/* How far a transaction is that changed catalogs: counted, and committed. */
static bool changing = false;
static bool changed = false;

/* An xid of about now, with its epoch; read once in a transaction. */
static uint64 reference_xid = 0;

static DirtySet *current_set(void);
static bool is_member(const DirtySet *set, uint32 slot);
static void add_member(DirtySet *set, uint32 slot);
static void push(uint32 slot, uint64 xid);
static bool is_finished(uint64 xid);
static void push_set(void);
static void begin_changing(void);
static void end_changing(bool push_again);
static bool in_progress(uint64 xid, Snapshot snapshot);
static void transaction_event(XactEvent event, void *arg);
static void after_locks(ResourceReleasePhase phase, bool isCommit, bool isTopLevel, void *arg);
static void leave(int code, Datum arg);

void
penny_fence_init(void)
{
	RegisterXactCallback(transaction_event, NULL);
	RegisterResourceReleaseCallback(after_locks, NULL);
}

/* Is there a cache? */
bool
penny_cache_is_on(void)
{
	return penny_cache_shared() != NULL && penny_plane()->config.cache_chunks != 0;
}

/* ---- what the transaction has changed ------------------------------------ */

void
penny_cache_invalidate(const char *name, const char *value)
{
	if (strcmp(name, "conversation") == 0 && value != NULL)
		penny_redis_changed(value);
	if (penny_cache_is_on() && IsTransactionState())
		penny_fence_dirty(penny_fence_slot(name, value));
}

void
penny_cache_invalidate_all(void)
{
	DirtySet *set;

	penny_redis_changed_all();
	if (!penny_cache_is_on() || !IsTransactionState())
		return;
	set = current_set();
	set->all = true;
	if (set->pushed)
	{
		begin_changing();
		push(PENNY_STAMP_ALL, U64FromFullTransactionId(GetTopFullTransactionIdIfAny()));
	}
}

void
penny_fence_dirty(uint32 slot)
{
	DirtySet *set = current_set();

	if (!set->all && !is_member(set, slot))
	{
		if (set->n == MAX_TAGS)
		{
			penny_cache_invalidate_all();
			return;
		}
		add_member(set, slot);
	}
	if (set->pushed)
		push(slot, U64FromFullTransactionId(GetTopFullTransactionIdIfAny()));
}

bool
penny_fence_is_dirty(uint32 slot)
{
	return dirty != NULL && (dirty->all || is_member(dirty, slot));
}

static DirtySet *
current_set(void)
{
	if (dirty == NULL)
	{
		static DirtySet set; /* there is one transaction at a time */

		set.all = set.pushed = false;
		set.n = 0;
		set.table = NULL;
		dirty = &set;
	}
	return dirty;
}

/* Place of a slot in the hash table, or where it would be. */
static uint32
table_place(const uint32 *table, uint32 slot)
{
	uint32 place = (slot * 2654435769U) & (TABLE_SIZE - 1);

	while (table[place] != FREE_PLACE && table[place] != slot)
		place = (place + 1) & (TABLE_SIZE - 1);
	return place;
}

static bool
is_member(const DirtySet *set, uint32 slot)
{
	if (set->table != NULL)
		return set->table[table_place(set->table, slot)] == slot;
	for (int i = set->n - 1; i >= 0; i--)
		if (set->slot[i] == slot)
			return true;
	return false;
}

/* The set has room. */
static void
add_member(DirtySet *set, uint32 slot)
{
	if (set->n == FEW_TAGS)
	{
		uint32 *table = MemoryContextAlloc(TopTransactionContext, TABLE_SIZE * sizeof(uint32));

		memset(table, 0xff, TABLE_SIZE * sizeof(uint32));
		for (int i = 0; i < set->n; i++)
			table[table_place(table, set->slot[i])] = set->slot[i];
		set->table = table;
	}
	if (set->table != NULL)
		set->table[table_place(set->table, slot)] = slot;
	set->slot[set->n++] = slot;
}

/* ---- pushing ------------------------------------------------------------- */

static void
push(uint32 slot, uint64 xid)
{
	LWLock *lock = penny_cache_lock(penny_stamp_lock(slot));

	LWLockAcquire(lock, LW_EXCLUSIVE);
	penny_stamp_push(penny_plane(), slot, xid, is_finished);
	LWLockRelease(lock);
	penny_cache_count(pushes);
	if (slot == PENNY_STAMP_ALL)
		penny_cache_count(pushes_all);
}

/*
 * Does every snapshot from now on see this transaction as over?  One from half
 * of all xids ago is: nothing runs for that long.
 */
static bool
is_finished(uint64 xid)
{
	if (reference_xid > xid && reference_xid - xid > PG_INT32_MAX)
		return true;
	return !TransactionIdIsInProgress((TransactionId) xid);
}

/* The transaction is about to become visible, or to be prepared. */
static void
push_set(void)
{
	uint64 xid;

	if (dirty == NULL || dirty->pushed)
		return;
	xid = U64FromFullTransactionId(GetTopFullTransactionIdIfAny());
	dirty->pushed = true;
	if (xid == 0 && !dirty->all && dirty->n == 0)
		return;
	reference_xid = xid != 0 ? xid : U64FromFullTransactionId(ReadNextFullTransactionId());
	if (dirty->all && xid != 0)
	{
		begin_changing();
		push(PENNY_STAMP_ALL, xid);
	}
	for (int i = 0; i < dirty->n && !dirty->all; i++)
		push(dirty->slot[i], xid);
}

void
penny_cache_push_now(const char *name, const char *value)
{
	if (penny_cache_is_on())
		push(penny_fence_slot(name, value), 0);
}

void
penny_cache_push_all_now(void)
{
	if (penny_cache_is_on())
		push(PENNY_STAMP_ALL, 0);
}

/* ---- transactions that change catalogs ----------------------------------- */

static void
begin_changing(void)
{
	static bool registered = false;

	if (changing)
		return;
	if (!registered)
	{
		before_shmem_exit(leave, (Datum) 0);
		registered = true;
	}
	pg_atomic_fetch_add_u32(&penny_cache_shared()->changers, 1);
	changing = true;
}

static void
end_changing(bool push_again)
{
	if (!changing)
		return;
	if (push_again)
		push(PENNY_STAMP_ALL, 0);
	pg_atomic_fetch_sub_u32(&penny_cache_shared()->changers, 1);
	changing = changed = false;
}

bool
penny_cache_catalogs_still(void)
{
	return pg_atomic_read_u32(&penny_cache_shared()->changers) == 0;
}

/*
 * Before COMMIT PREPARED: if anything about catalogs is prepared, or may be
 * from before the start, it may be this.
 */
bool
penny_fence_begin_finish(void)
{
	PennyStampView view;
	bool prepared;

	if (!penny_cache_is_on() || penny_debug_cache_fence != PENNY_FENCE_ON)
		return false;
	penny_stamp_view(penny_plane(), PENNY_STAMP_ALL, &view);
	reference_xid = U64FromFullTransactionId(ReadNextFullTransactionId());
	prepared = view.overflow || pg_atomic_read_u32(&penny_cache_shared()->settled) == 0;
	for (int i = 0; i < lengthof(view.xid); i++)
		prepared = prepared || (view.xid[i] != 0 && !is_finished(view.xid[i]));
	if (prepared)
	{
		begin_changing();
		changed = true; /* it will be, should this process not come back from it */
	}
	return prepared;
}

void
penny_fence_end_finish(void)
{
	end_changing(true);
}

/* ---- snapshots against stamps -------------------------------------------- */

/* An xid with its epoch: it is within half of all xids from one of about now. */
static uint64
with_epoch(TransactionId xid)
{
	if (reference_xid == 0)
		reference_xid = U64FromFullTransactionId(ReadNextFullTransactionId());
	return reference_xid + (int64) (int32) (xid - (TransactionId) reference_xid);
}

/* Does the snapshot see this transaction as not over? */
static bool
in_progress(uint64 xid, Snapshot snapshot)
{
	if (xid >= with_epoch(snapshot->xmax))
		return true;
	if (xid < with_epoch(snapshot->xmin))
		return false;
	return XidInMVCCSnapshot((TransactionId) xid, snapshot);
}

PennyFenceState
penny_fence_token(const PennyCacheToken *token, Snapshot snapshot)
{
	PennyStampView view;

	penny_stamp_view(penny_plane(), token->slot, &view);
	if (view.seq != token->seq)
		return PENNY_FENCE_MOVED;
	if (view.overflow && view.maxxid >= with_epoch(snapshot->xmin))
		return PENNY_FENCE_BLOCKED;
	for (int i = 0; i < lengthof(view.xid); i++)
		if (view.xid[i] != 0 && in_progress(view.xid[i], snapshot))
			return PENNY_FENCE_BLOCKED;
	return PENNY_FENCE_CLEAR;
}

/* The worst state of some tokens. */
PennyFenceState
penny_fence_tokens(const PennyCacheToken *token, int n, Snapshot snapshot)
{
	PennyFenceState worst = PENNY_FENCE_CLEAR;

	for (int i = 0; i < n; i++)
	{
		PennyFenceState state = penny_fence_token(&token[i], snapshot);

		if (state == PENNY_FENCE_MOVED)
			return state;
		if (state == PENNY_FENCE_BLOCKED)
			worst = state;
	}
	return worst;
}

/*
 * A ring that has overflowed hides pushers, and then refuses whoever has an
 * older transaction beside him.  That ends when no snapshot is left that sees
 * one of them in progress.  Called after a fill that was not refused, since
 * who is refused holds such a snapshot himself.
 */
void
penny_fence_settle(const PennyCacheToken *token, int n)
{
	uint64 oldest = 0;

	for (int i = 0; i < n; i++)
	{
		LWLock *lock = penny_cache_lock(penny_stamp_lock(token[i].slot));
		PennyStampView view;

		penny_stamp_view(penny_plane(), token[i].slot, &view);
		if (!view.overflow)
			continue;
		if (oldest == 0)
			oldest = with_epoch(GetOldestNonRemovableTransactionId(NULL));
		LWLockAcquire(lock, LW_EXCLUSIVE);
		penny_stamp_settle(penny_plane(), token[i].slot, oldest);
		LWLockRelease(lock);
	}
}

bool
penny_fence_started(Snapshot snapshot)
{
	PennyCacheShared *shared = penny_cache_shared();
	uint64 first = pg_atomic_read_u64(&shared->first_xid);

	if (first == 0)
	{
		uint64 next = U64FromFullTransactionId(ReadNextFullTransactionId());

		if (pg_atomic_compare_exchange_u64(&shared->first_xid, &first, next))
			first = next;
	}
	if (with_epoch(snapshot->xmin) < first)
		return false;
	if (pg_atomic_read_u32(&shared->settled) == 0)
		pg_atomic_write_u32(&shared->settled, 1);
	return true;
}

/* ---- callbacks ----------------------------------------------------------- */

/*
 * Registered before those that write in their PRE_COMMIT, and so called after
 * them (the last registered is called first); were it otherwise, what they
 * change would be pushed at once.
 */
static void
transaction_event(XactEvent event, void *arg)
{
	(void) arg;
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
		case XACT_EVENT_PRE_PREPARE:
			push_set();
			break;
		case XACT_EVENT_COMMIT:
			changed = changing;
			dirty = NULL;
			reference_xid = 0;
			break;
		case XACT_EVENT_PREPARE:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_PARALLEL_ABORT:
			/* prepared: its xid in the stamp holds until it is finished */
			end_changing(false);
			dirty = NULL;
			reference_xid = 0;
			break;
		default:
			break;
	}
}

/* The other processes have been told what changed, and locks are released. */
static void
after_locks(ResourceReleasePhase phase, bool isCommit, bool isTopLevel, void *arg)
{
	(void) isCommit;
	(void) arg;
	if (isTopLevel && phase == RESOURCE_RELEASE_AFTER_LOCKS && changed)
		end_changing(true);
}

/* A process that ends leaves the count of changers. */
static void
leave(int code, Datum arg)
{
	(void) code;
	(void) arg;
	end_changing(changed);
}

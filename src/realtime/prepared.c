/*-------------------------------------------------------------------------
 *
 * prepared.c
 *		Publication of prepared transactions.
 *
 * A table in shared memory has an entry for every transaction prepared in
 * penny.database since the server started, also for those that publish
 * nothing, and the rooms that each will publish, without frames: the edges
 * read them from the tables.  A broadcast is in no table, so a transaction
 * that made one cannot be prepared (as PostgreSQL refuses it after NOTIFY).
 *
 *	FREE -> RESERVED	PRE_PREPARE, by the backend that prepares; may fail
 *	RESERVED -> KEPT	PREPARE: the prepared transaction exists
 *	RESERVED -> FREE	ABORT: it does not
 *	KEPT -> FREE		its xid is no longer in progress: published when it
 *						was committed.  By the utility hook after COMMIT or
 *						ROLLBACK PREPARED; else by the supervisor's sweep
 *						(the backend died before its hook went on, or the
 *						command did not come as SQL)
 *
 * Who settles an entry decides by the state of the xid and under the lock, so
 * hook and sweep cannot both publish it, and a transaction that runs under a
 * reused name is not confused with its predecessor.  COMMIT PREPARED of a
 * name without entry is that of a transaction prepared before the last start
 * of the server: what it changed is not known here, and PENNY_EVENT_RESYNC is
 * published.
 *
 * Limits.  Entries: max_prepared_transactions, plus one for each backend that
 * is about to prepare; after settling what is finished there is always a free
 * one.  Rooms: ROOMS together; a transaction that finds no more publishes
 * PENNY_EVENT_RESYNC.  With max_prepared_transactions = 0 there is no table.
 *
 * Lock order: the table's lock before ProcArrayLock (TransactionIdIsInProgress).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/twophase.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "port/atomics.h"
#include "storage/lwlock.h"
#include "storage/procarray.h"
#include "tcop/utility.h"

#include "base/registry.h"
#include "base/shmem.h"
#include "realtime/prepared.h"
#include "realtime/publish.h"

#define ROOMS 1024

typedef enum EntryState
{
	ENTRY_FREE,
	ENTRY_RESERVED, /* -> KEPT, FREE */
	ENTRY_KEPT      /* -> FREE */
} EntryState;

/* A prepared transaction; all fields under the lock. */
typedef struct Entry
{
	EntryState state;
	TransactionId xid;
	bool resync;
	bool missed;
	bool sessions;
	bool streams;
	bool executions;
	bool routes;
	char gid[GIDSIZE]; /* empty: not prepared by an SQL command */
} Entry;

/* Something that it will publish; under the lock. */
typedef struct Room
{
	int entry; /* index plus one, 0 = free */
	PennyEventKind kind;
	uint64 version;
	uint32 room_len;
	uint8 user[16];
	char room[PENNY_ROOM_NAME_MAX];
} Room;

/* Table: the head, then entries, then rooms. */
typedef struct Table
{
	pg_atomic_uint32 kept; /* entries KEPT; written under the lock */
	int entries;
	Entry entry[FLEXIBLE_ARRAY_MEMBER];
} Table;

static Table *table = NULL;
static Room *rooms = NULL;
static ProcessUtility_hook_type prev_utility = NULL;

/* Of this backend: the name given to PREPARE TRANSACTION, and its entry. */
static char prepare_gid[GIDSIZE];
static int my_entry = -1;

static Size table_size(void);
static void table_init(void);
static int free_entry(void);
static void fill_rooms(int number, const PennyPending *pending);
static int settle_all(const char *gid);
static void settle(int number);
static bool gid_known(const char *gid);
static void publish_resync(void);
static void utility_hook(PlannedStmt *pstmt, const char *query, bool read_only_tree,
						 ProcessUtilityContext context, ParamListInfo params,
						 QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *qc);

static const PennyShmemPart prepared_part = {.name = "penny_prepared",
											 .size = table_size,
											 .area = (void **) &table,
											 .init = table_init,
											 .locks = 1};

void
penny_prepared_init(void)
{
	penny_shmem_register(&prepared_part);
	prev_utility = ProcessUtility_hook;
	ProcessUtility_hook = utility_hook;
}

static LWLock *
table_lock(void)
{
	static LWLock *lock = NULL;

	if (lock == NULL)
		lock = &GetNamedLWLockTranche(prepared_part.name)->lock;
	return lock;
}

static int
entries_wanted(void)
{
	return max_prepared_xacts == 0 ? 0 : max_prepared_xacts + MaxBackends;
}

static Size
rooms_offset(int entries)
{
	return MAXALIGN(offsetof(Table, entry) + (Size) entries * sizeof(Entry));
}

static Size
table_size(void)
{
	int entries = entries_wanted();

	return rooms_offset(entries) + (entries > 0 ? ROOMS * sizeof(Room) : 0);
}

static void
table_init(void)
{
	pg_atomic_init_u32(&table->kept, 0);
	table->entries = entries_wanted();
}

/* The rooms lie behind the entries; the postmaster's children inherit `table`. */
static Room *
table_rooms(void)
{
	if (rooms == NULL)
		rooms = (Room *) ((char *) table + rooms_offset(table->entries));
	return rooms;
}

/* PRE_PREPARE: note what the transaction will publish. */
void
penny_prepared_reserve(const PennyPending *pending)
{
	Entry *entry;

	if (table == NULL || table->entries == 0 || !penny_publish_active())
		return;
	for (int i = 0; pending != NULL && i < pending->n; i++)
	{
		if (pending->event[i].kind == PENNY_EVENT_PUBLISH && pending->event[i].version == 0)
			ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
							errmsg("cannot PREPARE a transaction that has published an event "
								   "without version")));
	}

	LWLockAcquire(table_lock(), LW_EXCLUSIVE);
	my_entry = free_entry();
	entry = &table->entry[my_entry];
	entry->state = ENTRY_RESERVED;
	entry->xid = GetTopTransactionId();
	entry->resync = pending != NULL && pending->resync;
	entry->missed = pending != NULL && pending->missed;
	entry->sessions = pending != NULL && pending->sessions;
	entry->streams = pending != NULL && pending->streams;
	entry->executions = pending != NULL && pending->executions;
	entry->routes = pending != NULL && pending->routes;
	strlcpy(entry->gid, prepare_gid, sizeof(entry->gid));
	prepare_gid[0] = '\0';
	if (pending != NULL)
		fill_rooms(my_entry, pending);
	LWLockRelease(table_lock());
}

/* Find a free entry; settles what is finished if there is none. */
static int
free_entry(void)
{
	for (int attempt = 0; attempt < 2; attempt++)
	{
		for (int i = 0; i < table->entries; i++)
			if (table->entry[i].state == ENTRY_FREE)
				return i;
		settle_all(NULL);
	}
	ereport(ERROR,
			(errcode(ERRCODE_INTERNAL_ERROR), errmsg("no free entry for a prepared transaction")));
}

/* Find the room of an earlier change of the same room by the same entry. */
static Room *
room_of(int number, PennyEventKind kind, const PennyEventOut *event, Room **free_room)
{
	Room *all = table_rooms();

	*free_room = NULL;
	for (int i = 0; i < ROOMS; i++)
	{
		Room *room = &all[i];

		if (room->entry == 0 && *free_room == NULL)
			*free_room = room;
		if (room->entry == number + 1 && room->kind == kind &&
			(kind == PENNY_EVENT_CHANGE || kind == PENNY_EVENT_RECHECK) &&
			room->room_len == event->room_len &&
			memcmp(room->room, event->room, event->room_len) == 0)
			return room;
	}
	return NULL;
}

/*
 * What an event is without its frame.  Pieces of streams and hints are known
 * again by asking for every member.
 */
static PennyEventKind
kind_of(const PennyEventOut *event)
{
	if (event->kind == PENNY_EVENT_STREAM || event->kind == PENNY_EVENT_PUBLISH)
		return PENNY_EVENT_RECHECK;
	return event->kind;
}

/* Note rooms and versions; of the changes of one room the newest is enough. */
static void
fill_rooms(int number, const PennyPending *pending)
{
	for (int i = 0; i < pending->n; i++)
	{
		const PennyEventOut *event = &pending->event[i];
		PennyEventKind kind = kind_of(event);
		uint64 version = event->kind == PENNY_EVENT_STREAM ? 0 : event->version;
		Room *free_room;
		Room *room = room_of(number, kind, event, &free_room);

		if (room != NULL)
		{
			room->version = Max(room->version, version);
			continue;
		}
		if (free_room == NULL)
		{
			/* everything, then */
			table->entry[number].resync = true;
			table->entry[number].missed = true;
			table->entry[number].sessions = true;
			return;
		}
		free_room->entry = number + 1;
		free_room->kind = kind;
		free_room->version = version;
		free_room->room_len = event->room_len;
		memcpy(free_room->user, event->user, sizeof(free_room->user));
		memcpy(free_room->room, event->room, event->room_len);
	}
}

/* PREPARE: the prepared transaction exists now. */
void
penny_prepared_keep(void)
{
	if (my_entry < 0)
		return;
	LWLockAcquire(table_lock(), LW_EXCLUSIVE);
	table->entry[my_entry].state = ENTRY_KEPT;
	pg_atomic_fetch_add_u32(&table->kept, 1);
	LWLockRelease(table_lock());
	my_entry = -1;
	penny_supervisor_wake();
}

/* Free an entry and its rooms. */
static void
release(int number)
{
	Room *all = table_rooms();

	for (int i = 0; i < ROOMS; i++)
		if (all[i].entry == number + 1)
			all[i].entry = 0;
	table->entry[number].state = ENTRY_FREE;
}

/* ABORT: it was not prepared after all. */
void
penny_prepared_cancel(void)
{
	if (my_entry < 0)
		return;
	LWLockAcquire(table_lock(), LW_EXCLUSIVE);
	release(my_entry);
	LWLockRelease(table_lock());
	my_entry = -1;
}

int
penny_prepared_sweep(void)
{
	int left;

	if (table == NULL || pg_atomic_read_u32(&table->kept) == 0)
		return 0;
	LWLockAcquire(table_lock(), LW_EXCLUSIVE);
	left = settle_all(NULL);
	LWLockRelease(table_lock());
	return left;
}

/* Settle what is finished, of one name or all; returns the entries still kept. */
static int
settle_all(const char *gid)
{
	int left = 0;

	for (int i = 0; i < table->entries; i++)
	{
		Entry *entry = &table->entry[i];

		if (entry->state != ENTRY_KEPT)
			continue;
		if ((gid == NULL || strcmp(entry->gid, gid) == 0) && !TransactionIdIsInProgress(entry->xid))
			settle(i);
		else
			left++;
	}
	return left;
}

/* The transaction of an entry is over: publish it or drop it. */
static void
settle(int number)
{
	Entry *entry = &table->entry[number];
	Room *all = table_rooms();
	PennyPending one = {0};
	PennyEventOut event = {0};

	if (TransactionIdDidCommit(entry->xid))
	{
		one.resync = entry->resync;
		one.missed = entry->missed;
		one.sessions = entry->sessions;
		one.streams = entry->streams;
		one.executions = entry->executions;
		one.routes = entry->routes;
		penny_pending_publish(&one);

		one.resync = one.streams = one.executions = one.routes = false;
		one.n = 1;
		one.event = &event;
		for (int i = 0; i < ROOMS; i++)
		{
			if (all[i].entry != number + 1)
				continue;
			event.kind = all[i].kind;
			event.version = all[i].version;
			event.room = all[i].room;
			event.room_len = all[i].room_len;
			event.frame = "";
			memcpy(event.user, all[i].user, sizeof(event.user));
			penny_pending_publish(&one);
		}
	}
	release(number);
	pg_atomic_fetch_sub_u32(&table->kept, 1);
}

/* Is there an entry of this name? */
static bool
gid_known(const char *gid)
{
	bool known = false;

	LWLockAcquire(table_lock(), LW_SHARED);
	for (int i = 0; i < table->entries && !known; i++)
		known = table->entry[i].state == ENTRY_KEPT && strcmp(table->entry[i].gid, gid) == 0;
	LWLockRelease(table_lock());
	return known;
}

static void
publish_resync(void)
{
	PennyPending all = {.resync = true,
						.missed = true,
						.sessions = true,
						.streams = true,
						.executions = true,
						.routes = true};

	penny_pending_publish(&all);
}

/* The transaction statement in this command, or NULL. */
static TransactionStmt *
transaction_statement(PlannedStmt *pstmt)
{
	if (table == NULL || table->entries == 0 || pstmt->utilityStmt == NULL ||
		!IsA(pstmt->utilityStmt, TransactionStmt))
		return NULL;
	return castNode(TransactionStmt, pstmt->utilityStmt);
}

/* Settle what COMMIT PREPARED and ROLLBACK PREPARED finish. */
static void
utility_hook(PlannedStmt *pstmt, const char *query, bool read_only_tree,
			 ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *environment,
			 DestReceiver *dest, QueryCompletion *qc)
{
	TransactionStmt *stmt = transaction_statement(pstmt);
	bool finishing = false;
	bool unknown = false;
	char gid[GIDSIZE];

	if (stmt != NULL && stmt->kind == TRANS_STMT_PREPARE)
		strlcpy(prepare_gid, stmt->gid, sizeof(prepare_gid));
	else if (stmt != NULL &&
			 (stmt->kind == TRANS_STMT_COMMIT_PREPARED ||
			  stmt->kind == TRANS_STMT_ROLLBACK_PREPARED) &&
			 penny_publish_active())
	{
		finishing = true;
		strlcpy(gid, stmt->gid, sizeof(gid));
		unknown = stmt->kind == TRANS_STMT_COMMIT_PREPARED && !gid_known(gid);
	}

	if (prev_utility != NULL)
		prev_utility(pstmt, query, read_only_tree, context, params, environment, dest, qc);
	else
		standard_ProcessUtility(pstmt, query, read_only_tree, context, params, environment, dest,
								qc);

	if (!finishing)
		return;
	LWLockAcquire(table_lock(), LW_EXCLUSIVE);
	settle_all(gid);
	LWLockRelease(table_lock());
	if (unknown)
		publish_resync();
}

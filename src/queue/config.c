/*-------------------------------------------------------------------------
 *
 * config.c
 *		Queues and handlers: from the tables to memory.
 *
 * The tables count.  A statement trigger on both (ENABLE ALWAYS) notes that a
 * transaction changes them; its COMMIT callback, when the rows are visible to
 * others, raises a stamp in shared memory and wakes a worker.
 *
 * The scheduler.  A worker that finds the stamp to be another than the one that
 * was applied last reads both tables and tells the scheduler under its lock.
 * Whoever has read at a later stamp has the last word.
 *
 * Sessions.  Each keeps copies of all rows, read when they are first asked for
 * and again when the stamp moved: it is read before the rows are, so what could
 * not be seen moves it later.  The transaction that makes the change reads the
 * tables for itself until it ends; so does any transaction in a server that did
 * not preload penny, where there is no stamp.  What was handed out stays valid
 * until the end of the transaction.
 *
 * A transaction with such a change may be PREPAREd, and committed by a session that
 * knows nothing of it, even after a restart.  So once one was prepared, or may have
 * been before the server started, every COMMIT PREPARED moves the stamp.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "mb/pg_wchar.h"
#include "port/atomics.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#include "base/error.h"
#include "base/shmem.h"
#include "queue/claimers.h"
#include "queue/config.h"
#include "queue/dead.h"
#include "queue/load.h"

typedef struct Shared
{
	pg_atomic_uint64 stamp;         /* raised by commits that change the tables; from 1 on */
	pg_atomic_uint64 applied;       /* stamp of what the scheduler knows; under the queue's lock */
	pg_atomic_uint32 prepared;      /* some prepared transaction may change the tables */
	bool known[PENNY_SCHED_QUEUES]; /* queues that it knows; under the lock */
} Shared;

/* A kind's entry in the session's table. */
typedef struct KindEntry
{
	char kind[132];
	PennyHandler *handler;
} KindEntry;

static Shared *shared = NULL;

/* The session's copy. */
static MemoryContext context = NULL;
static MemoryContext retired = NULL; /* parent of older ones, until the transaction ends */
static uint64 read_at = 0;           /* stamp before it was read; 0: there is none */
static PennyQueueConfig *queues = NULL;
static int queues_n = 0;
static int16 queue_index[PENNY_SCHED_QUEUES];
static HTAB *kinds = NULL;

static bool changing = false;   /* this transaction changes the tables */
static CommandId read_in = 0;   /* command in which it read them */
static bool registered = false; /* callbacks of this session are there */

static Size
shared_size(void)
{
	return sizeof(Shared);
}

static void
shared_create(void)
{
	pg_atomic_init_u64(&shared->stamp, 1);
	pg_atomic_init_u64(&shared->applied, 0);
	pg_atomic_init_u32(&shared->prepared, 1);
}

static const PennyShmemPart config_part = {.name = "penny queue settings",
										   .size = shared_size,
										   .area = (void **) &shared,
										   .init = shared_create};

void
penny_queue_config_init(void)
{
	penny_shmem_register(&config_part);
}

/* ---- changes ---------------------------------------------------------------------- */

/* What the tables say now is another thing; it is visible. */
static void
raise_stamp(void)
{
	pg_atomic_fetch_add_u64(&shared->stamp, 1);
	penny_queue_wake(PENNY_RUNNER_SQL, 0);
}

static void
end_transaction(XactEvent event, void *arg)
{
	(void) arg;
	if (event != XACT_EVENT_COMMIT && event != XACT_EVENT_ABORT && event != XACT_EVENT_PREPARE &&
		event != XACT_EVENT_PARALLEL_COMMIT && event != XACT_EVENT_PARALLEL_ABORT)
		return;
	if (changing && event == XACT_EVENT_PREPARE && shared != NULL)
		pg_atomic_write_u32(&shared->prepared, 1);
	if (changing && event == XACT_EVENT_COMMIT && shared != NULL)
		raise_stamp();
	if (changing || shared == NULL)
		read_at = 0;
	changing = false;
	if (retired != NULL)
		MemoryContextDelete(retired);
	retired = NULL;
}

static void
register_callbacks(void)
{
	if (registered)
		return;
	RegisterXactCallback(end_transaction, NULL);
	registered = true;
}

void
penny_queue_config_prepared(void)
{
	if (shared != NULL && pg_atomic_read_u32(&shared->prepared) != 0)
		raise_stamp();
}

void
penny_queue_config_changed(void)
{
	register_callbacks();
	changing = true;
	read_at = 0;
}

/* ---- the session's copy ------------------------------------------------------------ */

/* Is the copy what this transaction would read? */
static bool
is_current(void)
{
	if (read_at == 0)
		return false;
	if (changing || shared == NULL)
		return read_in == GetCurrentCommandId(false);
	return read_at == pg_atomic_read_u64(&shared->stamp);
}

/* What was handed out of the old copy lives on for a while. */
static void
retire(void)
{
	if (context == NULL)
		return;
	if (retired == NULL)
		retired = AllocSetContextCreate(TopMemoryContext, "penny old queues and handlers",
										ALLOCSET_SMALL_SIZES);
	MemoryContextSetParent(context, retired);
	context = NULL;
}

static void
index_handlers(PennyHandler *handlers, int n, MemoryContext where)
{
	HASHCTL info = {.keysize = sizeof(((KindEntry *) NULL)->kind),
					.entrysize = sizeof(KindEntry),
					.hcxt = where};

	kinds = hash_create("penny handlers", 64, &info, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
	for (int i = 0; i < n; i++)
	{
		KindEntry *entry = hash_search(kinds, handlers[i].kind, HASH_ENTER, NULL);

		entry->handler = &handlers[i];
	}
}

/* Read the tables, unless the copy is current. */
static void
refresh(void)
{
	uint64 stamp = shared != NULL ? pg_atomic_read_u64(&shared->stamp) : 1;
	MemoryContext fresh;
	MemoryContext old;
	PennyHandler *handlers;
	int n;

	if (likely(is_current()))
		return;
	register_callbacks();
	pg_read_barrier();
	fresh = AllocSetContextCreate(TopMemoryContext, "penny queues and handlers",
								  ALLOCSET_DEFAULT_SIZES);
	retire();
	read_at = 0;
	context = fresh;
	old = MemoryContextSwitchTo(fresh);
	queues_n = penny_queue_read_all(&queues);
	n = penny_handler_read_all(&handlers);
	index_handlers(handlers, n, fresh);
	MemoryContextSwitchTo(old);

	memset(queue_index, -1, sizeof(queue_index));
	for (int i = 0; i < queues_n; i++)
		queue_index[queues[i].id] = (int16) i;
	read_in = GetCurrentCommandId(false);
	read_at = stamp;
}

bool
penny_queue_by_name(const char *name, PennyQueueConfig *out)
{
	refresh();
	for (int i = 0; i < queues_n; i++)
	{
		if (strcmp(NameStr(queues[i].name), name) == 0)
		{
			*out = queues[i];
			return true;
		}
	}
	return false;
}

uint16
penny_queue_find(const char *name)
{
	PennyQueueConfig config;

	if (!penny_queue_by_name(name, &config))
		ereport(ERROR, (errcode(ERRCODE_PENNY_NOT_FOUND),
						errmsg("queue \"%.*s\" does not exist",
							   pg_mbcliplen(name, (int) strlen(name), NAMEDATALEN - 1), name),
						errhint("Make it with penny.create_queue().")));
	return config.id;
}

bool
penny_queue_by_id(uint16 id, PennyQueueConfig *out)
{
	refresh();
	if (id >= PENNY_SCHED_QUEUES || queue_index[id] < 0)
		return false;
	*out = queues[queue_index[id]];
	return true;
}

const PennyHandler *
penny_handler_find(const char *kind)
{
	KindEntry *entry;

	refresh();
	if (strlen(kind) >= sizeof(entry->kind))
		return NULL;
	entry = hash_search(kinds, kind, HASH_FIND, NULL);
	return entry != NULL ? entry->handler : NULL;
}

/* ---- the scheduler's memory ------------------------------------------------------------ */

bool
penny_queue_config_pending(void)
{
	return pg_atomic_read_u64(&shared->applied) != pg_atomic_read_u64(&shared->stamp);
}

void
penny_queue_config_distrust(void)
{
	pg_atomic_write_u64(&shared->applied, 0);
}

/* All kinds that have a handler, for the scheduler. */
static PennyKindRunner *
list_kinds(uint32 *n)
{
	PennyKindRunner *list = palloc(sizeof(PennyKindRunner) * Max(hash_get_num_entries(kinds), 1));
	HASH_SEQ_STATUS status;
	KindEntry *entry;

	*n = 0;
	hash_seq_init(&status, kinds);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (*n == PENNY_SCHED_KINDS)
			continue; /* the trigger of the table lets no more in */
		list[*n].kind = penny_sched_hash(entry->kind, strlen(entry->kind));
		list[(*n)++].runner = entry->handler->runner;
	}
	return list;
}

void
penny_queue_config_apply(void)
{
	static const PennyQueueLimits none;
	PennySched *sched = penny_queue_sched();
	PennyKindRunner *list;
	uint32 n;
	int64 now;

	/* what is not committed is nobody else's */
	if (changing)
		return;
	read_at = 0;
	refresh();
	list = list_kinds(&n);

	penny_queue_lock();
	if (pg_atomic_read_u64(&shared->applied) < read_at)
	{
		now = penny_queue_now();
		penny_sched_kinds(sched, list, n, now);
		for (int i = 0; i < PENNY_SCHED_QUEUES; i++)
		{
			bool there = queue_index[i] >= 0;

			const PennyQueueConfig *queue = there ? &queues[queue_index[i]] : NULL;

			if (there || shared->known[i])
			{
				penny_sched_queue(sched, (uint16) i, there ? &queue->limits : &none, now);
				penny_claimers_queue((uint16) i, there ? NameStr(queue->name) : NULL);
			}
			shared->known[i] = there;
		}
		pg_atomic_write_u64(&shared->applied, read_at);
	}
	penny_queue_unlock();
	/* another number of ended jobs may be kept */
	penny_dead_count();
	for (int i = 0; i < queues_n; i++)
		penny_history_added(queues[i].id);
	/* a limit may have opened, a queue gone on, a kind lost its handler */
	penny_claimers_wake_all();
	pfree(list);
	/* what may start now that could not before */
	penny_queue_wake(PENNY_RUNNER_WEBHOOK, 0);
	for (int i = 0; i < PENNY_SCHED_QUEUES; i++)
		if (queue_index[i] >= 0)
			penny_queue_wake(PENNY_RUNNER_EXTERNAL, (uint16) i);
}

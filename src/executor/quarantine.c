/*-------------------------------------------------------------------------
 *
 * quarantine.c
 *		Requests and routes that crash the process that runs them.
 *
 * PostgreSQL restarts as a whole when a process crashes, so a request that
 * crashes its executor each time, and is sent again and again, is an outage.
 * It is refused once it has done so twice.
 *
 * Each executor notes what it is about to run, before it looks at it, and says
 * so in its mark (base/crash.h); it takes that away when the call has ended.
 * The notes lie, as the marks do, in a mapping that outlives PostgreSQL's shared
 * memory.  When everybody is dead and the postmaster makes new shared memory, the
 * verdicts on the marks say whose notes count.
 *
 * What is counted is the request (what is asked for, by which user) and the
 * route.  A request is refused after two crashes, a route after two crashes by
 * different requests: a client that repeats its one bad request does not take
 * the route from all others, and one that varies it costs no more than one
 * crash more.  A suspect is counted too, but forgotten as soon as the same
 * completes: what kills at random under load is not quarantined.
 *
 * Where it stands.  The table lies in the mapping, and is written to the file
 * penny.quarantine in the data directory whenever it changes, which is after a
 * crash and rarely else; it is read from there when the server starts.  A file
 * that cannot be written is logged, and the table in memory counts.  Since the
 * mapping was within reach of what crashed, a table whose checksum is wrong is
 * read from the file again.
 *
 * Locking: one LWLock for the table, among PostgreSQL's processes; how many
 * entries refuse and how many may be forgotten is read without it, so that a
 * server without an entry pays two loads a call.  A mark is written by its
 * executor alone.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/mman.h>

#include "common/hashfn.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "utils/timestamp.h"

#include "base/crash.h"
#include "base/shmem.h"
#include "executor/quarantine.h"
#include "executor/quarantine_file.h"

#define CRASHES 2 /* after which the same is not run again */

/* What an executor runs; counts while its mark says that it does. */
typedef struct Mark
{
	uint64 request;
	uint64 route; /* 0: not known yet */
	char name[PENNY_QUARANTINE_ROUTE];
	char request_id[PENNY_QUARANTINE_REQUEST_ID];
} Mark;

typedef struct Area
{
	pg_atomic_uint32 refusing;   /* entries that refuse */
	pg_atomic_uint32 forgivable; /* entries that a completed call removes */
	uint64 checksum;             /* of table */
	PennyQuarantineEntry table[PENNY_QUARANTINE_ENTRIES];
	pg_atomic_uint64 refusals[PENNY_QUARANTINE_ENTRIES];
	Mark mark[PENNY_MAX_EXECUTORS];
} Area;

static const char *const op_names[PENNY_OPS] = {
	[PENNY_OP_HTTP] = "HTTP",     [PENNY_OP_READY] = "READY",       [PENNY_OP_ROUTES] = "ROUTES",
	[PENNY_OP_AUTH] = "AUTH",     [PENNY_OP_JOIN] = "JOIN",         [PENNY_OP_MESSAGE] = "MESSAGE",
	[PENNY_OP_SIGNAL] = "SIGNAL", [PENNY_OP_PRESENCE] = "PRESENCE",
};
StaticAssertDecl(PENNY_OPS == PENNY_OP_PRESENCE + 1, "every op has a name here");

static Area *area = NULL;
static Mark *mark = NULL;

static void take_stock(void);
static void postmaster_exit(int code, Datum arg);
static bool judge(void);
static void count_mark(const Mark *of, int sig);
static void count(PennyQuarantineKind kind, uint64 key, const Mark *of, int sig);

static const PennyShmemPart quarantine_part = {
	.name = "penny quarantine", .init = take_stock, .locks = 1};

void
penny_quarantine_init(void)
{
	penny_shmem_register(&quarantine_part);
	if (IsPostmasterEnvironment)
		on_proc_exit(postmaster_exit, (Datum) 0);
}

static LWLock *
lock(void)
{
	return &GetNamedLWLockTranche(quarantine_part.name)->lock;
}

/* ---- the table ------------------------------------------------------------ */

static uint64
checksum(void)
{
	return hash_bytes_extended((const unsigned char *) area->table, sizeof(area->table), 0);
}

/* Is this entry a suspect that a completed call clears? */
static bool
may_forgive(const PennyQuarantineEntry *entry)
{
	return entry->kind != PENNY_QUARANTINE_FREE && !entry->refused && entry->signal == 0;
}

/* The table has changed: what is derived from it, and the file. */
static void
changed(void)
{
	uint32 refusing = 0;
	uint32 forgivable = 0;

	for (int i = 0; i < PENNY_QUARANTINE_ENTRIES; i++)
	{
		refusing += area->table[i].refused;
		forgivable += may_forgive(&area->table[i]);
	}
	pg_atomic_write_u32(&area->refusing, refusing);
	pg_atomic_write_u32(&area->forgivable, forgivable);
	area->checksum = checksum();
	penny_quarantine_write(area->table);
}

static PennyQuarantineEntry *
find(PennyQuarantineKind kind, uint64 key)
{
	for (int i = 0; i < PENNY_QUARANTINE_ENTRIES; i++)
	{
		if (area->table[i].kind == kind && area->table[i].key == key)
			return &area->table[i];
	}
	return NULL;
}

/* A free entry, or the one that says least: not refused, then the oldest. */
static PennyQuarantineEntry *
make_room(void)
{
	PennyQuarantineEntry *worst = &area->table[0];

	for (int i = 0; i < PENNY_QUARANTINE_ENTRIES; i++)
	{
		PennyQuarantineEntry *entry = &area->table[i];

		if (entry->kind == PENNY_QUARANTINE_FREE)
			return entry;
		if (entry->refused != worst->refused ? worst->refused : entry->latest < worst->latest)
			worst = entry;
	}
	return worst;
}

int
penny_quarantine_list(PennyQuarantineEntry out[PENNY_QUARANTINE_ENTRIES])
{
	int n = 0;

	LWLockAcquire(lock(), LW_SHARED);
	for (int i = 0; i < PENNY_QUARANTINE_ENTRIES; i++)
	{
		if (area->table[i].kind == PENNY_QUARANTINE_FREE)
			continue;
		out[n] = area->table[i];
		out[n++].refusals = pg_atomic_read_u64(&area->refusals[i]);
	}
	LWLockRelease(lock());
	return n;
}

/* Remove entries; false when there was none to remove. */
static int
remove_if(bool (*fits)(const PennyQuarantineEntry *entry, const uint64 *key), const uint64 *key)
{
	int n = 0;

	LWLockAcquire(lock(), LW_EXCLUSIVE);
	for (int i = 0; i < PENNY_QUARANTINE_ENTRIES; i++)
	{
		if (area->table[i].kind == PENNY_QUARANTINE_FREE || !fits(&area->table[i], key))
			continue;
		memset(&area->table[i], 0, sizeof(area->table[i]));
		n++;
	}
	if (n > 0)
		changed();
	LWLockRelease(lock());
	return n;
}

static bool
has_key(const PennyQuarantineEntry *entry, const uint64 *key)
{
	return *key == 0 || entry->key == *key;
}

static bool
has_completed(const PennyQuarantineEntry *entry, const uint64 *key)
{
	return may_forgive(entry) && (entry->key == key[0] || entry->key == key[1]);
}

int
penny_quarantine_clear(uint64 key)
{
	return remove_if(has_key, &key);
}

/* ---- calls ---------------------------------------------------------------- */

void
penny_quarantine_attach(int executor)
{
	mark = &area->mark[executor];
	penny_crash_attach(PENNY_CRASH_EXECUTOR(executor));
}

/* May what is marked be run? */
static bool
may_run(void)
{
	bool refused = false;

	if (pg_atomic_read_u32(&area->refusing) == 0)
		return true;
	LWLockAcquire(lock(), LW_SHARED);
	for (int i = 0; i < PENNY_QUARANTINE_ENTRIES; i++)
	{
		const PennyQuarantineEntry *entry = &area->table[i];

		if (!entry->refused ||
			(entry->kind == PENNY_QUARANTINE_REQUEST ? entry->key != mark->request
													 : entry->key != mark->route))
			continue;
		refused = true;
		pg_atomic_fetch_add_u64(&area->refusals[i], 1);
		break;
	}
	LWLockRelease(lock());
	if (refused)
		penny_quarantine_leave();
	return !refused;
}

static uint64
hash_span(PennySpan span, uint64 seed)
{
	return penny_hash(span.data, span.len, seed);
}

bool
penny_quarantine_begin(const PennyRequest *request, const char *request_id)
{
	uint64 seed = (uint64) request->op << 8 | (uint64) request->method;

	mark->request = hash_span(request->field[PENNY_FIELD_BODY],
							  hash_span(request->field[PENNY_FIELD_TARGET], seed));
	strlcpy(mark->name, op_names[request->op], sizeof(mark->name));
	mark->route = request->op == PENNY_OP_HTTP ? 0 : penny_hash(mark->name, strlen(mark->name), 0);
	strlcpy(mark->request_id, request_id, sizeof(mark->request_id));
	penny_crash_begin();
	return may_run();
}

bool
penny_quarantine_route(PennyMethod method, const char *pattern, const pg_uuid_t *user)
{
	uint64 key;

	snprintf(mark->name, sizeof(mark->name), "%s %s", penny_method_name(method), pattern);
	key = penny_hash(pattern, strlen(pattern), (uint64) method + 1);
	/* a call that is tried again comes here again */
	if (mark->route == 0 && user != NULL)
		mark->request = penny_hash(user, sizeof(*user), mark->request);
	mark->route = key;
	pg_memory_barrier();
	return may_run();
}

void
penny_quarantine_leave(void)
{
	penny_crash_leave();
}

void
penny_quarantine_end(void)
{
	uint64 key[2] = {mark->request, mark->route};

	if (!penny_crash_begun())
		return;
	penny_quarantine_leave();
	if (pg_atomic_read_u32(&area->forgivable) != 0)
		(void) remove_if(has_completed, key);
}

/* ---- after a crash, in the postmaster --------------------------------------- */

/*
 * The server starts, or starts again after a crash.  Nobody else runs, so no
 * lock is needed (nor could the postmaster take one).
 */
static void
take_stock(void)
{
	bool fresh = area == NULL;

	if (!IsPostmasterEnvironment)
		return;
	if (fresh)
	{
		area = mmap(NULL, sizeof(Area), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (area == MAP_FAILED)
			ereport(FATAL, (errcode(ERRCODE_INSUFFICIENT_RESOURCES),
							errmsg("could not map memory for the quarantine of penny: %m")));
	}
	if (fresh || area->checksum != checksum())
		penny_quarantine_read(area->table);
	if (judge() || fresh)
		changed();
	for (int i = 0; i < PENNY_QUARANTINE_ENTRIES; i++)
		if (area->table[i].kind == PENNY_QUARANTINE_FREE)
			pg_atomic_write_u64(&area->refusals[i], 0);
}

/* The server ends: with restart_after_crash off this is all there is. */
static void
postmaster_exit(int code, Datum arg)
{
	(void) code;
	(void) arg;
	if (area == NULL || MyProcPid != PostmasterPid || area->checksum != checksum())
		return;
	penny_crash_judge_at_exit();
	if (judge())
		changed();
}

/* Count those who are to blame; false when nothing was to be counted. */
static bool
judge(void)
{
	bool counted = false;

	for (int i = 0; i < PENNY_MAX_EXECUTORS; i++)
	{
		int sig;

		if (penny_crash_verdict(PENNY_CRASH_EXECUTOR(i), &sig) == PENNY_CRASH_INNOCENT)
			continue;
		count_mark(&area->mark[i], sig);
		counted = true;
	}
	return counted;
}

static void
count_mark(const Mark *of, int sig)
{
	Mark copy = *of;

	/* what crashed may have written here, too */
	copy.name[sizeof(copy.name) - 1] = '\0';
	copy.request_id[sizeof(copy.request_id) - 1] = '\0';
	for (char *c = copy.name; *c != '\0'; c++)
		if ((unsigned char) *c < ' ' || (unsigned char) *c > '~')
			*c = '?';
	count(PENNY_QUARANTINE_REQUEST, copy.request, &copy, sig);
	if (copy.route != 0)
		count(PENNY_QUARANTINE_ROUTES, copy.route, &copy, sig);
}

static void
count(PennyQuarantineKind kind, uint64 key, const Mark *of, int sig)
{
	PennyQuarantineEntry *entry = find(kind, key);
	bool was_refused = entry != NULL && entry->refused;
	TimestampTz now = GetCurrentTimestamp();

	if (entry == NULL)
	{
		entry = make_room();
		memset(entry, 0, sizeof(*entry));
		entry->kind = kind;
		entry->key = key;
		entry->first = now;
	}
	else if (kind == PENNY_QUARANTINE_ROUTES && entry->last == of->request)
		entry->crashes--; /* the same request again: its own count */
	entry->crashes++;
	entry->last = of->request;
	entry->latest = now;
	entry->signal = sig != 0 ? sig : entry->signal;
	entry->refused = entry->crashes >= CRASHES;
	strlcpy(entry->route, of->name, sizeof(entry->route));
	strlcpy(entry->request_id, of->request_id, sizeof(entry->request_id));

	if (kind == PENNY_QUARANTINE_REQUEST)
		ereport(LOG, (errmsg("penny request \"%s\", %s, was running in an executor that %s",
							 entry->request_id, entry->route,
							 sig != 0 ? "crashed" : "was ended from outside"),
					  errhint("Look at penny.quarantine().")));
	if (entry->refused && !was_refused)
		ereport(LOG,
				(errmsg("penny refuses %s %s from now on",
						kind == PENNY_QUARANTINE_REQUEST ? "a request by" : "route", entry->route),
				 errdetail("It ended the process that ran it %d times.", entry->crashes),
				 errhint("Mend its handler, then execute SELECT penny.quarantine_clear().")));
}

/*-------------------------------------------------------------------------
 *
 * claimers.c
 *		Who waits for external jobs, and what those are called who hold some.
 *
 * Two kinds wait: sessions in penny.claim_wait(), each with a mark in
 * penny_queue_claimer[] (shared.h), and requests at the edges, whose bit for the
 * room queue:<name> is set (plane/interest.h).  Whoever may have made something
 * ready comes to penny_claimers_wake() after that: new jobs at their commit, the
 * end of a job (a limit opens, a retry), what is put back, settings, rescans.
 * Where nobody waits that is a look at two words.  Else it looks under the queue's
 * lock, and wakes one session and tells the edges only if something is ready:
 * one job wakes one session.  A session that leaves more ready wakes the next, and
 * so does one that was woken and goes away with nothing.
 *
 * Time.  Delays, windows of rates and leases make jobs ready without anybody's
 * doing.  One of the sessions that sleep minds the time for all of them: it sleeps
 * until then, and wakes one session of each queue that has something.  It hands
 * that over when it leaves; who goes away after it looks whether somebody minds
 * it: both write, fence, then read, so one of two who leave at once sees the other.
 * For requests at edges the worker does it that does the queue's upkeep.
 *
 * `told` of a queue: the edges were told that something is ready, and nobody has
 * found it empty since.  It keeps the upkeep from telling again and again.
 *
 * Names of workers: a bounded table of sets of WAYS, the one that was used longest
 * ago makes room.  A number is the place and its generation, so it never means
 * another name than it was given for.  A reader takes no lock: it copies, and then
 * looks whether the generation still is what it was; writers raise that first.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "storage/latch.h"
#include "storage/proc.h"

#include "base/compat.h"
#include "base/shmem.h"
#include "plane/plane.h"
#include "queue/claimers.h"
#include "queue/shared.h"
#include "realtime/publish.h"

#define NAMES 1024
#define WAYS 8
#define NOBODY_IN_PARTICULAR PENNY_SCHED_HOLDERS
#define FIRST_NUMBER (PENNY_SCHED_HOLDERS + 1)
#define GENERATIONS ((UINT32_MAX - FIRST_NUMBER) / NAMES)
#define ROOM_MAX (NAMEDATALEN + 8)

typedef struct WorkerName
{
	pg_atomic_uint32 generation;
	uint64 hash; /* 0: never used; this and the following under the queue's lock */
	uint64 used;
	char name[PENNY_CLAIMER_NAME];
} WorkerName;

typedef struct QueueRoom
{
	pg_atomic_uint64 hash; /* of the room; 0: there is no such queue */
	bool told;             /* this and the room: under the queue's lock */
	char room[ROOM_MAX];
} QueueRoom;

typedef struct Claimers
{
	pg_atomic_uint32 minder; /* PGPROC number of who minds the time, plus one */
	pg_atomic_uint64 minds;  /* until when it sleeps */
	QueueRoom queue[PENNY_SCHED_QUEUES];
	uint64 clock; /* of names; under the queue's lock */
	WorkerName name[NAMES];
} Claimers;

static Claimers *claimers = NULL;

static Size claimers_size(void);
static void claimers_make(void);
static bool is_listened(uint16 queue);
static void wake_one(uint16 queue);
static void tell(const char *room);
static void wake_minder(void);

static const PennyShmemPart part = {.name = "penny claimers",
									.size = claimers_size,
									.area = (void **) &claimers,
									.init = claimers_make};

void
penny_claimers_init(void)
{
	penny_shmem_register(&part);
}

static Size
claimers_size(void)
{
	return sizeof(Claimers);
}

static void
claimers_make(void)
{
	pg_atomic_init_u32(&claimers->minder, 0);
	pg_atomic_init_u64(&claimers->minds, PENNY_SCHED_NEVER);
	for (int i = 0; i < PENNY_SCHED_QUEUES; i++)
		pg_atomic_init_u64(&claimers->queue[i].hash, 0);
	for (int i = 0; i < NAMES; i++)
		pg_atomic_init_u32(&claimers->name[i].generation, 0);
}

/* ---- names --------------------------------------------------------------------- */

uint32
penny_claimer_number(const char *name)
{
	char cut[PENNY_CLAIMER_NAME] = "";
	uint64 hash;
	WorkerName *set;
	WorkerName *place;
	int len;

	if (name == NULL || name[0] == '\0')
		return NOBODY_IN_PARTICULAR;
	len = pg_mbcliplen(name, (int) strlen(name), PENNY_CLAIMER_NAME - 1);
	memcpy(cut, name, (Size) len);
	hash = penny_sched_hash(cut, (Size) len);
	set = &claimers->name[hash % (NAMES / WAYS) * WAYS];
	place = set;
	for (int i = 0; i < WAYS; i++)
	{
		if (set[i].hash == hash && strcmp(set[i].name, cut) == 0)
		{
			place = &set[i];
			break;
		}
		if (set[i].used < place->used)
			place = &set[i];
	}
	if (place->hash != hash || strcmp(place->name, cut) != 0)
	{
		uint32 generation = pg_atomic_read_u32(&place->generation);

		pg_atomic_write_u32(&place->generation, (generation + 1) % GENERATIONS);
		pg_write_barrier();
		memcpy(place->name, cut, sizeof(cut));
		place->hash = hash;
	}
	place->used = ++claimers->clock;
	return FIRST_NUMBER + (uint32) (place - claimers->name) +
		   NAMES * pg_atomic_read_u32(&place->generation);
}

char *
penny_claimer_name(uint32 number)
{
	char name[PENNY_CLAIMER_NAME];
	const WorkerName *place;

	if (number < FIRST_NUMBER)
		return pstrdup("external");
	number -= FIRST_NUMBER;
	place = &claimers->name[number % NAMES];
	memcpy(name, place->name, sizeof(name));
	pg_read_barrier();
	if (pg_atomic_read_u32(unconstify(pg_atomic_uint32 *, &place->generation)) != number / NAMES)
		return pstrdup("external");
	name[sizeof(name) - 1] = '\0';
	return pstrdup(name);
}

/* ---- waking ------------------------------------------------------------------------- */

void
penny_claimers_queue(uint16 queue, const char *name)
{
	QueueRoom *of = &claimers->queue[queue];

	if (name == NULL)
	{
		pg_atomic_write_u64(&of->hash, 0);
		return;
	}
	snprintf(of->room, sizeof(of->room), "queue:%s", name);
	pg_atomic_write_u64(&of->hash, penny_hash(of->room, strlen(of->room), 0));
}

/* Is there a request at an edge, or a member, in the queue's room? */
static bool
is_listened(uint16 queue)
{
	uint64 hash = pg_atomic_read_u64(&claimers->queue[queue].hash);

	return hash != 0 && penny_publish_wanted_now(hash);
}

/* One session that sleeps for this queue; its mark is taken, so the next job wakes the next one. */
static void
wake_one(uint16 queue)
{
	int n = penny_queue_claimers_max();

	for (int i = 0; i < n; i++)
	{
		uint32 waits = (uint32) queue + 1;

		if (pg_atomic_read_u32(&penny_queue_claimer[i]) != waits ||
			!pg_atomic_compare_exchange_u32(&penny_queue_claimer[i], &waits, 0))
			continue;
		pg_atomic_fetch_sub_u32(&penny_queue_shared->claimers, 1);
		SetLatch(&ProcGlobal->allProcs[i].procLatch);
		return;
	}
}

static void
tell(const char *room)
{
	char frame[ROOM_MAX + 80];
	int len;

	/* names of queues need no escapes */
	len =
		snprintf(frame, sizeof(frame),
				 "{\"type\":\"event\",\"room\":\"%s\",\"event\":{\"type\":\"jobs.ready\"}}", room);
	penny_publish_now(room, frame, len);
}

void
penny_claimers_wake(uint16 queue)
{
	PennySched *sched = penny_queue_sched();
	QueueRoom *of = &claimers->queue[queue];
	char room[ROOM_MAX] = "";
	bool sleepers = pg_atomic_read_u32(&penny_queue_shared->claimers) != 0;
	bool listened = is_listened(queue);
	int64 next;
	int64 now;
	bool ready;

	if (!sleepers && !listened)
		return;
	penny_queue_lock();
	now = penny_queue_now();
	ready = penny_sched_waits(sched, PENNY_RUNNER_EXTERNAL, queue, now);
	next = penny_sched_next(sched, PENNY_RUNNER_EXTERNAL, now);
	if (listened && ready)
	{
		of->told = true;
		strlcpy(room, of->room, sizeof(room));
	}
	penny_queue_unlock();
	if (ready && sleepers)
		wake_one(queue);
	if (ready && listened)
		tell(room);
	if (sleepers)
		penny_claimers_next(next);
	if (listened)
		penny_queue_mind(next);
}

void
penny_claimers_wake_all(void)
{
	bool known[PENNY_SCHED_QUEUES] = {false};
	int n = penny_queue_claimers_max();

	for (int i = 0; i < n && pg_atomic_read_u32(&penny_queue_shared->claimers) != 0; i++)
	{
		uint32 waits = pg_atomic_read_u32(&penny_queue_claimer[i]);

		if (waits == 0 || waits > PENNY_SCHED_QUEUES || known[waits - 1])
			continue;
		known[waits - 1] = true;
		penny_claimers_wake((uint16) (waits - 1));
	}
	for (uint16 q = 0; q < PENNY_SCHED_QUEUES; q++)
		if (!known[q] && is_listened(q))
			penny_claimers_wake(q);
}

bool
penny_claimers_upkeep(void)
{
	bool any = false;

	for (uint16 q = 0; q < PENNY_SCHED_QUEUES; q++)
	{
		QueueRoom *of = &claimers->queue[q];
		char room[ROOM_MAX] = "";

		if (!is_listened(q))
			continue;
		any = true;
		penny_queue_lock();
		if (!penny_sched_waits(penny_queue_sched(), PENNY_RUNNER_EXTERNAL, q, penny_queue_now()))
			of->told = false;
		else if (!of->told)
		{
			of->told = true;
			strlcpy(room, of->room, sizeof(room));
		}
		penny_queue_unlock();
		if (room[0] != '\0')
			tell(room);
	}
	return any;
}

void
penny_claimers_drained(uint16 queue)
{
	claimers->queue[queue].told = false;
}

/* ---- who minds the time --------------------------------------------------------------- */

static uint32
self(void)
{
	return (uint32) PENNY_MY_PROC_NUMBER + 1;
}

bool
penny_claimers_mind(void)
{
	uint32 nobody = 0;

	if (pg_atomic_read_u32(&claimers->minder) != self() &&
		!pg_atomic_compare_exchange_u32(&claimers->minder, &nobody, self()))
		return false;
	/* until the look that follows has said when, everybody is to tell */
	pg_atomic_write_u64(&claimers->minds, PENNY_SCHED_NEVER);
	pg_memory_barrier();
	return true;
}

static void
wake_minder(void)
{
	uint32 minder = pg_atomic_read_u32(&claimers->minder);

	if (minder != 0)
		SetLatch(&ProcGlobal->allProcs[minder - 1].procLatch);
}

void
penny_claimers_next(int64 next)
{
	if (pg_atomic_read_u32(&claimers->minder) == self())
		pg_atomic_write_u64(&claimers->minds, (uint64) next);
	else if (next < (int64) pg_atomic_read_u64(&claimers->minds))
		wake_minder();
}

void
penny_claimers_leave(void)
{
	uint32 me = self();
	int n = penny_queue_claimers_max();

	(void) pg_atomic_compare_exchange_u32(&claimers->minder, &me, 0);
	pg_memory_barrier();
	for (int i = 0; i < n && pg_atomic_read_u32(&penny_queue_shared->claimers) != 0 &&
					pg_atomic_read_u32(&claimers->minder) == 0;
		 i++)
	{
		if (pg_atomic_read_u32(&penny_queue_claimer[i]) == 0)
			continue;
		SetLatch(&ProcGlobal->allProcs[i].procLatch);
		return;
	}
}

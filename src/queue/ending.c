/*-------------------------------------------------------------------------
 *
 * ending.c
 *		Entries that this transaction has made its own, until it ends.
 *
 * Three stacks in TopTransactionContext, all with nesting levels: the entries that
 * are owned (ENDING), what was recorded of them, and the jobs that have ended for
 * good, some of them in no entry.  A subtransaction that rolls
 * back takes its records off, so those entries are KEPT again, and gives back at
 * once what it had made its own.  COMMIT puts the records into the entries, ABORT
 * says KEPT to all, and one chain is posted; nothing there can fail, allocate or
 * wait.  Who waits is told after that, and so finds the end in memory and tables.
 *
 * A prepared transaction could not hold entries over a restart, so it is refused.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "port/pg_bitutils.h"
#include "utils/memutils.h"

#include "queue/ending_private.h"
#include "queue/load.h"
#include "queue/pending.h"
#include "queue/shared.h"
#include "queue/wait.h"

#define FIRST 64

typedef struct Owned
{
	PennyJobRef ref;
	int level;
} Owned;

typedef struct Record
{
	PennyJobRef ref;
	int level;
	PennyJobVerb verb;
	/* of RETRY */
	int64 due;
	uint16 attempt;
	bool deferred; /* its row has gone to the deferred jobs */
} Record;

/* A job that has ended for good. */
typedef struct Ended
{
	int64 id;
	int level;
} Ended;

/* Of the current transaction. */
static struct
{
	Owned *owned;
	int nowned;
	int owned_space;
	Record *record;
	int nrecords;
	int record_space;
	Ended *ended;
	int nended;
	int ended_space;
} mine;

static void xact_callback(XactEvent event, void *arg);
static void subxact_callback(SubXactEvent event, SubTransactionId sub, SubTransactionId parent,
							 void *arg);

void
penny_ending_init(void)
{
	RegisterXactCallback(xact_callback, NULL);
	RegisterSubXactCallback(subxact_callback, NULL);
}

/* Room for n more in an array of this transaction. */
static void *
enlarge(void *array, int n, int more, int *space, Size size)
{
	int wanted = Max(*space, FIRST);

	if (n + more <= *space)
		return array;
	while (wanted < n + more)
		wanted *= 2;
	*space = wanted;
	if (array == NULL)
		return MemoryContextAlloc(TopTransactionContext, (Size) wanted * size);
	return repalloc_huge(array, (Size) wanted * size);
}

static void
make_room(int more)
{
	mine.owned = enlarge(mine.owned, mine.nowned, more, &mine.owned_space, sizeof(Owned));
}

static void
push(PennyJobRef ref, int level)
{
	mine.owned[mine.nowned].ref = ref;
	mine.owned[mine.nowned++].level = level;
}

static void
refuse_other_tables(void)
{
	ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					errmsg("the job queue is not ready in this database"),
					errdetail("Its jobs are not in memory, or those of another database are."),
					errhint("Jobs run in the database that the setting penny.database names.")));
}

/* ---- making them one's own ------------------------------------------------------------- */

/* An entry that has just become ENDING: if nothing is recorded it is what it was. */
static void
keep(PennyJobRef ref)
{
	penny_sched_job(penny_queue_sched(), ref)->verb = PENNY_VERB_KEPT;
	push(ref, GetCurrentTransactionNestLevel());
}

int
penny_ending_own_claims(const int64 *ids, const uint64 *tokens, int n, PennyJobRef *refs,
						PennyJob *copies)
{
	PennySched *sched = penny_queue_sched();
	int64 now = penny_queue_now();
	int owned;

	if (!penny_queue_current())
		refuse_other_tables();
	make_room(n);
	penny_queue_lock();
	for (owned = 0; owned < n; owned++)
	{
		PennyJobRef ref = penny_sched_find(sched, ids[owned], now);

		if (ref == 0 || tokens[owned] == 0)
			break;
		copies[owned] = *penny_sched_job(sched, ref);
		if (copies[owned].state != PENNY_JOB_ACTIVE || copies[owned].token != tokens[owned] ||
			!penny_sched_own(sched, ref, now))
			break;
		refs[owned] = ref;
		keep(ref);
	}
	penny_queue_unlock();
	return owned;
}

/* Not what a worker's process holds: that records the end itself. */
static bool
is_claim(const PennyJob *job)
{
	return job->state == PENNY_JOB_ACTIVE && job->until != PENNY_SCHED_NEVER;
}

bool
penny_ending_own_claim(int64 id, PennyJobRef *ref, PennyJob *copy)
{
	PennySched *sched = penny_queue_sched();
	int64 now = penny_queue_now();
	bool owned = false;

	if (!penny_queue_current())
		refuse_other_tables();
	make_room(1);
	penny_queue_lock();
	*ref = penny_sched_find(sched, id, now);
	if (*ref != 0 && is_claim(penny_sched_job(sched, *ref)))
	{
		*copy = *penny_sched_job(sched, *ref);
		owned = penny_sched_own(sched, *ref, now);
	}
	if (owned)
		keep(*ref);
	penny_queue_unlock();
	return owned;
}

int
penny_ending_own_expired(int max, PennyJobRef *refs, PennyJob *copies)
{
	PennySched *sched = penny_queue_sched();
	int n;

	if (!penny_queue_current())
		refuse_other_tables();
	make_room(max);
	penny_queue_lock();
	n = (int) penny_sched_expired(sched, penny_queue_now(), (uint32) max, refs);
	for (int i = 0; i < n; i++)
	{
		copies[i] = *penny_sched_job(sched, refs[i]);
		keep(refs[i]);
	}
	penny_queue_unlock();
	return n;
}

/* Bring it into memory, wherever its row is; an error when there is no room. */
static void
bring_in(const PennyJobRow *row)
{
	bool room;

	if (row->flags & PENNY_JOB_DEFERRED)
		room = penny_load_row(row);
	else
	{
		(void) penny_load_job(row->id);
		penny_queue_lock();
		room = penny_sched_seen(penny_queue_sched(), row->id);
		penny_queue_unlock();
	}
	if (!room)
		ereport(ERROR, (errcode(ERRCODE_OUT_OF_MEMORY),
						errmsg("there is no room in memory for job " INT64_FORMAT, row->id),
						errhint("Try it again when fewer jobs wait, or raise "
								"penny.jobs_in_memory.")));
}

PennyOwned
penny_ending_own_waiting(const PennyJobRow *row, PennyJobRef *ref)
{
	PennySched *sched = penny_queue_sched();
	PennyOwned owned = PENNY_OWNED_GONE;
	int64 now = penny_queue_now();

	*ref = 0;
	/* one that this transaction has enqueued is in no entry: its commit posts it no more */
	if (!penny_queue_here() || penny_pending_cancel(row->queue, row->id))
		return PENNY_OWNED;
	if (!penny_queue_current())
		refuse_other_tables();
	make_room(1);
	for (int i = 0; i < 2 && owned == PENNY_OWNED_GONE; i++)
	{
		if (i > 0)
			bring_in(row);
		penny_queue_lock();
		*ref = penny_sched_find(sched, row->id, now);
		if (*ref != 0)
		{
			PennyJob *job = penny_sched_job(sched, *ref);

			owned = PENNY_OWNED_RUNS;
			if (job->state != PENNY_JOB_ACTIVE && penny_sched_own(sched, *ref, now))
			{
				owned = PENNY_OWNED;
				keep(*ref);
			}
		}
		penny_queue_unlock();
	}
	return owned;
}

int
penny_ending_own_segment(int64 segment, int max, PennyJobRef *refs)
{
	PennySched *sched = penny_queue_sched();
	int level = GetCurrentTransactionNestLevel();
	int64 now = penny_queue_now();
	int found;
	int n = 0;

	make_room(max);
	penny_queue_lock();
	penny_sched_drain(sched, now);
	found = (int) penny_sched_of_segment(sched, segment, (uint32) max, refs);
	for (int i = 0; i < found; i++)
	{
		PennyJob *job = penny_sched_job(sched, refs[i]);

		if (job->state == PENNY_JOB_ACTIVE || !penny_sched_own(sched, refs[i], now))
			continue;
		job->verb = PENNY_VERB_KEPT;
		push(refs[i], level);
		refs[n++] = refs[i];
	}
	penny_queue_unlock();
	return n;
}

void
penny_ending_own_taken(const PennyJobRef *refs, int n)
{
	PennySched *sched = penny_queue_sched();
	int64 now = penny_queue_now();
	int lost = 0;

	if (!penny_queue_current())
		refuse_other_tables();
	make_room(n);
	penny_queue_lock();
	/* those that an attempt before this one gave back may still be on their way */
	penny_sched_drain(sched, now);
	for (int i = 0; i < n; i++)
	{
		PennyJob *job = penny_sched_job(sched, refs[i]);

		if (job->state == PENNY_JOB_ACTIVE && penny_sched_own(sched, refs[i], now))
			keep(refs[i]);
		else
			lost++;
	}
	penny_queue_unlock();
	if (lost > 0)
		ereport(ERROR, (errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
						errmsg("jobs were taken away from this process"),
						errdetail("The memory of the job queue was made anew.")));
}

/* ---- what was recorded --------------------------------------------------------------------- */

void
penny_ending_post(PennyJobRef ref, PennyJobVerb verb, int64 due, int attempt, bool deferred)
{
	Record *record;

	mine.record = enlarge(mine.record, mine.nrecords, 1, &mine.record_space, sizeof(Record));
	record = &mine.record[mine.nrecords++];
	record->ref = ref;
	record->level = GetCurrentTransactionNestLevel();
	record->verb = verb;
	record->due = due;
	record->attempt = (uint16) attempt;
	record->deferred = deferred;
}

void
penny_ending_tell(int64 id)
{
	mine.ended = enlarge(mine.ended, mine.nended, 1, &mine.ended_space, sizeof(Ended));
	mine.ended[mine.nended++] = (Ended){id, GetCurrentTransactionNestLevel()};
}

/* Put a record into its entry, which is ours. */
static void
apply(const Record *record)
{
	PennyJob *job = penny_sched_job(penny_queue_sched(), record->ref);

	job->verb = (uint8) record->verb;
	if (record->verb != PENNY_VERB_RETRY)
		return;
	job->due = record->due;
	job->attempt = record->attempt;
	if (record->deferred)
		job->flags |= PENNY_JOB_DEFERRED;
}

/*
 * Post the entries from number `first` on, and wake who may go on: who waits at a
 * limit, for the time of a retry, or for room in memory.
 */
static void
post_from(int first)
{
	PennySched *sched = penny_queue_sched();
	uint64 queues[PENNY_SCHED_QUEUES / 64] = {0};

	if (first >= mine.nowned)
		return;
	for (int i = first; i < mine.nowned; i++)
	{
		uint16 queue = penny_sched_job(sched, mine.owned[i].ref)->queue % PENNY_SCHED_QUEUES;

		queues[queue / 64] |= UINT64CONST(1) << queue % 64;
		penny_sched_link(sched, mine.owned[i].ref, i + 1 < mine.nowned ? mine.owned[i + 1].ref : 0);
	}
	penny_sched_post(sched, mine.owned[first].ref, mine.owned[mine.nowned - 1].ref);
	mine.nowned = first;
	penny_queue_wake(PENNY_RUNNER_SQL, 0);
	penny_queue_wake(PENNY_RUNNER_WEBHOOK, 0);
	for (int i = 0; i < PENNY_SCHED_QUEUES / 64; i++)
		for (uint64 left = queues[i]; left != 0; left &= left - 1)
			penny_queue_wake(PENNY_RUNNER_EXTERNAL,
							 (uint16) (i * 64 + pg_rightmost_one_pos64(left)));
}

static void
tell_ended(void)
{
	if (mine.nended == 0 || !penny_wait_anybody())
		return;
	for (int i = 0; i < mine.nended; i++)
		penny_wait_job_ended(mine.ended[i].id);
}

static void
xact_callback(XactEvent event, void *arg)
{
	(void) arg;
	switch (event)
	{
		case XACT_EVENT_PRE_PREPARE:
			if (mine.nowned == 0 && mine.nended == 0)
				break;
			ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
							errmsg("cannot PREPARE a transaction that has ended jobs")));
			break;
		case XACT_EVENT_COMMIT:
			for (int i = 0; i < mine.nrecords; i++)
				apply(&mine.record[i]);
			post_from(0);
			tell_ended();
			memset(&mine, 0, sizeof(mine));
			break;
		case XACT_EVENT_ABORT:
			post_from(0);
			/* FALLTHROUGH */
		case XACT_EVENT_PREPARE:
			/* also where nothing was owned: the arrays are gone */
			memset(&mine, 0, sizeof(mine));
			break;
		default:
			break;
	}
}

static void
subxact_callback(SubXactEvent event, SubTransactionId sub, SubTransactionId parent, void *arg)
{
	int level = GetCurrentTransactionNestLevel();
	bool aborts = event == SUBXACT_EVENT_ABORT_SUB;
	int first;

	(void) sub;
	(void) parent;
	(void) arg;
	if (!aborts && event != SUBXACT_EVENT_COMMIT_SUB)
		return;
	for (int i = mine.nrecords - 1; i >= 0 && mine.record[i].level >= level; i--)
	{
		if (aborts)
			mine.nrecords = i;
		else
			mine.record[i].level = level - 1;
	}
	for (int i = mine.nended - 1; i >= 0 && mine.ended[i].level >= level; i--)
	{
		if (aborts)
			mine.nended = i;
		else
			mine.ended[i].level = level - 1;
	}
	for (first = mine.nowned; first > 0 && mine.owned[first - 1].level >= level; first--)
		if (!aborts)
			mine.owned[first - 1].level = level - 1;
	if (aborts)
		post_from(first);
}

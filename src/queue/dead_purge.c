/*-------------------------------------------------------------------------
 *
 * dead_purge.c
 *		Dead letters: forgetting them.
 *
 * Forgetting a child lets a parent go on that waits for it (mode wait); forgetting
 * a parent takes what its children gave along.
 *
 * Queues keep their last keep_failed.  Who records a death, or has changed settings
 * applied, counts it in shared memory; a minute after the last trim at the earliest, the
 * upkeep deletes what is beyond, in one transaction for all queues.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/shmem.h"
#include "queue/dead.h"
#include "queue/shared.h"
#include "queue/statements.h"
#include "queue/waiting.h"

#define TRIM_EVERY (INT64CONST(60) * USECS_PER_SEC)

static PennyQueueStatement purge_before = {"DELETE FROM _penny.jobs_dead WHERE queue" PENNY_SQL_EQ
										   "$1 AND died_at" PENNY_SQL_LT "$2 RETURNING id, parent",
										   2,
										   {INT2OID, TIMESTAMPTZOID},
										   NULL};
static PennyQueueStatement purge_beyond = {
	"DELETE FROM _penny.jobs_dead WHERE id" PENNY_SQL_EQ
	"ANY (ARRAY(SELECT d.id FROM _penny.queues q CROSS JOIN LATERAL (SELECT o.id FROM "
	"_penny.jobs_dead o WHERE o.queue" PENNY_SQL_EQ
	"q.id ORDER BY o.died_at DESC, o.id DESC OFFSET q.keep_failed) d)) RETURNING id, parent",
	0,
	{0},
	NULL};
static PennyQueueStatement end_edge = {
	"UPDATE _penny.job_edges SET ended = true WHERE child" PENNY_SQL_EQ
	"$1 AND NOT ended RETURNING parent",
	1,
	{INT8OID},
	NULL};
static PennyQueueStatement forget_children = {
	"DELETE FROM _penny.job_edges WHERE parent" PENNY_SQL_EQ "$1", 1, {INT8OID}, NULL};

typedef struct Purged
{
	int64 id;
	bool child;
} Purged;

typedef struct PurgeList
{
	int64 n;
	int64 space;
	Purged *of;
} PurgeList;

typedef struct Shared
{
	pg_atomic_uint32 died; /* since queues were trimmed last */
	pg_atomic_uint64 trimmed_at;
} Shared;

static Shared *shared = NULL;

static Size
shared_size(void)
{
	return sizeof(Shared);
}

static void
shared_create(void)
{
	pg_atomic_init_u32(&shared->died, 1); /* a setting may have changed while it was down */
	pg_atomic_init_u64(&shared->trimmed_at, 0);
}

static const PennyShmemPart dead_part = {.name = "penny dead letters",
										 .size = shared_size,
										 .area = (void **) &shared,
										 .init = shared_create};

void
penny_dead_init(void)
{
	penny_shmem_register(&dead_part);
}

static void
read_purged(const Datum *values, const bool *nulls, void *arg)
{
	PurgeList *list = arg;

	if (list->n == list->space)
	{
		list->space = Max(list->space * 2, 64);
		list->of = list->of == NULL ? palloc(sizeof(Purged) * (Size) list->space)
									: repalloc_huge(list->of, sizeof(Purged) * (Size) list->space);
	}
	list->of[list->n++] = (Purged){DatumGetInt64(values[0]), !nulls[1]};
}

/* What follows for flows. */
static void
forget(const PurgeList *list)
{
	for (int64 i = 0; i < list->n; i++)
	{
		Datum id = Int64GetDatum(list->of[i].id);
		int64 parent;

		CHECK_FOR_INTERRUPTS();
		(void) penny_queue_run(&forget_children, &id, NULL, false, NULL, NULL);
		if (list->of[i].child && penny_queue_run_int64(&end_edge, &id, NULL, false, &parent))
			(void) penny_waiting_count_down(parent);
	}
}

int64
penny_dead_purge(uint16 queue, TimestampTz before)
{
	Datum values[2] = {Int16GetDatum((int16) queue), TimestampTzGetDatum(before)};
	PurgeList list = {0};

	(void) penny_queue_run(&purge_before, values, NULL, false, read_purged, &list);
	forget(&list);
	return list.n;
}

/* ---- keep_failed ------------------------------------------------------------------ */

void
penny_dead_count(void)
{
	if (shared != NULL && pg_atomic_fetch_add_u32(&shared->died, 1) == 0)
		penny_queue_upkeep_by(GetCurrentTimestamp() + TRIM_EVERY);
}

void
penny_dead_trim(int64 now, int64 *again_at)
{
	int64 at;
	PurgeList list = {0};

	*again_at = PENNY_SCHED_NEVER;
	if (shared == NULL || pg_atomic_read_u32(&shared->died) == 0)
		return;
	at = (int64) pg_atomic_read_u64(&shared->trimmed_at) + TRIM_EVERY;
	if (now < at)
	{
		*again_at = at;
		return;
	}
	pg_atomic_write_u32(&shared->died, 0);
	pg_atomic_write_u64(&shared->trimmed_at, (uint64) now);
	StartTransactionCommand();
	(void) penny_queue_run(&purge_beyond, NULL, NULL, false, read_purged, &list);
	forget(&list);
	CommitTransactionCommand();
}

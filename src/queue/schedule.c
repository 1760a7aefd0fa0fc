/*-------------------------------------------------------------------------
 *
 * schedule.c
 *		Jobs that come by the clock: when somebody has to look.
 *
 * The worker that does the queue's upkeep calls penny_schedules_run() each time;
 * between two runs that is a look at two words of shared memory.  `next_at` says when
 * the next schedule is due; it holds as long as `changes` is what it was before it
 * was read.  A statement trigger on _penny.schedules notes that a transaction
 * changes it, and the COMMIT callback, when the rows are visible, raises `changes`
 * and has the upkeep done now.  The worker's own moves of next_at are not noted,
 * since it reads them itself.
 *
 * A schedule that cannot be enqueued (its queue is gone, its zone is not known any
 * more) says so in its row and in the log, and waits for its next time: it stops
 * nobody else.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/shmem.h"
#include "queue/queue.h"
#include "queue/schedule_private.h"
#include "queue/shared.h"

#define AT_ONCE 50                 /* schedules that are fired in one call */
#define LOCKED_PAUSE USECS_PER_SEC /* one that is due is being changed */

typedef struct Shared
{
	pg_atomic_uint64 changes; /* of the table, by committed transactions; from 1 on */
	pg_atomic_uint64 seen;    /* of them, when next_at was read; 0: never */
	pg_atomic_uint64 next_at;
} Shared;

static Shared *shared = NULL;
static bool changing = false; /* this transaction changes schedules */
static bool firing = false;   /* this process moves next_at */

static Size
shared_size(void)
{
	return sizeof(Shared);
}

static void
shared_create(void)
{
	pg_atomic_init_u64(&shared->changes, 1);
	pg_atomic_init_u64(&shared->seen, 0);
	pg_atomic_init_u64(&shared->next_at, (uint64) PENNY_SCHED_NEVER);
}

static const PennyShmemPart schedules_part = {.name = "penny schedules",
											  .size = shared_size,
											  .area = (void **) &shared,
											  .init = shared_create};

static void
xact_callback(XactEvent event, void *arg)
{
	(void) arg;
	if (!changing)
		return;
	switch (event)
	{
		case XACT_EVENT_PRE_PREPARE:
			ereport(ERROR, (errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
							errmsg("cannot PREPARE a transaction that has changed schedules")));
			break;
		case XACT_EVENT_COMMIT:
			changing = false;
			if (shared != NULL && penny_queue_here())
			{
				pg_atomic_fetch_add_u64(&shared->changes, 1);
				penny_queue_upkeep_by(penny_queue_now());
				penny_queue_wake(PENNY_RUNNER_SQL, 0);
			}
			break;
		case XACT_EVENT_ABORT:
			changing = false;
			break;
		default:
			break;
	}
}

void
penny_schedules_init(void)
{
	penny_shmem_register(&schedules_part);
	RegisterXactCallback(xact_callback, NULL);
}

void
penny_schedules_changed(void)
{
	if (!firing)
		changing = true;
}

/* ---- the worker ------------------------------------------------------------------ */

/* The error of a schedule, which ends its run alone; others are thrown on. */
static char *
take_error(MemoryContext context, const PennyScheduleRun *run)
{
	ErrorData *data;

	MemoryContextSwitchTo(context);
	data = CopyErrorData();
	FlushErrorState();
	AbortCurrentTransaction();
	firing = false;
	if (run->name[0] == '\0' || ProcDiePending || QueryCancelPending)
		ReThrowError(data);
	MemoryContextSwitchTo(context);
	return pstrdup(data->message);
}

static void
try_to_fire(TimestampTz now, PennyScheduleRun *run, bool *fired, char **error)
{
	MemoryContext context = CurrentMemoryContext;

	firing = true;
	PG_TRY();
	{
		StartTransactionCommand();
		*fired = penny_schedule_fire(now, run);
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		*error = take_error(context, run);
	}
	PG_END_TRY();
	firing = false;
	MemoryContextSwitchTo(context);
}

/* Fire one; false: none is due. */
static bool
fire_one(TimestampTz now)
{
	MemoryContext context = CurrentMemoryContext;
	PennyScheduleRun run = {.name = ""};
	char *error = NULL;
	bool fired = false;

	try_to_fire(now, &run, &fired, &error);
	if (error == NULL)
		return fired;
	ereport(WARNING, (errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
					  errmsg("schedule \"%s\" could not enqueue its job: %s", run.name, error)));
	firing = true;
	StartTransactionCommand();
	penny_schedule_failed(&run, error, now);
	CommitTransactionCommand();
	firing = false;
	MemoryContextSwitchTo(context);
	pfree(error);
	return true;
}

/* When the next is due, as the table says now. */
static int64
look(int64 now)
{
	MemoryContext context = CurrentMemoryContext;
	TimestampTz at;

	StartTransactionCommand();
	at = penny_schedule_earliest();
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	if (TIMESTAMP_IS_NOEND(at))
		return PENNY_SCHED_NEVER;
	return at <= now ? now + LOCKED_PAUSE : at;
}

bool
penny_schedules_run(int64 now, int64 *next_at)
{
	uint64 changes;
	int fired = 0;

	*next_at = PENNY_SCHED_NEVER;
	if (shared == NULL)
		return false;
	changes = pg_atomic_read_u64(&shared->changes);
	pg_read_barrier();
	if (pg_atomic_read_u64(&shared->seen) == changes)
	{
		*next_at = (int64) pg_atomic_read_u64(&shared->next_at);
		if (*next_at > now)
			return false;
	}
	while (fired < AT_ONCE && fire_one((TimestampTz) now))
		fired++;
	*next_at = fired == AT_ONCE ? now : look(now);
	pg_atomic_write_u64(&shared->next_at, (uint64) *next_at);
	pg_write_barrier();
	pg_atomic_write_u64(&shared->seen, changes);
	return fired > 0;
}

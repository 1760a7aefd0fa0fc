/*-------------------------------------------------------------------------
 *
 * run.c
 *		A batch of jobs that a worker has taken, run to their ends.
 *
 * Groups.  The jobs of a batch are run in one transaction, as far as they get
 * along: it ends early after a job that made temporary objects, when it lasts
 * for too long, and before and after one that is to be alone (its handler says
 * so, or it crashed its process before).  What is left when much time has gone
 * by goes back to the scheduler, untouched.
 *
 * A long job.  While one runs long, what of its batch has not begun is given to
 * other workers (crew.h): the tick lowers `limit`, then says so.  The main flow looks
 * at that after it has said how far it is and before it begins the next one, so
 * nothing that was given is begun here.  What ran before in the same transaction stays
 * with it.
 *
 * Exactly once.  A job's effects and the receipt of its end are in that same
 * transaction.  If there is an error, of a job or of the commit, everything is
 * undone, and every job that had begun is run again, each alone; now an error is
 * that of its job.  A collision with others (serialization, deadlock) is tried
 * again at once.  The failure is recorded in a transaction of its own: then it
 * is an attempt that was made.  Undone, too, and nobody's attempt, is what ran
 * when the worker was told to end, or whose end could not be written down because
 * another transaction holds its key or its parent; that runs again later.
 *
 * Waiting for the disk.  Effects and receipt are lost together, if at all, when
 * the machine crashes before they are on disk, and the job runs again; so the
 * commit does not wait for that, unless penny.job_synchronous_commit is on.  When
 * somebody waits for one of the jobs, or is told of it, it does wait: what one
 * was told must be so.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "utils/elog.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/error.h"
#include "base/registry.h"
#include "base/reset.h"
#include "config/config.h"
#include "queue/config.h"
#include "queue/crew.h"
#include "queue/handler.h"
#include "queue/marks.h"
#include "queue/run_private.h"

#define RETRIES 3                          /* of a job that collided */
#define LONG_ENOUGH (2 * PENNY_BATCH_TIME) /* us after which a transaction takes no more */
#define SHOW_EACH 16                       /* jobs of a batch that are shown one by one */

static PennyBatchItem items[PENNY_BATCH_MAX];
static int items_n = 0;
static MemoryContext context = NULL; /* of a transaction's rows and results */
static MemoryContext errors = NULL;  /* of the error that ended one */
static const PennyBatchItem *current = NULL;
static volatile int reached = 0; /* the last item that the transaction began with */
static volatile int limit = 0;   /* items from here on are others', or there are none */

/* Why a transaction came to nothing. */
static ErrorData *failure = NULL;
static const char *stopped = NULL; /* its job was told to stop, and why */
static bool was_cancelled = false;
static bool in_job = false; /* it was while a job ran */

static int attempt(int first, int most);
static int run_items(int first, int most);
static bool run_item(PennyBatchItem *item, bool first, bool *last);
static void take_error(void);
static void run_alone(int index, bool failed);
static int run_apart(int first, int last);
static void record_failure(PennyBatchItem *item);
static char *failure_text(void);
static void show(const PennyBatchItem *item);
static void add_context(void *arg);

void
penny_run_jobs_init(int number)
{
	context = AllocSetContextCreate(TopMemoryContext, "penny jobs", ALLOCSET_DEFAULT_SIZES);
	errors = AllocSetContextCreate(TopMemoryContext, "penny job errors", ALLOCSET_SMALL_SIZES);
	penny_job_function_init();
	penny_run_job_init(number);
}

/* Time to let go of what has not begun? */
static bool
is_enough(TimestampTz begun)
{
	return GetCurrentTimestamp() - begun > LONG_ENOUGH || ConfigReloadPending ||
		   penny_readiness() != PENNY_READY;
}

const char *
penny_run_jobs(const PennyJobRef *refs, int n)
{
	ErrorContextCallback callback = {.callback = add_context, .previous = error_context_stack};
	TimestampTz begun = GetCurrentTimestamp();
	const char *wrong = NULL;
	int next = 0;

	error_context_stack = &callback;
	items_n = limit = n;
	for (int i = 0; i < n; i++)
	{
		items[i].ref = refs[i];
		items[i].fate = PENNY_FATE_NONE;
		items[i].job = *penny_sched_job(penny_queue_sched(), refs[i]);
	}
	while (next < limit && wrong == NULL && (next == 0 || !is_enough(begun)))
	{
		int done = attempt(next, limit - next);

		if (done == 0)
			done = run_apart(next, reached);
		next += done;
		wrong = penny_reset_session();
	}
	penny_job_mark_end();
	if (next < n)
		penny_run_put_back(&items[next], items_n - next);
	error_context_stack = callback.previous;
	return wrong;
}

/* While a job runs, so `reached` is that one: nothing behind it has begun, or lasts. */
void
penny_run_give_rest(int number)
{
	int next = reached + 1;

	if (next >= limit)
		return;
	limit = next;
	penny_crew_give(number, items[next].job.token);
}

/* ---- a transaction ----------------------------------------------------------------------- */

/* Run jobs in one transaction; how many, or 0 when it came to nothing. */
static int
attempt(int first, int most)
{
	int saved_commit = synchronous_commit;
	volatile int n = 0;

	MemoryContextReset(context);
	MemoryContextReset(errors);
	failure = NULL;
	PG_TRY();
	{
		SetCurrentStatementStartTimestamp();
		StartTransactionCommand();
		MemoryContextSwitchTo(context);
		penny_run_ticks(true);
		in_job = true;
		n = run_items(first, most);
		in_job = false;
		penny_run_ticks(false);
		penny_run_patience(true);
		penny_run_record(&items[first], n, &current);
		penny_run_patience(false);
		CommitTransactionCommand();
	}
	PG_CATCH();
	{
		take_error();
		n = 0;
		for (int i = first; i <= reached; i++)
			items[i].fate = PENNY_FATE_NONE;
	}
	PG_END_TRY();
	synchronous_commit = saved_commit;
	current = NULL;
	MemoryContextSwitchTo(context);
	if (n > 0)
		penny_run_settle(&items[first], n);
	return n;
}

/* The error boundary: the transaction is undone, and why it was is kept. */
static void
take_error(void)
{
	stopped = penny_run_job_stop(&was_cancelled);
	penny_run_ticks(false);
	MemoryContextSwitchTo(errors);
	failure = CopyErrorData();
	AbortCurrentTransaction();
	FlushErrorState();
	QueryCancelPending = false;
}

static int
run_items(int first, int most)
{
	TimestampTz begun = GetCurrentTimestamp();
	TimestampTz now = begun;
	int n = 0;
	bool last = false;

	for (int i = first; i < first + most; i++)
		items[i].fate = PENNY_FATE_NONE;
	while (n < most && first + n < limit && !last && now - begun <= LONG_ENOUGH)
	{
		PennyBatchItem *item = &items[first + n];

		reached = first + n;
		current = item;
		item->started = now;
		if (!run_item(item, n == 0, &last))
			break;
		now = GetCurrentTimestamp();
		if (item->fate == PENNY_FATE_COMPLETED)
			penny_pace_note(item->job.kind, now - item->started);
		n++;
	}
	return n;
}

/* May the job be in one transaction with others? */
static bool
gets_along(const PennyBatchItem *item, const PennyHandler *handler)
{
	return handler->batch && penny_job_crashes(item->job.id) == 0;
}

/*
 * Read and run a job.  False: not in this transaction, which others have begun;
 * `*last`: none may follow in it.
 */
static bool
run_item(PennyBatchItem *item, bool first, bool *last)
{
	const PennyJob *entry = penny_sched_job(penny_queue_sched(), item->ref);
	const PennyHandler *handler;
	PennyJobTerms terms;

	item->result = NULL;
	item->error = item->reason = NULL;
	item->row.kind = NULL;
	penny_job_mark(item->job.id, "-");
	if (!penny_job_read(&item->job, &item->row))
	{
		item->fate = PENNY_FATE_GONE;
		return true;
	}
	penny_job_mark(item->job.id, item->row.kind);
	handler = penny_handler_find(item->row.kind);
	if ((entry->flags & PENNY_JOB_CANCEL) != 0)
		item->fate = PENNY_FATE_CANCELLED;
	else if (handler == NULL || handler->runner != PENNY_RUNNER_SQL)
		item->fate = PENNY_FATE_PUT_BACK;
	else if ((item->error = penny_job_condemned(item->job.id)) != NULL)
	{
		item->fate = PENNY_FATE_FAILED;
		item->reason = "crashed";
	}
	if (item->fate != PENNY_FATE_NONE)
		return true;

	*last = !gets_along(item, handler);
	if (*last && !first)
		return false;
	penny_job_terms(&item->row, handler, &terms);
	if (first || items_n <= SHOW_EACH)
		show(item);
	penny_run_job(item, handler, &terms, context);
	item->fate = PENNY_FATE_COMPLETED;
	*last |= penny_run_job_left_something();
	return true;
}

/* ---- one job alone -------------------------------------------------------------------------- */

static bool
is_collision(const ErrorData *error)
{
	return error->sqlerrcode == ERRCODE_T_R_SERIALIZATION_FAILURE ||
		   error->sqlerrcode == ERRCODE_T_R_DEADLOCK_DETECTED;
}

/* Is its end held up by a transaction of others?  Then it is tried again later. */
static bool
is_held_up(void)
{
	if (in_job || was_cancelled || stopped != NULL ||
		failure->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)
		return false;
	ereport(LOG,
			(errcode(failure->sqlerrcode),
			 errmsg("the end of a penny job could not be recorded: %s", failure->message),
			 errdetail("Another transaction holds its key, its parent or a table of the queue. "
					   "What the job did is undone, and it runs again in %d s.",
					   (int) (PENNY_RUN_AGAIN_AFTER / USECS_PER_SEC))));
	return true;
}

/* A job that is in no transaction; with an error to begin with, or without. */
static void
run_alone(int index, bool failed)
{
	for (int i = 0; failed || attempt(index, 1) == 0; i++)
	{
		failed = false;
		if (!was_cancelled && stopped == NULL && is_collision(failure) && i < RETRIES)
			continue;
		current = &items[index];
		if (is_held_up())
			penny_run_settle(&items[index], 1);
		else
			record_failure(&items[index]);
		current = NULL;
		break;
	}
}

/*
 * The transaction with these jobs came to nothing: each alone; gives how many.
 * When it is clear whose the error was, that one has had its attempt.
 */
static int
run_apart(int first, int last)
{
	bool known = first == last || was_cancelled || stopped != NULL ||
				 (in_job && failure->sqlerrcode == ERRCODE_QUERY_CANCELED);
	int i = first;

	if (known)
		run_alone(last, true);
	while (i < last + (known ? 0 : 1) && i < limit && penny_reset_session() == NULL)
		run_alone(i++, false);
	return known && i == last ? i - first + 1 : i - first;
}

/* What is kept of the error: message, detail, SQLSTATE. */
static char *
failure_text(void)
{
	StringInfoData text;

	initStringInfo(&text);
	appendStringInfoString(&text, stopped != NULL            ? stopped
								  : failure->message != NULL ? failure->message
															 : "unknown error");
	if (stopped == NULL && failure->detail != NULL)
		appendStringInfo(&text, "\nDETAIL: %s", failure->detail);
	appendStringInfo(&text, "\nSQLSTATE: %s", unpack_sql_state(failure->sqlerrcode));
	if (text.len > PENNY_JOB_ERROR_MAX)
		text.data[pg_mbcliplen(text.data, text.len, PENNY_JOB_ERROR_MAX)] = '\0';
	return text.data;
}

/* Its attempt was undone: say so in a transaction of its own. */
static void
record_failure(PennyBatchItem *item)
{
	volatile bool recorded = false;
	char *text;

	was_cancelled |=
		(penny_sched_job(penny_queue_sched(), item->ref)->flags & PENNY_JOB_CANCEL) != 0;
	MemoryContextSwitchTo(errors);
	text = failure_text();
	current = item;
	if (!was_cancelled)
		ereport(LOG, (errcode(failure->sqlerrcode),
					  errmsg("penny job failed: %s", stopped != NULL ? stopped : failure->message),
					  failure->detail != NULL ? errdetail_internal("%s", failure->detail) : 0));
	PG_TRY();
	{
		StartTransactionCommand();
		MemoryContextReset(context);
		MemoryContextSwitchTo(context);
		if (penny_job_read(&item->job, &item->row))
		{
			item->fate = was_cancelled ? PENNY_FATE_CANCELLED : PENNY_FATE_FAILED;
			item->error = text;
			item->reason = NULL;
			penny_ending_own_taken(&item->ref, 1);
			penny_run_patience(true);
			penny_run_record_one(item);
			penny_run_patience(false);
		}
		else
			item->fate = PENNY_FATE_GONE;
		CommitTransactionCommand();
		recorded = true;
	}
	PG_CATCH();
	{
		penny_run_patience(false);
		QueryCancelHoldoffCount = 1; /* the error took it back */
		EmitErrorReport();
		AbortCurrentTransaction();
		FlushErrorState();
	}
	PG_END_TRY();
	current = NULL;
	MemoryContextSwitchTo(context);
	if (!recorded)
		item->fate = PENNY_FATE_NONE;
	penny_run_settle(&items[(int) (item - items)], 1);
}

/* ---- for who looks -------------------------------------------------------------------------------- */

static void
show(const PennyBatchItem *item)
{
	char activity[192];

	snprintf(activity, sizeof(activity), "job " INT64_FORMAT " of kind %s", item->job.id,
			 item->row.kind);
	pgstat_report_activity(STATE_RUNNING, activity);
}

/* Say in log lines whose job it was. */
static void
add_context(void *arg)
{
	(void) arg;
	if (current == NULL)
		return;
	if (current->row.kind != NULL)
		errcontext("penny job " INT64_FORMAT " of kind %s, attempt %d", current->job.id,
				   current->row.kind, current->job.attempt + 1);
	else
		errcontext("penny job " INT64_FORMAT, current->job.id);
}

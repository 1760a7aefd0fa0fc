/*-------------------------------------------------------------------------
 *
 * waiting.c
 *		Jobs that have not started; see waiting.h.
 *
 * A blocked job (pending > 0) is in no entry of the scheduler, so its row is what
 * decides: who ends or releases it holds the row's lock.  When it is let go its
 * entry is posted by the commit, and from then on memory decides.
 *
 * The key of a blocked job is locked before its row, which is the order of who
 * replaces it or lets it go.  Ends go up a flow: the edge of a job, key and row of its
 * parent, the edge of that one.  Who takes a parent away takes its children along,
 * and so locks the tree below it in that order before its own row.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/pg_list.h"
#include "utils/snapmgr.h"

#include "queue/statements.h"
#include "queue/waiting.h"

static PennyQueueStatement lock_key = {
	"SELECT k.job_id FROM _penny.jobs_deferred d JOIN _penny.job_keys k ON k.queue" PENNY_SQL_EQ
	"d.queue AND k.key" PENNY_SQL_EQ "d.key WHERE d.id" PENNY_SQL_EQ "$1 AND d.pending" PENNY_SQL_GT
	"0 FOR UPDATE OF k",
	1,
	{INT8OID},
	NULL};
static PennyQueueStatement lock_blocked = {
	"SELECT d.id FROM _penny.jobs_deferred d WHERE d.id" PENNY_SQL_EQ
	"$1 AND d.pending" PENNY_SQL_GT "0 FOR UPDATE",
	1,
	{INT8OID},
	NULL};
static PennyQueueStatement count_down = {
	"UPDATE _penny.jobs_deferred SET pending = pending" PENNY_SQL_MINUS "1 WHERE id" PENNY_SQL_EQ
	"$1 AND pending" PENNY_SQL_GT "0 RETURNING pending::pg_catalog.int8",
	1,
	{INT8OID},
	NULL};

static PennyQueueStatement parents_below = {
	"SELECT e.child FROM _penny.job_edges e JOIN _penny.jobs_deferred d ON d.id" PENNY_SQL_EQ
	"e.child WHERE e.parent" PENNY_SQL_EQ "$1 AND d.pending" PENNY_SQL_GT "0 ORDER BY e.child DESC",
	1,
	{INT8OID},
	NULL};
static PennyQueueStatement lock_edges = {
	"SELECT e.child FROM _penny.job_edges e WHERE e.parent" PENNY_SQL_EQ
	"$1 ORDER BY e.child FOR UPDATE",
	1,
	{INT8OID},
	NULL};

/* By a snapshot that sees what is committed and what this transaction did. */
static bool
read_latest(int64 id, PennyJobRow *row)
{
	bool found;

	PushActiveSnapshot(GetLatestSnapshot());
	found = penny_job_read_id(id, row);
	PopActiveSnapshot();
	return found;
}

/* False: it does not wait. */
static bool
lock_row(int64 id)
{
	Datum value = Int64GetDatum(id);

	(void) penny_queue_run(&lock_key, &value, NULL, false, NULL, NULL);
	return penny_queue_run(&lock_blocked, &value, NULL, false, NULL, NULL) > 0;
}

bool
penny_waiting_lock(int64 id, PennyJobRow *row)
{
	return lock_row(id) && read_latest(id, row);
}

static void
add_child(const Datum *values, const bool *nulls, void *arg)
{
	List **children = arg;
	int64 *id = palloc(sizeof(*id));

	(void) nulls;
	*id = DatumGetInt64(values[0]);
	*children = lappend(*children, id);
}

/* The tree below a parent, from the bottom up, the younger of two parents first. */
static void
lock_below(int64 parent)
{
	Datum value = Int64GetDatum(parent);
	List *children = NIL;
	ListCell *lc;

	check_stack_depth();
	(void) penny_queue_run(&parents_below, &value, NULL, false, add_child, &children);
	foreach (lc, children)
	{
		int64 child = *(int64 *) lfirst(lc);

		lock_below(child);
		(void) lock_row(child);
	}
	list_free_deep(children);
	(void) penny_queue_run(&lock_edges, &value, NULL, false, NULL, NULL);
}

PennyOwned
penny_waiting_take(int64 id, PennyWaitingJob *out)
{
	PennyOwned owned;
	PennyJob job;

	out->ref = 0;
	/* what this transaction wrote counts */
	CommandCounterIncrement();
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		if (!read_latest(id, &out->row))
			return PENNY_OWNED_GONE;
		if (out->row.pending == 0)
			break; /* and never will be more */
		if (out->row.on_child_failure != '\0')
			lock_below(id);
		if (penny_waiting_lock(id, &out->row))
			return PENNY_OWNED;
	}
	owned = penny_ending_own_waiting(&out->row, &out->ref);
	if (out->ref == 0)
		return owned;
	/* its row may have moved to the deferred jobs before it was ours */
	job = *penny_sched_job(penny_queue_sched(), out->ref);
	if (owned == PENNY_OWNED && ((job.flags ^ out->row.flags) & PENNY_JOB_DEFERRED) != 0)
		(void) penny_job_read(&job, &out->row);
	return owned;
}

void
penny_waiting_cancel(const PennyWaitingJob *job)
{
	PennyEnding ending = {.ref = job->ref,
						  .row = &job->row,
						  .outcome = PENNY_OUTCOME_CANCELLED,
						  .retry_in = -1,
						  .started = penny_queue_now()};

	penny_ending_record(&ending);
}

bool
penny_waiting_count_down(int64 id)
{
	Datum value = Int64GetDatum(id);
	PennyJobRow row;
	int64 pending;

	if (!penny_queue_run_int64(&count_down, &value, NULL, false, &pending))
		return false;
	if (pending == 0 && read_latest(id, &row))
		penny_job_offer(&row);
	return true;
}

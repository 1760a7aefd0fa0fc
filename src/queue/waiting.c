/*-------------------------------------------------------------------------
 *
 * waiting.c
 *		Jobs that have not started; see waiting.h.
 *
 * A blocked job (pending > 0) is in no entry of the scheduler, so its row is what
 * decides: who ends or releases it holds the row's lock.  When it is let go its
 * entry is posted by the commit, and from then on memory decides.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/snapmgr.h"

#include "queue/statements.h"
#include "queue/waiting.h"

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

bool
penny_waiting_lock(int64 id, PennyJobRow *row)
{
	Datum value = Int64GetDatum(id);

	return penny_queue_run(&lock_blocked, &value, NULL, false, NULL, NULL) > 0 &&
		   read_latest(id, row);
}

PennyOwned
penny_waiting_take(int64 id, PennyWaitingJob *out)
{
	PennyOwned owned;
	PennyJob job;

	out->ref = 0;
	do
	{
		CHECK_FOR_INTERRUPTS();
		if (penny_waiting_lock(id, &out->row))
			return PENNY_OWNED;
		if (!read_latest(id, &out->row))
			return PENNY_OWNED_GONE;
		/* one that waits for others came between the two: it must not come into an entry */
	} while (out->row.pending > 0);
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

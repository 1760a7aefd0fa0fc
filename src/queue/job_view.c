/*-------------------------------------------------------------------------
 *
 * job_view.c
 *		What becomes of a job, for who looks; see job_view.h.
 *
 * Memory is asked first: one look under the queue's lock.  A job that is not there
 * and whose bit says done has ended, and its receipt tells how: one of its own, or
 * that of a batch, which began with a smaller id.  Batches are looked for backwards by
 * the index, BATCHES_BACK receipts far; beyond that it is said to have completed, and
 * not when.  A job without an entry that is not done waits for room in memory, for the
 * commit that enqueues it, or for its time.
 *
 * Where there is no memory to ask (another database, not preloaded), receipts alone
 * tell.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "auth/identity.h"
#include "queue/claimers.h"
#include "queue/ending_private.h"
#include "queue/enqueue.h"
#include "queue/job_view.h"
#include "queue/load.h"
#include "queue/shared.h"
#include "queue/storage.h"

#define BATCHES_BACK 2000

typedef enum Known
{
	KNOWN_LIVE, /* it is in memory */
	KNOWN_DONE,
	KNOWN_NOT_DONE,
	KNOWN_NOT /* nobody to ask */
} Known;

bool
penny_job_view_allowed(int64 id)
{
	const PennyIdentity *identity = penny_identity_get();
	PennyJobRow row;

	if (penny_enqueue_has_role('a'))
		return true;
	return identity->has_user && penny_job_read_id(id, &row) && row.user_id != NULL &&
		   memcmp(row.user_id, &identity->user_id, sizeof(pg_uuid_t)) == 0;
}

/* ---- memory --------------------------------------------------------------------- */

static Known
ask_memory(int64 id, PennyJob *job)
{
	PennySched *sched = penny_queue_sched();
	Known known = KNOWN_NOT_DONE;
	PennyJobRef ref;

	if (!penny_queue_here() || !penny_queue_current() ||
		pg_atomic_read_u32(&penny_queue_shared->load) != PENNY_QUEUE_LOADED)
		return KNOWN_NOT;
	penny_queue_lock();
	ref = penny_sched_find(sched, id, penny_queue_now());
	if (ref != 0)
	{
		*job = *penny_sched_job(sched, ref);
		known = KNOWN_LIVE;
	}
	else if (penny_sched_done(sched, id))
		known = KNOWN_DONE;
	penny_queue_unlock();
	return known;
}

static const char *
state_by_time(TimestampTz due)
{
	return due > GetCurrentTimestamp() ? "delayed" : "waiting";
}

static void
view_live(const PennyJob *job, PennyJobView *view)
{
	bool active = job->state == PENNY_JOB_ACTIVE ||
				  (job->state == PENNY_JOB_ENDING && job->before == PENNY_JOB_ACTIVE);

	view->attempt = job->attempt;
	view->due = job->due;
	if (!active)
	{
		view->state = state_by_time(job->due);
		return;
	}
	view->state = "active";
	view->attempt++;
	view->started = job->started;
	if (job->until != PENNY_SCHED_NEVER)
	{
		view->until = job->until;
		view->worker = penny_claimer_name(job->holder);
	}
	else if (job->runner == PENNY_RUNNER_WEBHOOK)
		view->worker = pstrdup("penny courier");
	else
		view->worker = psprintf("penny worker %u", job->holder);
}

/* ---- receipts -------------------------------------------------------------------- */

static Datum
column(HeapTuple tuple, TupleDesc desc, int n, bool *isnull)
{
	return heap_getattr(tuple, n + 1, desc, isnull);
}

typedef struct Member
{
	int64 id;
	bool found;
} Member;

static void
compare_member(int64 id, void *arg)
{
	Member *member = arg;

	member->found = member->found || id == member->id;
}

/* Does this receipt tell how the job ended? */
static bool
tells(HeapTuple tuple, TupleDesc desc, int64 id)
{
	bool isnull;
	int64 first = DatumGetInt64(column(tuple, desc, RECEIPT_ID, &isnull));
	int outcome = DatumGetInt16(column(tuple, desc, RECEIPT_OUTCOME, &isnull));
	Member member = {id, false};
	Datum ids;

	if (outcome != PENNY_OUTCOME_BATCH)
		return first == id && outcome != PENNY_OUTCOME_RETRY;
	if (DatumGetInt64(column(tuple, desc, RECEIPT_LAST_ID, &isnull)) < id)
		return false;
	ids = column(tuple, desc, RECEIPT_IDS, &isnull);
	if (!isnull)
		penny_receipt_unpack(first, DatumGetByteaPP(ids), compare_member, &member);
	return member.found;
}

static char *
copy_text(Datum value, bool isnull)
{
	return isnull ? NULL : TextDatumGetCString(value);
}

static void
view_receipt(HeapTuple tuple, TupleDesc desc, bool whole, PennyJobView *view)
{
	bool isnull;
	Datum value;

	switch (DatumGetInt16(column(tuple, desc, RECEIPT_OUTCOME, &isnull)))
	{
		case PENNY_OUTCOME_FAILED:
			view->state = "failed";
			break;
		case PENNY_OUTCOME_CANCELLED:
			view->state = "cancelled";
			break;
		case PENNY_OUTCOME_MOVED:
			view->state = NULL;
			break;
		default:
			view->state = "completed";
			break;
	}
	if (!whole)
		return;
	view->attempt = DatumGetInt16(column(tuple, desc, RECEIPT_ATTEMPT, &isnull));
	view->started = DatumGetTimestampTz(column(tuple, desc, RECEIPT_STARTED, &isnull));
	view->ended = DatumGetTimestampTz(column(tuple, desc, RECEIPT_ENDED, &isnull));
	value = column(tuple, desc, RECEIPT_RESULT, &isnull);
	if (!isnull)
		view->result = DatumGetJsonbPCopy(value);
	value = column(tuple, desc, RECEIPT_ERROR, &isnull);
	view->error = copy_text(value, isnull);
	value = column(tuple, desc, RECEIPT_WORKER, &isnull);
	view->worker = copy_text(value, isnull);
}

/* By its receipt; false: none was found.  Without `batches` only one of its own. */
static bool
ask_receipts(int64 id, bool batches, bool whole, PennyJobView *view)
{
	Snapshot snapshot = RegisterSnapshot(GetLatestSnapshot());
	PennyOpenTable open;
	PennyTableScan *scan;
	HeapTuple tuple;
	bool found = false;

	penny_table_open(&open, penny_receipt_table(id), AccessShareLock);
	scan = penny_table_scan_to(&open, RECEIPT_ID, snapshot, id);
	for (int n = 0; n < BATCHES_BACK && !found && penny_table_previous(scan, &tuple); n++)
	{
		TupleDesc desc = RelationGetDescr(open.relation);
		bool isnull;

		if (!batches && DatumGetInt64(column(tuple, desc, RECEIPT_ID, &isnull)) != id)
			break;
		found = tells(tuple, desc, id);
		if (found)
			view_receipt(tuple, desc, whole, view);
	}
	penny_table_scan_end(scan);
	penny_table_close(&open);
	UnregisterSnapshot(snapshot);
	return found;
}

void
penny_job_view(int64 id, TimestampTz due, bool whole, PennyJobView *view)
{
	PennyJob job;

	memset(view, 0, sizeof(*view));
	switch (ask_memory(id, &job))
	{
		case KNOWN_LIVE:
			view_live(&job, view);
			return;
		case KNOWN_DONE:
			if (!ask_receipts(id, whole, whole, view))
				view->state = "completed";
			return;
		case KNOWN_NOT:
			if (ask_receipts(id, true, whole, view))
				return;
			break;
		case KNOWN_NOT_DONE:
			break;
	}
	view->state = state_by_time(due);
}

/*-------------------------------------------------------------------------
 *
 * rotate_move.c
 *		Jobs that are left in old segments, and the sequence of ids.
 *
 * A job keeps its id when its row moves to jobs_deferred; the segment gets a
 * receipt that says so.  Its entry is this transaction's meanwhile, so nobody starts
 * it, and afterwards it waits as before.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_authid_d.h"
#include "commands/sequence.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "queue/ending_private.h"
#include "queue/load.h"
#include "queue/rotate.h"
#include "queue/shared.h"
#include "queue/storage.h"

static void
move_job(PennyJobRef ref)
{
	PennyJob job = *penny_sched_job(penny_queue_sched(), ref);
	PennyReceipt receipt = {0};
	PennyJobRow row;

	if (!penny_job_read(&job, &row))
	{
		/* gone by other hands */
		penny_ending_post(ref, PENNY_VERB_ENDED, 0, 0, false);
		return;
	}
	receipt.id = receipt.last_id = job.id;
	receipt.queue = job.queue;
	receipt.outcome = PENNY_OUTCOME_MOVED;
	receipt.attempt = job.attempt;
	receipt.jobs = 1;
	receipt.started = receipt.ended = GetCurrentTimestamp();
	receipt.due = job.due;
	penny_deferred_move(&row, job.due, job.attempt, penny_job_errors(&row));
	penny_receipt_write(&receipt);
	penny_ending_post(ref, PENNY_VERB_RETRY, job.due, job.attempt, true);
	penny_queue_count(PENNY_QUEUE_MOVED, 1);
}

void
penny_segment_move_jobs(int64 segment, int max)
{
	PennyJobRef *refs;
	MemoryContext context;
	MemoryContext old;
	int n;

	StartTransactionCommand();
	context = AllocSetContextCreate(CurrentMemoryContext, "penny move", ALLOCSET_DEFAULT_SIZES);
	refs = palloc((Size) max * sizeof(*refs));
	n = penny_ending_own_segment(segment, max, refs);
	old = MemoryContextSwitchTo(context);
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		move_job(refs[i]);
		MemoryContextReset(context);
	}
	MemoryContextSwitchTo(old);
	CommitTransactionCommand();
}

bool
penny_sequence_to(int64 id)
{
	Oid sequence = penny_queue_table_oid(PENNY_TABLE_ID);
	Oid saved_user;
	int saved_context;

	/* nobody takes ids between the look and the change: it would give them again */
	if (!OidIsValid(sequence) || !ConditionalLockRelationOid(sequence, ShareRowExclusiveLock))
		return false;
	if (nextval_internal(sequence, false) >= id)
		return true;
	GetUserIdAndSecContext(&saved_user, &saved_context);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID, saved_context | SECURITY_LOCAL_USERID_CHANGE);
	(void) DirectFunctionCall2(setval_oid, ObjectIdGetDatum(sequence), Int64GetDatum(id));
	SetUserIdAndSecContext(saved_user, saved_context);
	return true;
}

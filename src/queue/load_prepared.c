/*-------------------------------------------------------------------------
 *
 * load_prepared.c
 *		New jobs of prepared transactions.
 *
 * COMMIT PREPARED fires no transaction callback.  So at PRE_PREPARE the smallest
 * id of the new jobs is put into a table in shared memory under the transaction's
 * xid, and while there are any, upkeep looks which xids are over; rows of those
 * that were committed are found by a rescan.  What was prepared before the server
 * started is noted without an id: all is read again when it has ended.
 *
 * There is a place for each prepared transaction and each backend that is about to
 * prepare one; a PREPARE that fails is an xid that was rolled back.  Should the
 * table be full of what is over and not yet looked at, PREPARE looks itself.
 *
 * The lock of the table is taken before ProcArrayLock.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/twophase.h"
#include "access/xact.h"
#include "storage/proc.h"
#include "storage/procarray.h"

#include "queue/load.h"
#include "queue/pending.h"
#include "queue/shared.h"

#define LOOK_AGAIN 50000 /* us, while any is prepared */

static bool
put(TransactionId xid, int64 first, bool deferred)
{
	for (int i = 0; i < penny_queue_shared->prepared_size; i++)
	{
		PennyQueuePrepared *place = &penny_queue_prepared[i];

		if (TransactionIdIsValid(place->xid))
			continue;
		place->xid = xid;
		place->first = first;
		place->deferred = deferred;
		pg_atomic_fetch_add_u32(&penny_queue_shared->prepared, 1);
		return true;
	}
	return false;
}

void
penny_prepared_jobs(int64 first, bool deferred)
{
	TransactionId xid = GetTopTransactionId();
	bool noted = false;

	if (!penny_queue_here())
		return;
	for (int i = 0; i < 2 && !noted; i++)
	{
		if (i > 0)
			(void) penny_prepared_settle(penny_queue_now());
		LWLockAcquire(penny_queue_prepared_lock(), LW_EXCLUSIVE);
		noted = put(xid, first, deferred);
		LWLockRelease(penny_queue_prepared_lock());
	}
	if (!noted)
		ereport(ERROR, (errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
						errmsg("too many prepared transactions with jobs")));
	/* from now on upkeep looks how it ends */
	penny_queue_upkeep_by(0);
}

void
penny_prepared_begin(void)
{
	LWLockAcquire(penny_queue_prepared_lock(), LW_EXCLUSIVE);
	for (int i = 0; i < max_prepared_xacts; i++)
	{
		TransactionId xid = *((volatile TransactionId *) &PreparedXactProcs[i].xid);
		bool known = !TransactionIdIsValid(xid);

		for (int k = 0; k < penny_queue_shared->prepared_size && !known; k++)
			known = penny_queue_prepared[k].xid == xid;
		if (!known)
			(void) put(xid, 1, true);
	}
	LWLockRelease(penny_queue_prepared_lock());
}

int64
penny_prepared_settle(int64 now)
{
	PennyQueueShared *s = penny_queue_shared;

	if (pg_atomic_read_u32(&s->prepared) == 0)
		return PENNY_SCHED_NEVER;
	LWLockAcquire(penny_queue_prepared_lock(), LW_EXCLUSIVE);
	for (int i = 0; i < s->prepared_size; i++)
	{
		PennyQueuePrepared *place = &penny_queue_prepared[i];

		if (!TransactionIdIsValid(place->xid) || TransactionIdIsInProgress(place->xid))
			continue;
		if (TransactionIdDidCommit(place->xid))
		{
			if (place->first != PENNY_QUEUE_NOT_MISSED)
				penny_queue_missed_all(place->first);
			if (place->deferred)
				penny_queue_lower(&s->deferred_due, 0);
		}
		place->xid = InvalidTransactionId;
		pg_atomic_fetch_sub_u32(&s->prepared, 1);
	}
	LWLockRelease(penny_queue_prepared_lock());
	return pg_atomic_read_u32(&s->prepared) == 0 ? PENNY_SCHED_NEVER : now + LOOK_AGAIN;
}

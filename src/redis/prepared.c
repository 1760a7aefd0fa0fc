/*-------------------------------------------------------------------------
 *
 * prepared.c
 *		Changes of prepared transactions, for the relay to tell.
 *
 * COMMIT PREPARED fires no transaction callback.  So at PRE_PREPARE the
 * conversations are put into a table in shared memory under the transaction's
 * xid, and the relay looks ten times a second, while there are any, which xids
 * are over: what was committed is told, the rest forgotten.  Whoever commits
 * it, and whether that process lives on, does not matter.  A PREPARE that
 * fails is an xid that was rolled back.
 *
 * When the table is full, and for transactions that were prepared before the
 * relay began (before a restart, or without penny.redis_url), there is a
 * sweep for the end of each, or one every second until none is left.
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

#include "base/clock.h"
#include "redis/redis.h"
#include "redis/shared.h"

#define SWEEP_PAUSE 1000 /* ms, while what is prepared is not known */

static void put(TransactionId xid, const pg_uuid_t *id);
static bool any_prepared(void);
static void tell(const PennyRedisPrepared *change);

/* PRE_PREPARE: note what the transaction will have changed. */
void
penny_redis_prepare(const pg_uuid_t *id, int n, bool all)
{
	TransactionId xid = GetTopTransactionId();

	LWLockAcquire(penny_redis_lock(PENNY_REDIS_LOCK_PREPARED), LW_EXCLUSIVE);
	if (all)
		put(xid, NULL);
	for (int i = 0; i < n && !all; i++)
		put(xid, &id[i]);
	LWLockRelease(penny_redis_lock(PENNY_REDIS_LOCK_PREPARED));
	penny_redis_wake_relay();
}

/* Into a free place; id NULL: everything.  The lock is held. */
static void
put(TransactionId xid, const pg_uuid_t *id)
{
	for (int i = 0; i < PENNY_REDIS_PREPARED; i++)
	{
		PennyRedisPrepared *change = &penny_redis_shared->prepared_change[i];

		if (TransactionIdIsValid(change->xid))
			continue;
		change->xid = xid;
		change->all = id == NULL;
		if (id != NULL)
			change->id = *id;
		pg_atomic_fetch_add_u32(&penny_redis_shared->prepared, 1);
		return;
	}
	pg_atomic_write_u32(&penny_redis_shared->prepared_lost, 1);
}

/* The xid of a prepared transaction, by its number among those that may be. */
static TransactionId
prepared_xid(int i)
{
	return *((volatile TransactionId *) &PreparedXactProcs[i].xid);
}

static bool
any_prepared(void)
{
	for (int i = 0; i < max_prepared_xacts; i++)
		if (TransactionIdIsValid(prepared_xid(i)))
			return true;
	return false;
}

/*
 * The relay begins: it sweeps anyway, so what is over is forgotten (its xid
 * may be so old that nobody knows how it ended), and of what is prepared and
 * not noted the end means a sweep.
 */
void
penny_redis_prepared_begin(void)
{
	LWLockAcquire(penny_redis_lock(PENNY_REDIS_LOCK_PREPARED), LW_EXCLUSIVE);
	for (int i = 0; i < PENNY_REDIS_PREPARED; i++)
	{
		PennyRedisPrepared *change = &penny_redis_shared->prepared_change[i];

		if (!TransactionIdIsValid(change->xid) || TransactionIdIsInProgress(change->xid))
			continue;
		change->xid = InvalidTransactionId;
		pg_atomic_fetch_sub_u32(&penny_redis_shared->prepared, 1);
	}
	for (int i = 0; i < max_prepared_xacts; i++)
	{
		TransactionId xid = prepared_xid(i);

		if (TransactionIdIsValid(xid))
			put(xid, NULL);
	}
	LWLockRelease(penny_redis_lock(PENNY_REDIS_LOCK_PREPARED));
}

bool
penny_redis_prepared_settle(void)
{
	static int64 swept_at = 0;
	int64 now = penny_clock_ms();

	if (pg_atomic_read_u32(&penny_redis_shared->prepared_lost) != 0 && now - swept_at > SWEEP_PAUSE)
	{
		/* looked at before the sweep, so the last one's end is swept, too */
		if (!any_prepared())
			pg_atomic_write_u32(&penny_redis_shared->prepared_lost, 0);
		pg_atomic_write_u32(&penny_redis_shared->sweep, 1);
		swept_at = now;
	}
	if (pg_atomic_read_u32(&penny_redis_shared->prepared) == 0)
		return pg_atomic_read_u32(&penny_redis_shared->prepared_lost) != 0;
	LWLockAcquire(penny_redis_lock(PENNY_REDIS_LOCK_PREPARED), LW_EXCLUSIVE);
	for (int i = 0; i < PENNY_REDIS_PREPARED; i++)
	{
		PennyRedisPrepared *change = &penny_redis_shared->prepared_change[i];

		if (!TransactionIdIsValid(change->xid) || TransactionIdIsInProgress(change->xid))
			continue;
		if (TransactionIdDidCommit(change->xid))
			tell(change);
		change->xid = InvalidTransactionId;
		pg_atomic_fetch_sub_u32(&penny_redis_shared->prepared, 1);
	}
	LWLockRelease(penny_redis_lock(PENNY_REDIS_LOCK_PREPARED));
	return true;
}

/* As a commit does it. */
static void
tell(const PennyRedisPrepared *change)
{
	if (change->all || !penny_ring_claim(penny_redis_changes, 1))
	{
		penny_redis_count(PENNY_REDIS_CHANGES_LOST, 1);
		pg_atomic_write_u32(&penny_redis_shared->sweep, 1);
	}
	else
		penny_ring_publish(penny_redis_changes, &change->id, 1);
}

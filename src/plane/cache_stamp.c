/*-------------------------------------------------------------------------
 *
 * cache_stamp.c
 *		Stamps: what has changed, and whose transaction it was.
 *
 * A stamp's seq is its version and its token at once: a push makes it odd,
 * writes, and makes it even, two above what it was.  A token is equal to it as
 * long as nobody has pushed; one that was taken while a push was under way is
 * never equal to anything, which costs a miss.
 *
 * Pushers hold the lock of the slot (penny_stamp_lock()), readers none.
 *
 *-------------------------------------------------------------------------
 */
#include "plane/cache_layout.h"

#define VIEW_TRIES 1000

/* Slot of a tag, never that of everything. */
uint32_t
penny_stamp_slot(const PennyPlane *plane, const char *tag, size_t len)
{
	PennySpan part = {tag, len};
	PennyCacheKey key;

	if (!penny_cache_on(plane))
		return PENNY_STAMP_NONE;
	penny_cache_key(plane, &part, 1, &key);
	return 1 + (uint32_t) (key.word[0] % (plane->config.cache_stamps - 1));
}

/* The token of a slot; a slot that is none has one for ever. */
uint64_t
penny_stamp_seq(const PennyPlane *plane, uint32_t slot)
{
	if (!penny_cache_on(plane) || slot >= plane->config.cache_stamps)
		return 0;
	return atomic_load_explicit(&penny_cache_stamps(plane)[slot].seq, memory_order_acquire);
}

/* A view in which everything may be in progress, for a stamp that does not hold still. */
static void
view_nothing(PennyStampView *view, uint64_t seq)
{
	view->seq = seq | 1;
	view->maxxid = UINT64_MAX;
	view->xid[0] = view->xid[1] = 0;
	view->overflow = true;
}

/*
 * A consistent copy.  A pusher that was interrupted half-way is waited for only
 * so long; then the answer is one that refuses every fill.
 */
void
penny_stamp_view(const PennyPlane *plane, uint32_t slot, PennyStampView *view)
{
	const PennyStamp *stamp;
	uint64_t seq = 0;
	uint64_t maxxid;

	if (!penny_cache_on(plane) || slot >= plane->config.cache_stamps)
	{
		*view = (PennyStampView){.seq = 0};
		return;
	}
	stamp = &penny_cache_stamps(plane)[slot];
	for (int i = 0; i < VIEW_TRIES; i++)
	{
		seq = atomic_load_explicit(&stamp->seq, memory_order_acquire);
		if (seq & 1)
			continue;
		maxxid = atomic_load_explicit(&stamp->maxxid, memory_order_relaxed);
		view->xid[0] = atomic_load_explicit(&stamp->xid[0], memory_order_relaxed);
		view->xid[1] = atomic_load_explicit(&stamp->xid[1], memory_order_relaxed);
		atomic_thread_fence(memory_order_acquire);
		if (atomic_load_explicit(&stamp->seq, memory_order_relaxed) != seq)
			continue;
		view->seq = seq;
		view->maxxid = maxxid & ~PENNY_STAMP_OVERFLOW;
		view->overflow = (maxxid & PENNY_STAMP_OVERFLOW) != 0;
		return;
	}
	view_nothing(view, seq);
}

/*
 * Put a pusher into the ring before those that are left in it.  When there are
 * two, the older one goes, and from then on the ring does not tell all.
 */
static void
remember(PennyStamp *stamp, uint64_t xid, uint64_t newer, uint64_t older)
{
	uint64_t maxxid = atomic_load_explicit(&stamp->maxxid, memory_order_relaxed);

	if (newer != 0)
	{
		if (older != 0)
			maxxid |= PENNY_STAMP_OVERFLOW;
		older = newer;
	}
	if ((maxxid & ~PENNY_STAMP_OVERFLOW) < xid)
		maxxid = xid | (maxxid & PENNY_STAMP_OVERFLOW);
	atomic_store_explicit(&stamp->xid[0], xid, memory_order_relaxed);
	atomic_store_explicit(&stamp->xid[1], older, memory_order_relaxed);
	atomic_store_explicit(&stamp->maxxid, maxxid, memory_order_relaxed);
}

/* A pusher that stays in the ring beside a new one, or 0. */
static uint64_t
still_there(_Atomic uint64_t *place, uint64_t xid, bool (*finished)(uint64_t xid))
{
	uint64_t pusher = atomic_load_explicit(place, memory_order_relaxed);

	return pusher == 0 || pusher == xid || finished(pusher) ? 0 : pusher;
}

/* Push, under the lock of the slot. */
void
penny_stamp_push(PennyPlane *plane, uint32_t slot, uint64_t xid, bool (*finished)(uint64_t xid))
{
	PennyStamp *stamp;
	uint64_t newer = 0;
	uint64_t older = 0;

	if (!penny_cache_on(plane) || slot >= plane->config.cache_stamps)
		return;
	stamp = &penny_cache_stamps(plane)[slot];
	if (xid != 0)
	{
		/* `finished` may take its time or fail: the stamp is whole until it has answered */
		newer = still_there(&stamp->xid[0], xid, finished);
		older = still_there(&stamp->xid[1], xid, finished);
	}
	penny_version_open(&stamp->seq);
	if (xid != 0)
		remember(stamp, xid, newer, older);
	/* Whoever sees what the pusher's commit brings also sees the new seq. */
	penny_version_close(&stamp->seq);
	atomic_thread_fence(memory_order_seq_cst);
}

/* An overflow is over when all that it may hide are finished. */
void
penny_stamp_settle(PennyPlane *plane, uint32_t slot, uint64_t oldest)
{
	PennyStamp *stamp;
	uint64_t maxxid;

	if (!penny_cache_on(plane) || slot >= plane->config.cache_stamps)
		return;
	stamp = &penny_cache_stamps(plane)[slot];
	maxxid = atomic_load_explicit(&stamp->maxxid, memory_order_relaxed);
	/* one word; who reads it before or after is right in both cases */
	if ((maxxid & PENNY_STAMP_OVERFLOW) && (maxxid & ~PENNY_STAMP_OVERFLOW) < oldest)
		atomic_store_explicit(&stamp->maxxid, maxxid & ~PENNY_STAMP_OVERFLOW, memory_order_relaxed);
}

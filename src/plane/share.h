/*-------------------------------------------------------------------------
 *
 * share.h
 *		What all edges count together: connections, and the rates of client
 *		addresses, so that a limit holds over all of them.
 *
 * Region S is written by every edge.  A count has a word for each edge, which
 * that edge alone writes: the words of an edge that died are cleared by its
 * gateway.  Who wants one more counts itself first and then adds all words up;
 * above the limit it takes itself back.  So a limit is never exceeded; at the
 * limit two edges that accept at the same moment may both refuse.
 *
 * A rate is a bucket of one second's worth in one word, the time at which it
 * will be empty again, that edges move on by compare-and-swap.
 *
 * Addresses stand in an open hash table without deletion: an entry that
 * nobody is connected by, and whose buckets are empty, is taken for another
 * address.  When all entries that an address may stand in are in use, it is
 * counted by each edge alone, and its rates are not limited.  That happens to
 * one in ten thousand when 10,000 addresses are connected, and to one in
 * seventeen when there are as many as entries.
 *
 * An edge that was taken over could deny others' clients their connections
 * here, as it could by keeping executors busy; that is all it could do.  No
 * process of PostgreSQL decides anything by what stands here.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_PLANE_SHARE_H
#define PENNY_PLANE_SHARE_H

#include "plane/plane.h"

#define PENNY_SHARED_NOWHERE (-1) /* an address that found no entry */

typedef enum PennySharedRate
{
	PENNY_RATE_CONNECTS,
	PENNY_RATE_REQUESTS
} PennySharedRate;

/* Edge: count one more connection unless there are `limit` over all edges. */
extern bool penny_shared_connect(PennyPlane *plane, uint32_t limit);
extern void penny_shared_disconnect(PennyPlane *plane);

/*
 * Edge: count a connection of this address; the number of its entry, or
 * PENNY_SHARED_NOWHERE.  It holds the entry until it is released.
 */
extern int penny_shared_hold(PennyPlane *plane, const void *address, size_t len, uint64_t now_us);
/* One more connection of an address that holds this entry already. */
extern void penny_shared_hold_again(PennyPlane *plane, int entry);
extern void penny_shared_release(PennyPlane *plane, int entry);
/* Connections of the address over all edges. */
extern uint32_t penny_shared_open(const PennyPlane *plane, int entry);
/* Take one of `rate` a second (0 = no limit) of a held entry; false: none is left. */
extern bool penny_shared_take(PennyPlane *plane, int entry, PennySharedRate which, uint32_t rate,
							  uint64_t now_us);

/*
 * Edge: take one of `rate` a second of the user whose id has this hash.  Users
 * stand in small sets; where more are busy than a set holds, some are counted
 * too low, none too high.
 */
extern bool penny_shared_take_user(PennyPlane *plane, uint64_t id_hash, uint32_t rate,
								   uint64_t now_us);

/* The same for any such word. */
extern bool penny_rate_take(_Atomic uint64_t *at, uint32_t rate, uint64_t now_us);

/* Edge: does it accept? */
extern void penny_shared_serving(PennyPlane *plane, bool serving);
/* Edge: has it so many connections more than another one that accepts? */
extern bool penny_shared_ahead(const PennyPlane *plane, uint32_t by);

/* Gateway, while its edge does not run: nothing of it counts any more. */
extern void penny_shared_sweep(PennyPlane *plane, int edge);

#endif /* PENNY_PLANE_SHARE_H */

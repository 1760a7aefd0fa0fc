/*-------------------------------------------------------------------------
 *
 * interest.h
 *		In which rooms does anybody listen?
 *
 * Each edge keeps a bitmap in its region E: the bit of a room's hash is set
 * as long as it has a member, or one on the way in, in a room of that hash.
 * Who publishes looks there first, so a change that nobody waits for costs one
 * read of each edge's word and no frame.  Two rooms may share a bit: then a
 * frame is built and published that nobody takes.
 *
 * No change is missed, whatever the order:
 *
 *	edge:		set the bit, full fence, submit the join; its snapshot follows
 *	committer:	become visible, full fence, look at the bit (COMMIT callback)
 *
 * Either the committer sees the bit and publishes, or the join's snapshot sees
 * the commit.  A look before the commit (at the time of a trigger) decides
 * only whether a frame is worth building; the one that counts comes after it.
 *
 * An edge lies at most to its own clients: a bit it should have set costs them
 * frames, one it should have cleared costs PostgreSQL the building of frames.
 *
 * The edge is one thread and counts members of each bit in its own memory.
 * While no edge runs, its gateway clears the bits (penny_plane_sweep).
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_PLANE_INTEREST_H
#define PENNY_PLANE_INTEREST_H

#include "plane/plane.h"

/* An edge's private counts of rooms for each bit; starts as zeroes. */
typedef struct PennyInterest
{
	uint32_t rooms[PENNY_INTEREST_BITS];
} PennyInterest;

/*
 * Edge: a room of this hash (penny_hash() of its name, seed 0) has its first
 * member; call before the join is submitted.  Ends with the full fence.
 */
extern void penny_interest_add(PennyPlane *plane, PennyInterest *interest, uint64_t room_hash);
/* Edge: the room has lost its last member. */
extern void penny_interest_remove(PennyPlane *plane, PennyInterest *interest, uint64_t room_hash);

/* PostgreSQL: may anybody be in a room of this hash? */
extern bool penny_interest_any(const PennyPlane *plane, uint64_t room_hash);
/* The full fence between becoming visible and looking. */
static inline void
penny_interest_fence(void)
{
	atomic_thread_fence(memory_order_seq_cst);
}

/* Gateway, while no edge runs on region E[edge]. */
extern void penny_interest_clear(PennyPlane *plane, int edge);

#endif /* PENNY_PLANE_INTEREST_H */

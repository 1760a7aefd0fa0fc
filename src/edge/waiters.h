/*-------------------------------------------------------------------------
 *
 * waiters.h
 *		Who waits for an event of which room, and who looks when one comes.
 *
 * Pure: no sockets, no clock, no shared memory.
 *
 * A waiter has a question: a call whose answer was "nothing yet" and named a
 * room.  When an event of that room comes, it looks: the call is made again.
 * Waiters of one room with the same question (what they ask, and as whom) are
 * a group, since the answer to one says something to all: where one look finds
 * nothing, the others need none.  So an event lets one of a group look, the
 * oldest; when that finds something, there may be more, and others follow; when
 * it finds nothing, and no event came meanwhile, nobody else looks.  A hundred
 * workers that wait for a queue cost one call for each job, not a hundred.
 *
 * No event is missed.  A group counts its events, from before the bit of its
 * room is set (plane/interest.h).  A waiter notes the count before its call is
 * submitted; when the answer is there and the count is another one, or it was
 * not in the group then, somebody of the group looks again.
 *
 * A right to look is never lost with who had it: one that goes away while it
 * looks passes it on.
 *
 * Looks under way are bounded over all rooms, and groups take turns; so an
 * event for everybody (events were lost) does not take all executors at once.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_WAITERS_H
#define PENNY_EDGE_WAITERS_H

#include <stdbool.h>
#include <stdint.h>

typedef struct PennyWaiters PennyWaiters;
typedef struct PennyWaitGroup PennyWaitGroup;

/* Part of what the caller keeps of one that waits; starts as zeroes. */
typedef struct PennyWaiter
{
	struct PennyWaiter *next; /* of the idle ones of the group, oldest first */
	struct PennyWaiter *prev;
	PennyWaitGroup *group; /* NULL: it waits for nothing */
	uint64_t number;       /* in the order in which they came */
	uint64_t seen;         /* events of the group before its last call */
	bool idle;             /* it has no call under way */
	bool looking;          /* it has one that is counted */
} PennyWaiter;

typedef struct PennyWaitersCallbacks
{
	/* Events of that room are wanted, or not any more. */
	void (*listen)(void *arg, uint64_t room, bool on);
	/* Make the call again; false: not now, it stays where it is. */
	bool (*look)(void *arg, PennyWaiter *waiter);
} PennyWaitersCallbacks;

/* looks: under way at a time.  NULL without memory. */
extern PennyWaiters *penny_waiters_create(const PennyWaitersCallbacks *callbacks, void *arg,
										  uint32_t looks);
/* Nobody may be in it. */
extern void penny_waiters_destroy(PennyWaiters *waiters);

/*
 * It waits for this room (a hash of its name) with this question (a hash that
 * nobody can choose).  Where it was before, it leaves.  A call that is under way
 * may have been submitted too early, unless it is in that group already.  False
 * without memory, then it waits for nothing.
 */
extern bool penny_waiter_enter(PennyWaiters *waiters, PennyWaiter *waiter, uint64_t room,
							   uint64_t question);
/* Its call is submitted after this. */
extern void penny_waiter_asks(PennyWaiter *waiter);
/* Its call found nothing: it rests until it looks again. */
extern void penny_waiter_rests(PennyWaiters *waiters, PennyWaiter *waiter);
/* It waits no longer: its call found something, or it goes away. */
extern void penny_waiter_leaves(PennyWaiters *waiters, PennyWaiter *waiter, bool found);

/* Does anybody wait for an event of this room? */
extern bool penny_waiters_wanted(const PennyWaiters *waiters, uint64_t room);
/* An event of this room came. */
extern void penny_waiters_event(PennyWaiters *waiters, uint64_t room);
/* Events of any room may have been lost. */
extern void penny_waiters_lost(PennyWaiters *waiters);
/* Let those look whose turn it is. */
extern void penny_waiters_turn(PennyWaiters *waiters);

#endif /* PENNY_EDGE_WAITERS_H */

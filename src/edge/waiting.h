/*-------------------------------------------------------------------------
 *
 * waiting.h
 *		Calls whose answer is "nothing yet", kept until there is more to say.
 *
 * An executor's answer may carry two header lines for the edge, which no client
 * sees (response.c), and which only built-in routes may write:
 *
 *		penny-wait: <room>
 *		penny-wait-path: <path>
 *
 * The first says that the answer may become another one, and that an event of
 * the room will tell.  If the client is willing to wait (?wait=<seconds>) and has
 * time left, the answer is not sent: it is kept, without a call or a slot, and
 * when an event comes the call is made again, with the same method, target,
 * headers, body and token.  With the second line it is instead GET of that path,
 * with the same wait: a POST that has created something must not be repeated.
 * When the time is over, the last answer goes out.
 *
 * wait is a decimal number of seconds above 0 and not above 60; what else is
 * there is the handler's to refuse, and here means not to wait.
 *
 * What waits is bounded for the edge and for each user, in number and in bytes;
 * who does not fit in gets the answer at once.
 *
 * The caller makes calls and takes their answers; it asks penny_waiting_keep()
 * about each, and tells penny_waiting_asks() before each.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_WAITING_H
#define PENNY_EDGE_WAITING_H

#include "edge/calls.h"
#include "edge/timer.h"
#include "edge/waiters.h"

typedef struct PennyWaiting PennyWaiting;

typedef struct PennyWaitingCallbacks
{
	/* Make this call; false: not now.  Its handler asks penny_waiting_keep() again. */
	bool (*ask)(void *owner, PennyCallOut *out);
	/* The wait is over: this is the answer.  The waiting is closed in here. */
	void (*give)(void *owner, const PennyAnswer *answer);
} PennyWaitingCallbacks;

/*
 * Seconds as text; false when they are not a number of that form and range.
 */
extern bool penny_waiting_seconds(PennySpan text, uint32_t *ms);

/*
 * A call is about to be made; NULL: it does not wait.  user: whose place it
 * takes, 0 = as the answer says.
 */
extern PennyWaiting *penny_waiting_open(const PennyWaitingCallbacks *callbacks, void *owner,
										const PennyCallOut *out, uint64_t user);
/* Also after the end; forgets everything. */
extern void penny_waiting_close(PennyWaiting *waiting);
/* The call is submitted after this. */
extern void penny_waiting_asks(PennyWaiting *waiting);
/*
 * The call's answer begins.  True: it is kept, and give() will say more; false:
 * it is to be passed on, and the wait is over.
 */
extern bool penny_waiting_keep(PennyWaiting *waiting, const PennyPending *call,
							   const PennyAnswer *answer);
/* Is it kept, without a call under way? */
extern bool penny_waiting_rests(const PennyWaiting *waiting);
/* It rests: give what is there now. */
extern void penny_waiting_give(PennyWaiting *waiting);

/* At start. */
extern void penny_waiting_init(void);
/* What the ring brings. */
extern bool penny_waiting_wanted(uint64_t room_hash);
extern void penny_waiting_event(uint64_t room_hash);
extern void penny_waiting_lost(void);
/* Loop: make the calls that are due. */
extern void penny_waiting_turn(void);

#endif /* PENNY_EDGE_WAITING_H */

/*-------------------------------------------------------------------------
 *
 * sse_follow.h
 *		When has the answer to a message ended?
 *
 * The answer is the first message behind the one that was sent whose role is
 * not user; or one that is named, because it was there before.  It has ended
 * when its status says so, at once or by a later change, or when it is deleted.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_SSE_FOLLOW_H
#define PENNY_EDGE_SSE_FOLLOW_H

#include "plane/call.h"

#define PENNY_FOLLOW_ID_MAX 64 /* bytes of a message's id, with its quotes */

typedef struct PennyFollow
{
	uint64_t seq;    /* of the message that was sent */
	uint32_t id_len; /* of the answer, 0: not known yet */
	char id[PENNY_FOLLOW_ID_MAX];
} PennyFollow;

/* id: of the answer, as a JSON string, or empty. */
extern void penny_follow_begin(PennyFollow *follow, uint64_t seq, PennySpan id);
/* A frame of the room: has the answer ended with it? */
extern bool penny_follow_look(PennyFollow *follow, PennySpan frame);

#endif /* PENNY_EDGE_SSE_FOLLOW_H */

/*-------------------------------------------------------------------------
 *
 * kept.h
 *		A call that can be made again, and the answer that it had.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_KEPT_H
#define PENNY_EDGE_KEPT_H

#include "edge/calls.h"

#define PENNY_KEPT_WAIT_MAX 8 /* bytes of the seconds of a wait, as written */

/* Starts as zeroes; what is kept of all is bounded. */
typedef struct PennyKept
{
	char *call_bytes; /* NULL: no call is kept */
	char *answer_bytes;
	size_t size; /* of both */
	PennyCallOut out;
	PennyAnswer answer;
} PennyKept;

/*
 * Keep a call whose answer is there, before its slot is freed.  With a path:
 * keep GET of that path instead, with ?wait=<wait>, and without what was said
 * of the body and of conditions.  False: it is too large, or too much is kept.
 */
extern bool penny_kept_call(PennyKept *kept, const PennyPending *call, PennySpan path,
							PennySpan wait);
/* Keep an answer in one piece, in place of the one before. */
extern bool penny_kept_answer(PennyKept *kept, const PennyAnswer *answer);
extern void penny_kept_release(PennyKept *kept);

#endif /* PENNY_EDGE_KEPT_H */

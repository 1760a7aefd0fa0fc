/*-------------------------------------------------------------------------
 *
 * calls_private.h
 *		What calls.c and call_pieces.c share; no interface of others.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_CALLS_PRIVATE_H
#define PENNY_EDGE_CALLS_PRIVATE_H

#include "edge/calls.h"
#include "edge/timer.h"

struct PennyPending
{
	PennyPending *next; /* in the queue, or free */
	PennyPending *prev;
	PennyCallOut out;
	PennyAnswerHandler handler;
	void *owner;
	PennyTimer timer;
	uint64_t acquire_by; /* an executor must have it by then (ms) */
	uint64_t answer_by;  /* the answer must be there by then; 0 = no limit */
	uint64_t body_seen;  /* bytes of the body handed over */
	int slot;            /* -1: in the queue */
	bool held;           /* the handler refused a piece */
	bool started;        /* the first piece was handed over */
	PennySpan head;      /* whole: of the first piece, in gathered */
	char *copy;          /* fields of a queued call */
	size_t copy_len;
	char *gathered; /* whole: pieces so far */
	size_t gathered_len;
	size_t gathered_size;
};

/* Describe the piece that is there; false when it makes no sense. */
extern bool penny_call_view(PennyPending *call, bool done, PennyAnswer *answer);
/* Gather the pieces of an answer wanted whole; false when it is too large. */
extern bool penny_call_gather(PennyPending *call, PennyAnswer *answer);

#endif /* PENNY_EDGE_CALLS_PRIVATE_H */

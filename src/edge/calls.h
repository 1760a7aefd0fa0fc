/*-------------------------------------------------------------------------
 *
 * calls.h
 *		Calls to executors: a slot of the plane when there is one, a place in
 *		the queue before.
 *
 * A call belongs to its starter until its handler was called for the last
 * time or the starter abandoned it.  Handlers run at the end of a loop turn,
 * never inside penny_call_start().
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_CALLS_H
#define PENNY_EDGE_CALLS_H

#include "edge/edge.h"
#include "plane/call.h"

typedef struct PennyPending PennyPending;

typedef enum PennyAnswerKind
{
	PENNY_ANSWER,         /* a piece, or all, of an executor's answer */
	PENNY_ANSWER_TIMEOUT, /* no executor took the call in time */
	PENNY_ANSWER_BROKEN   /* the answer was cut off or makes no sense */
} PennyAnswerKind;

typedef struct PennyAnswer
{
	PennyAnswerKind kind;
	uint32_t status;
	PennySpan head;      /* in the first piece */
	PennySpan body;      /* of this piece */
	uint64_t body_total; /* of all pieces */
	bool first;
	bool last;       /* the call ends with this */
	PennySpan token; /* that the call was made with */

	/* in the first piece */
	PennyCacheMark mark;
	uint32_t age;        /* seconds, for PENNY_MARK_HIT */
	PennyViewer viewer;  /* known = 0: it is not said who called */
	PennySpan requested; /* header lines of the call */
} PennyAnswer;

/*
 * Take an answer.  False: not now, the piece stays where it is and the handler
 * is called again after penny_call_resume(); only for pieces of PENNY_ANSWER.
 */
typedef bool (*PennyAnswerHandler)(void *owner, const PennyAnswer *answer);

typedef struct PennyCallOut
{
	PennyOp op;
	PennyMethod method;
	uint32_t flags;
	bool whole;     /* hand over the answer in one piece */
	uint32_t limit; /* ms for the whole call, 0 = none but the acquire timeout */
	PennySpan field[PENNY_FIELDS];
} PennyCallOut;

/* Start a call; NULL when too many are waiting.  Spans are copied. */
extern PennyPending *penny_call_start(const PennyCallOut *out, PennyAnswerHandler handler,
									  void *owner);
/*
 * What was submitted, with spans that are valid until the handler's last call
 * has returned; of a call in the queue, as it will be.
 */
extern void penny_call_describe(const PennyPending *call, PennyCallOut *out);
/* Is it in a slot, so that an executor may have it? */
extern bool penny_call_is_submitted(const PennyPending *call);
/* Somebody else takes the answer, in one piece; no piece was taken yet. */
extern void penny_call_hand_over(PennyPending *call, PennyAnswerHandler handler, void *owner);
/* Nobody waits any more: the handler is not called again. */
extern void penny_call_abandon(PennyPending *call);
/* The handler can take the piece it refused. */
extern void penny_call_resume(PennyPending *call);
/* Calls that are not answered yet, for draining. */
extern uint32_t penny_calls_open(void);
/* The edge closes: end every call without its answer; none is taken any more. */
extern void penny_calls_give_up(void);
/* Seconds to name in Retry-After. */
extern uint32_t penny_calls_retry_after(void);

/* At start, after attaching. */
extern void penny_calls_init(void);
/* Loop: take answers, give queued calls their slots. */
extern void penny_calls_turn(void);
/* Loop: is there an answer to take? */
extern bool penny_calls_ready(void);
/* Loop: wake executors for what was submitted in this turn. */
extern void penny_calls_wake(void);

#endif /* PENNY_EDGE_CALLS_H */

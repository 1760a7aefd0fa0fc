/*-------------------------------------------------------------------------
 *
 * call.h
 *		A call: a request that an edge puts into a slot and the answer that
 *		an executor puts back.
 *
 * Life of a slot (g = generation, both words hold generation << 8 | state):
 *
 *	e: IDLE(g)  --edge fills the request-->  SUBMITTED(g+1)
 *				--edge took the answer-->    IDLE(g+1)
 *	p: NONE|DONE|DISCARDED(g) --executor CAS--> CLAIMED(g+1)
 *				--piece written--> PART(g+1) --piece taken--> PART(g+1) ...
 *				--last piece--> DONE(g+1)
 *	p: NONE|DONE|DISCARDED(g) --gateway CAS, edge dead--> DISCARDED(g+1)
 *
 * A claim is only taken when e's generation is p's plus one: a hostile edge
 * cannot burn the number space.  An executor copies the request once and
 * checks the copy.  A client that goes away leaves its slot busy; the edge
 * sets cancel and frees the slot when it is DONE.  When the edge died,
 * nobody waits for a claimed call either: it is cancelled like one whose client
 * went away (its transaction may have committed), and the next edge frees the
 * slot when it is DONE.
 *
 * An answer larger than a piece goes in several: the executor writes one,
 * counts p.part up and waits until e.ack says that it was taken (or until the
 * edge is another, or time is out: then the rest is dropped and the slot is
 * DONE with status 0).  It holds no transaction while it waits.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_PLANE_CALL_H
#define PENNY_PLANE_CALL_H

#include "plane/plane.h"

/* States in the low byte of the slot words. */
#define PENNY_E_IDLE 0
#define PENNY_E_SUBMITTED 1
#define PENNY_P_NONE 0
#define PENNY_P_CLAIMED 1
#define PENNY_P_PART 2
#define PENNY_P_DONE 3
#define PENNY_P_DISCARDED 4

/* Is PostgreSQL through with the call of this word? */
static inline bool
penny_p_settled(uint64_t word)
{
	unsigned state = word & 0xff;

	return state == PENNY_P_NONE || state == PENNY_P_DONE || state == PENNY_P_DISCARDED;
}

typedef enum PennyOp
{
	PENNY_OP_HTTP,     /* a request by a route; answer: HTTP status, header lines, body */
	PENNY_OP_READY,    /* is penny ready? 200, or 503 with the failing check; JSON body */
	PENNY_OP_ROUTES,   /* the route table; body as route.h describes */
	PENNY_OP_AUTH,     /* who is this token? 200 {"user_id","role","exp"} or a problem */
	PENNY_OP_JOIN,     /* TARGET room, BODY {"since":{…}} or {}; see join answer below */
	PENNY_OP_MESSAGE,  /* TARGET room, BODY the client's frame; 201/200 {"id","seq","version"} */
	PENNY_OP_SIGNAL,   /* TARGET room, HEADERS sender, BODY event; 204: see below */
	PENNY_OP_PRESENCE, /* BODY statements for the other edges, see presence.h; 204 */
	PENNY_OPS
} PennyOp;

/*
 * Answer of PENNY_OP_JOIN with status 200: head_len bytes of JSON
 *	 {"position":{"epoch":"…","version":N},"recovered":bool,"reset":R,
 *	  "more":bool,"write":bool,"user_id":"…"}
 * then the body: frames changed after `since`, each a line of
 *	 <version> SP <frame, one line of JSON> LF
 * in version order, then lines of version 0, each the state of a message that
 * grows at the moment:
 *	 0 SP {"type":"stream","room":"…","message_id":"…","index":N,"text":"…"} LF
 * They are delivered after `joined` and after the versioned frames; N pieces
 * are in the text, so the next delta that counts has the index N + 1.
 *
 * more: not all changes fitted.  The frames reach up to the position's
 * version, which is then older than the room; the caller asks again with it
 * as `since`.  An answer with more has no lines of version 0.
 * recovered: the frames are everything that changed after `since` (up to the
 * position).  Otherwise reset says why not: "epoch" (the position is of
 * another history of the server), "position" (it is ahead of the room), or
 * null: there was no `since`.
 * write: may this user publish to the room?
 * The version of a room that is not a conversation is 0.  With any other
 * status the body is a problem document.
 */

/*
 * PENNY_OP_SIGNAL: a frame of a member for the others in the room, not stored,
 * when these may be at other edges.  HEADERS holds the number that the sender
 * has at its edge, in decimal digits.  The executor publishes
 *	 {"type":"event","room":"…","user_id":"…","event":{…}}
 * as PENNY_EVENT_PUBLISH that names the sender, who does not get it.
 */

typedef enum PennyMethod
{
	PENNY_GET,
	PENNY_HEAD,
	PENNY_POST,
	PENNY_PUT,
	PENNY_PATCH,
	PENNY_DELETE,
	PENNY_OPTIONS,
	PENNY_METHODS
} PennyMethod;

extern const char *penny_method_name(PennyMethod method);

#define PENNY_REQUEST_TIMING 0x01   /* client asked for Server-Timing */
#define PENNY_REQUEST_LOOPBACK 0x02 /* client is on this machine */
#define PENNY_REQUEST_AGAIN 0x04    /* the edge repeats it for a client that waits, below */

/*
 * PENNY_OP_HTTP, answers that may become others: header lines for the edge,
 * which built-in routes may write and no client sees:
 *	 penny-wait: <room>			there is nothing yet; an event of the room tells
 *	 penny-wait-path: <path>	and then GET of this path is asked, not the same again
 * The room is published to (realtime/publish.h) by the transaction that changes
 * the answer; it need not be one that can be joined.  The edge sets the bit of
 * the room before it submits the call whose answer it believes
 * (plane/interest.h), and makes the call again when an event comes, for as long
 * as ?wait=<seconds> says.  Whether there is something depends on the target
 * and the token alone, not on headers and body: of several clients that ask the
 * same, one asks first.  So that a worker by WebSocket has the same rights and
 * limits as one by HTTP, its frames are calls of these routes, too:
 *	 POST /api/v1/queues/<queue>/claim[?wait=<seconds>]	{"n","lease_ms","worker"}
 *	 POST /api/v1/jobs/complete, fail, extend, release	{"jobs":[…],"lease_ms"}
 * Jobs of a claim, {"data":[{"id","token",…},…]}, that are answered when the
 * client has gone are given back by release, with the token of the claim.
 */

typedef struct PennySpan
{
	const char *data;
	size_t len;
} PennySpan;

/* ---- edge ------------------------------------------------------------ */

typedef enum PennySlotState
{
	PENNY_SLOT_FREE,    /* may be submitted to */
	PENNY_SLOT_WAITING, /* submitted or running, nothing to take */
	PENNY_SLOT_PART,    /* a piece is there: penny_edge_take() */
	PENNY_SLOT_DONE     /* the last piece is there */
} PennySlotState;

/* After attaching: set every slot word from what PostgreSQL shows. */
extern void penny_edge_init_slots(PennyPlane *plane);
/* Room for these fields in one slot? */
extern bool penny_edge_fits(const PennyPlane *plane, const PennySpan field[PENNY_FIELDS]);
/* Fill a FREE slot, submit it; the caller wakes (penny_wake_executor). */
extern void penny_edge_submit(PennyPlane *plane, int slot, PennyOp op, PennyMethod method,
							  uint32_t flags, const PennySpan field[PENNY_FIELDS]);
/* A field of what was submitted, until the slot is freed. */
extern PennySpan penny_edge_submitted(const PennyPlane *plane, int slot, PennyField field);
extern PennySlotState penny_edge_slot_state(const PennyPlane *plane, int slot);
/* Has an executor taken what was submitted here? */
extern bool penny_edge_slot_claimed(const PennyPlane *plane, int slot);
/*
 * View the piece that is there (PART or DONE).  The pointers lie in region P
 * and stay valid until penny_edge_ack() or penny_edge_free().  Lengths are
 * checked against the size of a slot; false means the slot is broken.
 */
extern bool penny_edge_take(const PennyPlane *plane, int slot, PennyResponseHead *head,
							const char **bytes);
extern void penny_edge_ack(PennyPlane *plane, int slot);    /* PART taken; wakes executors */
extern void penny_edge_free(PennyPlane *plane, int slot);   /* DONE taken: slot is FREE */
extern void penny_edge_cancel(PennyPlane *plane, int slot); /* nobody waits any more */

/* ---- PostgreSQL ------------------------------------------------------ */

typedef struct PennyCall
{
	int edge;
	int slot;
	uint64_t generation;
	uint64_t incarnation; /* of the edge when the call was claimed */
} PennyCall;

/* A request as the executor holds it: spans into its own copy. */
typedef struct PennyRequest
{
	PennyOp op;
	PennyMethod method;
	uint32_t flags;
	PennySpan field[PENNY_FIELDS];
} PennyRequest;

/*
 * Claim the next submitted call of any edge; false when there is none.  Looks
 * at no more than a ring of entries for each edge, whatever an edge does, so
 * that the caller gets back to its interrupts.
 */
extern bool penny_call_claim(PennyPlane *plane, PennyCall *call);
/* Calls submitted and not claimed, over all edges (a hint). */
extern uint32_t penny_call_backlog(const PennyPlane *plane);
/*
 * Copy the request into buffer (config.request_size bytes) and check it:
 * false when its lengths or codes are out of range.
 */
extern bool penny_call_request(const PennyPlane *plane, const PennyCall *call, char *buffer,
							   PennyRequest *request);
/* Has the edge said that nobody waits for the answer, or is it another edge? */
extern bool penny_call_cancelled(const PennyPlane *plane, const PennyCall *call);
/* What the edge is told beside the answer. */
typedef struct PennyResponseExtra
{
	PennyCacheMark mark;
	uint32_t age;       /* seconds, for PENNY_MARK_HIT */
	PennyViewer viewer; /* known = 0: nothing is told */
} PennyResponseExtra;

/*
 * Write a piece: the bytes from `offset` of head and body together, as many
 * as fit, and wake the edge.  Returns how many were written.  The piece that
 * reaches the end makes the slot DONE; between pieces the caller waits until
 * penny_call_part_taken().  `last` ends the call in any case: when bytes
 * remain, the edge learns by status 0 that the answer broke off.  `head` must
 * fit into the first piece.  `extra` is told with the first piece (offset 0);
 * NULL: nothing, and no mark.
 */
extern uint32_t penny_call_write(PennyPlane *plane, const PennyCall *call, uint32_t status,
								 PennySpan head, PennySpan body, const PennyResponseExtra *extra,
								 uint32_t offset, bool last);
extern bool penny_call_part_taken(const PennyPlane *plane, const PennyCall *call);

#endif /* PENNY_PLANE_CALL_H */

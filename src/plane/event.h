/*-------------------------------------------------------------------------
 *
 * event.h
 *		The event ring: what was committed, for the edges.
 *
 * Any backend writes, in its COMMIT callback: it must not fail, allocate or
 * wait.  So a writer takes its place by fetch-and-add (events and bytes),
 * copies, and publishes each event by storing its number plus one into the
 * descriptor's seq.  It never looks at a reader; an edge that falls behind is
 * overrun, notices, and reads its rooms from the tables.
 *
 * A reader takes events in the order of their numbers and waits at one that
 * is reserved but not yet published.  Two rare things can go wrong and are
 * detected, never prevented by waiting: a writer stopped for so long that the
 * ring laps it may write over newer bytes, which the checksum shows; and one
 * that stays stopped is passed over after PENNY_EVENT_PATIENCE.  Both, like
 * an overrun, are told to the caller as PENNY_EVENTS_LOST: "something is
 * missing, read the tables".
 *
 * Numbers are not commit order: a backend's xid leaves the proc array before
 * its callback runs, so N+1 can be pushed before N.  Order within a room comes
 * from `version`.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_PLANE_EVENT_H
#define PENNY_PLANE_EVENT_H

#include "plane/plane.h"

#define PENNY_EVENT_PATIENCE 1000 /* ms to wait for a stopped writer */
#define PENNY_ROOM_NAME_MAX 128   /* bytes of a room's name */

typedef enum PennyEventKind
{
	PENNY_EVENT_CHANGE,   /* versioned: a frame, or none = read it from the table */
	PENNY_EVENT_PUBLISH,  /* not versioned: deliver the frame as it comes */
	PENNY_EVENT_LEFT,     /* versioned: `user` lost access to the room */
	PENNY_EVENT_GONE,     /* the conversation was deleted */
	PENNY_EVENT_RESYNC,   /* no room: anything may have changed, read all rooms */
	PENNY_EVENT_STREAM,   /* not versioned: a piece of a message that grows; see below */
	PENNY_EVENT_RECHECK,  /* who may be in the room has changed: ask for each member */
	PENNY_EVENT_SESSION,  /* no room: sessions of `user` (all zero: of anybody) may have ended */
	PENNY_EVENT_PRESENCE, /* not versioned: who is in the room at another edge, see presence.h */
	PENNY_EVENT_KINDS
} PennyEventKind;

/*
 * PENNY_EVENT_STREAM carries a frame
 *	 {"type":"stream","room":"…","message_id":"…","index":N,"delta":"…"}
 * and `version` is N, the number of this piece in its message, from 1 on.  It
 * is delivered as a PUBLISH is.  Also a member that is still entering gets it,
 * once its join is answered: the answer may have been read before the piece
 * was committed.  A client drops what it has (index < next) and joins again at
 * a hole (index > next), so an edge may tell a loss by the hole alone.
 *
 * Without a frame (it was too large for the ring) it means the same as RECHECK:
 * an answer to a read has the state.
 *
 * PENNY_EVENT_RECHECK has no frame: every member of the room is read again
 * under its own token, and who may not see the room any more is out.
 *
 * In `version` of RECHECK and RESYNC, PENNY_EVENT_MISSED: frames of PUBLISH
 * were lost, too, and members are told that they missed something.
 *
 * PENNY_EVENT_SESSION: the session tokens with which that user has signed in
 * are verified again.
 */
#define PENNY_EVENT_MISSED 1

/* Is an event of this kind for all edges, whatever rooms they have? */
static inline bool
penny_event_is_roomless(PennyEventKind kind)
{
	return kind == PENNY_EVENT_RESYNC || kind == PENNY_EVENT_SESSION;
}

/*
 * In `user` of a PENNY_EVENT_PUBLISH: the member that sent it, who does not
 * get it.  All zero: it is for everybody.
 */
typedef struct PennyEventSender
{
	uint64_t edge;   /* the number of its edge plus one */
	uint64_t member; /* its number there */
} PennyEventSender;

/* One event to publish; pointers are the caller's. */
typedef struct PennyEventOut
{
	PennyEventKind kind;
	uint64_t version;
	const char *room; /* name, room_len bytes */
	uint32_t room_len;
	uint32_t frame_len; /* 0 = none */
	const char *frame;
	uint8_t user[16];
} PennyEventOut;

/* Greatest frame that the ring takes; a larger one is published without. */
extern uint32_t penny_event_max_frame(const PennyPlane *plane);
/* Publish n events with consecutive numbers.  Does not wake. */
extern void penny_event_publish(PennyPlane *plane, const PennyEventOut *event, int n,
								uint64_t now_ns);

/* A reader's place; private to the edge. */
typedef struct PennyEventCursor
{
	uint64_t next;          /* number of the next event */
	uint64_t stalled_at;    /* number the reader waits at ... */
	uint64_t stalled_since; /* ... since this time (ns); 0 = not waiting */
} PennyEventCursor;

typedef enum PennyEventResult
{
	PENNY_EVENTS_NONE, /* nothing there */
	PENNY_EVENTS_ONE,  /* one event was read */
	PENNY_EVENTS_LOST, /* events were lost; the cursor is past them */
	PENNY_EVENTS_STALL /* one is reserved but not published: look again soon */
} PennyEventResult;

/* An event as read: bytes in the caller's buffer. */
typedef struct PennyEventIn
{
	PennyEventKind kind;
	uint64_t version;
	uint64_t room_hash;
	uint64_t committed;
	uint32_t room_len;
	uint32_t frame_len;
	uint8_t user[16];
	const char *room;
	const char *frame;
} PennyEventIn;

/* Start reading behind everything published so far. */
extern void penny_event_start(const PennyPlane *plane, PennyEventCursor *cursor);
/*
 * Read the next event into `buffer` (PENNY_ROOM_NAME_MAX +
 * penny_event_max_frame() bytes).  `wanted`, if given, is asked with the hash
 * of the room before bytes are copied; false skips the event.
 */
extern PennyEventResult penny_event_read(const PennyPlane *plane, PennyEventCursor *cursor,
										 uint64_t now_ns,
										 bool (*wanted)(void *arg, uint64_t room_hash), void *arg,
										 char *buffer, PennyEventIn *event);

#endif /* PENNY_PLANE_EVENT_H */

/*-------------------------------------------------------------------------
 *
 * rooms.h
 *		The rooms of one edge: who is in, and what they get in which order.
 *
 * Pure: no sockets, no clock, no shared memory.  What happens is fed in
 * (joins, answers, events, ticks), what is to be done comes out through
 * PennyRoomsCallbacks.  Callbacks may take references to frames and note
 * things; they must not call back into this module.
 *
 * What a member gets: `joined` first, then what the answer held, then every
 * later version in order, without holes and duplicates.  Three sources feed
 * it and may race: events of the ring, answers to reads (PENNY_OP_JOIN), and
 * the room's log of recent frames.  The rules:
 *
 *	- A room's head is the version up to which its live members have
 *	  everything.  Only version head + 1 is passed on; older ones are
 *	  duplicates, newer ones are held back, and when the hole is not filled
 *	  within PENNY_ROOMS_PATIENCE ms the room is read from the tables.
 *	- A member has a cursor of its own and never gets a version at or below it.
 *	- An answer holds a snapshot's version V and the frames up to it.  Its
 *	  frames go to the member that asked; when it was asked from a version
 *	  that the room had already reached, they also serve the whole room.
 *	- While a member waits for an answer, frames passed on are kept in the
 *	  room's log (bounded); when the answer is older than the log reaches back,
 *	  the member is read again from its cursor.
 *	- Whatever cannot be kept (no memory, bounds, an event without a frame)
 *	  becomes a read, never a silent skip.
 *	- When events were lost or anything may have changed, every member is read
 *	  anew under its own token, since a loss of access may be among them.
 *	  Broadcasts without a version cannot be read again; the member is told
 *	  by a frame {"type":"event","room":…,"event":{"type":"missed"}}.
 *
 * Access: a member is let in by a successful answer under its own token.
 * PENNY_EVENT_LEFT puts the user's members out at once, and an answer whose
 * read began before that event is read again rather than trusted.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_ROOMS_H
#define PENNY_EDGE_ROOMS_H

#include "edge/frame.h"
#include "plane/event.h"

#define PENNY_ROOMS_PATIENCE 20           /* ms for a hole in the versions to close */
#define PENNY_ROOMS_RETRY 50              /* ms until a read that found no place is tried again */
#define PENNY_ROOMS_LOG_MAX (256 * 1024)  /* bytes of frames kept for a room */
#define PENNY_ROOMS_HOLD_MAX (256 * 1024) /* bytes of frames held back for a room */
#define PENNY_ROOMS_EPOCH_MAX 64          /* bytes of an epoch */
#define PENNY_ROOMS_SINCE_MAX 256         /* bytes of a client's "since" */

typedef struct PennyRooms PennyRooms;
typedef struct PennyMember PennyMember;

typedef struct PennyRoomsConfig
{
	uint64_t seed;       /* random, against chosen collisions */
	uint64_t kept_bytes; /* frames kept and held back over all rooms, e.g. 64 MB */
	uint64_t edge;       /* as in PennyEventSender */
	uint32_t reads;      /* reads in flight that no client asked for, e.g. 8 */
} PennyRoomsConfig;

/* Why a member is no longer in a room (or never came in). */
typedef enum PennyLeaving
{
	PENNY_LEAVING_REVOKED, /* lost access: tell "left" */
	PENNY_LEAVING_GONE,    /* the conversation was deleted */
	PENNY_LEAVING_REFUSED, /* the read said no: `status`, `problem` */
	PENNY_LEAVING_RESET    /* another epoch: join again from the start */
} PennyLeaving;

typedef struct PennyRoomsCallbacks
{
	/*
	 * Ask an executor to read the room with this member's token: PENNY_OP_JOIN
	 * with `since` as the value of "since" in its body (empty: none).  The
	 * answer comes by penny_rooms_answer() with this number.  False when there
	 * is no place for a call now: it is tried again by a later tick.
	 */
	bool (*read)(void *arg, uint64_t read, void *member, PennySpan room, PennySpan since);
	/* Nobody waits for the answer to this read any more. */
	void (*forget)(void *arg, uint64_t read);
	/* The member is in: tell {"type":"joined",…}.  position is a JSON object. */
	void (*joined)(void *arg, void *member, PennySpan room, PennySpan position, bool recovered);
	/* Send a frame; take a reference to keep it. */
	void (*deliver)(void *arg, void *member, PennyFrame *frame);
	/*
	 * The member is out, and its PennyMember is gone after this.  joined tells
	 * whether it had been in.  problem is a problem document, for REFUSED.
	 */
	void (*left)(void *arg, void *member, PennySpan room, PennyLeaving why, bool joined,
				 uint32_t status, PennySpan problem);
} PennyRoomsCallbacks;

/* What is there now; all zero when everybody has left. */
typedef struct PennyRoomsCounts
{
	uint64_t rooms;
	uint64_t members;    /* joined ones and those on their way */
	uint64_t reads;      /* in flight */
	uint64_t kept_bytes; /* in logs and held back */
	uint64_t resyncs;    /* reads made because something was missing, ever */
} PennyRoomsCounts;

/* NULL without memory. */
extern PennyRooms *penny_rooms_create(const PennyRoomsConfig *config,
									  const PennyRoomsCallbacks *callbacks, void *arg);
/* Drop everything; no callback is called. */
extern void penny_rooms_destroy(PennyRooms *rooms);

/*
 * A member wants in.  since is what the client sent, a checked JSON object, or
 * empty.  NULL without memory, or when name or since are too long.  The caller
 * sees to it that a connection joins a room once.
 */
extern PennyMember *penny_rooms_join(PennyRooms *rooms, PennySpan room, PennySpan since,
									 void *member, uint64_t now_ms);
/* It leaves by itself, or its connection is gone; `left` is not called. */
extern void penny_rooms_leave(PennyRooms *rooms, PennyMember *member);
/* Is it in (joined was called)? */
extern bool penny_rooms_is_in(const PennyMember *member);
extern PennySpan penny_rooms_name(const PennyMember *member);
/* The user's id by the last answer; only when it is in. */
extern const uint8_t *penny_rooms_user(const PennyMember *member);

/* Its number, as in PennyEventSender. */
extern uint64_t penny_rooms_number(const PennyMember *member);

/*
 * A frame of a member for the others who are in, not stored; only right where
 * all of them are here, else it goes by PENNY_OP_SIGNAL.
 */
extern bool penny_rooms_signal(PennyRooms *rooms, PennyMember *from, PennySpan frame);

/* The answer to a read, whole; an unknown number is ignored. */
extern void penny_rooms_answer(PennyRooms *rooms, uint64_t read, uint32_t status, PennySpan head,
							   PennySpan body, uint64_t now_ms);

/* For penny_event_read(): is anybody interested in such a room? */
extern bool penny_rooms_wanted(void *rooms, uint64_t room_hash);
/* An event as read from the ring. */
extern void penny_rooms_event(PennyRooms *rooms, const PennyEventIn *event, uint64_t now_ms);
/* PENNY_EVENTS_LOST: read everything. */
extern void penny_rooms_lost(PennyRooms *rooms, uint64_t now_ms);

/* Do what is due; returns the time of the next, UINT64_MAX when there is none. */
extern uint64_t penny_rooms_tick(PennyRooms *rooms, uint64_t now_ms);

extern PennyRoomsCounts penny_rooms_counts(const PennyRooms *rooms);

#endif /* PENNY_EDGE_ROOMS_H */

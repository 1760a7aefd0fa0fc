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
 *	- Equal joins (PennyRoomsCallbacks.same, one room, one since) share a read
 *	  that is under way: who follows is treated as if it had asked then.
 *	- While a member waits for an answer, frames passed on are kept in the
 *	  room's log (bounded); when the answer is older than the log reaches back,
 *	  the member is read again from its cursor.
 *	- A member that is in and has everything is a seat of an audience: the
 *	  members of the room with the same window and filter.  An audience has one
 *	  log of what goes over the wire, encoded once; a seat is a place in it.
 *	  penny_rooms_take() gives the next frame, when the socket wants one, so
 *	  nothing is queued for a member, and what waits does not grow with members.
 *	- Batches: the first frame after a pause goes at once, what follows gathers
 *	  until the window ends, and goes as one frame.
 *	- A seat that stays too far behind (PennyRoomsConfig) is put out as SLOW; or,
 *	  if the member wants that, it skips what lies between and is read again,
 *	  once its socket takes more, so it gets the newest state of each row.
 *	- Who asks for presence is shown to, and told about, the others who do, at
 *	  this edge and others (room_presence.c).
 *	- What does not fit the member's filter is not told; its position moves on
 *	  all the same, and is told now and then.
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
#include "edge/wheel.h"
#include "plane/event.h"

#define PENNY_ROOMS_PATIENCE 20           /* ms for a hole in the versions to close */
#define PENNY_ROOMS_RETRY 50              /* ms until a read that found no place is tried again */
#define PENNY_ROOMS_LOG_MAX (256 * 1024)  /* bytes of frames kept for a room */
#define PENNY_ROOMS_HOLD_MAX (256 * 1024) /* bytes of frames held back for a room */
#define PENNY_ROOMS_EPOCH_MAX 64          /* bytes of an epoch */
#define PENNY_ROOMS_SINCE_MAX 256         /* bytes of a client's "since" */
#define PENNY_ROOMS_FILTER_MAX 512        /* bytes of a filter */
#define PENNY_ROOMS_FILTER_TYPES 16       /* types that it may name */
#define PENNY_ROOMS_BATCH_MAX (64 * 1024) /* bytes that gather; with more a batch goes early */

typedef struct PennyRooms PennyRooms;
typedef struct PennyMember PennyMember;

typedef struct PennyRoomsConfig
{
	uint64_t seed;       /* random, against chosen collisions */
	uint64_t kept_bytes; /* frames kept and held back over all rooms, e.g. 64 MB; who waits
						  * longest for its socket goes when it is more */
	uint64_t edge;       /* as in PennyEventSender */
	uint32_t reads;      /* reads in flight that no client asked for, e.g. 8 */

	/* A seat is too far behind with this many bytes for that long, ... */
	uint32_t behind_bytes;
	uint32_t behind_grace; /* ms */
	/* ... or with a frame that has waited so long, or this many bytes. */
	uint32_t behind_time; /* ms */
	uint32_t behind_most;
	uint32_t position_interval; /* ms after which a position that moved unseen is told */

	uint32_t presence_window; /* ms in which changes of presence gather */
	uint32_t presence_renew;  /* ms after which edges repeat who is there */
} PennyRoomsConfig;

/* What a member wants. */
typedef struct PennyJoin
{
	PennySpan room;
	PennySpan since;  /* what the client sent, a checked JSON object, or empty */
	PennySpan filter; /* of penny_filter_read(), or empty: everything */
	uint32_t window;  /* ms in which frames gather, 0 = they do not */
	bool conflate;    /* when it is too far behind: skip, do not put it out */
	bool presence;    /* be present, and be told who else is */
} PennyJoin;

/* The answer that let a member in. */
typedef struct PennyJoined
{
	PennySpan position; /* a JSON object */
	PennySpan reset;    /* a JSON string that says why nothing is recovered, or empty */
	bool recovered;
	bool write; /* it may also write */
} PennyJoined;

/* Why a member is no longer in a room (or never came in). */
typedef enum PennyLeaving
{
	PENNY_LEAVING_REVOKED, /* lost access: tell "left" */
	PENNY_LEAVING_GONE,    /* the conversation was deleted */
	PENNY_LEAVING_REFUSED, /* the read said no: `status`, `problem` */
	PENNY_LEAVING_RESET,   /* another epoch: join again from the start */
	PENNY_LEAVING_SLOW     /* it was too far behind: join again from where it was */
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
	/* The member is in: tell {"type":"joined",…}. */
	void (*joined)(void *arg, void *member, PennySpan room, const PennyJoined *how);
	/* Send this frame before what penny_rooms_take() gives; take a reference to keep it. */
	void (*deliver)(void *arg, void *member, PennyFrame *frame);
	/* There is something to take.  It may be gone again when the socket asks. */
	void (*ready)(void *arg, void *member);
	/* Does its socket take more now?  After a no, penny_rooms_drained() tells when it does. */
	bool (*takes)(void *arg, void *member);
	/*
	 * The member is out, and its PennyMember is gone after this.  joined tells
	 * whether it had been in.  problem is a problem document, for REFUSED.
	 */
	void (*left)(void *arg, void *member, PennySpan room, PennyLeaving why, bool joined,
				 uint32_t status, PennySpan problem);
	/*
	 * Pass a statement of presence on to the other edges, soon; false: it cannot
	 * be taken now.  NULL: this is the only edge.
	 */
	bool (*announce)(void *arg, PennySpan room, PennySpan statement);
	/*
	 * Would a read for this member be allowed and answered as one for the other?
	 * NULL: every member is asked for by itself.
	 */
	bool (*same)(void *arg, void *member, void *other);
} PennyRoomsCallbacks;

/* What is there now; all zero when everybody has left. */
typedef struct PennyRoomsCounts
{
	uint64_t rooms;
	uint64_t members;    /* joined ones and those on their way */
	uint64_t reads;      /* in flight */
	uint64_t kept_bytes; /* in logs, held back, gathered */
	uint64_t resyncs;    /* reads made because something was missing, ever */
	uint64_t audiences;
	uint64_t slow;    /* put out, or skipped something, for being too far behind, ever */
	uint64_t present; /* users in rooms with presence, here and elsewhere */
} PennyRoomsCounts;

/* NULL without memory. */
extern PennyRooms *penny_rooms_create(const PennyRoomsConfig *config,
									  const PennyRoomsCallbacks *callbacks, void *arg);
/* Drop everything; no callback is called. */
extern void penny_rooms_destroy(PennyRooms *rooms);

/*
 * A member wants in.  NULL without memory, or when something is too long.  The
 * caller sees to it that a connection joins a room once.
 */
extern PennyMember *penny_rooms_join(PennyRooms *rooms, const PennyJoin *join, void *member,
									 uint64_t now_ms);
/* From now on its frames gather for so long; false without memory. */
extern bool penny_rooms_set_window(PennyRooms *rooms, PennyMember *member, uint32_t window,
								   uint64_t now_ms);
/*
 * The next frame for the socket, as a reference of the caller's, if it has at
 * most that many bytes; NULL: it has more, or there is none.
 */
extern PennyFrame *penny_rooms_take(PennyMember *member, size_t most);
/* Is there something to take? */
extern bool penny_rooms_has_more(const PennyMember *member);
/* Its socket has taken everything that it was given. */
extern void penny_rooms_drained(PennyRooms *rooms, PennyMember *member, uint64_t now_ms);
/* It leaves by itself, or its connection is gone; `left` is not called. */
extern void penny_rooms_leave(PennyRooms *rooms, PennyMember *member);
/* Is it in (joined was called)? */
extern bool penny_rooms_is_in(const PennyMember *member);
/* May it also write, by the last answer to a read of its own? */
extern bool penny_rooms_may_write(const PennyMember *member);
extern PennySpan penny_rooms_name(const PennyMember *member);
/* The user's id by the last answer; only when it is in. */
extern const uint8_t *penny_rooms_user(const PennyMember *member);

/* Its number, as in PennyEventSender. */
extern uint64_t penny_rooms_number(const PennyMember *member);

/*
 * A frame of a member for the others who are in, not stored; only right where
 * all of them are here, else it goes by PENNY_OP_SIGNAL.
 */
extern bool penny_rooms_signal(PennyRooms *rooms, PennyMember *from, PennySpan frame,
							   uint64_t now_ms);

/* The answer to a read, whole; an unknown number is ignored. */
extern void penny_rooms_answer(PennyRooms *rooms, uint64_t read, uint32_t status, PennySpan head,
							   PennySpan body, uint64_t now_ms);

/* For penny_event_read(): is anybody interested in such a room? */
extern bool penny_rooms_wanted(void *rooms, uint64_t room_hash);
/* An event as read from the ring. */
extern void penny_rooms_event(PennyRooms *rooms, const PennyEventIn *event, uint64_t now_ms);
/* PENNY_EVENTS_LOST: read everything. */
extern void penny_rooms_lost(PennyRooms *rooms, uint64_t now_ms);

/* Of PennyRoomsConfig: from now on. */
extern void penny_rooms_set_pace(PennyRooms *rooms, uint32_t window, uint32_t renew);
/* Another edge (its number plus one) is a new process; what the old one said is over. */
extern void penny_rooms_edge_began(PennyRooms *rooms, uint64_t edge, uint64_t incarnation,
								   uint64_t now_ms);

/* Do what is due; returns the time of the next, UINT64_MAX when there is none. */
extern uint64_t penny_rooms_tick(PennyRooms *rooms, uint64_t now_ms);

extern PennyRoomsCounts penny_rooms_counts(const PennyRooms *rooms);

/* ---- room_filter.c --------------------------------------------------------- */

/*
 * Read {"types":["…",…]}, a checked JSON object, into what PennyJoin takes.
 * NULL, or what is wrong.
 */
extern const char *penny_filter_read(PennySpan json, char filter[PENNY_ROOMS_FILTER_MAX],
									 size_t *len);
/* Does a frame pass?  Its type counts, and for an event that of the event. */
extern bool penny_filter_passes(PennySpan filter, PennyFrame *frame);

#endif /* PENNY_EDGE_ROOMS_H */

/*-------------------------------------------------------------------------
 *
 * rooms_private.h
 *		Structures of the rooms, shared by rooms.c, room_log.c, room_reads.c,
 *		room_answers.c and room_events.c; no interface of others.
 *
 * States of a member:
 *
 *	ENTERING  its first answer is awaited                 -> READING, out
 *	READING   it is in, but must be read before it may go
 *			  live: a MEMBER read is queued, resting or in
 *			  flight                                      -> LIVE, out
 *	LIVE	  it has everything up to the room's head      -> READING, out
 *
 * A member has one read at most.  A room has at most one ROOM read, by a LIVE
 * member, the room's reader.
 *
 * Invariants, between calls:
 *	- log holds what was passed on of (floor, head]; it is empty, with floor =
 *	  head, when no member waits (is not LIVE)
 *	- held is sorted, without duplicates, and holds nothing <= head + 1 once
 *	  the room is known
 *	- a known room with a LIVE member whose head is below `newest` has a timer
 *	  running or a reader
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_ROOMS_PRIVATE_H
#define PENNY_EDGE_ROOMS_PRIVATE_H

#include "edge/rooms.h"

typedef struct PennyRoom PennyRoom;

/* A frame kept: passed on already (log), or ahead of its turn (held). */
typedef struct Kept
{
	struct Kept *next;
	uint64_t version;
	PennyEventKind kind; /* CHANGE or GONE */
	PennyFrame *frame;   /* NULL: GONE without a last frame */
} Kept;

typedef enum MemberState
{
	MEMBER_ENTERING,
	MEMBER_READING,
	MEMBER_LIVE
} MemberState;

typedef enum ReadKind
{
	READ_NONE,
	READ_JOIN,   /* lets the member in */
	READ_MEMBER, /* since the member's cursor */
	READ_ROOM    /* since the room's head, for all */
} ReadKind;

typedef enum ReadPlace
{
	READ_NOWHERE,
	READ_QUEUED,  /* in rooms->joins or rooms->catch_ups */
	READ_RESTING, /* in rooms->resting: failed, to be tried again */
	READ_FLYING   /* in rooms->read, the table by number */
} ReadPlace;

struct PennyMember
{
	PennyRoom *room;
	PennyMember *next; /* in the room */
	PennyMember *prev;
	void *data; /* the caller's */
	uint64_t number;
	MemberState state;
	bool missed;       /* a broadcast could not be passed on: tell it */
	bool doubted;      /* events were lost since its access was last read */
	uint64_t cursor;   /* has everything up to this version, if READING */
	uint64_t admitted; /* version of the snapshot that last let it in */
	uint8_t user[16];

	ReadKind read_kind;
	ReadPlace read_place;
	uint64_t read;        /* its number, FLYING */
	uint64_t read_since;  /* version asked from */
	uint64_t read_newest; /* room->newest when it began */
	uint64_t read_doubts; /* room->doubts when it began */
	uint64_t read_losses; /* room->losses when it began */
	uint64_t rest_until;  /* RESTING */
	int tries;
	PennyMember *queue_next; /* in the queue, or the bucket of the table */
	PennyMember *queue_prev;

	uint64_t since_version; /* of the client's since */
	uint32_t since_len;
	char since[]; /* as the client sent it */
};

struct PennyRoom
{
	PennyRoom *bucket_next;
	uint64_t hash;
	PennyMember *members;
	uint32_t waiting; /* members that are not LIVE */
	uint32_t live;
	bool known;    /* head means something: a first answer came */
	uint64_t head; /* see the invariants */
	uint64_t floor;
	uint64_t newest; /* greatest version known to exist */
	uint64_t doubts; /* times that somebody's access may have been taken */
	uint64_t losses; /* times that events may have been lost */
	PennyMember *reader;
	Kept *log;
	Kept **log_end;
	Kept *held;
	size_t log_bytes;
	size_t held_bytes;
	uint64_t timer; /* when the hole counts as one; 0 = none */
	PennyRoom *timer_next;
	PennyRoom *timer_prev;
	uint32_t epoch_len;
	uint32_t name_len;
	char epoch[PENNY_ROOMS_EPOCH_MAX]; /* JSON string, with its quotes */
	char name[];
};

/* A doubly-linked queue of members. */
typedef struct Queue
{
	PennyMember *first;
	PennyMember *last;
} Queue;

struct PennyRooms
{
	PennyRoomsConfig config;
	PennyRoomsCallbacks call;
	void *arg;
	uint64_t now;         /* as last told */
	uint64_t last_number; /* of a member; begins anywhere, so that it is not a dead edge's */

	PennyRoom **bucket;
	size_t buckets;         /* a power of two */
	PennyRoom *timer_first; /* by time: all wait equally long */
	PennyRoom *timer_last;

	PennyMember **read; /* reads in flight, by number */
	size_t read_buckets;
	uint64_t last_read;
	uint32_t unasked; /* reads in flight that no client asked for */
	Queue joins;
	Queue catch_ups;
	Queue resting;
	uint64_t retry; /* no read is begun before this time; 0 = at once */

	PennyRoomsCounts counts;
};

static inline PennySpan
room_name(const PennyRoom *room)
{
	return (PennySpan){room->name, room->name_len};
}

/* rooms.c */
extern PennyRoom *penny_room_find(PennyRooms *rooms, uint64_t hash, PennySpan name);
extern bool penny_room_remove(PennyRooms *rooms, PennyMember *member);
extern bool penny_room_put_out(PennyRooms *rooms, PennyMember *member, PennyLeaving why,
							   uint32_t status, PennySpan problem);
extern void penny_room_reset(PennyRooms *rooms, PennyRoom *room, const PennyMember *keep);

/* room_events.c */
extern bool penny_room_settle(PennyRooms *rooms, PennyRoom *room);
extern void penny_room_time_out(PennyRooms *rooms, PennyRoom *room);
extern void penny_room_lose(PennyRooms *rooms, PennyRoom *room, bool broadcasts);
extern bool penny_room_tell_missed(PennyRooms *rooms, PennyMember *member);

/* room_log.c */
extern void penny_room_pass_on(PennyRooms *rooms, PennyRoom *room, uint64_t version,
							   PennyFrame *frame);
extern void penny_room_hold(PennyRooms *rooms, PennyRoom *room, uint64_t version,
							PennyEventKind kind, PennyFrame *frame);
extern void penny_room_clear_log(PennyRooms *rooms, PennyRoom *room);
extern void penny_room_clear_held(PennyRooms *rooms, PennyRoom *room);
extern void penny_room_drop_held(PennyRooms *rooms, PennyRoom *room);
extern Kept *penny_room_take_held(PennyRooms *rooms, PennyRoom *room);
extern void penny_room_free_kept(Kept *kept);
extern bool penny_room_replay(PennyRooms *rooms, PennyMember *member);
extern void penny_room_set_head(PennyRooms *rooms, PennyRoom *room, uint64_t head);

/* room_reads.c */
extern void penny_room_read(PennyRooms *rooms, PennyMember *member, ReadKind kind);
extern void penny_room_rest(PennyRooms *rooms, PennyMember *member);
extern void penny_room_drop_read(PennyRooms *rooms, PennyMember *member);
extern PennyMember *penny_room_landed(PennyRooms *rooms, uint64_t read);
extern void penny_room_doubt(PennyRooms *rooms, PennyMember *member);
extern void penny_room_catch_up(PennyRooms *rooms, PennyRoom *room);
extern void penny_room_progress(PennyRooms *rooms, PennyRoom *room);
extern void penny_room_stop_timer(PennyRooms *rooms, PennyRoom *room);
extern void penny_rooms_pump(PennyRooms *rooms);

#endif /* PENNY_EDGE_ROOMS_PRIVATE_H */

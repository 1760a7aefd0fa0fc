/*-------------------------------------------------------------------------
 *
 * rooms_private.h
 *		Structures of the rooms, shared by rooms.c, room_log.c, room_seats.c,
 *		room_audience.c, room_frames.c, room_reads.c, room_answers.c,
 *		room_events.c and room_presence.c; no interface of others.
 *
 * States of a member:
 *
 *	ENTERING  its first answer is awaited                 -> READING, out
 *	READING   it is in, but must be read before it may go
 *			  live: a MEMBER read is queued, resting or in
 *			  flight                                      -> LIVE, out
 *	LIVE	  it has everything up to the room's head, or
 *			  finds it in the log of its audience		   -> READING, out
 *
 * A LIVE member is loose or seated.  Loose ones get each frame by itself
 * (deliver): they have just come in, and their audience is in the middle of a
 * batch, or they know more than the room.  Seated ones take from the log.
 * cursor is right for all but seated ones, whose version follows from their
 * place: that of the entry they are at, or else what the audience has emitted.
 *
 * A member has one read at most.  A room has at most one ROOM read, by a LIVE
 * member, the room's reader.
 *
 * Invariants, between calls:
 *	- log holds what was passed on of (floor, head]; it is empty, with floor =
 *	  head, when no member waits (is not LIVE)
 *	- held is sorted, without duplicates, and holds nothing <= head + 1 once
 *	  the room is known
 *	- an audience with seated members has version = head; what lies between
 *	  emitted and version has gathered, or there was nothing to tell
 *	- the log of an audience begins with an entry at which somebody sits
 *	- a known room with a LIVE member whose head is below `newest` has a timer
 *	  running or a reader
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_ROOMS_PRIVATE_H
#define PENNY_EDGE_ROOMS_PRIVATE_H

#include "edge/rooms.h"
#include "plane/presence.h"

typedef struct PennyRoom PennyRoom;
typedef struct Audience Audience;
typedef struct Presence Presence;

/* A frame kept: passed on already (log), or ahead of its turn (held). */
typedef struct Kept
{
	struct Kept *next;
	uint64_t version;
	PennyEventKind kind; /* CHANGE or GONE */
	PennyFrame *frame;   /* NULL: GONE without a last frame */
} Kept;

/* A frame that gathers, or gathered into a batch. */
typedef struct Item
{
	struct Item *next;
	PennyFrame *frame;
	uint64_t version; /* 0 = none */
	uint64_t except;  /* number of the member that sent it, 0 = none here */
	bool presence;    /* who misses it is told otherwise, see room_presence.c */
} Item;

/* What goes over the wire as one frame. */
typedef struct Entry
{
	struct Entry *next;
	PennyFrame *frame;
	Item *items;        /* what it was made of, when somebody is not to get all of it */
	uint64_t before;    /* version that one has who has not taken it, ... */
	uint64_t version;   /* ... and who has */
	uint64_t start;     /* bytes emitted before it */
	uint64_t at;        /* ms */
	bool unversioned;   /* holds frames that cannot be read again */
	PennyMember *seats; /* who takes it next */
} Entry;

/* The members of a room that get the same bytes. */
struct Audience
{
	PennyRoom *room;
	Audience *next;
	uint32_t members; /* all with this window and filter, whatever their state */
	uint32_t seated;
	uint32_t window;
	bool presence; /* they want presence */
	bool open;     /* the window: frames gather */
	PennyMember *loose;
	PennyMember *idle; /* seated, and have taken everything */
	Entry *log;
	Entry **log_end;
	uint64_t end;     /* bytes emitted */
	uint64_t version; /* all up to it has been emitted or gathered, or was not to be told */
	uint64_t emitted; /* what who sits at the end has */
	uint64_t told;    /* what who sits at the end can know that it has */
	Item *items;      /* that gather */
	Item **items_end;
	uint32_t item_count;
	size_t item_bytes;
	PennyTimer window_timer;
	PennyTimer behind_timer;
	PennyTimer position_timer;
	uint32_t filter_len;
	char filter[];
};

typedef enum MemberState
{
	MEMBER_ENTERING,
	MEMBER_READING,
	MEMBER_LIVE
} MemberState;

/* Of a LIVE member; NOWHERE only for a moment. */
typedef enum Sitting
{
	SITTING_NOWHERE,
	SITTING_LOOSE,
	SITTING_SEATED
} Sitting;

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
	READ_QUEUED,    /* in rooms->joins or rooms->catch_ups */
	READ_RESTING,   /* in rooms->resting: failed, to be tried again */
	READ_WAITING,   /* nowhere, until its socket takes more */
	READ_FLYING,    /* in rooms->read, the table by number */
	READ_FOLLOWING, /* with the equal one of its leader */
	READ_LANDED     /* in rooms->landed: its leader's has been answered */
} ReadPlace;

/* A doubly-linked queue of members. */
typedef struct Queue
{
	PennyMember *first;
	PennyMember *last;
} Queue;

struct PennyMember
{
	PennyRoom *room;
	PennyMember *next; /* in the room */
	PennyMember *prev;
	void *data; /* the caller's */
	uint64_t number;
	MemberState state;
	bool missed;   /* a broadcast could not be passed on: tell it */
	bool doubted;  /* events were lost since its access was last read */
	bool conflate; /* when it is too far behind: skip */
	bool skipped;  /* it did: tell it */
	bool presence; /* it wants presence, and is present, ... */
	bool counted;  /* ... which is known, ... */
	bool listed;   /* ... and it has all that was told about the others */
	bool write;    /* it may also write, by the last answer */
	Sitting sitting;
	Audience *audience;
	Entry *at;              /* takes this next; NULL: all taken */
	PennyMember *seat_next; /* at the entry, or in the audience's idle or loose */
	PennyMember *seat_prev;
	uint64_t streams;  /* pieces of streams that came to the room before its read began */
	uint64_t cursor;   /* has everything up to this version, unless seated */
	uint64_t told;     /* greatest version that it was told by itself */
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
	PennyMember *leader;     /* FOLLOWING: whose read it waits for */
	Queue followers;         /* who wait for this one's, FLYING */
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
	Kept *streams; /* pieces of streams, kept while somebody waits; their numbers run */
	Kept **streams_end;
	uint64_t stream_count; /* ever */
	uint64_t stream_floor; /* those up to this number are not kept */
	size_t stream_bytes;
	Presence *presence; /* NULL: nobody wants that */
	PennyTimer timer;   /* when the hole counts as one */
	PennyRooms *rooms;
	Audience *audiences;
	uint32_t epoch_len;
	uint32_t name_len;
	char epoch[PENNY_ROOMS_EPOCH_MAX]; /* JSON string, with its quotes */
	char name[];
};

struct PennyRooms
{
	PennyRoomsConfig config;
	PennyRoomsCallbacks call;
	void *arg;
	uint64_t now;         /* as last told */
	uint64_t last_number; /* of a member; begins anywhere, so that it is not a dead edge's */

	PennyRoom **bucket;
	size_t buckets;   /* a power of two */
	PennyWheel wheel; /* of 1 ms */

	PennyMember **read; /* reads in flight, by number */
	size_t read_buckets;
	uint64_t last_read;
	uint32_t unasked; /* reads in flight that no client asked for */
	Queue joins;
	Queue catch_ups;
	Queue resting;
	Queue landed;   /* followed a read whose answer is being taken */
	uint64_t retry; /* no read is begun before this time; 0 = at once */

	Presence *presences;                   /* of all rooms */
	uint64_t last_statement;               /* of presence, made here */
	uint64_t incarnation[PENNY_MAX_EDGES]; /* of edges, as far as told */

	PennyRoomsCounts counts;
};

static inline PennySpan
room_name(const PennyRoom *room)
{
	return (PennySpan){room->name, room->name_len};
}

static inline PennySpan
audience_filter(const Audience *audience)
{
	return (PennySpan){audience->filter, audience->filter_len};
}

/*
 * Bytes that wait behind the first entry, for who takes that next.  It does not
 * count itself: a large frame does not make a client slow.
 */
static inline uint64_t
penny_audience_waiting(const Audience *audience)
{
	return audience->end - audience->log->start - audience->log->frame->len;
}

/* rooms.c */
extern PennyRoom *penny_room_find(PennyRooms *rooms, uint64_t hash, PennySpan name);
extern bool penny_room_remove(PennyRooms *rooms, PennyMember *member);
extern bool penny_room_put_out(PennyRooms *rooms, PennyMember *member, PennyLeaving why,
							   uint32_t status, PennySpan problem);
extern void penny_room_reset(PennyRooms *rooms, PennyRoom *room, const PennyMember *keep);

/* room_events.c */
extern bool penny_room_settle(PennyRooms *rooms, PennyRoom *room);
extern void penny_room_time_out(PennyTimer *timer);
extern void penny_room_lose(PennyRooms *rooms, PennyRoom *room, bool broadcasts);

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
extern void penny_room_keep_stream(PennyRooms *rooms, PennyRoom *room, PennyFrame *frame);
extern void penny_room_clear_streams(PennyRooms *rooms, PennyRoom *room);
extern bool penny_room_hand_over_streams(PennyRooms *rooms, PennyMember *member);

/* room_audience.c */
extern Audience *penny_audience_find(PennyRooms *rooms, PennyRoom *room, uint32_t window,
									 bool presence, PennySpan filter);
extern void penny_audience_enter(PennyMember *member, Audience *audience);
extern void penny_audience_leave(PennyRooms *rooms, PennyMember *member);
extern void penny_audience_trim(PennyRooms *rooms, Audience *audience);
extern void penny_audience_mind_position(PennyRooms *rooms, Audience *audience);
extern void penny_room_tell(PennyRooms *rooms, PennyRoom *room, uint64_t version, PennyFrame *frame,
							uint64_t except);
extern void penny_room_tell_presence(PennyRooms *rooms, PennyRoom *room, PennyFrame *frame);
extern void penny_room_tell_head(PennyRooms *rooms, PennyRoom *room);

/* room_seats.c */
extern void penny_seat_loose(PennyRooms *rooms, PennyMember *member);
extern void penny_seat_leave(PennyRooms *rooms, PennyMember *member);
extern void penny_seats_settle(PennyRooms *rooms, Audience *audience);
extern bool penny_seat_unseat(PennyRooms *rooms, PennyMember *member);
extern void penny_seats_break(PennyRooms *rooms, Audience *audience);
extern bool penny_seats_mind(PennyRooms *rooms, Audience *audience);
extern bool penny_seats_relieve(PennyRooms *rooms);
extern void penny_member_deliver(PennyRooms *rooms, PennyMember *member, uint64_t version,
								 PennyFrame *frame);

/* room_presence.c */
extern bool penny_presence_enter(PennyRooms *rooms, PennyMember *member);
extern void penny_presence_leave(PennyRooms *rooms, PennyMember *member);
extern void penny_presence_mind(PennyRooms *rooms, PennyMember *member);
extern void penny_presence_free(PennyRooms *rooms, PennyRoom *room);
extern void penny_presence_event(PennyRooms *rooms, PennyRoom *room, const PennyEventIn *event);
extern void penny_presence_lost(PennyRooms *rooms);

/* room_frames.c */
extern PennyFrame *penny_room_make_missed(const PennyRoom *room);
extern PennyFrame *penny_room_make_position(const PennyRoom *room, uint64_t version);
extern PennyFrame *penny_room_make_conflated(const PennyRoom *room, uint64_t from, uint64_t to);
extern PennyFrame *penny_room_make_batch(const PennyRoom *room, const Item *items, uint64_t except,
										 uint64_t version);

/* room_reads.c */
extern void penny_room_read(PennyRooms *rooms, PennyMember *member, ReadKind kind);
extern void penny_room_rest(PennyRooms *rooms, PennyMember *member);
extern void penny_room_drop_read(PennyRooms *rooms, PennyMember *member);
extern PennyMember *penny_room_landed(PennyRooms *rooms, uint64_t read);
extern PennyMember *penny_room_landed_too(PennyRooms *rooms);
extern void penny_room_stop_live(PennyRooms *rooms, PennyMember *member);
extern void penny_room_doubt(PennyRooms *rooms, PennyMember *member);
extern void penny_room_catch_up(PennyRooms *rooms, PennyRoom *room);
extern void penny_room_progress(PennyRooms *rooms, PennyRoom *room);
extern void penny_room_stop_timer(PennyRooms *rooms, PennyRoom *room);
extern void penny_rooms_pump(PennyRooms *rooms);

#endif /* PENNY_EDGE_ROOMS_PRIVATE_H */

/*-------------------------------------------------------------------------
 *
 * room_presence_private.h
 *		Structures of presence, shared by room_presence.c (who is there, windows),
 *		room_presence_frames.c (what is told) and room_presence_far.c (other
 *		edges); no interface of others.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_ROOM_PRESENCE_PRIVATE_H
#define PENNY_EDGE_ROOM_PRESENCE_PRIVATE_H

#include "edge/rooms_private.h"

typedef struct Present
{
	struct Present *next;    /* in its bucket */
	struct Present *changed; /* the next that may differ from what is told */
	bool is_changed;
	uint8_t user[16];
	uint32_t told;                   /* devices */
	uint32_t here;                   /* devices at this edge */
	uint32_t there[PENNY_MAX_EDGES]; /* at others */
} Present;

/* What another edge says. */
typedef struct Far
{
	uint64_t incarnation;
	uint64_t number;
	uint64_t heard; /* ms */
	uint32_t more;
} Far;

struct Presence
{
	PennyRoom *room;
	Presence *next; /* of all */
	Presence *prev;
	uint32_t counted; /* members */
	Present **bucket;
	size_t buckets;
	size_t users;   /* entries */
	uint32_t there; /* users present */
	uint32_t told;  /* `count` of the last frame */
	Present *changed;
	uint64_t window_end; /* ms; no frame goes out before */
	bool stale;          /* the other edges are to be told */
	bool ask;            /* ... and asked */
	PennyTimer timer;
	PennyTimer renew;
	Far far[PENNY_MAX_EDGES];
};

/* Devices of a user, here and elsewhere. */
static inline uint32_t
devices_of(const Present *present)
{
	uint32_t devices = present->here;

	for (int i = 0; i < PENNY_MAX_EDGES; i++)
		devices += present->there[i];
	return devices;
}

/* room_presence.c: an entry for a user, made if need be; NULL without memory. */
extern Present *penny_presence_find(Presence *presence, const uint8_t user[16]);
/* A user had so many devices before. */
extern void penny_presence_note(Presence *presence, Present *present, uint32_t before);
/* Tell what is due at that time, or when the window ends. */
extern void penny_presence_flush_at(PennyRooms *rooms, Presence *presence, uint64_t at);

/* room_presence_frames.c: frames; NULL without memory. */
extern PennyFrame *penny_presence_list(const Presence *presence);
extern PennyFrame *penny_presence_change(const Presence *presence, uint32_t now);
/* Users whose number of devices is not the one that was told. */
extern size_t penny_presence_changed(const Presence *presence);

/* room_presence_far.c: state to the other edges what is known here; false: not now. */
extern bool penny_presence_state(PennyRooms *rooms, Presence *presence);
/* Repeat what is known, forget what is not repeated. */
extern void penny_presence_renew(PennyTimer *timer);

#endif /* PENNY_EDGE_ROOM_PRESENCE_PRIVATE_H */

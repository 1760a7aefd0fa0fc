/*-------------------------------------------------------------------------
 *
 * rooms.c
 *		The table of rooms, and members coming and going.
 *
 * A room exists from the first join that is asked until its last member is
 * gone; so events for it are gathered from before the first read begins.
 * Names come from clients, so buckets are chosen with a random seed.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "edge/json_span.h"
#include "edge/rooms_private.h"

#define FIRST_SIZE 64 /* buckets of a new table */

/* ---- the table ------------------------------------------------------- */

PennyRooms *
penny_rooms_create(const PennyRoomsConfig *config, const PennyRoomsCallbacks *callbacks, void *arg)
{
	PennyRooms *rooms = calloc(1, sizeof(*rooms));

	if (rooms == NULL)
		return NULL;
	rooms->config = *config;
	rooms->call = *callbacks;
	rooms->arg = arg;
	rooms->last_number = config->seed;
	rooms->buckets = rooms->read_buckets = FIRST_SIZE;
	rooms->bucket = calloc(FIRST_SIZE, sizeof(*rooms->bucket));
	rooms->read = calloc(FIRST_SIZE, sizeof(*rooms->read));
	if (rooms->bucket == NULL || rooms->read == NULL)
	{
		penny_rooms_destroy(rooms);
		return NULL;
	}
	return rooms;
}

static size_t
bucket_of(const PennyRooms *rooms, uint64_t hash, size_t buckets)
{
	hash ^= rooms->config.seed;
	hash *= UINT64_C(0x9E3779B97F4A7C15);
	return (hash >> 32) & (buckets - 1);
}

PennyRoom *
penny_room_find(PennyRooms *rooms, uint64_t hash, PennySpan name)
{
	PennyRoom *room = rooms->bucket[bucket_of(rooms, hash, rooms->buckets)];

	while (room != NULL && (room->hash != hash || room->name_len != name.len ||
							memcmp(room->name, name.data, name.len) != 0))
		room = room->bucket_next;
	return room;
}

bool
penny_rooms_wanted(void *arg, uint64_t room_hash)
{
	PennyRooms *rooms = arg;
	PennyRoom *room = rooms->bucket[bucket_of(rooms, room_hash, rooms->buckets)];

	while (room != NULL && room->hash != room_hash)
		room = room->bucket_next;
	return room != NULL;
}

/* Double the table when it is full; without memory its chains get longer. */
static void
grow(PennyRooms *rooms)
{
	size_t size = rooms->buckets * 2;
	PennyRoom **grown;

	if (rooms->counts.rooms < rooms->buckets)
		return;
	grown = calloc(size, sizeof(*grown));
	if (grown == NULL)
		return;
	for (size_t i = 0; i < rooms->buckets; i++)
	{
		for (PennyRoom *room = rooms->bucket[i], *next; room != NULL; room = next)
		{
			PennyRoom **place = &grown[bucket_of(rooms, room->hash, size)];

			next = room->bucket_next;
			room->bucket_next = *place;
			*place = room;
		}
	}
	free(rooms->bucket);
	rooms->bucket = grown;
	rooms->buckets = size;
}

/* Make a room without members. */
static PennyRoom *
make_room(PennyRooms *rooms, uint64_t hash, PennySpan name)
{
	PennyRoom *room = calloc(1, sizeof(*room) + name.len);
	PennyRoom **place;

	if (room == NULL)
		return NULL;
	grow(rooms);
	room->rooms = rooms;
	room->hash = hash;
	room->log_end = &room->log;
	room->streams_end = &room->streams;
	penny_timer_init(&room->timer, penny_room_time_out);
	room->name_len = (uint32_t) name.len;
	memcpy(room->name, name.data, name.len);
	place = &rooms->bucket[bucket_of(rooms, hash, rooms->buckets)];
	room->bucket_next = *place;
	*place = room;
	rooms->counts.rooms++;
	return room;
}

/* Free a room that has no members. */
static void
free_room(PennyRooms *rooms, PennyRoom *room)
{
	PennyRoom **place = &rooms->bucket[bucket_of(rooms, room->hash, rooms->buckets)];

	while (*place != room)
		place = &(*place)->bucket_next;
	*place = room->bucket_next;
	penny_room_stop_timer(rooms, room);
	penny_room_clear_log(rooms, room);
	penny_room_clear_held(rooms, room);
	penny_room_clear_streams(rooms, room);
	penny_presence_free(rooms, room);
	rooms->counts.rooms--;
	free(room);
}

void
penny_rooms_destroy(PennyRooms *rooms)
{
	if (rooms == NULL)
		return;
	for (size_t i = 0; rooms->bucket != NULL && i < rooms->buckets; i++)
	{
		while (rooms->bucket[i] != NULL)
		{
			PennyRoom *room = rooms->bucket[i];

			while (room->members != NULL)
			{
				PennyMember *member = room->members;

				room->members = member->next;
				penny_seat_leave(rooms, member);
				penny_audience_leave(rooms, member);
				free(member);
			}
			free_room(rooms, room);
		}
	}
	free(rooms->bucket);
	free(rooms->read);
	free(rooms);
}

PennyRoomsCounts
penny_rooms_counts(const PennyRooms *rooms)
{
	return rooms->counts;
}

/* ---- members --------------------------------------------------------- */

/* Version of a client's since, 0 when it has none. */
static uint64_t
version_of(PennySpan since)
{
	PennyJsonMember version = {.name = "version"};
	int64_t value;
	size_t where;

	if (since.len == 0 || penny_json_object(since, &version, 1, &where) != NULL ||
		version.kind != PENNY_JSON_NUMBER || !penny_json_integer(version.raw, &value))
		return 0;
	return (uint64_t) value;
}

/* A member of the room, on its way in; NULL without memory. */
static PennyMember *
make_member(PennyRooms *rooms, PennyRoom *room, const PennyJoin *join, void *data)
{
	PennyMember *member = calloc(1, sizeof(*member) + join->since.len);
	Audience *audience = NULL;

	if (member != NULL)
		audience = penny_audience_find(rooms, room, join->window, join->presence, join->filter);
	if (audience == NULL)
	{
		free(member);
		return NULL;
	}
	penny_audience_enter(member, audience);
	member->room = room;
	member->data = data;
	member->number = ++rooms->last_number;
	member->state = MEMBER_ENTERING;
	member->conflate = join->conflate;
	member->presence = join->presence;
	member->since_version = version_of(join->since);
	member->since_len = (uint32_t) join->since.len;
	if (join->since.len > 0)
		memcpy(member->since, join->since.data, join->since.len);
	member->next = room->members;
	if (room->members != NULL)
		room->members->prev = member;
	room->members = member;
	room->waiting++;
	rooms->counts.members++;
	return member;
}

PennyMember *
penny_rooms_join(PennyRooms *rooms, const PennyJoin *join, void *data, uint64_t now_ms)
{
	uint64_t hash = penny_hash(join->room.data, join->room.len, 0);
	PennyMember *member;
	PennyRoom *room;

	rooms->now = now_ms;
	if (join->room.len == 0 || join->room.len > PENNY_ROOM_NAME_MAX ||
		join->since.len > PENNY_ROOMS_SINCE_MAX || join->filter.len > PENNY_ROOMS_FILTER_MAX)
		return NULL;
	room = penny_room_find(rooms, hash, join->room);
	if (room == NULL)
		room = make_room(rooms, hash, join->room);
	if (room == NULL)
		return NULL;
	member = make_member(rooms, room, join, data);
	if (member == NULL)
	{
		if (room->members == NULL)
			free_room(rooms, room);
		return NULL;
	}
	penny_room_read(rooms, member, READ_JOIN);
	penny_rooms_pump(rooms);
	return member;
}

bool
penny_rooms_set_window(PennyRooms *rooms, PennyMember *member, uint32_t window, uint64_t now_ms)
{
	Audience *audience = member->audience;
	bool whole = true;

	rooms->now = now_ms;
	if (audience->window == window)
		return true;
	audience = penny_audience_find(rooms, member->room, window, audience->presence,
								   audience_filter(audience));
	if (audience == NULL)
		return false;
	if (member->state == MEMBER_LIVE)
		whole = penny_seat_unseat(rooms, member);
	penny_audience_leave(rooms, member);
	penny_audience_enter(member, audience);
	if (member->state == MEMBER_LIVE && whole)
		penny_seat_loose(rooms, member);
	else if (member->state == MEMBER_LIVE)
	{
		penny_room_stop_live(rooms, member);
		penny_room_read(rooms, member, READ_MEMBER);
		penny_rooms_pump(rooms);
	}
	return true;
}

void
penny_rooms_drained(PennyRooms *rooms, PennyMember *member, uint64_t now_ms)
{
	rooms->now = now_ms;
	if (member->read_place != READ_WAITING)
		return;
	penny_room_read(rooms, member, member->read_kind);
	penny_rooms_pump(rooms);
}

/* Free a member; false when its room went with it. */
bool
penny_room_remove(PennyRooms *rooms, PennyMember *member)
{
	PennyRoom *room = member->room;
	bool was_reader = room->reader == member;

	penny_room_drop_read(rooms, member);
	penny_presence_leave(rooms, member);
	penny_seat_leave(rooms, member);
	penny_audience_leave(rooms, member);
	if (member->prev != NULL)
		member->prev->next = member->next;
	else
		room->members = member->next;
	if (member->next != NULL)
		member->next->prev = member->prev;
	if (member->state == MEMBER_LIVE)
		room->live--;
	else
		room->waiting--;
	rooms->counts.members--;
	free(member);
	if (room->members == NULL)
	{
		free_room(rooms, room);
		return false;
	}
	if (room->waiting == 0)
	{
		penny_room_clear_log(rooms, room);
		penny_room_clear_streams(rooms, room);
	}
	if (was_reader)
		penny_room_catch_up(rooms, room);
	return true;
}

/* Tell a member that it is out, and remove it; false when its room went too. */
bool
penny_room_put_out(PennyRooms *rooms, PennyMember *member, PennyLeaving why, uint32_t status,
				   PennySpan problem)
{
	if (member->state == MEMBER_LIVE)
		penny_seat_unseat(rooms, member);
	rooms->call.left(rooms->arg, member->data, room_name(member->room), why,
					 member->state != MEMBER_ENTERING, status, problem);
	return penny_room_remove(rooms, member);
}

/*
 * Versions have lost their meaning: who is in must start anew, who enters is
 * read again.  The room is gone afterwards unless somebody enters it.
 */
void
penny_room_reset(PennyRooms *rooms, PennyRoom *room, const PennyMember *keep)
{
	PennyMember *next;

	penny_room_stop_timer(rooms, room);
	penny_room_clear_held(rooms, room);
	room->known = false;
	room->head = room->newest = 0;
	room->epoch_len = 0;
	room->doubts++;
	penny_room_clear_log(rooms, room);
	for (PennyMember *member = room->members; member != NULL; member = next)
	{
		next = member->next;
		if (member != keep && member->state != MEMBER_ENTERING)
			penny_room_put_out(rooms, member, PENNY_LEAVING_RESET, 409, (PennySpan){"", 0});
	}
}

void
penny_rooms_leave(PennyRooms *rooms, PennyMember *member)
{
	penny_room_remove(rooms, member);
	penny_rooms_pump(rooms);
}

bool
penny_rooms_is_in(const PennyMember *member)
{
	return member->state != MEMBER_ENTERING;
}

bool
penny_rooms_may_write(const PennyMember *member)
{
	return member->write;
}

PennySpan
penny_rooms_name(const PennyMember *member)
{
	return room_name(member->room);
}

uint64_t
penny_rooms_number(const PennyMember *member)
{
	return member->number;
}

const uint8_t *
penny_rooms_user(const PennyMember *member)
{
	return member->user;
}

/* ---- time ------------------------------------------------------------ */

/* Queue the reads again that have rested. */
static void
wake_resting(PennyRooms *rooms)
{
	PennyMember *member;

	while ((member = rooms->resting.first) != NULL && member->rest_until <= rooms->now)
	{
		ReadKind kind = member->read_kind;
		bool reader = member->room->reader == member;

		penny_room_drop_read(rooms, member);
		if (reader)
			member->room->reader = member;
		penny_room_read(rooms, member, kind);
	}
}

uint64_t
penny_rooms_tick(PennyRooms *rooms, uint64_t now_ms)
{
	bool crowded;
	uint64_t next;

	rooms->now = now_ms;
	penny_wheel_run(&rooms->wheel, now_ms);
	crowded = penny_seats_relieve(rooms);
	wake_resting(rooms);
	penny_rooms_pump(rooms);
	next = penny_wheel_next(&rooms->wheel);
	if (crowded && next > now_ms + 1)
		next = now_ms + 1;
	if (rooms->resting.first != NULL && rooms->resting.first->rest_until < next)
		next = rooms->resting.first->rest_until;
	if ((rooms->joins.first != NULL || rooms->catch_ups.first != NULL) && rooms->retry != 0 &&
		rooms->retry < next)
		next = rooms->retry;
	return next;
}

/*-------------------------------------------------------------------------
 *
 * room_reads.c
 *		Reads of rooms: when one is needed, their queues, their numbers.
 *
 * Reads that clients asked for (joins) go first and as many as the caller
 * takes; those that the edge needs itself are bounded, so that a gap in many
 * rooms at once does not take the executors away from everybody.  The read
 * belongs to the member that asks and lies in its struct: nothing has to be
 * allocated when memory is short.
 *
 * Single flight: a join that is equal to one in flight follows it.  It takes
 * over what the room was like when that began, so everything that holds for an
 * early snapshot holds for it: what came since is in the room's log, since
 * somebody waited all the time.  When the leader leaves, the first who follows
 * takes its place.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edge/rooms_private.h"

#define LOOK_AT 32 /* members that are looked at for an equal join */
#define REST 200   /* ms until a read that failed is tried again */

/* ---- queues and the table of reads in flight -------------------------- */

static void
enqueue(Queue *queue, PennyMember *member)
{
	member->queue_next = NULL;
	member->queue_prev = queue->last;
	if (queue->last != NULL)
		queue->last->queue_next = member;
	else
		queue->first = member;
	queue->last = member;
}

static void
dequeue(Queue *queue, PennyMember *member)
{
	if (member->queue_prev != NULL)
		member->queue_prev->queue_next = member->queue_next;
	else
		queue->first = member->queue_next;
	if (member->queue_next != NULL)
		member->queue_next->queue_prev = member->queue_prev;
	else
		queue->last = member->queue_prev;
}

static Queue *
queue_of(PennyRooms *rooms, const PennyMember *member)
{
	if (member->read_place == READ_RESTING)
		return &rooms->resting;
	if (member->read_place == READ_FOLLOWING)
		return &member->leader->followers;
	if (member->read_place == READ_LANDED)
		return &rooms->landed;
	return member->read_kind == READ_JOIN ? &rooms->joins : &rooms->catch_ups;
}

static PennyMember **
read_bucket(PennyRooms *rooms, uint64_t read)
{
	return &rooms->read[read & (rooms->read_buckets - 1)];
}

/* Take a read out of the table. */
static void
unlist(PennyRooms *rooms, PennyMember *member)
{
	PennyMember **place = read_bucket(rooms, member->read);

	while (*place != member)
		place = &(*place)->queue_next;
	*place = member->queue_next;
	rooms->counts.reads--;
	if (member->read_kind != READ_JOIN)
		rooms->unasked--;
}

/* Double the table when it is full; without memory its chains get longer. */
static void
grow_reads(PennyRooms *rooms)
{
	size_t size = rooms->read_buckets * 2;
	PennyMember **old = rooms->read;
	PennyMember **grown;

	if (rooms->counts.reads < rooms->read_buckets)
		return;
	grown = calloc(size, sizeof(*grown));
	if (grown == NULL)
		return;
	for (size_t i = 0; i < rooms->read_buckets; i++)
	{
		for (PennyMember *member = old[i], *next; member != NULL; member = next)
		{
			PennyMember **place = &grown[member->read & (size - 1)];

			next = member->queue_next;
			member->queue_next = *place;
			*place = member;
		}
	}
	free(old);
	rooms->read = grown;
	rooms->read_buckets = size;
}

/* ---- one read -------------------------------------------------------- */

/* Queue a read of this kind for a member that has none. */
void
penny_room_read(PennyRooms *rooms, PennyMember *member, ReadKind kind)
{
	member->read_kind = kind;
	if (kind == READ_MEMBER && !rooms->call.takes(rooms->arg, member->data))
	{
		/* its socket would not take the answer: nothing is kept for it meanwhile */
		member->read_place = READ_WAITING;
		return;
	}
	member->read_place = READ_QUEUED;
	enqueue(queue_of(rooms, member), member);
}

/* Put a read that failed aside for a while; it was landed before. */
void
penny_room_rest(PennyRooms *rooms, PennyMember *member)
{
	member->read_place = READ_RESTING;
	member->rest_until = rooms->now + REST;
	enqueue(&rooms->resting, member);
}

/* List a read that is in flight. */
static void
list_read(PennyRooms *rooms, PennyMember *member)
{
	PennyMember **place = read_bucket(rooms, member->read);

	member->read_place = READ_FLYING;
	member->queue_next = *place;
	*place = member;
	rooms->counts.reads++;
	if (member->read_kind != READ_JOIN)
		rooms->unasked++;
}

/* A leader goes: the first who follows has the read from now on. */
static void
hand_on(PennyRooms *rooms, PennyMember *leader)
{
	PennyMember *first = leader->followers.first;
	PennyMember *next;

	dequeue(&leader->followers, first);
	first->read = leader->read;
	first->leader = NULL;
	list_read(rooms, first);
	while ((next = leader->followers.first) != NULL)
	{
		dequeue(&leader->followers, next);
		next->leader = first;
		enqueue(&first->followers, next);
	}
}

/* Forget a member's read, wherever it stands. */
void
penny_room_drop_read(PennyRooms *rooms, PennyMember *member)
{
	if (member->read_place == READ_FLYING)
	{
		unlist(rooms, member);
		if (member->followers.first != NULL)
			hand_on(rooms, member);
		else
			rooms->call.forget(rooms->arg, member->read);
	}
	else if (member->read_place != READ_NOWHERE && member->read_place != READ_WAITING)
		dequeue(queue_of(rooms, member), member);
	if (member->room->reader == member)
		member->room->reader = NULL;
	member->read_place = READ_NOWHERE;
	member->read_kind = READ_NONE;
}

/* The member whose read has this number, taken out of the table; or NULL. */
PennyMember *
penny_room_landed(PennyRooms *rooms, uint64_t read)
{
	PennyMember *member = *read_bucket(rooms, read);

	while (member != NULL && member->read != read)
		member = member->queue_next;
	if (member == NULL)
		return NULL;
	unlist(rooms, member);
	member->read_place = READ_NOWHERE;
	while (member->followers.first != NULL)
	{
		PennyMember *next = member->followers.first;

		dequeue(&member->followers, next);
		next->leader = NULL;
		next->read_place = READ_LANDED;
		enqueue(&rooms->landed, next);
	}
	return member;
}

/* The next for whom that answer is, too; or NULL. */
PennyMember *
penny_room_landed_too(PennyRooms *rooms)
{
	PennyMember *member = rooms->landed.first;

	if (member == NULL)
		return NULL;
	dequeue(&rooms->landed, member);
	member->read_place = READ_NOWHERE;
	return member;
}

/* May this join follow that one? */
static bool
is_equal(PennyRooms *rooms, const PennyMember *member, const PennyMember *other)
{
	return other->read_kind == READ_JOIN && other->read_place == READ_FLYING &&
		   other->read_doubts == member->room->doubts && other->since_len == member->since_len &&
		   memcmp(other->since, member->since, member->since_len) == 0 &&
		   rooms->call.same(rooms->arg, member->data, other->data);
}

/* Follow an equal join that is in flight, if there is one. */
static bool
follow(PennyRooms *rooms, PennyMember *member)
{
	PennyMember *other = member->room->members;

	if (rooms->call.same == NULL || member->read_kind != READ_JOIN)
		return false;
	for (int i = 0; i < LOOK_AT && other != NULL && !is_equal(rooms, member, other); i++)
		other = other->next;
	if (other == NULL || !is_equal(rooms, member, other))
		return false;
	dequeue(queue_of(rooms, member), member);
	member->leader = other;
	member->read_place = READ_FOLLOWING;
	member->read_since = other->read_since;
	member->read_newest = other->read_newest;
	member->read_doubts = other->read_doubts;
	member->read_losses = other->read_losses;
	member->streams = other->streams;
	enqueue(&other->followers, member);
	return true;
}

/* Begin a queued read; false when the caller has no place for it. */
static bool
begin(PennyRooms *rooms, PennyMember *member)
{
	PennyRoom *room = member->room;
	char text[PENNY_ROOMS_EPOCH_MAX + 64];
	PennySpan since = {member->since, member->since_len};
	uint64_t version = member->read_kind == READ_ROOM ? room->head : member->cursor;
	uint64_t number = rooms->last_read + 1;

	if (member->read_kind != READ_JOIN)
	{
		since.data = text;
		since.len =
			(size_t) snprintf(text, sizeof(text), "{\"epoch\":%.*s,\"version\":%llu}",
							  (int) room->epoch_len, room->epoch, (unsigned long long) version);
	}
	if (!rooms->call.read(rooms->arg, number, member->data, room_name(room), since))
		return false;
	dequeue(queue_of(rooms, member), member);
	rooms->last_read = number;
	grow_reads(rooms);
	member->read = number;
	member->read_since = version;
	member->read_newest = room->newest;
	member->read_doubts = room->doubts;
	member->read_losses = room->losses;
	member->streams = room->stream_count;
	list_read(rooms, member);
	if (member->read_kind != READ_JOIN)
		rooms->counts.resyncs++;
	return true;
}

/* Begin what is queued, as far as there is place. */
void
penny_rooms_pump(PennyRooms *rooms)
{
	if (rooms->retry > rooms->now)
		return;
	rooms->retry = 0;
	while (rooms->joins.first != NULL || rooms->catch_ups.first != NULL)
	{
		PennyMember *member = rooms->joins.first;

		if (member == NULL && rooms->unasked >= rooms->config.reads)
			return;
		if (member == NULL)
			member = rooms->catch_ups.first;
		if (!follow(rooms, member) && !begin(rooms, member))
		{
			rooms->retry = rooms->now + PENNY_ROOMS_RETRY;
			return;
		}
	}
}

/* ---- what a room needs ----------------------------------------------- */

/* A live member, which has got up, must be read before it gets more. */
void
penny_room_stop_live(PennyRooms *rooms, PennyMember *member)
{
	PennyRoom *room = member->room;
	bool reader = room->reader == member;

	if (member->read_kind == READ_ROOM)
		penny_room_drop_read(rooms, member);
	member->state = MEMBER_READING;
	member->tries = 0;
	room->live--;
	room->waiting++;
	if (reader)
		penny_room_catch_up(rooms, room);
}

/* Whatever a member was doing, it must be read before it gets more. */
void
penny_room_doubt(PennyRooms *rooms, PennyMember *member)
{
	member->doubted = true;
	if (member->state != MEMBER_LIVE)
		return;
	penny_seat_unseat(rooms, member);
	penny_room_stop_live(rooms, member);
	penny_room_read(rooms, member, READ_MEMBER);
}

/* Read the room for all its live members, with the token of one of them. */
void
penny_room_catch_up(PennyRooms *rooms, PennyRoom *room)
{
	PennyMember *member = room->members;

	penny_room_stop_timer(rooms, room);
	if (room->reader != NULL || !room->known)
		return;
	while (member != NULL && member->state != MEMBER_LIVE)
		member = member->next;
	if (member == NULL)
		return; /* whoever becomes live next asks again */
	room->reader = member;
	member->tries = 0;
	penny_room_read(rooms, member, READ_ROOM);
}

void
penny_room_stop_timer(PennyRooms *rooms, PennyRoom *room)
{
	penny_wheel_stop(&rooms->wheel, &room->timer);
}

/* Is something missing in this room?  Then see to it that it comes. */
void
penny_room_progress(PennyRooms *rooms, PennyRoom *room)
{
	if (!room->known || room->head >= room->newest)
	{
		penny_room_stop_timer(rooms, room);
		return;
	}
	if (penny_timer_is_set(&room->timer) || room->reader != NULL || room->live == 0)
		return;
	penny_wheel_set(&rooms->wheel, &room->timer, rooms->now + PENNY_ROOMS_PATIENCE, rooms->now);
}

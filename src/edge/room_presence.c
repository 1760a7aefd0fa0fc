/*-------------------------------------------------------------------------
 *
 * room_presence.c
 *		Presence: who is in a room, told to those who want to know.
 *
 *	{"type":"presence","room":R,"members":[{"user_id":U,"devices":N},…],"count":N}
 *		who is there; to who has just come in
 *	{"type":"presence","room":R,"joined":[{"user_id":U,"devices":N},…],
 *	 "left":[U,…],"count":N}
 *		who came, or is there with another number of devices; who is gone
 *
 * Who asks for presence is present: it sees and is seen.  A member that does
 * not ask costs nothing and shows up nowhere, which is right for programs that
 * watch many rooms.  A member counts from the answer that lets it in until it
 * is out for whatever reason, so who loses access is gone with it.
 *
 * Changes gather in the window: each user has the number of devices that is
 * told and the one that is true, and what differs at the end of the window
 * goes out as one frame, shared by all.  A user who leaves and comes back in
 * between was never away.  Coming goes out at once after a pause, leaving waits
 * for the window, since a page that is loaded again leaves first.  Lists show
 * what is told, and go out with a change, after it; so one list serves
 * everybody who came in the same window.  All numbers are absolute: frames may
 * be heard again or late behind a list, and the last word is right.
 *
 * A frame names at most PENNY_PRESENCE_USERS users; `count` counts all.
 *
 * Other edges state what they know (plane/presence.h).  A statement counts
 * until the next one, until it has not been repeated for a while, or until its
 * edge is another process.  Statements are repeated every `presence_renew` ms,
 * and when another edge asks, as one does that knows nothing yet.
 *
 * Presence frames are never the reason for telling that something was missed:
 * who may not have had one (listed is false) gets a list.
 *
 * Memory: a user is there because somebody is, at this edge or another; those
 * of others are bounded (room_presence_far.c) over all rooms, beyond which they are
 * counted and not named.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "edge/room_presence_private.h"

#define FIRST_SIZE 8 /* buckets */

static void on_flush(PennyTimer *timer);

/* ---- users ----------------------------------------------------------------- */

static size_t
bucket_of(const Presence *presence, const uint8_t user[16], size_t buckets)
{
	return penny_hash((const char *) user, 16, presence->room->rooms->config.seed) & (buckets - 1);
}

/* Double the table when it is full; without memory its chains get longer. */
static void
grow(Presence *presence)
{
	size_t size = presence->buckets * 2;
	Present **grown = presence->users < presence->buckets ? NULL : calloc(size, sizeof(*grown));

	if (grown == NULL)
		return;
	for (size_t i = 0; i < presence->buckets; i++)
	{
		for (Present *present = presence->bucket[i], *next; present != NULL; present = next)
		{
			Present **place = &grown[bucket_of(presence, present->user, size)];

			next = present->next;
			present->next = *place;
			*place = present;
		}
	}
	free(presence->bucket);
	presence->bucket = grown;
	presence->buckets = size;
}

/* A user's entry, made if need be; NULL without memory. */
Present *
penny_presence_find(Presence *presence, const uint8_t user[16])
{
	Present *present = presence->bucket[bucket_of(presence, user, presence->buckets)];
	Present **place;

	while (present != NULL && memcmp(present->user, user, 16) != 0)
		present = present->next;
	if (present != NULL)
		return present;
	present = calloc(1, sizeof(*present));
	if (present == NULL)
		return NULL;
	grow(presence);
	memcpy(present->user, user, 16);
	place = &presence->bucket[bucket_of(presence, user, presence->buckets)];
	present->next = *place;
	*place = present;
	presence->users++;
	presence->room->rooms->counts.present++;
	return present;
}

static void
drop_user(Presence *presence, Present *present)
{
	Present **place = &presence->bucket[bucket_of(presence, present->user, presence->buckets)];

	while (*place != present)
		place = &(*place)->next;
	*place = present->next;
	presence->users--;
	presence->room->rooms->counts.present--;
	free(present);
}

/* A user's number of devices has changed from `before`. */
void
penny_presence_note(Presence *presence, Present *present, uint32_t before)
{
	uint32_t now = devices_of(present);

	presence->there += (now > 0) - (before > 0);
	if (present->is_changed)
		return;
	present->is_changed = true;
	present->changed = presence->changed;
	presence->changed = present;
}

static uint32_t
count(const Presence *presence)
{
	uint32_t all = presence->there;

	for (int i = 0; i < PENNY_MAX_EDGES; i++)
		all += presence->far[i].more;
	return all;
}

/* ---- life --------------------------------------------------------------------- */

static Presence *
make_presence(PennyRooms *rooms, PennyRoom *room)
{
	Presence *presence = calloc(1, sizeof(*presence));

	if (presence == NULL)
		return NULL;
	presence->bucket = calloc(FIRST_SIZE, sizeof(*presence->bucket));
	if (presence->bucket == NULL)
	{
		free(presence);
		return NULL;
	}
	presence->buckets = FIRST_SIZE;
	presence->room = room;
	presence->ask = true;
	penny_timer_init(&presence->timer, on_flush);
	penny_timer_init(&presence->renew, penny_presence_renew);
	penny_wheel_set(&rooms->wheel, &presence->renew, rooms->now + rooms->config.presence_renew,
					rooms->now);
	presence->next = rooms->presences;
	if (presence->next != NULL)
		presence->next->prev = presence;
	rooms->presences = presence;
	room->presence = presence;
	return presence;
}

void
penny_presence_free(PennyRooms *rooms, PennyRoom *room)
{
	Presence *presence = room->presence;

	if (presence == NULL)
		return;
	room->presence = NULL;
	for (size_t i = 0; i < presence->buckets; i++)
	{
		while (presence->bucket[i] != NULL)
			drop_user(presence, presence->bucket[i]);
	}
	penny_wheel_stop(&rooms->wheel, &presence->timer);
	penny_wheel_stop(&rooms->wheel, &presence->renew);
	if (presence->prev != NULL)
		presence->prev->next = presence->next;
	else
		rooms->presences = presence->next;
	if (presence->next != NULL)
		presence->next->prev = presence->prev;
	free(presence->bucket);
	free(presence);
}

/* Something is to be told, not before the window ends, and not later than `at` unless it does. */
void
penny_presence_flush_at(PennyRooms *rooms, Presence *presence, uint64_t at)
{
	if (at < presence->window_end)
		at = presence->window_end;
	if (at <= rooms->now)
		at = rooms->now + 1; /* in a turn of its own, not inside what happens now */
	if (!penny_timer_is_set(&presence->timer) || at < presence->timer.due)
		penny_wheel_set(&rooms->wheel, &presence->timer, at, rooms->now);
}

/* A member is in: count it, if it is to be and is not yet; false without memory. */
bool
penny_presence_enter(PennyRooms *rooms, PennyMember *member)
{
	PennyRoom *room = member->room;
	Presence *presence = room->presence;
	Present *present;
	uint32_t before;

	if (!member->presence || member->counted)
		return true;
	if (presence == NULL)
		presence = make_presence(rooms, room);
	if (presence == NULL)
		return false;
	present = penny_presence_find(presence, member->user);
	if (present == NULL)
	{
		if (presence->counted == 0)
			penny_presence_free(rooms, room);
		return false;
	}
	before = devices_of(present);
	present->here++;
	penny_presence_note(presence, present, before);
	member->counted = true;
	member->listed = false;
	presence->counted++;
	presence->stale = true;
	penny_presence_flush_at(rooms, presence, rooms->now);
	return true;
}

/* A member goes. */
void
penny_presence_leave(PennyRooms *rooms, PennyMember *member)
{
	Presence *presence = member->room->presence;
	Present *present;
	uint32_t before;

	if (!member->counted)
		return;
	member->counted = false;
	present = penny_presence_find(presence, member->user); /* is there */
	before = devices_of(present);
	present->here--;
	penny_presence_note(presence, present, before);
	presence->counted--;
	presence->stale = true;
	if (presence->counted > 0)
	{
		penny_presence_flush_at(rooms, presence, rooms->now + rooms->config.presence_window);
		return;
	}
	/* Nobody here is to be told.  If the others cannot be, they forget in time. */
	presence->ask = false;
	penny_presence_state(rooms, presence);
	penny_presence_free(rooms, member->room);
}

/* Everything is told now. */
static void
settle(Presence *presence)
{
	while (presence->changed != NULL)
	{
		Present *present = presence->changed;

		presence->changed = present->changed;
		present->is_changed = false;
		present->told = devices_of(present);
		if (present->told == 0)
			drop_user(presence, present);
	}
}

/* ---- telling ---------------------------------------------------------------------- */

/* May it be told now what happens in the room? */
static bool
is_fit(const PennyMember *member)
{
	return member->state == MEMBER_LIVE || (member->state == MEMBER_READING && !member->doubted &&
											member->read_place != READ_WAITING);
}

/* Tell everybody; who cannot be told now gets a list later. */
static void
tell_change(PennyRooms *rooms, PennyRoom *room, PennyFrame *frame)
{
	for (PennyMember *member = room->waiting > 0 ? room->members : NULL; member != NULL;
		 member = member->next)
	{
		if (!member->counted || member->state == MEMBER_LIVE)
			continue;
		if (is_fit(member))
			rooms->call.deliver(rooms->arg, member->data, frame);
		else
			member->listed = false;
	}
	penny_room_tell_presence(rooms, room, frame);
}

/* Give a list to those who have none; false without memory. */
static bool
tell_list(PennyRooms *rooms, Presence *presence)
{
	PennyFrame *list = NULL;

	for (PennyMember *member = presence->room->members; member != NULL; member = member->next)
	{
		if (!member->counted || member->listed || !is_fit(member))
			continue;
		if (list == NULL)
			list = penny_presence_list(presence);
		if (list == NULL)
			return false;
		rooms->call.deliver(rooms->arg, member->data, list);
		member->listed = true;
	}
	penny_frame_unref(list);
	return true;
}

static void
on_flush(PennyTimer *timer)
{
	Presence *presence = penny_timer_owner(timer, Presence, timer);
	PennyRoom *room = presence->room;
	PennyRooms *rooms = room->rooms;
	bool whole = true;
	uint32_t now = count(presence);

	if (penny_presence_changed(presence) > 0 || now != presence->told)
	{
		PennyFrame *frame = penny_presence_change(presence, now);

		if (frame == NULL)
		{
			/* No list either: who has older changes before it would take them after it. */
			penny_presence_flush_at(rooms, presence, rooms->now + PENNY_ROOMS_RETRY);
			return;
		}
		if (presence->told > 0) /* else a list tells it to those who are here */
			tell_change(rooms, room, frame);
		presence->told = now;
		presence->window_end = rooms->now + rooms->config.presence_window;
		penny_frame_unref(frame);
	}
	settle(presence);
	whole = tell_list(rooms, presence);
	if (presence->stale)
		whole &= penny_presence_state(rooms, presence);
	if (!whole)
		penny_presence_flush_at(rooms, presence, rooms->now + PENNY_ROOMS_RETRY);
}

/* A member went live, and may have no list. */
void
penny_presence_mind(PennyRooms *rooms, PennyMember *member)
{
	if (member->counted && !member->listed)
		penny_presence_flush_at(rooms, member->room->presence, rooms->now);
}

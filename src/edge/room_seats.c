/*-------------------------------------------------------------------------
 *
 * room_seats.c
 *		Where each live member stands in its audience's log: taking from it,
 *		getting up, falling behind.
 *
 * A member sits at the entry that it takes next, or at the end (idle).  All
 * who sit at one entry are in its list, so an emission touches those at the
 * end alone, and who is too far behind is found at the front of the log.
 *
 * That is decided for each audience by its own log, and for all rooms together,
 * when they keep too much, by who waits longest.
 *
 * Who gets up (its access is in doubt, it leaves, its window changes) is given
 * what it has not taken, while its socket takes it; else that is skipped, and
 * its cursor says what it has.
 *
 *-------------------------------------------------------------------------
 */
#include "edge/rooms_private.h"

/* The list in which a member is. */
static PennyMember **
list_of(PennyMember *member)
{
	if (member->sitting == SITTING_LOOSE)
		return &member->audience->loose;
	return member->at != NULL ? &member->at->seats : &member->audience->idle;
}

static void
link_seat(PennyMember *member)
{
	PennyMember **list = list_of(member);

	member->seat_prev = NULL;
	member->seat_next = *list;
	if (*list != NULL)
		(*list)->seat_prev = member;
	*list = member;
}

static void
unlink_seat(PennyMember *member)
{
	if (member->seat_prev != NULL)
		member->seat_prev->seat_next = member->seat_next;
	else
		*list_of(member) = member->seat_next;
	if (member->seat_next != NULL)
		member->seat_next->seat_prev = member->seat_prev;
}

/* ---- sitting down and getting up ---------------------------------------------- */

/* Loose members that have what the others have get a seat. */
void
penny_seats_settle(PennyRooms *rooms, Audience *audience)
{
	PennyRoom *room = audience->room;
	PennyMember *next;

	if (audience->loose == NULL || audience->items != NULL)
		return; /* they had those one by one */
	for (PennyMember *member = audience->loose; member != NULL; member = next)
	{
		next = member->seat_next;
		if (member->cursor > room->head)
			continue;
		if (audience->seated == 0)
			audience->version = audience->emitted = audience->told = room->head;
		unlink_seat(member);
		member->sitting = SITTING_SEATED;
		member->at = NULL;
		audience->seated++;
		link_seat(member);
		if (audience->told > member->told)
			audience->told = member->told;
	}
	penny_audience_mind_position(rooms, audience);
}

/* A member is live from now on. */
void
penny_seat_loose(PennyRooms *rooms, PennyMember *member)
{
	member->sitting = SITTING_LOOSE;
	link_seat(member);
	penny_seats_settle(rooms, member->audience);
}

/* A member gets up, whatever it has not taken. */
void
penny_seat_leave(PennyRooms *rooms, PennyMember *member)
{
	if (member->sitting == SITTING_NOWHERE)
		return;
	unlink_seat(member);
	if (member->sitting == SITTING_SEATED)
	{
		member->audience->seated--;
		member->sitting = SITTING_NOWHERE;
		member->at = NULL;
		penny_audience_trim(rooms, member->audience);
	}
	member->sitting = SITTING_NOWHERE;
}

/* ---- taking ----------------------------------------------------------------------- */

/* Is any of these for this member? */
static bool
any_for(const Item *items, uint64_t number)
{
	while (items != NULL && items->except == number)
		items = items->next;
	return items != NULL;
}

/*
 * What an entry is for a member: usually what it is for all.  False without
 * memory; *frame is NULL when it is nothing.
 */
static bool
frame_for(const PennyMember *member, const Entry *entry, PennyFrame **frame)
{
	const Item *item = entry->items;

	while (item != NULL && item->except != member->number)
		item = item->next;
	*frame = NULL;
	if (item == NULL)
		*frame = penny_frame_ref(entry->frame);
	else if (any_for(entry->items, member->number))
		*frame = penny_room_make_batch(member->room, entry->items, member->number, entry->version);
	else if (entry->items->next == NULL || entry->version == 0)
		return true; /* its own, alone */
	else
		*frame = penny_room_make_position(member->room, entry->version);
	return *frame != NULL;
}

static void
step(PennyMember *member)
{
	Entry *next = member->at->next;

	unlink_seat(member);
	member->at = next;
	link_seat(member);
	penny_audience_trim(member->room->rooms, member->audience);
}

/* Take the next; false without memory. */
static bool
take(PennyMember *member, size_t most, PennyFrame **frame)
{
	*frame = NULL;
	while (member->sitting == SITTING_SEATED && member->at != NULL && *frame == NULL)
	{
		if (!frame_for(member, member->at, frame))
			return false;
		if (*frame != NULL && (*frame)->len > most)
		{
			penny_frame_unref(*frame);
			*frame = NULL;
			return true;
		}
		step(member);
	}
	return true;
}

/* The version that a member has which gets up now and takes no more. */
static uint64_t
version_at(const PennyMember *member)
{
	return member->at != NULL ? member->at->before : member->audience->emitted;
}

/* Are there frames that it has not taken and that cannot be read again? */
static bool
loses_unversioned(const PennyMember *member)
{
	const Entry *entry = member->at;
	const Item *item = member->audience->items;

	while (entry != NULL && !entry->unversioned)
		entry = entry->next;
	while (item != NULL && (item->version != 0 || item->presence))
		item = item->next;
	return entry != NULL || item != NULL;
}

/* Get up from a seat without what is left to take. */
static void
skip(PennyRooms *rooms, PennyMember *member)
{
	member->missed |= loses_unversioned(member);
	member->listed = false;
	member->cursor = version_at(member);
	penny_seat_leave(rooms, member);
}

/* A member that skipped something is read from where it was. */
static void
read_skipped(PennyRooms *rooms, PennyMember *member)
{
	skip(rooms, member);
	penny_room_stop_live(rooms, member);
	penny_room_read(rooms, member, READ_MEMBER);
}

PennyFrame *
penny_rooms_take(PennyMember *member, size_t most)
{
	PennyFrame *frame;

	if (!take(member, most, &frame))
		read_skipped(member->room->rooms, member);
	return frame;
}

bool
penny_rooms_has_more(const PennyMember *member)
{
	return member->sitting == SITTING_SEATED && member->at != NULL;
}

/* Send a member a frame by itself, if it wants it. */
void
penny_member_deliver(PennyRooms *rooms, PennyMember *member, uint64_t version, PennyFrame *frame)
{
	if (!penny_filter_passes(audience_filter(member->audience), frame))
		return;
	if (version > member->told)
		member->told = version;
	rooms->call.deliver(rooms->arg, member->data, frame);
}

/* Give a seated member all that is there for it; false: not all went. */
static bool
hand_over(PennyRooms *rooms, PennyMember *member)
{
	PennyFrame *frame;

	do
	{
		if (!take(member, SIZE_MAX, &frame))
			return false;
		if (frame != NULL)
			rooms->call.deliver(rooms->arg, member->data, frame);
		penny_frame_unref(frame);
	} while (frame != NULL);
	if (member->told < member->audience->told)
		member->told = member->audience->told;
	for (const Item *item = member->audience->items; item != NULL; item = item->next)
	{
		if (item->except == member->number)
			continue;
		rooms->call.deliver(rooms->arg, member->data, item->frame);
		if (member->told < item->version)
			member->told = item->version;
	}
	member->cursor = member->audience->version;
	return true;
}

/*
 * A live member gets up, and its cursor is right from then on.  False: it has
 * not got everything that was there for it.
 */
bool
penny_seat_unseat(PennyRooms *rooms, PennyMember *member)
{
	if (member->sitting != SITTING_SEATED)
	{
		penny_seat_leave(rooms, member);
		return true;
	}
	if (rooms->call.takes(rooms->arg, member->data) && hand_over(rooms, member))
	{
		penny_seat_leave(rooms, member);
		return true;
	}
	skip(rooms, member);
	return false;
}

/* ---- falling behind ------------------------------------------------------------------ */

/* An entry could not be made: who would take it is read again. */
void
penny_seats_break(PennyRooms *rooms, Audience *audience)
{
	PennyRoom *room = audience->room;

	for (PennyMember *member = room->members; member != NULL; member = member->next)
	{
		if (member->audience != audience || member->sitting != SITTING_SEATED)
			continue;
		/* The frame may be one that cannot be read again. */
		member->missed = true;
		read_skipped(rooms, member);
	}
}

/* Is the first entry one at which nobody may sit any more? */
static bool
is_over(const PennyRooms *rooms, const Audience *audience)
{
	const PennyRoomsConfig *config = &rooms->config;
	const Entry *entry = audience->log;
	uint64_t waiting = penny_audience_waiting(audience);
	uint64_t age = rooms->now - entry->at;

	return age > 0 && (age >= config->behind_time || waiting > config->behind_most ||
					   (waiting > config->behind_bytes && age >= config->behind_grace));
}

/* This member is too far behind; false: its room is gone. */
static bool
fall_behind(PennyRooms *rooms, PennyMember *member)
{
	rooms->counts.slow++;
	if (member->conflate)
	{
		member->skipped = true;
		read_skipped(rooms, member);
		return true;
	}
	skip(rooms, member);
	return penny_room_put_out(rooms, member, PENNY_LEAVING_SLOW, 503, (PennySpan){"", 0});
}

/*
 * Put out who is too far behind, or let it skip.  False: nobody is behind any
 * more, and the audience may be gone.
 */
bool
penny_seats_mind(PennyRooms *rooms, Audience *audience)
{
	while (audience->log != NULL && is_over(rooms, audience))
	{
		PennyMember *member = audience->log->seats;
		bool last = audience->members == 1 && !member->conflate;

		if (!fall_behind(rooms, member) || last)
			return false;
	}
	return audience->log != NULL;
}

/* Does the first of this audience wait longer than the first of that one? */
static bool
is_further_behind(const Audience *one, const Audience *other)
{
	if (other == NULL || one->log->at != other->log->at)
		return other == NULL || one->log->at < other->log->at;
	return penny_audience_waiting(one) > penny_audience_waiting(other);
}

/* The audience whose first waits longest; not since this moment alone.  NULL: none. */
static Audience *
furthest_behind(const PennyRooms *rooms)
{
	Audience *furthest = NULL;

	for (size_t i = 0; i < rooms->buckets; i++)
	{
		for (PennyRoom *room = rooms->bucket[i]; room != NULL; room = room->bucket_next)
		{
			for (Audience *audience = room->audiences; audience != NULL; audience = audience->next)
			{
				if (audience->log != NULL && audience->log->at < rooms->now &&
					is_further_behind(audience, furthest))
					furthest = audience;
			}
		}
	}
	return furthest;
}

/*
 * All rooms together keep too much: put out who waits longest, whatever the
 * room, until they do not.  Who has been told in this very turn has a chance to
 * take it; true: look again in the next one.
 */
bool
penny_seats_relieve(PennyRooms *rooms)
{
	Audience *audience = NULL;

	while (rooms->counts.kept_bytes > rooms->config.kept_bytes &&
		   (audience = furthest_behind(rooms)) != NULL)
	{
		uint64_t start = audience->log->start; /* tells entries apart */
		bool last = false;

		while (!last && audience->log != NULL && audience->log->start == start)
		{
			PennyMember *member = audience->log->seats;

			last = audience->members == 1 && !member->conflate;
			last |= !fall_behind(rooms, member);
		}
	}
	return rooms->counts.kept_bytes > rooms->config.kept_bytes;
}

/*-------------------------------------------------------------------------
 *
 * room_events.c
 *		Events of the ring: versions in order, broadcasts, losses, endings.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "edge/rooms_private.h"

/* The conversation is deleted: the last frame, then everybody is out. */
static void
end_room(PennyRooms *rooms, PennyRoom *room, uint64_t version, PennyFrame *frame)
{
	PennyMember *member = room->members;
	PennyMember *next;

	/* nothing is read any more, whoever leaves */
	room->known = false;
	for (; frame != NULL && member != NULL; member = member->next)
	{
		if (member->state != MEMBER_LIVE)
			continue;
		penny_seat_unseat(rooms, member);
		if (version == 0 || member->cursor < version)
			penny_member_deliver(rooms, member, version, frame);
	}
	for (member = room->members; member != NULL; member = next)
	{
		next = member->next;
		penny_room_put_out(rooms, member, PENNY_LEAVING_GONE, 404, (PennySpan){"", 0});
	}
}

/*
 * Pass on what is held and whose turn has come, and see to what is missing.
 * False when that ended the room.
 */
bool
penny_room_settle(PennyRooms *rooms, PennyRoom *room)
{
	penny_room_drop_held(rooms, room);
	while (room->known && room->held != NULL && room->held->version == room->head + 1)
	{
		Kept *kept = penny_room_take_held(rooms, room);
		bool gone = kept->kind == PENNY_EVENT_GONE;

		if (gone)
			end_room(rooms, room, kept->version, kept->frame);
		else
			penny_room_pass_on(rooms, room, kept->version, kept->frame);
		penny_room_free_kept(kept);
		if (gone)
			return false;
	}
	penny_room_progress(rooms, room);
	return true;
}

/* A hole did not close in time. */
void
penny_room_time_out(PennyTimer *timer)
{
	PennyRoom *room = penny_timer_owner(timer, PennyRoom, timer);
	PennyRooms *rooms = room->rooms;

	while (room->held != NULL)
	{
		Kept *last = room->held;

		while (last != NULL && last->kind != PENNY_EVENT_GONE)
			last = last->next;
		if (last == NULL)
			break;
		/* there is nothing left to read the hole from */
		last = penny_room_take_held(rooms, room);
		if (last->kind == PENNY_EVENT_GONE)
		{
			end_room(rooms, room, last->version, last->frame);
			penny_room_free_kept(last);
			return;
		}
		penny_room_free_kept(last);
	}
	penny_room_catch_up(rooms, room);
}

/* Something committed with a version. */
static void
change(PennyRooms *rooms, PennyRoom *room, const PennyEventIn *event)
{
	PennyFrame *frame;

	if (room->known && event->version <= room->head)
		return;
	if (room->newest < event->version)
		room->newest = event->version;
	if (event->frame_len == 0)
	{
		penny_room_catch_up(rooms, room);
		return;
	}
	frame = penny_frame_make((PennySpan){event->frame, event->frame_len});
	if (frame != NULL && room->known && event->version == room->head + 1)
	{
		penny_room_stop_timer(rooms, room); /* a hole behind it waits anew */
		penny_room_pass_on(rooms, room, event->version, frame);
		penny_room_settle(rooms, room);
	}
	else
	{
		if (frame != NULL)
			penny_room_hold(rooms, room, event->version, PENNY_EVENT_CHANGE, frame);
		penny_room_progress(rooms, room);
	}
	penny_frame_unref(frame);
}

/* The conversation was deleted. */
static void
gone(PennyRooms *rooms, PennyRoom *room, const PennyEventIn *event)
{
	PennyFrame *frame = NULL;

	if (room->known && event->version != 0 && event->version <= room->head)
	{
		/* it came back meanwhile, or the event is stale: the tables know */
		penny_room_lose(rooms, room, false);
		return;
	}
	if (event->frame_len > 0)
		frame = penny_frame_make((PennySpan){event->frame, event->frame_len});
	if (room->known && event->version > room->head + 1)
	{
		if (room->newest < event->version)
			room->newest = event->version;
		penny_room_hold(rooms, room, event->version, PENNY_EVENT_GONE, frame);
		penny_room_progress(rooms, room);
	}
	else
		end_room(rooms, room, event->version, frame);
	penny_frame_unref(frame);
}

/* A user lost access. */
static void
left(PennyRooms *rooms, PennyRoom *room, const PennyEventIn *event)
{
	PennyMember *next;
	bool alive = true;

	room->doubts++;
	for (PennyMember *member = room->members; member != NULL; member = next)
	{
		next = member->next;
		if (member->state == MEMBER_ENTERING ||
			memcmp(member->user, event->user, sizeof(member->user)) != 0 ||
			(event->version != 0 && member->admitted >= event->version))
			continue;
		alive = penny_room_put_out(rooms, member, PENNY_LEAVING_REVOKED, 403, (PennySpan){"", 0});
	}
	if (!alive || event->version == 0)
		return;
	if (event->frame_len > 0)
		change(rooms, room, event);
	else if (!room->known || event->version > room->head)
	{
		/* its frame may come by an event of its own: no need to read at once */
		if (room->newest < event->version)
			room->newest = event->version;
		penny_room_progress(rooms, room);
	}
}

/*
 * Pass a frame without version on to all who are in, but one.  Who waits for
 * an answer, or for its socket, does not get it when that could be wrong, and
 * is told later.
 */
static void
broadcast(PennyRooms *rooms, PennyRoom *room, PennyFrame *frame, const PennyMember *except)
{
	for (PennyMember *member = room->waiting > 0 ? room->members : NULL; member != NULL;
		 member = member->next)
	{
		if (member == except || member->state != MEMBER_READING)
			continue;
		if (member->doubted || member->read_place == READ_WAITING)
			member->missed = true;
		else
			penny_member_deliver(rooms, member, 0, frame);
	}
	penny_room_tell(rooms, room, 0, frame, except != NULL ? except->number : 0);
}

/* The member here that has sent this itself, or NULL. */
static const PennyMember *
sender_of(const PennyRooms *rooms, const PennyRoom *room, const PennyEventIn *event)
{
	const PennyMember *member = room->members;
	PennyEventSender sender;

	memcpy(&sender, event->user, sizeof(sender));
	if (sender.edge == 0 || sender.edge != rooms->config.edge)
		return NULL;
	while (member != NULL && member->number != sender.member)
		member = member->next;
	return member;
}

/* A broadcast; without memory everybody is told that one was missed. */
static void
publish(PennyRooms *rooms, PennyRoom *room, const PennyEventIn *event)
{
	PennyFrame *frame = penny_frame_make((PennySpan){event->frame, event->frame_len});

	if (frame == NULL)
		penny_room_lose(rooms, room, true);
	else
		broadcast(rooms, room, frame, sender_of(rooms, room, event));
	penny_frame_unref(frame);
}

/* A piece of a message that grows: as a broadcast, and kept for who waits. */
static void
stream(PennyRooms *rooms, PennyRoom *room, const PennyEventIn *event)
{
	PennyFrame *frame = penny_frame_make((PennySpan){event->frame, event->frame_len});

	if (frame == NULL || event->frame_len == 0)
		penny_room_lose(rooms, room, true); /* read again, its state comes with that */
	else
	{
		penny_room_keep_stream(rooms, room, frame);
		penny_room_tell(rooms, room, 0, frame, 0);
	}
	penny_frame_unref(frame);
}

/*
 * Events of a room may have been lost, or mean nothing any more: read every
 * member anew.  What was held back comes with that, too.
 */
void
penny_room_lose(PennyRooms *rooms, PennyRoom *room, bool broadcasts)
{
	room->doubts++;
	room->losses++;
	room->newest = room->head;
	penny_room_stop_timer(rooms, room);
	penny_room_clear_held(rooms, room);
	for (PennyMember *member = room->members; member != NULL; member = member->next)
	{
		if (member->state == MEMBER_ENTERING)
			continue;
		member->missed |= broadcasts;
		penny_room_doubt(rooms, member);
	}
}

bool
penny_rooms_signal(PennyRooms *rooms, PennyMember *from, PennySpan text, uint64_t now_ms)
{
	PennyFrame *frame;

	rooms->now = now_ms;
	if (from->state == MEMBER_ENTERING || from->doubted)
		return false;
	frame = penny_frame_make(text);
	if (frame == NULL)
		return false;
	broadcast(rooms, from->room, frame, from);
	penny_frame_unref(frame);
	return true;
}

/* All rooms: anything may have happened. */
static void
lose_all(PennyRooms *rooms, bool broadcasts)
{
	penny_presence_lost(rooms);
	for (size_t i = 0; i < rooms->buckets; i++)
	{
		for (PennyRoom *room = rooms->bucket[i]; room != NULL; room = room->bucket_next)
			penny_room_lose(rooms, room, broadcasts);
	}
}

void
penny_rooms_lost(PennyRooms *rooms, uint64_t now_ms)
{
	rooms->now = now_ms;
	lose_all(rooms, true);
	penny_rooms_pump(rooms);
}

void
penny_rooms_event(PennyRooms *rooms, const PennyEventIn *event, uint64_t now_ms)
{
	PennyRoom *room;

	rooms->now = now_ms;
	if (event->kind == PENNY_EVENT_RESYNC)
		lose_all(rooms, event->version == PENNY_EVENT_MISSED);
	room =
		event->kind == PENNY_EVENT_RESYNC
			? NULL
			: penny_room_find(rooms, event->room_hash, (PennySpan){event->room, event->room_len});
	if (room != NULL)
	{
		switch (event->kind)
		{
			case PENNY_EVENT_CHANGE:
				if (event->version == 0)
					penny_room_lose(rooms, room, false);
				else
					change(rooms, room, event);
				break;
			case PENNY_EVENT_PUBLISH:
				if (event->frame_len == 0)
					penny_room_lose(rooms, room, true);
				else
					publish(rooms, room, event);
				break;
			case PENNY_EVENT_STREAM:
				stream(rooms, room, event);
				break;
			case PENNY_EVENT_RECHECK:
				penny_room_lose(rooms, room, event->version == PENNY_EVENT_MISSED);
				break;
			case PENNY_EVENT_PRESENCE:
				penny_presence_event(rooms, room, event);
				break;
			case PENNY_EVENT_LEFT:
				left(rooms, room, event);
				break;
			case PENNY_EVENT_GONE:
				gone(rooms, room, event);
				break;
			default:
				break;
		}
	}
	penny_rooms_pump(rooms);
}

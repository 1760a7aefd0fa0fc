/*-------------------------------------------------------------------------
 *
 * room_audience.c
 *		Audiences: what the members with one window and one filter get, encoded
 *		once, in a log that they share.
 *
 * Batching: a frame that comes while the window is closed goes at once and
 * opens it; what comes while it is open gathers.  When it ends with something
 * gathered that goes, as one frame, and the window opens again; else it
 * closes.  So an idle room has no delay, and a busy one has at most 1000/window
 * frames a second.  A single frame that gathered goes as itself.
 *
 * Memory: an entry is there until all who sat before it have taken it, and
 * who takes too long is put out (room_seats.c).  When an entry cannot be made,
 * everybody who would have had to take it is read again.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "edge/rooms_private.h"

static void on_window(PennyTimer *timer);
static void on_behind(PennyTimer *timer);
static void on_position(PennyTimer *timer);

static size_t
entry_size(const Entry *entry)
{
	return sizeof(Entry) + entry->frame->len;
}

static size_t
item_size(const Item *item)
{
	return sizeof(Item) + item->frame->len;
}

/* ---- coming and going ---------------------------------------------------- */

/* The audience of a room with this window and filter, made if need be; NULL without memory. */
Audience *
penny_audience_find(PennyRooms *rooms, PennyRoom *room, uint32_t window, bool presence,
					PennySpan filter)
{
	Audience *audience = room->audiences;

	while (audience != NULL &&
		   (audience->window != window || audience->presence != presence ||
			audience->filter_len != filter.len ||
			(filter.len > 0 && memcmp(audience->filter, filter.data, filter.len) != 0)))
		audience = audience->next;
	if (audience != NULL)
		return audience;
	audience = calloc(1, sizeof(*audience) + filter.len);
	if (audience == NULL)
		return NULL;
	audience->room = room;
	audience->window = window;
	audience->presence = presence;
	audience->log_end = &audience->log;
	audience->items_end = &audience->items;
	audience->filter_len = (uint32_t) filter.len;
	if (filter.len > 0)
		memcpy(audience->filter, filter.data, filter.len);
	penny_timer_init(&audience->window_timer, on_window);
	penny_timer_init(&audience->behind_timer, on_behind);
	penny_timer_init(&audience->position_timer, on_position);
	audience->next = room->audiences;
	room->audiences = audience;
	rooms->counts.audiences++;
	return audience;
}

void
penny_audience_enter(PennyMember *member, Audience *audience)
{
	member->audience = audience;
	audience->members++;
}

static void
free_items(PennyRooms *rooms, Item *item)
{
	while (item != NULL)
	{
		Item *next = item->next;

		rooms->counts.kept_bytes -= item_size(item);
		penny_frame_unref(item->frame);
		free(item);
		item = next;
	}
}

/* Nothing gathers any more; the items are the caller's. */
static Item *
take_items(Audience *audience)
{
	Item *items = audience->items;

	audience->items = NULL;
	audience->items_end = &audience->items;
	audience->item_count = 0;
	audience->item_bytes = 0;
	return items;
}

static void
drop_first(PennyRooms *rooms, Audience *audience)
{
	Entry *entry = audience->log;

	audience->log = entry->next;
	if (audience->log == NULL)
		audience->log_end = &audience->log;
	rooms->counts.kept_bytes -= entry_size(entry);
	free_items(rooms, entry->items);
	penny_frame_unref(entry->frame);
	free(entry);
}

/* Drop what everybody has taken. */
void
penny_audience_trim(PennyRooms *rooms, Audience *audience)
{
	while (audience->log != NULL && audience->log->seats == NULL)
		drop_first(rooms, audience);
	if (audience->seated == 0)
		free_items(rooms, take_items(audience)); /* nobody is left to get them */
}

/* A member that sits nowhere goes; its audience with it, if it was the last. */
void
penny_audience_leave(PennyRooms *rooms, PennyMember *member)
{
	Audience *audience = member->audience;
	Audience **place = &audience->room->audiences;

	member->audience = NULL;
	if (--audience->members > 0)
		return;
	while (*place != audience)
		place = &(*place)->next;
	*place = audience->next;
	penny_wheel_stop(&rooms->wheel, &audience->window_timer);
	penny_wheel_stop(&rooms->wheel, &audience->behind_timer);
	penny_wheel_stop(&rooms->wheel, &audience->position_timer);
	rooms->counts.audiences--;
	free(audience);
}

/* ---- the log --------------------------------------------------------------- */

static bool
has_unversioned(const Item *item)
{
	while (item != NULL && (item->version != 0 || item->presence))
		item = item->next;
	return item != NULL;
}

static bool
has_sender(const Item *item)
{
	while (item != NULL && item->except == 0)
		item = item->next;
	return item != NULL;
}

/* Somebody may be too far behind: look in time. */
static void
set_behind_timer(PennyRooms *rooms, Audience *audience)
{
	const PennyRoomsConfig *config = &rooms->config;
	uint64_t waiting = penny_audience_waiting(audience);
	uint64_t due;

	/* Not in this turn: who has just been told must have a chance to take it. */
	if (waiting > config->behind_most)
		due = rooms->now + 1;
	else if (waiting > config->behind_bytes)
		due = audience->log->at + config->behind_grace;
	else
		due = audience->log->at + config->behind_time;
	if (due <= rooms->now)
		due = rooms->now + 1;
	if (!penny_timer_is_set(&audience->behind_timer) || due < audience->behind_timer.due)
		penny_wheel_set(&rooms->wheel, &audience->behind_timer, due, rooms->now);
}

/*
 * Append what goes over the wire as one frame, of these items; takes over the
 * reference and the items.  A frame of NULL: there was no memory for it.
 */
static void
emit(PennyRooms *rooms, Audience *audience, PennyFrame *frame, Item *items, bool unversioned)
{
	Entry *entry = frame != NULL ? malloc(sizeof(Entry)) : NULL;

	if (!has_sender(items))
	{
		free_items(rooms, items);
		items = NULL;
	}
	if (entry == NULL)
	{
		penny_frame_unref(frame);
		free_items(rooms, items);
		penny_seats_break(rooms, audience);
		return;
	}
	*entry = (Entry){.frame = frame,
					 .items = items,
					 .before = audience->emitted,
					 .version = audience->version,
					 .start = audience->end,
					 .at = rooms->now,
					 .unversioned = unversioned,
					 .seats = audience->idle};
	audience->idle = NULL;
	*audience->log_end = entry;
	audience->log_end = &entry->next;
	audience->end += frame->len;
	audience->emitted = audience->version;
	rooms->counts.kept_bytes += entry_size(entry);
	for (PennyMember *member = entry->seats; member != NULL; member = member->seat_next)
	{
		member->at = entry;
		rooms->call.ready(rooms->arg, member->data);
	}
	set_behind_timer(rooms, audience);
}

/* The position may have moved on without a frame that says so: say it some time. */
void
penny_audience_mind_position(PennyRooms *rooms, Audience *audience)
{
	if (audience->items == NULL)
		audience->emitted = audience->version;
	if (audience->seated > 0 && audience->told < audience->version &&
		!penny_timer_is_set(&audience->position_timer))
		penny_wheel_set(&rooms->wheel, &audience->position_timer,
						rooms->now + rooms->config.position_interval, rooms->now);
}

static Item *
make_item(PennyRooms *rooms, const Item *what)
{
	Item *item = malloc(sizeof(Item));

	if (item == NULL)
		return NULL;
	*item = *what;
	item->next = NULL;
	penny_frame_ref(item->frame);
	rooms->counts.kept_bytes += item_size(item);
	return item;
}

/* Emit what has gathered. */
static void
emit_gathered(PennyRooms *rooms, Audience *audience)
{
	bool single = audience->item_count == 1;
	Item *items = take_items(audience);
	bool unversioned = has_unversioned(items);
	PennyFrame *frame;

	if (single)
	{
		frame = penny_frame_ref(items->frame);
		if (items->version > audience->told)
			audience->told = items->version;
	}
	else
	{
		frame = penny_room_make_batch(audience->room, items, 0, audience->version);
		audience->told = audience->version;
	}
	emit(rooms, audience, frame, items, unversioned);
	penny_audience_mind_position(rooms, audience);
}

/* Emit a frame at once: nothing has gathered. */
static void
emit_single(PennyRooms *rooms, Audience *audience, const Item *what)
{
	Item *item = NULL;

	if (what->except != 0 && (item = make_item(rooms, what)) == NULL)
	{
		penny_seats_break(rooms, audience);
		return;
	}
	if (what->version > audience->told)
		audience->told = what->version;
	emit(rooms, audience, penny_frame_ref(what->frame), item, has_unversioned(what));
}

/* A frame for the seated members of an audience. */
static void
gather(PennyRooms *rooms, Audience *audience, const Item *what)
{
	Item *item;

	if (what->version != 0)
		audience->version = what->version;
	if (!audience->open)
	{
		if (audience->window > 0)
		{
			audience->open = true;
			penny_wheel_set(&rooms->wheel, &audience->window_timer, rooms->now + audience->window,
							rooms->now);
		}
		emit_single(rooms, audience, what);
		return;
	}
	item = make_item(rooms, what);
	if (item == NULL)
	{
		penny_seats_break(rooms, audience);
		return;
	}
	*audience->items_end = item;
	audience->items_end = &item->next;
	audience->item_count++;
	audience->item_bytes += item_size(item);
	if (audience->item_bytes > PENNY_ROOMS_BATCH_MAX)
		emit_gathered(rooms, audience);
}

/* ---- what a room tells --------------------------------------------------------- */

static void
tell_audience(PennyRooms *rooms, Audience *audience, uint64_t version, PennyFrame *frame,
			  uint64_t except)
{
	bool passes = penny_filter_passes(audience_filter(audience), frame);

	for (PennyMember *member = audience->loose; member != NULL; member = member->seat_next)
	{
		if (version != 0 && member->cursor >= version)
			continue;
		if (version != 0)
			member->cursor = version;
		if (passes && member->number != except)
			penny_member_deliver(rooms, member, version, frame);
	}
	if (audience->seated > 0 && passes)
		gather(rooms, audience, &(Item){.frame = frame, .version = version, .except = except});
	else if (audience->seated > 0 && version != 0)
	{
		audience->version = version;
		penny_audience_mind_position(rooms, audience);
	}
	penny_seats_settle(rooms, audience);
}

/*
 * Tell all who are live, but one, a frame; its version, if it has one, is the
 * room's head.
 */
void
penny_room_tell(PennyRooms *rooms, PennyRoom *room, uint64_t version, PennyFrame *frame,
				uint64_t except)
{
	for (Audience *audience = room->audiences; audience != NULL; audience = audience->next)
		tell_audience(rooms, audience, version, frame, except);
}

/* Tell who wants presence and is live a frame about it, whatever the filter. */
void
penny_room_tell_presence(PennyRooms *rooms, PennyRoom *room, PennyFrame *frame)
{
	for (Audience *audience = room->audiences; audience != NULL; audience = audience->next)
	{
		if (!audience->presence)
			continue;
		for (PennyMember *member = audience->loose; member != NULL; member = member->seat_next)
			rooms->call.deliver(rooms->arg, member->data, frame);
		if (audience->seated > 0)
			gather(rooms, audience, &(Item){.frame = frame, .presence = true});
		penny_seats_settle(rooms, audience);
	}
}

/* The room's head has risen, and there was nothing more to tell. */
void
penny_room_tell_head(PennyRooms *rooms, PennyRoom *room)
{
	for (Audience *audience = room->audiences; audience != NULL; audience = audience->next)
	{
		for (PennyMember *member = audience->loose; member != NULL; member = member->seat_next)
		{
			if (member->cursor < room->head)
				member->cursor = room->head;
		}
		if (audience->seated > 0)
		{
			audience->version = room->head;
			penny_audience_mind_position(rooms, audience);
		}
		penny_seats_settle(rooms, audience);
	}
}

/* ---- time ------------------------------------------------------------------------ */

/* The window ends. */
static void
on_window(PennyTimer *timer)
{
	Audience *audience = penny_timer_owner(timer, Audience, window_timer);
	PennyRooms *rooms = audience->room->rooms;

	audience->open = audience->items != NULL;
	if (audience->open)
	{
		penny_wheel_set(&rooms->wheel, timer, rooms->now + audience->window, rooms->now);
		emit_gathered(rooms, audience);
	}
	penny_seats_settle(rooms, audience);
}

/* Put out who is too far behind; the audience may be gone afterwards. */
static void
on_behind(PennyTimer *timer)
{
	Audience *audience = penny_timer_owner(timer, Audience, behind_timer);
	PennyRooms *rooms = audience->room->rooms;

	if (penny_seats_mind(rooms, audience))
		set_behind_timer(rooms, audience);
}

static void
on_position(PennyTimer *timer)
{
	Audience *audience = penny_timer_owner(timer, Audience, position_timer);
	PennyRooms *rooms = audience->room->rooms;

	/* What gathers will tell it. */
	if (audience->seated == 0 || audience->items != NULL || audience->told >= audience->version)
		return;
	audience->told = audience->version;
	emit(rooms, audience, penny_room_make_position(audience->room, audience->version), NULL, false);
}

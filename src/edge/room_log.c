/*-------------------------------------------------------------------------
 *
 * room_log.c
 *		Frames of a room that members who wait will need: the log of those
 *		passed on, pieces of streams; and those held back because an earlier
 *		version is missing.
 *
 * Everything kept is bounded, for a room and over all rooms.  When the log
 * gives way its floor rises, and a member that would have needed it is read
 * again; when something cannot be held back it is forgotten, and since
 * room->newest remembers that it exists, the room is read.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>

#include "edge/rooms_private.h"

static size_t
kept_size(const Kept *kept)
{
	return sizeof(Kept) + (kept->frame != NULL ? kept->frame->len : 0);
}

void
penny_room_free_kept(Kept *kept)
{
	penny_frame_unref(kept->frame);
	free(kept);
}

/* Make an entry that takes its own reference; NULL without memory or place. */
static Kept *
make_kept(PennyRooms *rooms, uint64_t version, PennyEventKind kind, PennyFrame *frame)
{
	Kept *kept = malloc(sizeof(Kept));

	if (kept == NULL)
		return NULL;
	kept->next = NULL;
	kept->version = version;
	kept->kind = kind;
	kept->frame = frame != NULL ? penny_frame_ref(frame) : NULL;
	if (rooms->counts.kept_bytes + kept_size(kept) > rooms->config.kept_bytes)
	{
		penny_room_free_kept(kept);
		return NULL;
	}
	rooms->counts.kept_bytes += kept_size(kept);
	return kept;
}

/* ---- the log --------------------------------------------------------- */

/* Drop the oldest entry of the log. */
static void
drop_oldest(PennyRooms *rooms, PennyRoom *room)
{
	Kept *kept = room->log;

	room->log = kept->next;
	if (room->log == NULL)
		room->log_end = &room->log;
	room->floor = kept->version;
	room->log_bytes -= kept_size(kept);
	rooms->counts.kept_bytes -= kept_size(kept);
	penny_room_free_kept(kept);
}

/* Empty the log; it reaches back to the head, which is nowhere. */
void
penny_room_clear_log(PennyRooms *rooms, PennyRoom *room)
{
	while (room->log != NULL)
		drop_oldest(rooms, room);
	room->floor = room->head;
}

/* Append a frame that becomes the head. */
static void
append(PennyRooms *rooms, PennyRoom *room, uint64_t version, PennyFrame *frame)
{
	Kept *kept = make_kept(rooms, version, PENNY_EVENT_CHANGE, frame);

	if (kept == NULL)
	{
		penny_room_clear_log(rooms, room);
		room->floor = version;
		return;
	}
	*room->log_end = kept;
	room->log_end = &kept->next;
	room->log_bytes += kept_size(kept);
	while (room->log_bytes > PENNY_ROOMS_LOG_MAX)
		drop_oldest(rooms, room);
}

/* Pass the next version on to the live members, and to the log for the others. */
void
penny_room_pass_on(PennyRooms *rooms, PennyRoom *room, uint64_t version, PennyFrame *frame)
{
	if (room->waiting > 0)
		append(rooms, room, version, frame);
	else
		room->floor = version;
	room->head = version;
	penny_room_tell(rooms, room, version, frame, 0);
}

/*
 * Bring a member from its cursor to the head; false when the log does not
 * reach back to its cursor.
 */
bool
penny_room_replay(PennyRooms *rooms, PennyMember *member)
{
	PennyRoom *room = member->room;

	if (member->cursor < room->floor)
		return false;
	for (Kept *kept = room->log; kept != NULL; kept = kept->next)
	{
		if (kept->version <= member->cursor)
			continue;
		member->cursor = kept->version;
		penny_member_deliver(rooms, member, kept->version, kept->frame);
	}
	if (member->cursor < room->head)
		member->cursor = room->head;
	return true;
}

/* The head rises to a version of which the live members miss nothing. */
void
penny_room_set_head(PennyRooms *rooms, PennyRoom *room, uint64_t head)
{
	if (head <= room->head)
		return;
	room->head = head;
	if (room->newest < head)
		room->newest = head;
	if (room->waiting == 0)
		penny_room_clear_log(rooms, room);
	penny_room_tell_head(rooms, room);
}

/* ---- streams --------------------------------------------------------- */

/* Drop the oldest piece of a stream. */
static void
drop_stream(PennyRooms *rooms, PennyRoom *room)
{
	Kept *kept = room->streams;

	room->streams = kept->next;
	if (room->streams == NULL)
		room->streams_end = &room->streams;
	room->stream_floor = kept->version;
	room->stream_bytes -= kept_size(kept);
	rooms->counts.kept_bytes -= kept_size(kept);
	penny_room_free_kept(kept);
}

/* Nobody waits for them. */
void
penny_room_clear_streams(PennyRooms *rooms, PennyRoom *room)
{
	while (room->streams != NULL)
		drop_stream(rooms, room);
	room->stream_floor = room->stream_count;
}

/*
 * A piece of a stream came: keep it for those who wait for an answer, since
 * that may be from before the piece.
 */
void
penny_room_keep_stream(PennyRooms *rooms, PennyRoom *room, PennyFrame *frame)
{
	Kept *kept;

	room->stream_count++;
	kept =
		room->waiting > 0 ? make_kept(rooms, room->stream_count, PENNY_EVENT_STREAM, frame) : NULL;
	if (kept == NULL)
	{
		penny_room_clear_streams(rooms, room);
		return;
	}
	*room->streams_end = kept;
	room->streams_end = &kept->next;
	room->stream_bytes += kept_size(kept);
	while (room->stream_bytes > PENNY_ROOMS_LOG_MAX)
		drop_stream(rooms, room);
}

/*
 * Give a member the pieces that came since its read began; false when not all
 * of them are there.
 */
bool
penny_room_hand_over_streams(PennyRooms *rooms, PennyMember *member)
{
	PennyRoom *room = member->room;

	if (member->streams < room->stream_floor)
		return false;
	for (Kept *kept = room->streams; kept != NULL; kept = kept->next)
	{
		if (kept->version > member->streams)
			penny_member_deliver(rooms, member, 0, kept->frame);
	}
	return true;
}

/* ---- held back ------------------------------------------------------- */

/* Take the first entry out, the caller frees it. */
Kept *
penny_room_take_held(PennyRooms *rooms, PennyRoom *room)
{
	Kept *kept = room->held;

	room->held = kept->next;
	room->held_bytes -= kept_size(kept);
	rooms->counts.kept_bytes -= kept_size(kept);
	return kept;
}

void
penny_room_clear_held(PennyRooms *rooms, PennyRoom *room)
{
	while (room->held != NULL)
		penny_room_free_kept(penny_room_take_held(rooms, room));
}

/* Forget what is held back although the head has passed it. */
void
penny_room_drop_held(PennyRooms *rooms, PennyRoom *room)
{
	while (room->held != NULL && room->held->version <= room->head)
		penny_room_free_kept(penny_room_take_held(rooms, room));
}

/* Hold a version back until its turn comes; see the file's head for bounds. */
void
penny_room_hold(PennyRooms *rooms, PennyRoom *room, uint64_t version, PennyEventKind kind,
				PennyFrame *frame)
{
	Kept **place = &room->held;
	Kept *kept;

	while (*place != NULL && (*place)->version < version)
		place = &(*place)->next;
	if ((*place != NULL && (*place)->version == version) ||
		room->held_bytes >= PENNY_ROOMS_HOLD_MAX)
		return;
	kept = make_kept(rooms, version, kind, frame);
	if (kept == NULL)
		return;
	kept->next = *place;
	*place = kept;
	room->held_bytes += kept_size(kept);
}

/*-------------------------------------------------------------------------
 *
 * room_answers.c
 *		Answers to reads: letting members in, catching up members and rooms.
 *
 * An answer is a snapshot: its position says up to which version it knows
 * everything, its lines are what changed since the version asked from, in
 * order, every row in its latest state.  So any prefix of the lines is
 * complete up to the version of its last line, which is what makes it safe to
 * stop in the middle when memory is short.
 *
 * A long answer comes in pages: each says up to which version it reaches and
 * that there is more, and the next is asked from there, when the member's
 * socket has taken the last.
 *
 * Answers come from executors and are trusted, but their form is checked: one
 * that cannot be read counts as a failed read.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "edge/json_span.h"
#include "edge/rooms_private.h"

#define TRIES 20 /* of a read that fails for no fault of the member's */

/* The head of an answer, read. */
typedef struct Answer
{
	PennySpan position; /* as written */
	PennySpan epoch;    /* JSON string with its quotes */
	PennySpan reset;    /* JSON string, or empty */
	uint64_t version;
	bool recovered;
	bool more;  /* than these lines */
	bool write; /* may the member write? */
	uint8_t user[16];
} Answer;

/* Value of a hex digit; -1 when it is none. */
static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Read a UUID from a JSON string; false when it is none. */
static bool
read_uuid(PennySpan raw, uint8_t uuid[16])
{
	int digits = 0;

	for (size_t i = 1; i + 1 < raw.len; i++)
	{
		int value = hex_value(raw.data[i]);

		if (raw.data[i] == '-')
			continue;
		if (value < 0 || digits == 32)
			return false;
		uuid[digits / 2] = (uint8_t) (uuid[digits / 2] << 4 | value);
		digits++;
	}
	return digits == 32;
}

/* Read the head of an answer; false when it has not the form agreed. */
static bool
read_head(PennySpan head, Answer *answer)
{
	PennyJsonMember outer[6] = {{.name = "position"}, {.name = "recovered"}, {.name = "user_id"},
								{.name = "reset"},    {.name = "more"},      {.name = "write"}};
	PennyJsonMember inner[2] = {{.name = "epoch"}, {.name = "version"}};
	int64_t version;
	size_t where;

	memset(answer, 0, sizeof(*answer));
	if (penny_json_object(head, outer, 6, &where) != NULL || outer[0].kind != PENNY_JSON_OBJECT ||
		penny_json_object(outer[0].raw, inner, 2, &where) != NULL ||
		inner[0].kind != PENNY_JSON_STRING || inner[0].raw.len > PENNY_ROOMS_EPOCH_MAX ||
		inner[1].kind != PENNY_JSON_NUMBER || !penny_json_integer(inner[1].raw, &version))
		return false;
	answer->position = outer[0].raw;
	answer->epoch = inner[0].raw;
	answer->version = (uint64_t) version;
	answer->recovered = outer[1].kind == PENNY_JSON_TRUE;
	if (outer[3].kind == PENNY_JSON_STRING)
		answer->reset = outer[3].raw;
	answer->more = outer[4].kind == PENNY_JSON_TRUE;
	answer->write = outer[5].kind != PENNY_JSON_FALSE;
	return outer[2].kind != PENNY_JSON_STRING || read_uuid(outer[2].raw, answer->user);
}

/* Take the next line "<version> SP <frame> LF" of a body; false when malformed. */
static bool
next_line(PennySpan *body, uint64_t *version, PennySpan *frame)
{
	const char *end = memchr(body->data, '\n', body->len);
	const char *space = end != NULL ? memchr(body->data, ' ', (size_t) (end - body->data)) : NULL;
	int64_t number;

	if (space == NULL ||
		!penny_json_integer((PennySpan){body->data, (size_t) (space - body->data)}, &number))
		return false;
	*version = (uint64_t) number;
	*frame = (PennySpan){space + 1, (size_t) (end - space) - 1};
	body->len -= (size_t) (end - body->data) + 1;
	body->data = end + 1;
	return true;
}

/*
 * Pass an answer's lines on to the member that asked, unless it is live, and
 * with `adopt` to the room.  False when not all of them could be.
 */
static bool
take_lines(PennyRooms *rooms, PennyMember *member, const Answer *answer, PennySpan body, bool adopt)
{
	PennyRoom *room = member->room;
	bool for_member = member->state != MEMBER_LIVE; /* as it was when it asked */
	uint64_t before = 0;

	while (body.len > 0)
	{
		uint64_t version;
		PennySpan text;
		PennyFrame *frame;
		bool for_room;

		if (!next_line(&body, &version, &text))
			return false;
		if (version == 0)
		{
			/* the state of a message that grows: after all that has a version */
			if (!for_member)
				continue;
			frame = penny_frame_make(text);
			if (frame == NULL)
				return false;
			penny_member_deliver(rooms, member, 0, frame);
			penny_frame_unref(frame);
			continue;
		}
		if (version <= before || version > answer->version)
			return false;
		before = version;
		for_room = adopt && version > room->head;
		if (!for_room && (!for_member || version <= member->cursor))
			continue;
		frame = penny_frame_make(text);
		if (frame == NULL)
			return false;
		if (for_room)
			penny_room_pass_on(rooms, room, version, frame);
		if (for_member && version > member->cursor)
		{
			member->cursor = version;
			penny_member_deliver(rooms, member, version, frame);
		}
		penny_frame_unref(frame);
	}
	return true;
}

/* A read failed for no fault of the member's: later again, some times. */
static void
retry(PennyRooms *rooms, PennyMember *member, ReadKind kind, uint32_t status, PennySpan problem)
{
	if (kind == READ_ROOM && member->state != MEMBER_LIVE)
	{
		penny_room_catch_up(rooms, member->room); /* it has another read by now */
		return;
	}
	if (++member->tries > TRIES)
	{
		penny_room_put_out(rooms, member, PENNY_LEAVING_REFUSED, status, problem);
		return;
	}
	member->read_kind = kind;
	if (kind == READ_ROOM)
		member->room->reader = member;
	penny_room_rest(rooms, member);
}

/* Deliver a frame made here, whatever the member's filter; false when there was none. */
static bool
deliver_made(PennyRooms *rooms, const PennyMember *member, PennyFrame *frame)
{
	if (frame == NULL)
		return false;
	rooms->call.deliver(rooms->arg, member->data, frame);
	penny_frame_unref(frame);
	return true;
}

/*
 * Tell what a member cannot see from the frames it got: that broadcasts were
 * missed, and how far it has come.  False without memory.
 */
static bool
tell_place(PennyRooms *rooms, PennyMember *member)
{
	PennyRoom *room = member->room;

	if (member->missed && !deliver_made(rooms, member, penny_room_make_missed(room)))
		return false;
	member->missed = false;
	if (member->told < member->cursor)
	{
		if (!deliver_made(rooms, member, penny_room_make_position(room, member->cursor)))
			return false;
		member->told = member->cursor;
	}
	return true;
}

/* Tell a member that was too slow what it skips; false without memory. */
static bool
tell_skipped(PennyRooms *rooms, PennyMember *member, uint64_t to)
{
	if (!member->skipped)
		return true;
	if (!deliver_made(rooms, member, penny_room_make_conflated(member->room, member->cursor, to)))
		return false;
	member->skipped = false;
	return true;
}

/*
 * A member that waited has everything up to `version`: bring it to the head
 * and let it go live, or read it again.  May end the room.
 */
static void
go_live(PennyRooms *rooms, PennyMember *member, uint64_t version)
{
	PennyRoom *room = member->room;

	if (!room->known || (version > room->head && room->live == 0))
	{
		/* nobody is there who would miss what lies between */
		room->known = true;
		room->head = version;
		penny_room_clear_log(rooms, room);
	}
	if (room->newest < version)
		room->newest = version;
	penny_room_drop_held(rooms, room);
	if (!penny_room_replay(rooms, member) || !penny_room_hand_over_streams(rooms, member))
	{
		penny_room_read(rooms, member, READ_MEMBER);
		penny_room_settle(rooms, room);
		return;
	}
	member->doubted = false;
	if (!tell_place(rooms, member) || !penny_presence_enter(rooms, member))
	{
		retry(rooms, member, READ_MEMBER, 503, (PennySpan){"", 0});
		return;
	}
	member->tries = 0;
	member->state = MEMBER_LIVE;
	room->live++;
	room->waiting--;
	penny_seat_loose(rooms, member);
	penny_presence_mind(rooms, member);
	if (room->waiting == 0)
	{
		penny_room_clear_log(rooms, room);
		penny_room_clear_streams(rooms, room);
	}
	penny_room_settle(rooms, room);
}

static bool
same_epoch(const PennyRoom *room, const Answer *answer)
{
	return room->epoch_len == answer->epoch.len &&
		   memcmp(room->epoch, answer->epoch.data, answer->epoch.len) == 0;
}

/* A page was taken whole: ask for the next. */
static void
read_on(PennyRooms *rooms, PennyMember *member)
{
	member->tries = 0;
	penny_room_read(rooms, member, READ_MEMBER);
}

/* The answer that lets a member in. */
static void
let_in(PennyRooms *rooms, PennyMember *member, const Answer *answer, PennySpan body)
{
	PennyRoom *room = member->room;
	PennyJoined how = {.position = answer->position,
					   .reset = answer->reset,
					   .recovered = answer->recovered,
					   .write = answer->write};

	if (room->epoch_len > 0 && !same_epoch(room, answer))
		penny_room_reset(rooms, room, member);
	if (member->read_doubts != room->doubts)
	{
		/* access, or events just dropped by the reset, may not be in the snapshot */
		penny_room_read(rooms, member, READ_JOIN);
		return;
	}
	memcpy(room->epoch, answer->epoch.data, answer->epoch.len);
	room->epoch_len = (uint32_t) answer->epoch.len;
	member->state = MEMBER_READING;
	member->admitted = answer->version;
	member->write = answer->write;
	member->cursor = answer->recovered ? member->since_version : answer->version;
	memcpy(member->user, answer->user, sizeof(member->user));
	rooms->call.joined(rooms->arg, member->data, room_name(room), &how);
	member->told = answer->recovered ? member->since_version : answer->version;
	(void) penny_presence_enter(rooms, member); /* or when it goes live */
	if (!take_lines(rooms, member, answer, body, false))
	{
		retry(rooms, member, READ_MEMBER, 503, (PennySpan){"", 0});
		return;
	}
	member->cursor = answer->version;
	if (answer->more)
		read_on(rooms, member);
	else
		go_live(rooms, member, answer->version);
}

/* An answer for a member that is in: its own, or for the whole room. */
static void
catch_up(PennyRooms *rooms, PennyMember *member, ReadKind kind, const Answer *answer,
		 PennySpan body)
{
	PennyRoom *room = member->room;
	bool adopt = room->known && member->read_since <= room->head;
	bool complete;

	/*
	 * Another epoch, or a snapshot that does not know what was committed
	 * before it: versions no longer mean what they did.
	 */
	if (!same_epoch(room, answer) || !answer->recovered ||
		(!answer->more && answer->version < member->read_newest) ||
		(answer->more && answer->version <= member->read_since))
	{
		penny_room_reset(rooms, room, NULL);
		return;
	}
	member->write = answer->write;
	if (kind == READ_MEMBER && !tell_skipped(rooms, member, answer->version))
	{
		retry(rooms, member, kind, 503, (PennySpan){"", 0});
		return;
	}
	if (member->admitted < answer->version)
		member->admitted = answer->version;
	complete = take_lines(rooms, member, answer, body, adopt);
	if (complete && adopt)
		penny_room_set_head(rooms, room, answer->version);
	if (!complete)
	{
		/* what is held may follow on what came; that may end the room */
		if (penny_room_settle(rooms, room))
			retry(rooms, member, kind, 503, (PennySpan){"", 0});
		return;
	}
	if (kind == READ_ROOM)
	{
		member->tries = 0;
		if (penny_room_settle(rooms, room) && answer->more)
			penny_room_catch_up(rooms, room);
		return;
	}
	if (member->cursor < answer->version)
		member->cursor = answer->version;
	if (answer->more)
	{
		read_on(rooms, member);
		penny_room_settle(rooms, room);
		return;
	}
	if (member->read_losses == room->losses)
	{
		go_live(rooms, member, answer->version);
		return;
	}
	/* more was lost since the read began, or this was a page */
	penny_room_read(rooms, member, READ_MEMBER);
	penny_room_settle(rooms, room);
}

/* Does this status say that the member may not read the room? */
static bool
is_refusal(uint32_t status)
{
	return status >= 400 && status <= 499 && status != 408 && status != 425 && status != 429;
}

/* A read without success. */
static void
failed(PennyRooms *rooms, PennyMember *member, ReadKind kind, uint32_t status, PennySpan problem)
{
	PennyRoom *room = member->room;

	if (kind != READ_JOIN && !is_refusal(status))
	{
		retry(rooms, member, kind, status, problem);
		return;
	}
	if (penny_room_put_out(rooms, member, PENNY_LEAVING_REFUSED, status, problem) &&
		kind == READ_ROOM)
		penny_room_catch_up(rooms, room);
}

/* The answer to this member's read. */
static void
take_answer(PennyRooms *rooms, PennyMember *member, uint32_t status, PennySpan head, PennySpan body)
{
	ReadKind kind = member->read_kind;
	Answer answer;

	member->read_kind = READ_NONE;
	if (member->room->reader == member)
		member->room->reader = NULL;
	if (status != 200)
		failed(rooms, member, kind, status, body);
	else if (!read_head(head, &answer))
		failed(rooms, member, kind, 500, (PennySpan){"", 0});
	else if (kind == READ_JOIN)
		let_in(rooms, member, &answer, body);
	else
		catch_up(rooms, member, kind, &answer, body);
}

void
penny_rooms_answer(PennyRooms *rooms, uint64_t read, uint32_t status, PennySpan head,
				   PennySpan body, uint64_t now_ms)
{
	PennyMember *member = penny_room_landed(rooms, read);

	rooms->now = now_ms;
	for (; member != NULL; member = penny_room_landed_too(rooms))
		take_answer(rooms, member, status, head, body);
	penny_rooms_pump(rooms);
}

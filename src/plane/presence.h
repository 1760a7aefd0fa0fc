/*-------------------------------------------------------------------------
 *
 * presence.h
 *		What edges tell each other about who is in a room.
 *
 * One edge of several knows its own clients.  It hands an executor statements
 * (PENNY_OP_PRESENCE), which go through the event ring to the others as
 * PENNY_EVENT_PRESENCE.  A statement is the whole truth about one room at one
 * edge and replaces the one before, so none depends on another: a lost one is
 * made good by the next, of two that overtook each other the one with the
 * greater number counts.  Each is repeated from time to time, and one that is
 * not any more ends (edge/room_presence.c).
 *
 * A statement is a PennyPresenceHead and `users` PennyPresenceUser, as they lie
 * in memory.  The executor adds who says it (PennyEventSender: the edge, and in
 * `member` its incarnation) and nothing else: it is the edge's word.  An edge
 * that lies can show users where they are not, to those who are in the room;
 * that it can do to its own clients anyway.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_PLANE_PRESENCE_H
#define PENNY_PLANE_PRESENCE_H

#include <string.h>

#include "plane/call.h"
#include "plane/event.h"

#define PENNY_PRESENCE_USERS 1000 /* that one statement, or one frame, names */
#define PENNY_PRESENCE_ROOMS 64   /* statements in one call */

#define PENNY_PRESENCE_ASK 0x01 /* the edge wants to know what the others know */

typedef struct PennyPresenceHead
{
	uint64_t number; /* of the statement; grows within an incarnation of an edge */
	uint32_t flags;
	uint32_t users; /* that follow */
	uint32_t more;  /* users that are there and not named */
	uint32_t reserved;
} PennyPresenceHead;

typedef struct PennyPresenceUser
{
	uint8_t user[16];
	uint32_t devices;
} PennyPresenceUser;

#define PENNY_PRESENCE_MAX \
	(sizeof(PennyPresenceHead) + PENNY_PRESENCE_USERS * sizeof(PennyPresenceUser))

/* BODY of PENNY_OP_PRESENCE is a row of these, each with room and statement behind it. */
typedef struct PennyPresenceRecord
{
	uint32_t room_len;
	uint32_t len;
} PennyPresenceRecord;

/* Read the head of a statement; false when it is none. */
static inline bool
penny_presence_head(PennySpan statement, PennyPresenceHead *head)
{
	if (statement.len < sizeof(*head))
		return false;
	memcpy(head, statement.data, sizeof(*head));
	return head->users <= PENNY_PRESENCE_USERS && (head->flags & ~PENNY_PRESENCE_ASK) == 0 &&
		   statement.len == sizeof(*head) + head->users * sizeof(PennyPresenceUser);
}

/* Take the next record off a body; false at its end, or when it is malformed. */
static inline bool
penny_presence_record(PennySpan *body, PennySpan *room, PennySpan *statement)
{
	PennyPresenceRecord record;

	if (body->len < sizeof(record))
		return false;
	memcpy(&record, body->data, sizeof(record));
	if (record.room_len == 0 || record.room_len > PENNY_ROOM_NAME_MAX ||
		record.len > PENNY_PRESENCE_MAX ||
		body->len - sizeof(record) < (size_t) record.room_len + record.len)
		return false;
	*room = (PennySpan){body->data + sizeof(record), record.room_len};
	*statement = (PennySpan){room->data + room->len, record.len};
	body->data += sizeof(record) + room->len + statement->len;
	body->len -= sizeof(record) + room->len + statement->len;
	return true;
}

#endif /* PENNY_PLANE_PRESENCE_H */

/*-------------------------------------------------------------------------
 *
 * publish_rows.h
 *		Changed rows as frames of their conversation's room.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_PUBLISH_ROWS_H
#define PENNY_PUBLISH_ROWS_H

#include "postgres.h"

#include "lib/stringinfo.h"

#include "store/change.h"
#include "store/tables.h"

#define PENNY_CONVERSATION_ROOM "conversation:"
#define PENNY_USER_ROOM "user:"

/* What becomes of a conversation in a user's list; and of the user's sessions. */
#define PENNY_LIST_ADDED "conversation.added"
#define PENNY_LIST_REMOVED "conversation.removed"
#define PENNY_LIST_CHANGED "conversation.changed"
#define PENNY_SESSIONS_CHANGED "sessions.changed"

/* The conversation that a room's name means; false: it means none. */
extern bool penny_room_conversation(text *room, pg_uuid_t *conversation);

/* Its name, 13 + 36 characters and a terminator. */
extern void penny_room_write(char *room, const pg_uuid_t *conversation);

/* The beginnings of frames, up to and with the version and a comma. */
extern void penny_frame_begin(StringInfo out, const char *type, const pg_uuid_t *conversation,
							  int64 version);
/* Frames of rows; the row carries its user along. */
extern void penny_frame_message(StringInfo out, const PennyRow *row, bool created);
extern void penny_frame_conversation(StringInfo out, const PennyRow *row);
extern void penny_frame_participant(StringInfo out, const PennyRow *row);
extern void penny_frame_tool_execution(StringInfo out, const PennyRow *row);
extern void penny_frame_artifact(StringInfo out, const PennyRow *row);
extern void penny_frame_artifact_version(StringInfo out, const PennyRow *row);
extern void penny_frame_tombstone(StringInfo out, const PennyRow *row);

/* Publish a row that was inserted or updated. */
extern void penny_rows_publish(PennyChange *change, PennyTable table, PennyRow *row, bool created);
/* Leave a tombstone for a deleted row and publish it. */
extern void penny_rows_publish_deleted(PennyChange *change, PennyTable table, const PennyRow *row);
/* Publish a row that came by replication. */
extern void penny_rows_publish_replicated(PennyTable table, const PennyRow *row, bool deleted);
/* Publish a version without a frame. */
extern void penny_rows_publish_version(PennyChange *change, int64 version);
/* A hint for the room of a user; conversation may be NULL. */
extern void penny_list_publish(const pg_uuid_t *user, const char *what,
							   const pg_uuid_t *conversation);
/* The same for all who take part in a conversation. */
extern void penny_lists_publish_changed(const pg_uuid_t *conversation);
/* A conversation made by this transaction: one word for all its versions. */
extern void penny_rows_publish_created(PennyChange *change);

#endif /* PENNY_PUBLISH_ROWS_H */

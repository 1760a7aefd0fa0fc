/*-------------------------------------------------------------------------
 *
 * room.h
 *		Who may be in a room, and who may speak there.
 *
 * Rooms by their names:
 *
 *	conversation:<uuid>	who may see the conversation
 *	user:<uuid>			that user, and penny_admin
 *	role:<name>			members of the database role
 *	<prefix>:<rest>		whom the handler of penny.room_policies lets in
 *
 * Only the first has versions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_ROOM_H
#define PENNY_ROOM_H

#include "postgres.h"

typedef struct PennyRoomRight
{
	bool read;
	bool write;
} PennyRoomRight;

/* The caller's right in a room without versions. */
extern PennyRoomRight penny_room_right(text *room);
/* May the caller publish to a room of any kind?  Raises why not. */
extern void penny_room_check_write(text *room);

#endif /* PENNY_ROOM_H */

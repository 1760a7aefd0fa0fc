/*-------------------------------------------------------------------------
 *
 * publish_now.c
 *		Publication that waits for no commit.  See publish.h.
 *
 * For what is true at once, such as the progress of something whose transaction
 * ends with it, and for COMMIT callbacks, which speak of what is committed.
 * Nothing is kept: a place in the ring, a copy, a wake.
 *
 * The fence comes before the look at the edges' bits (plane/interest.h): what is
 * told has been done before, so who sets the bit later finds it done.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "base/planemap.h"
#include "plane/event.h"
#include "plane/interest.h"
#include "realtime/publish.h"

#define HINT 1 /* it may be dropped, as in publish.c */

bool
penny_publish_wanted_now(uint64 room_hash)
{
	PennyPlane *plane = penny_plane();

	if (plane == NULL)
		return false;
	penny_interest_fence();
	return penny_interest_any(plane, room_hash);
}

void
penny_publish_now(const char *room, const char *frame, int frame_len)
{
	PennyPlane *plane = penny_plane();
	PennyEventOut event = {.kind = PENNY_EVENT_RECHECK, .version = HINT, .room = room, .frame = ""};
	Size room_len = strlen(room);
	struct timespec now;

	if (room_len == 0 || room_len > PENNY_ROOM_NAME_MAX ||
		!penny_publish_wanted_now(penny_hash(room, room_len, 0)))
		return;
	event.room_len = (uint32) room_len;
	if (frame != NULL && (uint32) frame_len <= penny_event_max_frame(plane))
	{
		event.kind = PENNY_EVENT_PUBLISH;
		event.frame = frame;
		event.frame_len = (uint32) frame_len;
	}
	clock_gettime(CLOCK_MONOTONIC, &now);
	penny_event_publish(plane, &event, 1,
						(uint64) now.tv_sec * UINT64CONST(1000000000) + (uint64) now.tv_nsec);
	penny_wake_edges(plane);
}

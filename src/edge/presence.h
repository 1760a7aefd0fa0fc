/*-------------------------------------------------------------------------
 *
 * presence.h
 *		Statements of presence to other edges, and news of these.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_PRESENCE_H
#define PENNY_EDGE_PRESENCE_H

#include "edge/edge.h"
#include "edge/rooms.h"

/* Callback of rooms.h. */
extern bool penny_presence_announce(void *arg, PennySpan room, PennySpan statement);
/* Loop: pass on what was stated in this turn; look whether other edges are new processes. */
extern void penny_presence_turn(PennyRooms *rooms);

#endif /* PENNY_EDGE_PRESENCE_H */

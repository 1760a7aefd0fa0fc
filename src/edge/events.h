/*-------------------------------------------------------------------------
 *
 * events.h
 *		Committed events to the rooms of this edge, and reads of rooms.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_EVENTS_H
#define PENNY_EDGE_EVENTS_H

#include "edge/edge.h"
#include "edge/rooms.h"

/* At start, after attaching. */
extern void penny_events_init(void);
/* The rooms of this edge. */
extern PennyRooms *penny_events_rooms(void);
/* A session is about to join, or has left, a room of this hash. */
extern void penny_events_listen(uint64_t room_hash, bool listen);
/* Loop: take events, do what the rooms have due; true when more is there. */
extern bool penny_events_turn(void);
/* Loop: bring the counters of rooms and members up to date. */
extern void penny_events_count(void);
/* Loop: is there an event to take? */
extern bool penny_events_ready(void);
/* Loop: when the rooms have something due (ms), UINT64_MAX = never. */
extern uint64_t penny_events_due(void);

#endif /* PENNY_EDGE_EVENTS_H */

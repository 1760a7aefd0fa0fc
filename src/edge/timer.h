/*-------------------------------------------------------------------------
 *
 * timer.h
 *		Deadlines of connections and calls, in the edge's own timer wheel.
 *
 * Precision is one tick (64 ms), never early.  What needs more has a wheel of
 * its own (rooms.h).
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_TIMER_H
#define PENNY_EDGE_TIMER_H

#include "edge/edge.h"
#include "edge/wheel.h"

extern void penny_timer_set(PennyTimer *timer, uint64_t due);
extern void penny_timer_stop(PennyTimer *timer);

/* Loop: call back what is due at penny_edge.now. */
extern void penny_timer_run(void);
/* Loop: ms from penny_edge.now to the next look, -1 = no timer is set. */
extern int64_t penny_timer_wait(void);

#endif /* PENNY_EDGE_TIMER_H */

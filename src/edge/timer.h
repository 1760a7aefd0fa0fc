/*-------------------------------------------------------------------------
 *
 * timer.h
 *		Deadlines of connections and calls: a hashed timer wheel.
 *
 * Setting and moving a deadline costs a few instructions, whatever the number
 * of timers: a deadline that moves later, as it does with every request of a
 * keep-alive connection, is only written down, and the timer is put into its
 * new place when its old one comes up.
 *
 * Precision is one tick (64 ms), never early.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_TIMER_H
#define PENNY_EDGE_TIMER_H

#include "edge/edge.h"

typedef struct PennyTimer PennyTimer;

/* Called once when the deadline is past; the timer is stopped by then. */
typedef void (*PennyTimerCallback)(PennyTimer *timer);

struct PennyTimer
{
	PennyTimer *next; /* in its slot; NULL = stopped */
	PennyTimer *prev;
	PennyTimerCallback callback;
	uint64_t due;  /* ms */
	uint64_t tick; /* where it is filed */
};

/* The structure around a timer. */
#define penny_timer_owner(timer, type, member) \
	((type *) (void *) ((char *) (timer) -offsetof(type, member)))

extern void penny_timer_init(PennyTimer *timer, PennyTimerCallback callback);
extern void penny_timer_set(PennyTimer *timer, uint64_t due);
extern void penny_timer_stop(PennyTimer *timer);
extern bool penny_timer_is_set(const PennyTimer *timer);

/* Loop: call back what is due at penny_edge.now. */
extern void penny_timer_run(void);
/* Loop: ms from penny_edge.now to the next look, -1 = no timer is set. */
extern int64_t penny_timer_wait(void);

#endif /* PENNY_EDGE_TIMER_H */

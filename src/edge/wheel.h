/*-------------------------------------------------------------------------
 *
 * wheel.h
 *		A hashed timer wheel: deadlines by the thousand, a few instructions each.
 *
 * Setting and moving a deadline costs the same whatever the number of timers:
 * one that moves later, as it does with every request of a keep-alive
 * connection, is only written down, and the timer is put into its new place
 * when its old one comes up.
 *
 * A wheel has slots of 1 << shift ms.  A deadline is never early, and late by
 * one slot at most.  Pure: the time is told by the caller.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_WHEEL_H
#define PENNY_EDGE_WHEEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PENNY_WHEEL_SLOTS 1024

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

typedef struct PennyWheel
{
	uint32_t shift;
	uint32_t set;                            /* timers that are set */
	uint64_t current;                        /* first tick that was not run yet */
	uint64_t filled[PENNY_WHEEL_SLOTS / 64]; /* slots that may hold timers */
	PennyTimer slot[PENNY_WHEEL_SLOTS];      /* heads; next NULL = never used */
} PennyWheel;

/* The structure around a timer. */
#define penny_timer_owner(timer, type, member) \
	((type *) (void *) ((char *) (timer) -offsetof(type, member)))

extern void penny_timer_init(PennyTimer *timer, PennyTimerCallback callback);
extern bool penny_timer_is_set(const PennyTimer *timer);

/* A wheel of zeroes, but for its shift, is ready. */
extern void penny_wheel_set(PennyWheel *wheel, PennyTimer *timer, uint64_t due, uint64_t now);
extern void penny_wheel_stop(PennyWheel *wheel, PennyTimer *timer);
/* Call back what is due. */
extern void penny_wheel_run(PennyWheel *wheel, uint64_t now);
/* When to look next, UINT64_MAX = no timer is set. */
extern uint64_t penny_wheel_next(const PennyWheel *wheel);

#endif /* PENNY_EDGE_WHEEL_H */

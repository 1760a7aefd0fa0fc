/*-------------------------------------------------------------------------
 *
 * courier_link.h
 *		The worker's side of penny-courier: start it, send it requests, be told
 *		what came of them.
 *
 * Never waits.  A worker's loop:
 *
 *	penny_courier_link_turn()			once each turn: starts, ends, reads, writes
 *	penny_courier_link_answer()			until false: what came of requests
 *	penny_courier_link_room()			requests that may be sent now
 *	penny_courier_link_send()			one of them
 *	penny_courier_link_watch(), _due()	what to wait for
 *
 * Every request that was sent gets one answer, also when the courier dies
 * (PENNY_COURIER_LOST).  Nothing here opens a transaction or raises an error
 * but for want of memory.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_COURIER_LINK_H
#define PENNY_COURIER_LINK_H

#include "postgres.h"

#include "storage/latch.h"

#include "plane/courier.h"

/* Once, at the worker's start: couriers are killed when the process ends. */
extern void penny_courier_link_begin(void);
/*
 * Settings were read: a courier that knows others gets a successor, and ends
 * when its requests are answered.
 */
extern void penny_courier_link_settings(void);

extern void penny_courier_link_turn(int64 now);
/* Requests that may be sent now; 0 also while there is no courier. */
extern int penny_courier_link_room(void);
/*
 * Send one; `cookie` is the caller's name for it, and comes with the answer.
 * False: there is no room, or no memory; nothing was sent.
 */
extern bool penny_courier_link_send(uint64 cookie, const PennyCourierRequest *request);
/* Write what was sent, as far as it goes at once. */
extern void penny_courier_link_flush(void);
/* Ask for an early end; an answer comes all the same, perhaps another than CANCELLED. */
extern void penny_courier_link_cancel(uint64 cookie);
/* An answer; its texts hold until the next call of a function of this file. */
extern bool penny_courier_link_answer(uint64 *cookie, PennyCourierAnswer *answer);
/* Requests sent and not answered. */
extern int penny_courier_link_open(void);

/*
 * Add descriptors to a set, at most PENNY_COURIER_LINK_EVENTS.  The set has to be
 * made anew when penny_courier_link_version() is another.
 */
#define PENNY_COURIER_LINK_EVENTS 6
extern void penny_courier_link_watch(WaitEventSet *set);
extern uint64 penny_courier_link_version(void);
/* ms of penny_clock_ms() at which a turn is due without an event; PENNY_NEVER. */
extern int64 penny_courier_link_due(void);

/* No new courier, no new request; those that run have until `deadline`. */
extern void penny_courier_link_stop(int64 deadline);
/* Pid of the courier that gets requests, 0 = none is ready; for who looks. */
extern int penny_courier_link_pid(void);
/* Couriers in a row that ended unasked without an answer. */
extern int penny_courier_link_failures(void);

#endif /* PENNY_COURIER_LINK_H */

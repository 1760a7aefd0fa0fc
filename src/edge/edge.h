/*-------------------------------------------------------------------------
 *
 * edge.h
 *		What every part of penny-edge shares: the plane, the settings, the
 *		clock of the loop turn, and the log.
 *
 * penny-edge is one thread.  It is started by a gateway with descriptors at
 * PENNY_FD_* (plane.h), without an environment, and owns every client socket.
 * It never touches SQL: what a client asks goes into a call slot of the plane.
 *
 * The parts, from the wire inwards:
 *
 *	listener	accepts, within limits
 *	connection	bytes in and out of one socket, with backpressure; tls
 *	http		requests and answers of one connection; routes, response
 *	cached		answers from the cache: token memory, gathering, variants
 *	websocket	frames of one connection; session: who it is, what it joined
 *	calls		slots of the plane, and the queue before them
 *	waiting		answers that are kept until an event says that there is more
 *	events		what was committed, to the rooms
 *	loop		the turn: input, answers, events, output, sleep
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_H
#define PENNY_EDGE_H

#include "plane/plane.h"
#include "program/log.h"

typedef struct PennyEdge
{
	PennyPlane plane;
	PennyEdgeSettings settings; /* own copy; see loop.c for reloads */
	uint64_t now;               /* CLOCK_MONOTONIC ms, taken once a turn */
	uint64_t wall;              /* seconds since 1970, likewise */
	int listeners;              /* listening sockets from PENNY_FD_LISTEN */
	bool control;               /* certificates come at PENNY_FD_CONTROL */
	bool draining;              /* told to end: no new work */
	bool restarting;            /* and another edge will follow */
	bool closing;               /* its time is over: what is left is refused */
} PennyEdge;

extern PennyEdge penny_edge;

/* Take the clock of this turn. */
extern void penny_edge_clock(void);
/* Fill with random bytes; dies when the kernel has none. */
extern void penny_random(void *bytes, size_t len);
/* malloc and realloc that end the process when there is no memory. */
extern void *penny_alloc(size_t size);
extern void *penny_realloc(void *old, size_t size);

#endif /* PENNY_EDGE_H */

/*-------------------------------------------------------------------------
 *
 * fake_gateway.h
 *		What fake_gateway.c and fake_executor.c share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_FAKE_GATEWAY_H
#define PENNY_FAKE_GATEWAY_H

#include <pthread.h>
#include <sys/types.h>

#include "plane/call.h"
#include "plane/event.h"
#include "plane/plane.h"

#define FAKE_ROOMS 4096

/* A room: its versions are numbered, the frame of each can be made again. */
typedef struct FakeRoom
{
	char name[PENNY_ROOM_NAME_MAX];
	uint64_t version;
	uint64_t pieces; /* of the message that grows in it */
} FakeRoom;

/* Shared by the control process and the executors. */
typedef struct FakeShared
{
	pthread_mutex_t lock; /* rooms; commits are in version order under it */
	FakeRoom room[FAKE_ROOMS];
	_Atomic uint64_t calls;
	_Atomic uint64_t cancelled; /* calls that were told to stop */
	_Atomic uint32_t unready;   /* /readyz says no */
	_Atomic uint32_t refuse;    /* every call is answered with 503 */
	_Atomic uint32_t extra;     /* there is a route /extra */
	_Atomic uint32_t frameless; /* events are published without frames */
	_Atomic uint32_t closed;    /* nobody may join, or stay when asked again */
	_Atomic uint32_t page;      /* lines of an answer to a join, 0 = all */
	_Atomic uint32_t pad;       /* bytes of the content of such a line */
	_Atomic uint64_t epoch;
	_Atomic uint64_t built; /* answers of cached routes */
} FakeShared;

/* An answer of a cached route. */
typedef struct FakeBuilt
{
	char head[256];
	size_t head_len;
	const char *body;
	size_t body_len;
	char etag[20];
} FakeBuilt;

extern FakeShared *fake_shared;

/* Serve calls as executor number `self`; does not return. */
extern void fake_executor_run(PennyPlane *plane, int self);
/* One more version of a room, published; returns the version. */
extern uint64_t fake_commit(PennyPlane *plane, const char *room, const char *content,
							size_t content_len);

/* One more piece of the message that grows in a room; returns its number. */
extern uint64_t fake_stream(PennyPlane *plane, const char *room);
/* Build the answer of a cached route, and keep it; false: it is none. */
extern bool fake_cached(PennyPlane *plane, const PennyRequest *request, PennyResponseExtra *extra,
						FakeBuilt *built);
/* Who this token is. */
extern void fake_viewer(PennyPlane *plane, PennySpan token, PennyViewer *viewer);

#endif /* PENNY_FAKE_GATEWAY_H */

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

#define FAKE_QUEUES 8
#define FAKE_JOBS 4096

typedef struct FakeQueue
{
	char name[128];
	uint64_t ready; /* jobs that nobody has */
	uint64_t claimed;
	uint64_t claims; /* calls */
	_Atomic uint64_t released;
	_Atomic uint64_t completed;
} FakeQueue;

/* Shared by the control process and the executors. */
typedef struct FakeShared
{
	pthread_mutex_t lock; /* rooms; commits are in version order under it */
	FakeRoom room[FAKE_ROOMS];
	FakeQueue queue[FAKE_QUEUES];
	uint64_t next_job;     /* the last that was claimed */
	bool ended[FAKE_JOBS]; /* jobs whose end somebody may wait for */
	_Atomic uint64_t made; /* such jobs */
	_Atomic uint64_t thing;
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
/* Build the answer of a route of jobs; its status, 0: it is none. */
extern uint32_t fake_jobs(PennyPlane *plane, const PennyRequest *request, FakeBuilt *built);
/* A command about jobs; false: it is none. */
extern bool fake_jobs_obey(PennyPlane *plane, const char *command, const char *name,
						   const char *rest);
/* Who this token is. */
extern void fake_viewer(PennyPlane *plane, PennySpan token, PennyViewer *viewer);

#endif /* PENNY_FAKE_GATEWAY_H */

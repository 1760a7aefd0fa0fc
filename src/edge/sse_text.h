/*-------------------------------------------------------------------------
 *
 * sse_text.h
 *		Frames as Server-Sent Events, and positions as their ids.
 *
 * An event is
 *
 *		id: <epoch>:<version>
 *		event: <type of the frame>
 *		data: <the frame>
 *
 * and an empty line.  A frame without a version has no id, so the client's
 * last one goes on to hold.  A batch becomes its frames, one event each; the
 * last has the batch's version, up to which the client has everything then.
 * Frames are JSON, so a line end can only be white space in them, and becomes
 * a space.
 *
 * Events lie in a PennyFrame as one chunk of a chunked answer (RFC 9112 7.1),
 * made once and shared by all streams of the room; penny_sse_plain() is what
 * is in the chunk.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_SSE_TEXT_H
#define PENNY_EDGE_SSE_TEXT_H

#include "edge/frame.h"

#define PENNY_SSE_EPOCH_MAX 62  /* bytes of an epoch */
#define PENNY_SSE_SINCE_MAX 128 /* bytes of penny_sse_since() */
#define PENNY_SSE_LAST_CHUNK "0\r\n\r\n"

typedef struct PennySsePosition
{
	char epoch[PENNY_SSE_EPOCH_MAX + 1];
	uint64_t version;
} PennySsePosition;

/* Read "<epoch>:<version>"; false when it is none that this server gives. */
extern bool penny_sse_read_id(PennySpan text, PennySsePosition *position);
/* {"epoch":…,"version":…} of it, in out; gives its length. */
extern size_t penny_sse_since(const PennySsePosition *position, char out[PENNY_SSE_SINCE_MAX]);
/* Read a position of that form, as an executor writes it. */
extern bool penny_sse_read_position(PennySpan json, PennySsePosition *position);

/*
 * The events of a frame of a room with that epoch, as a reference of the
 * caller's; NULL without memory.
 */
extern PennyFrame *penny_sse_events(PennyFrame *frame, const char *epoch);
/* The event of a frame that nobody shares; version: NULL: as the frame says. */
extern PennyFrame *penny_sse_event(PennySpan frame, const char *epoch, const uint64_t *version);
/* Any text as a chunk. */
extern PennyFrame *penny_sse_chunk(PennySpan text);
extern PennySpan penny_sse_plain(const PennyFrame *events);

/*
 * The value of a member of an object, or the next element of an array, as
 * written.  Only for JSON that is known to be valid; of other text something
 * in it is given, or nothing.
 */
extern bool penny_sse_member(PennySpan object, const char *name, PennySpan *value);
extern bool penny_sse_element(PennySpan *array, PennySpan *element);

#endif /* PENNY_EDGE_SSE_TEXT_H */

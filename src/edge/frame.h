/*-------------------------------------------------------------------------
 *
 * frame.h
 *		A frame that many connections share, as a WebSocket text frame, and, once
 *		an event stream wants it, as events.
 *
 * Encoded once, immutable, counted: the maker holds one reference, whoever
 * queues it takes another.  One thread, so the counter is plain.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_FRAME_H
#define PENNY_EDGE_FRAME_H

#include "plane/call.h"

typedef struct PennyFrame PennyFrame;

struct PennyFrame
{
	uint32_t refs;
	uint32_t types[4]; /* where its types are, see room_filter.c; [0] = 0: not looked for yet */
	uint32_t len;      /* bytes of head and text */
	uint32_t head_len; /* bytes of the frame's head */
	bool packing_tried;
	PennyFrame *packed; /* the same compressed, see packed.h; NULL: there is none */
	PennyFrame *events; /* the same for event streams (sse_text.h); NULL: not made */
	char bytes[];       /* head, then the text */
};

/* Make a text frame; NULL without memory. */
extern PennyFrame *penny_frame_make(PennySpan text);
/* Likewise, with that many bytes of text for the caller to fill in. */
extern PennyFrame *penny_frame_reserve(size_t len, char **text);
/* Bytes of any kind for the caller to fill in, of which a head is no text. */
extern PennyFrame *penny_frame_raw(size_t head_len, size_t len, char **bytes);
extern PennyFrame *penny_frame_ref(PennyFrame *frame);
extern void penny_frame_unref(PennyFrame *frame);
/* Frames alive, to see that none is left behind. */
extern uint64_t penny_frames_alive(void);

/* What goes to the socket. */
static inline PennySpan
penny_frame_wire(const PennyFrame *frame)
{
	return (PennySpan){frame->bytes, frame->len};
}

/* The text alone, as for a batch. */
static inline PennySpan
penny_frame_text(const PennyFrame *frame)
{
	return (PennySpan){frame->bytes + frame->head_len, frame->len - frame->head_len};
}

#endif /* PENNY_EDGE_FRAME_H */

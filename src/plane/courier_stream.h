/*-------------------------------------------------------------------------
 *
 * courier_stream.h
 *		One end of the socket between a worker and penny-courier: frames out of
 *		bytes, and bytes out of frames, without ever waiting.
 *
 * Memory is malloc's on both sides.  What is read is at most one frame and what
 * came with it; what waits to be written has no limit here: who pushes counts.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_PLANE_COURIER_STREAM_H
#define PENNY_PLANE_COURIER_STREAM_H

#include "plane/courier.h"

typedef struct PennyCourierStream
{
	int fd;
	bool ended;  /* the other side is gone */
	bool broken; /* it sent what is no frame, or memory is short */
	char *in;
	size_t in_start; /* taken already */
	size_t in_end;
	size_t in_size;
	char *out;
	size_t out_start; /* sent already */
	size_t out_end;
	size_t out_size;
} PennyCourierStream;

typedef struct PennyCourierFrame
{
	PennyCourierKind kind;
	uint64_t ticket;
	const char *payload; /* until the next call of a function of this stream */
	size_t len;
} PennyCourierFrame;

/* Takes the descriptor, which must not block. */
extern void penny_courier_stream_init(PennyCourierStream *stream, int fd);
extern void penny_courier_stream_close(PennyCourierStream *stream);

/* Read what is there, in bounds; then take frames until there is none. */
extern void penny_courier_stream_fill(PennyCourierStream *stream);
extern bool penny_courier_stream_next(PennyCourierStream *stream, PennyCourierFrame *frame);

/* Room for the payload of one more frame; NULL when memory is short. */
extern char *penny_courier_stream_push(PennyCourierStream *stream, PennyCourierKind kind,
									   uint64_t ticket, size_t len);
/* Write what goes. */
extern void penny_courier_stream_flush(PennyCourierStream *stream);
/* Bytes that wait to be written. */
extern size_t penny_courier_stream_waiting(const PennyCourierStream *stream);

#endif /* PENNY_PLANE_COURIER_STREAM_H */

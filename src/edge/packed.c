/*-------------------------------------------------------------------------
 *
 * packed.c
 *		Messages compressed by permessage-deflate (RFC 7692).
 *
 * Neither side keeps a context, so a frame is packed once, whatever the number
 * of its readers, and lies beside the plain one as long as that lives.  Short
 * frames, those that do not get smaller, and those that come when the loop has
 * spent its time for compressing (compress.h), go as they are.  No distance in a
 * packed message is larger than the message; so a client with a small window
 * gets packed what fits into it, and the rest plain.
 *
 * What a client packed is unpacked when it is whole, into one buffer that all
 * share: at most as much as a message may have, and at most RATIO times what
 * came, beyond a few kB.  So a bomb costs what it may hold, and nothing is held
 * for a client between its messages.
 *
 *-------------------------------------------------------------------------
 */
#include "edge/packed.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "edge/compress.h"
#include "edge/websocket_frame.h"

#define PACK_MIN 192           /* bytes of a text; packing shorter ones saves no packet */
#define RATIO 100              /* times what came that may come out, ... */
#define RATIO_FREE (16 * 1024) /* ... or this much */
#define KEEP (64 * 1024)       /* bytes of the shared buffer that stay */

static char *unpacked;
static size_t unpacked_size;

static uint64_t
clock_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t) now.tv_sec * 1000000 + (uint64_t) now.tv_nsec / 1000;
}

/* Make the packed form; NULL: there is none. */
static PennyFrame *
pack(const PennyFrame *frame)
{
	PennySpan text = penny_frame_text(frame);
	uint64_t from = clock_us();
	size_t len = 0;
	PennyFrame *packed;
	char *out;

	if (text.len < PACK_MIN || text.len > penny_compress_max(PENNY_EFFORT_ONCE) ||
		!penny_compress_may(from))
		return NULL;
	out = malloc(text.len);
	if (out != NULL)
		len = penny_deflate(text, out, text.len);
	packed = len > 0 ? penny_frame_make((PennySpan){out, len}) : NULL;
	free(out);
	penny_compress_took(from, clock_us());
	if (packed != NULL)
		packed->bytes[0] = (char) (packed->bytes[0] | PENNY_WEBSOCKET_PACKED);
	return packed;
}

PennyFrame *
penny_packed(PennyFrame *frame, int window_bits)
{
	if (window_bits < 15 && penny_frame_text(frame).len > (size_t) 1 << window_bits)
		return frame;
	if (!frame->packing_tried)
	{
		frame->packing_tried = true;
		frame->packed = pack(frame);
	}
	return frame->packed != NULL ? frame->packed : frame;
}

PennyUnpack
penny_unpack(PennySpan payload, size_t limit, PennySpan *text)
{
	size_t most = payload.len * RATIO > RATIO_FREE ? payload.len * RATIO : RATIO_FREE;
	size_t len;

	if (most > limit)
		most = limit;
	if (unpacked_size > KEEP)
	{
		free(unpacked);
		unpacked = NULL;
		unpacked_size = 0;
	}
	switch (penny_inflate(payload, most, &unpacked, &unpacked_size, &len))
	{
		case PENNY_INFLATED:
			*text = (PennySpan){unpacked != NULL ? unpacked : "", len};
			return PENNY_UNPACKED;
		case PENNY_INFLATE_LARGE:
			return PENNY_UNPACK_LARGE;
		case PENNY_INFLATE_BAD:
			break;
	}
	return PENNY_UNPACK_BAD;
}

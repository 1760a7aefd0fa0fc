/*-------------------------------------------------------------------------
 *
 * frame.c
 *		A frame that many connections share.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "edge/frame.h"
#include "edge/websocket_frame.h"

static uint64_t alive;

PennyFrame *
penny_frame_raw(size_t head_len, size_t len, char **bytes)
{
	PennyFrame *frame = len <= UINT32_MAX ? malloc(sizeof(PennyFrame) + len) : NULL;

	if (frame == NULL)
		return NULL;
	frame->refs = 1;
	frame->types[0] = 0;
	frame->packing_tried = false;
	frame->packed = NULL;
	frame->head_len = (uint32_t) head_len;
	frame->len = (uint32_t) len;
	frame->events = NULL;
	*bytes = frame->bytes;
	alive++;
	return frame;
}

PennyFrame *
penny_frame_reserve(size_t len, char **text)
{
	uint8_t head[PENNY_WEBSOCKET_HEAD_MAX];
	size_t head_len = penny_websocket_head(head, PENNY_WEBSOCKET_TEXT, len);
	PennyFrame *frame = penny_frame_raw(head_len, head_len + len, text);

	if (frame == NULL)
		return NULL;
	memcpy(*text, head, head_len);
	*text += head_len;
	return frame;
}

PennyFrame *
penny_frame_make(PennySpan text)
{
	char *copy;
	PennyFrame *frame = penny_frame_reserve(text.len, &copy);

	if (frame != NULL && text.len > 0)
		memcpy(copy, text.data, text.len);
	return frame;
}

PennyFrame *
penny_frame_ref(PennyFrame *frame)
{
	frame->refs++;
	return frame;
}

void
penny_frame_unref(PennyFrame *frame)
{
	if (frame == NULL || --frame->refs > 0)
		return;
	penny_frame_unref(frame->events);
	alive--;
	penny_frame_unref(frame->packed);
	free(frame);
}

uint64_t
penny_frames_alive(void)
{
	return alive;
}

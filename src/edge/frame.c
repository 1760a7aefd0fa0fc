/*-------------------------------------------------------------------------
 *
 * frame.c
 *		A WebSocket text frame that many connections share.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "edge/frame.h"
#include "edge/websocket_frame.h"

static uint64_t alive;

PennyFrame *
penny_frame_make(PennySpan text)
{
	uint8_t head[PENNY_WEBSOCKET_HEAD_MAX];
	size_t head_len = penny_websocket_head(head, PENNY_WEBSOCKET_TEXT, text.len);
	PennyFrame *frame;

	if (text.len > UINT32_MAX - PENNY_WEBSOCKET_HEAD_MAX)
		return NULL;
	frame = malloc(sizeof(PennyFrame) + head_len + text.len);
	if (frame == NULL)
		return NULL;
	frame->refs = 1;
	frame->head_len = (uint32_t) head_len;
	frame->len = (uint32_t) (head_len + text.len);
	memcpy(frame->bytes, head, head_len);
	if (text.len > 0)
		memcpy(frame->bytes + head_len, text.data, text.len);
	alive++;
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
	alive--;
	free(frame);
}

uint64_t
penny_frames_alive(void)
{
	return alive;
}

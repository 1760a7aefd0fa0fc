/*-------------------------------------------------------------------------
 *
 * sse_follow.c
 *		When has the answer to a message ended?
 *
 * Pure.  Frames of a room come in the order of versions, so the first message
 * that follows is the answer.  Each is looked at once, when it goes out.
 *
 *-------------------------------------------------------------------------
 */
#include "edge/sse_follow.h"

#include <string.h>

#include "edge/json_span.h"
#include "edge/sse_text.h"

void
penny_follow_begin(PennyFollow *follow, uint64_t seq, PennySpan id)
{
	memset(follow, 0, sizeof(*follow));
	follow->seq = seq;
	if (id.len > 0 && id.len <= PENNY_FOLLOW_ID_MAX)
	{
		memcpy(follow->id, id.data, id.len);
		follow->id_len = (uint32_t) id.len;
	}
}

static bool
member_is(PennySpan object, const char *name, const char *text)
{
	PennySpan value;

	return penny_sse_member(object, name, &value) && value.len == strlen(text) + 2 &&
		   value.data[0] == '"' && memcmp(value.data + 1, text, value.len - 2) == 0;
}

/* Is it the answer's id? */
static bool
is_answer(const PennyFollow *follow, PennySpan object)
{
	PennySpan id;

	return follow->id_len > 0 && penny_sse_member(object, "id", &id) && id.len == follow->id_len &&
		   memcmp(id.data, follow->id, id.len) == 0;
}

/* May this message be the answer? */
static bool
may_answer(const PennyFollow *follow, PennySpan message)
{
	PennySpan value;
	int64_t seq;

	return follow->id_len == 0 && penny_sse_member(message, "role", &value) &&
		   !member_is(message, "role", "user") && penny_sse_member(message, "seq", &value) &&
		   penny_json_integer(value, &seq) && (uint64_t) seq > follow->seq &&
		   penny_sse_member(message, "id", &value) && value.len <= PENNY_FOLLOW_ID_MAX;
}

/* A message as it is now. */
static bool
look_at_message(PennyFollow *follow, PennySpan message)
{
	PennySpan id;

	if (may_answer(follow, message) && penny_sse_member(message, "id", &id))
		penny_follow_begin(follow, follow->seq, id);
	return is_answer(follow, message) && !member_is(message, "status", "streaming") &&
		   !member_is(message, "status", "pending");
}

bool
penny_follow_look(PennyFollow *follow, PennySpan frame)
{
	PennySpan value, message;

	if (member_is(frame, "type", "message") && penny_sse_member(frame, "message", &message))
		return look_at_message(follow, message);
	/* without a version anybody may have published it */
	if (!member_is(frame, "type", "event") || !penny_sse_member(frame, "version", &value) ||
		!penny_sse_member(frame, "event", &value))
		return false;
	if (member_is(value, "type", "message.updated") && penny_sse_member(value, "message", &message))
		return look_at_message(follow, message);
	return member_is(value, "type", "message.deleted") && is_answer(follow, value);
}

/*-------------------------------------------------------------------------
 *
 * room_frames.c
 *		Frames that the rooms make themselves: batches, and what a member must
 *		know about its place.
 *
 *	{"type":"batch","room":R,"version":N,"messages":[…]}
 *		what gathered in a window; N (left out when nothing had a version): now
 *		it has everything up to N
 *	{"type":"position","room":R,"version":N}
 *		likewise, when there was nothing to tell
 *	{"type":"conflated","room":R,"from":N,"to":M}
 *		it was too slow: of what changed between N and M only the newest state
 *		of each row follows
 *	{"type":"event","room":R,"event":{"type":"missed"}}
 *		frames without a version were missed
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <string.h>

#include "edge/json_span.h"
#include "edge/rooms_private.h"

#define ROOM_MAX (6 * PENNY_ROOM_NAME_MAX + 3) /* a name as a JSON string, and NUL */
#define HEAD_MAX (ROOM_MAX + 128)

/* The name as a JSON string. */
static const char *
quoted(const PennyRoom *room, char text[ROOM_MAX])
{
	text[penny_json_quote(room_name(room), text, ROOM_MAX - 1)] = '\0';
	return text;
}

PennyFrame *
penny_room_make_missed(const PennyRoom *room)
{
	char name[ROOM_MAX];
	char text[HEAD_MAX];
	int len = snprintf(text, sizeof(text),
					   "{\"type\":\"event\",\"room\":%s,\"event\":{\"type\":\"missed\"}}",
					   quoted(room, name));

	return penny_frame_make((PennySpan){text, (size_t) len});
}

PennyFrame *
penny_room_make_position(const PennyRoom *room, uint64_t version)
{
	char name[ROOM_MAX];
	char text[HEAD_MAX];
	int len = snprintf(text, sizeof(text), "{\"type\":\"position\",\"room\":%s,\"version\":%llu}",
					   quoted(room, name), (unsigned long long) version);

	return penny_frame_make((PennySpan){text, (size_t) len});
}

PennyFrame *
penny_room_make_conflated(const PennyRoom *room, uint64_t from, uint64_t to)
{
	char name[ROOM_MAX];
	char text[HEAD_MAX];
	int len = snprintf(text, sizeof(text),
					   "{\"type\":\"conflated\",\"room\":%s,\"from\":%llu,\"to\":%llu}",
					   quoted(room, name), (unsigned long long) from, (unsigned long long) to);

	return penny_frame_make((PennySpan){text, (size_t) len});
}

/* Everything but what one member has sent itself; NULL without memory. */
PennyFrame *
penny_room_make_batch(const PennyRoom *room, const Item *items, uint64_t except, uint64_t version)
{
	char name[ROOM_MAX];
	char head[HEAD_MAX];
	PennyFrame *batch;
	size_t len;
	char *text;

	if (version > 0)
		len = (size_t) snprintf(head, sizeof(head),
								"{\"type\":\"batch\",\"room\":%s,\"version\":%llu,\"messages\":[",
								quoted(room, name), (unsigned long long) version);
	else
		len =
			(size_t) snprintf(head, sizeof(head), "{\"type\":\"batch\",\"room\":%s,\"messages\":[",
							  quoted(room, name));
	for (const Item *item = items; item != NULL; item = item->next)
	{
		if (except == 0 || item->except != except)
			len += penny_frame_text(item->frame).len + 1;
	}
	len += 1; /* the last comma is none, and "]}" follows */
	batch = penny_frame_reserve(len, &text);
	if (batch == NULL)
		return NULL;
	text = stpcpy(text, head);
	for (const Item *item = items; item != NULL; item = item->next)
	{
		PennySpan span = penny_frame_text(item->frame);

		if (except != 0 && item->except == except)
			continue;
		text = mempcpy(text, span.data, span.len);
		*text++ = ',';
	}
	memcpy(text[-1] == ',' ? text - 1 : text, "]}", 2);
	return batch;
}

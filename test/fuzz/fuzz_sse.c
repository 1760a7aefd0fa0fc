/*-------------------------------------------------------------------------
 *
 * fuzz_sse.c
 *		Last-Event-ID as any client sends it, and any text as a frame: nothing
 *		leaves the text, what is read is written as it was, and whatever the
 *		frame is, a reader of the stream finds fields, in order, and no others.
 *
 *-------------------------------------------------------------------------
 */
#include "fuzz.h"

#include "edge/json_span.h"
#include "edge/sse_follow.h"
#include "edge/sse_text.h"

static void
check_id(PennySpan text)
{
	PennySsePosition position, again;
	char written[PENNY_SSE_EPOCH_MAX + 32];
	char since[PENNY_SSE_SINCE_MAX];
	size_t len, where;

	if (!penny_sse_read_id(text, &position))
		return;
	len = (size_t) snprintf(written, sizeof(written), "%s:%llu", position.epoch,
							(unsigned long long) position.version);
	MUST(len == text.len && memcmp(written, text.data, len) == 0);
	len = penny_sse_since(&position, since);
	MUST(len < sizeof(since) && penny_json_valid((PennySpan){since, len}, &where) == NULL);
	MUST(penny_sse_read_position((PennySpan){since, len}, &again));
	MUST(strcmp(again.epoch, position.epoch) == 0 && again.version == position.version);
}

/* Is there such a field at the start?  Take its line. */
static bool
take_field(PennySpan *rest, const char *name)
{
	const char *end = memchr(rest->data, '\n', rest->len);
	size_t name_len = strlen(name);

	MUST(end != NULL);
	if (rest->len < name_len || memcmp(rest->data, name, name_len) != 0)
		return false;
	rest->len -= (size_t) (end - rest->data) + 1;
	rest->data = end + 1;
	return true;
}

/* Events of one frame; how many. */
static int
check_events(PennySpan plain)
{
	int n = 0;

	MUST(memchr(plain.data, '\r', plain.len) == NULL);
	while (plain.len > 0)
	{
		take_field(&plain, "id: e:");
		MUST(take_field(&plain, "event: "));
		MUST(take_field(&plain, "data: "));
		MUST(take_field(&plain, "\n"));
		n++;
	}
	return n;
}

/* A member that is found is that of the scanner that checks. */
static void
check_members(PennySpan text)
{
	PennyJsonMember member[2] = {{.name = "type"}, {.name = "version"}};
	PennySpan value;
	size_t where;

	for (int i = 0; i < 2; i++)
	{
		bool found = penny_sse_member(text, member[i].name, &value);

		MUST(!found || (value.data >= text.data && value.data + value.len <= text.data + text.len));
	}
	if (penny_json_object(text, member, 2, &where) != NULL ||
		memchr(text.data, '\\', text.len) != NULL)
		return;
	for (int i = 0; i < 2; i++)
	{
		bool found = penny_sse_member(text, member[i].name, &value);

		MUST(found == (member[i].kind != PENNY_JSON_ABSENT));
		MUST(!found || (value.data == member[i].raw.data && value.len == member[i].raw.len));
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *copy = malloc(size > 0 ? size : 1);
	PennySpan text = {copy, size};
	PennyFollow follow;
	PennyFrame *frame;
	PennyFrame *events;

	if (size > 0)
		memcpy(copy, data, size);
	check_id(text);
	check_members(text);
	frame = penny_frame_make(text);
	events = penny_sse_events(frame, "e");
	MUST(events != NULL);
	check_events(penny_sse_plain(events));
	penny_frame_unref(events);
	penny_frame_unref(frame);
	penny_follow_begin(&follow, 1, (PennySpan){"\"a\"", size % 2 == 0 ? 3 : 0});
	penny_follow_look(&follow, text);
	MUST(follow.id_len <= PENNY_FOLLOW_ID_MAX && penny_frames_alive() == 0);
	free(copy);
	return 0;
}

/*-------------------------------------------------------------------------
 *
 * sse.c
 *		Frames as Server-Sent Events, ids, and when an answer has ended.
 *
 *-------------------------------------------------------------------------
 */
#include "unit.h"

#include "edge/sse_follow.h"
#include "edge/sse_text.h"

static PennySpan
span(const char *text)
{
	return (PennySpan){text, strlen(text)};
}

TEST(ids)
{
	static const char *const bad[] = {"",
									  ":",
									  "e",
									  "e:",
									  ":1",
									  "e:x",
									  "e:-1",
									  "e:+1",
									  "e:1 ",
									  " e:1",
									  "e:01",
									  "e:1:2",
									  "e f:1",
									  "e\":1",
									  "e:9223372036854775808",
									  "e:99999999999999999999",
									  "\xc3\xa9:1",
									  "e:1\n"};
	char longest[80];
	PennySsePosition position;

	CHECK(penny_sse_read_id(span("e0:0"), &position) && strcmp(position.epoch, "e0") == 0 &&
		  position.version == 0);
	CHECK(penny_sse_read_id(span("A.b_c-9:9223372036854775807"), &position) &&
		  strcmp(position.epoch, "A.b_c-9") == 0 && position.version == INT64_MAX);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK_ROW(!penny_sse_read_id(span(bad[i]), &position), bad[i]);
	memset(longest, 'e', sizeof(longest));
	memcpy(longest + PENNY_SSE_EPOCH_MAX, ":1", 2);
	CHECK(penny_sse_read_id((PennySpan){longest, PENNY_SSE_EPOCH_MAX + 2}, &position));
	memcpy(longest + PENNY_SSE_EPOCH_MAX, "e:1", 3);
	CHECK(!penny_sse_read_id((PennySpan){longest, PENNY_SSE_EPOCH_MAX + 3}, &position));
}

TEST(positions)
{
	PennySsePosition position;
	char since[PENNY_SSE_SINCE_MAX];
	size_t len;

	CHECK(penny_sse_read_position(span("{\"epoch\": \"e7\", \"version\": 12}"), &position));
	len = penny_sse_since(&position, since);
	CHECK(len == strlen("{\"epoch\":\"e7\",\"version\":12}") &&
		  memcmp(since, "{\"epoch\":\"e7\",\"version\":12}", len) == 0);
	CHECK(!penny_sse_read_position(span("{\"epoch\":\"e\\\"7\",\"version\":12}"), &position));
	CHECK(!penny_sse_read_position(span("{\"epoch\":\"\",\"version\":12}"), &position));
	CHECK(!penny_sse_read_position(span("{\"epoch\":\"e\",\"version\":-1}"), &position));
	CHECK(!penny_sse_read_position(span("{\"epoch\":\"e\"}"), &position));
	CHECK(!penny_sse_read_position(span("[]"), &position));
}

/* Does a frame become this text, in one chunk? */
static bool
becomes(const char *frame, const char *wanted)
{
	PennyFrame *made = penny_frame_make(span(frame));
	PennyFrame *events = penny_sse_events(made, "e0");
	PennyFrame *again = penny_sse_events(made, "e0");
	PennySpan plain = penny_sse_plain(events);
	char head[20];
	int head_len = snprintf(head, sizeof(head), "%zx\r\n", strlen(wanted));
	bool same = plain.len == strlen(wanted) && memcmp(plain.data, wanted, plain.len) == 0 &&
				(int) events->head_len == head_len &&
				memcmp(events->bytes, head, (size_t) head_len) == 0 &&
				memcmp(plain.data + plain.len, "\r\n", 2) == 0 &&
				events->len == (size_t) head_len + plain.len + 2 && again == events;

	if (!same)
		printf("# got: %.*s\n", (int) events->len, events->bytes);
	penny_frame_unref(again);
	penny_frame_unref(events);
	penny_frame_unref(made);
	return same;
}

TEST(events)
{
	CHECK(becomes("{\"type\":\"message\",\"version\":3,\"message\":{\"version\":9}}",
				  "id: e0:3\nevent: message\n"
				  "data: {\"type\":\"message\",\"version\":3,\"message\":{\"version\":9}}\n\n"));
	CHECK(
		becomes("{\"type\":\"event\",\"event\":{\"version\":9,\"type\":\"x\"}}",
				"event: event\ndata: {\"type\":\"event\",\"event\":{\"version\":9,\"type\":\"x\"}}"
				"\n\n"));
	/* white space may be line ends; text never holds one */
	CHECK(becomes("{\"a\":[1,\r\n 2,\n\"\\n\"],\"type\" : \"t\" , \"version\" :7}",
				  "id: e0:7\nevent: t\n"
				  "data: {\"a\":[1,   2, \"\\n\"],\"type\" : \"t\" , \"version\" :7}\n\n"));
	/* what cannot stand in a line, or is no version, is left out */
	CHECK(becomes("{\"type\":\"a\\nid: 1\",\"version\":\"5\"}",
				  "event: message\ndata: {\"type\":\"a\\nid: 1\",\"version\":\"5\"}\n\n"));
	CHECK(becomes("{\"version\":1.5}", "event: message\ndata: {\"version\":1.5}\n\n"));
	CHECK(becomes("{\"x\":\"\\\"type\\\":1,\\\\\",\"type\":\"y\"}",
				  "event: y\ndata: {\"x\":\"\\\"type\\\":1,\\\\\",\"type\":\"y\"}\n\n"));
	CHECK(penny_frames_alive() == 0);
}

TEST(batches)
{
	CHECK(becomes("{\"type\":\"batch\",\"room\":\"r\",\"version\":9,\"messages\":["
				  "{\"type\":\"message\",\"version\":7,\"m\":[\"]\",{}]},{\"type\":\"stream\"},"
				  "{\"type\":\"message\",\"version\":8}]}",
				  "id: e0:7\nevent: message\n"
				  "data: {\"type\":\"message\",\"version\":7,\"m\":[\"]\",{}]}\n\n"
				  "event: stream\ndata: {\"type\":\"stream\"}\n\n"
				  "id: e0:9\nevent: message\ndata: {\"type\":\"message\",\"version\":8}\n\n"));
	CHECK(becomes("{\"type\":\"batch\",\"messages\":[{\"type\":\"a\"},{\"type\":\"b\"}]}",
				  "event: a\ndata: {\"type\":\"a\"}\n\nevent: b\ndata: {\"type\":\"b\"}\n\n"));
	CHECK(becomes("{\"type\":\"batch\",\"messages\":[]}",
				  "event: batch\ndata: {\"type\":\"batch\",\"messages\":[]}\n\n"));
	CHECK(penny_frames_alive() == 0);
}

TEST(an_event_of_ones_own)
{
	uint64_t version = 4;
	PennyFrame *events = penny_sse_event(span("{\"type\":\"joined\"}"), "e1", &version);
	PennySpan plain = penny_sse_plain(events);
	const char *wanted = "id: e1:4\nevent: joined\ndata: {\"type\":\"joined\"}\n\n";

	CHECK(plain.len == strlen(wanted) && memcmp(plain.data, wanted, plain.len) == 0);
	penny_frame_unref(events);
}

#define MESSAGE(id, seq, role, status)                                                \
	"{\"type\":\"message\",\"version\":9,\"message\":{\"id\":\"" id "\",\"seq\":" seq \
	",\"role\":\"" role "\",\"parts\":[{\"role\":\"user\"}],\"status\":\"" status "\"}}"
#define UPDATED(id, seq, role, status)                                                        \
	"{\"type\":\"event\",\"version\":9,\"event\":{\"type\":\"message.updated\",\"message\":{" \
	"\"id\":\"" id "\",\"seq\":" seq ",\"role\":\"" role "\",\"status\":\"" status "\"}}}"
#define DELETED(id)                                                                                \
	"{\"type\":\"event\",\"version\":9,\"event\":{\"type\":\"message.deleted\",\"id\":\"" id "\"}" \
	"}"

/* After which of these frames has the answer ended?  0: after none. */
static int
ends_after(PennySpan id, const char *const *frames, int n)
{
	PennyFollow follow;

	penny_follow_begin(&follow, 5, id);
	for (int i = 0; i < n; i++)
	{
		if (penny_follow_look(&follow, span(frames[i])))
			return i + 1;
	}
	return 0;
}

#define ENDS(id, ...)                                        \
	ends_after(span(id), (const char *const[]){__VA_ARGS__}, \
			   (int) (sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)))

TEST(following)
{
	CHECK(ENDS("", MESSAGE("a", "6", "assistant", "completed")) == 1);
	CHECK(ENDS("", MESSAGE("a", "6", "user", "completed")) == 0);
	CHECK(ENDS("", MESSAGE("a", "5", "assistant", "completed")) == 0);
	CHECK(ENDS("", UPDATED("a", "4", "assistant", "completed"),
			   MESSAGE("b", "7", "tool", "failed")) == 2);
	CHECK(ENDS("", MESSAGE("a", "6", "assistant", "streaming"),
			   MESSAGE("b", "7", "assistant", "completed"),
			   UPDATED("a", "6", "assistant", "streaming"),
			   UPDATED("a", "6", "assistant", "completed")) == 4);
	CHECK(ENDS("", MESSAGE("a", "6", "assistant", "pending"),
			   UPDATED("a", "6", "assistant", "interrupted")) == 2);
	CHECK(ENDS("", MESSAGE("a", "6", "assistant", "streaming"), DELETED("b"), DELETED("a")) == 3);
	/* the first that is seen of it may be a change */
	CHECK(ENDS("", UPDATED("a", "6", "assistant", "cancelled")) == 1);
	/* named: whatever comes before */
	CHECK(ENDS("\"b\"", MESSAGE("a", "6", "assistant", "completed"),
			   MESSAGE("b", "8", "assistant", "completed")) == 2);
	/* anybody may publish what has no version */
	CHECK(ENDS("",
			   "{\"type\":\"event\",\"event\":{\"type\":\"message.updated\",\"message\":{"
			   "\"id\":\"a\",\"seq\":6,\"role\":\"assistant\",\"status\":\"completed\"}}}") == 0);
	CHECK(ENDS("\"a\"", "{\"type\":\"stream\",\"id\":\"a\"}", "{}", "[]", "7",
			   "{\"type\":\"message\",\"message\":7}") == 0);
}

int
main(void)
{
	RUN(ids);
	RUN(positions);
	RUN(events);
	RUN(batches);
	RUN(an_event_of_ones_own);
	RUN(following);
	return unit_done();
}

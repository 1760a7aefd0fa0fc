/*-------------------------------------------------------------------------
 *
 * token_memory.c
 *		Who a token is, how long that is remembered, and how much.
 *
 *-------------------------------------------------------------------------
 */
#include "unit.h"

#include "edge/token_memory.h"
#include "plane/route.h"

static const PennyPlaneConfig small = {.edges = 1,
									   .executors = 1,
									   .slots = 1,
									   .request_size = 1024,
									   .response_size = 1024,
									   .events = 16,
									   .event_bytes = 4096,
									   .cache_stamps = 1024,
									   .cache_entries = 1024,
									   .cache_chunks = 1024,
									   .cache_max_object = 65536};

static PennySpan
span(const char *text)
{
	return (PennySpan){text, strlen(text)};
}

/* A viewer that nothing ends yet. */
static PennyViewer
viewer(uint32_t access)
{
	PennyViewer made;

	memset(&made, 0, sizeof(made));
	made.known = 1;
	made.access = access;
	made.id_hash = 7;
	made.keys_stamp = atomic_load(&penny_edge.plane.p->keys_stamp);
	made.all_seq = penny_stamp_seq(&penny_edge.plane, PENNY_STAMP_ALL);
	made.stamp_slot = PENNY_STAMP_NONE;
	return made;
}

static bool
known(const char *token)
{
	return penny_token_viewer(span(token)) != NULL;
}

static bool
finished(uint64_t xid)
{
	(void) xid;
	return true;
}

TEST(remembering)
{
	PennyViewer agent = viewer(PENNY_ACCESS_AGENT);
	PennyViewer nobody = viewer(PENNY_ACCESS_USER);
	PennyViewer wrong = viewer(PENNY_ACCESSES);
	PennyViewer astray = viewer(PENNY_ACCESS_USER);
	char *longest = malloc(PENNY_TOKEN_REMEMBERED_MAX + 1);

	CHECK(!known("a"));
	penny_token_remember(span("a"), &agent);
	CHECK(known("a") && penny_token_viewer(span("a"))->access == PENNY_ACCESS_AGENT);
	CHECK(!known("b") && !known("ab") && !known(""));
	penny_token_remember(span(""), &agent);
	CHECK(!known(""));
	nobody.known = 0;
	penny_token_remember(span("n"), &nobody);
	penny_token_remember(span("w"), &wrong);
	astray.stamp_slot = small.cache_stamps;
	penny_token_remember(span("s"), &astray);
	CHECK(!known("n") && !known("w") && !known("s"));
	memset(longest, 'x', PENNY_TOKEN_REMEMBERED_MAX + 1);
	penny_token_remember((PennySpan){longest, PENNY_TOKEN_REMEMBERED_MAX + 1}, &agent);
	CHECK(penny_token_viewer((PennySpan){longest, PENNY_TOKEN_REMEMBERED_MAX + 1}) == NULL);
	penny_token_remember((PennySpan){longest, PENNY_TOKEN_REMEMBERED_MAX}, &agent);
	CHECK(penny_token_viewer((PennySpan){longest, PENNY_TOKEN_REMEMBERED_MAX}) != NULL);
	/* what is said last holds */
	agent.access = PENNY_ACCESS_USER;
	penny_token_remember(span("a"), &agent);
	CHECK(penny_token_viewer(span("a"))->access == PENNY_ACCESS_USER);
	free(longest);
}

TEST(time_ends_it)
{
	PennyViewer short_lived = viewer(PENNY_ACCESS_USER);

	penny_edge.wall = 1000;
	short_lived.until = 1010;
	penny_token_remember(span("t"), &short_lived);
	penny_edge.wall = 1009;
	CHECK(known("t"));
	penny_edge.wall = 1010;
	CHECK(!known("t"));
	penny_edge.wall = 1009;
	CHECK(!known("t")); /* it is gone */
	penny_edge.wall = 1011;
	penny_token_remember(span("t"), &short_lived);
	penny_edge.wall = 0;
	CHECK(!known("t"));
}

TEST(keys_end_it)
{
	PennyViewer old = viewer(PENNY_ACCESS_USER);

	penny_token_remember(span("k"), &old);
	CHECK(known("k"));
	atomic_fetch_add(&penny_edge.plane.p->keys_stamp, 1);
	CHECK(!known("k"));
	/* who was verified before the keys changed, and is told of after it */
	penny_token_remember(span("k"), &old);
	CHECK(!known("k"));
}

TEST(stamps_end_it)
{
	PennyViewer session = viewer(PENNY_ACCESS_USER);
	PennyViewer other = viewer(PENNY_ACCESS_USER);

	session.stamp_slot = penny_stamp_slot(&penny_edge.plane, "session:ab", 10);
	session.stamp_seq = penny_stamp_seq(&penny_edge.plane, session.stamp_slot);
	penny_token_remember(span("s"), &session);
	penny_token_remember(span("o"), &other);
	CHECK(known("s") && known("o"));
	penny_stamp_push(&penny_edge.plane, session.stamp_slot, 0, finished);
	CHECK(!known("s") && known("o"));
	penny_stamp_push(&penny_edge.plane, PENNY_STAMP_ALL, 0, finished);
	CHECK(!known("o"));
}

TEST(bounds)
{
	PennyViewer someone = viewer(PENNY_ACCESS_USER);
	char *token = malloc(PENNY_TOKEN_REMEMBERED_MAX);

	penny_token_remember(span("hot"), &someone);
	for (int i = 0; i < 3 * PENNY_TOKENS_MAX; i++)
	{
		char text[32];

		snprintf(text, sizeof(text), "token-%d", i);
		penny_token_remember(span(text), &someone);
		CHECK(known("hot") && (i % 64 != 0 || known(text)));
	}
	CHECK(penny_tokens_count() <= PENNY_TOKENS_MAX);
	memset(token, 'y', PENNY_TOKEN_REMEMBERED_MAX);
	for (int i = 0; i < 10000; i++)
	{
		memcpy(token, &i, sizeof(i));
		penny_token_remember((PennySpan){token, PENNY_TOKEN_REMEMBERED_MAX}, &someone);
		CHECK(known("hot"));
	}
	CHECK(penny_tokens_bytes() <= PENNY_TOKENS_BYTES);
	CHECK(penny_tokens_count() > 1000);
	free(token);
}

int
main(void)
{
	const char *failed = penny_plane_create(&penny_edge.plane, &small);

	if (failed != NULL)
	{
		printf("Bail out! %s\n", failed);
		return 1;
	}
	RUN(remembering);
	RUN(time_ends_it);
	RUN(keys_end_it);
	RUN(stamps_end_it);
	RUN(bounds);
	return unit_done();
}

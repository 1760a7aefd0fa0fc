/*-------------------------------------------------------------------------
 *
 * cache.c
 *		Entries and bodies of the plane's cache: found, stale, expired, shared,
 *		evicted and restored, replaced, cleared, seen half-way.
 *
 *-------------------------------------------------------------------------
 */
#include <signal.h>
#include <sys/mman.h>

#include "cache_plane.h"

TEST(hit)
{
	PennyCacheToken token[2] = {{3, 0}, {PENNY_STAMP_NONE, 77}};
	PennyCachePut put;
	PennyCacheHit hit;
	PennyCacheKey hash;

	start();
	CHECK(find("a", &hit) == PENNY_CACHE_MISS);
	token[0].seq = penny_stamp_seq(&pg, 3);
	put = a_put(key_of("a"), span("{\"a\":1}"));
	put.kind = PENNY_CACHE_CONVERSATION;
	put.head = span("x: y\n");
	put.etag = "\"0123456789abcdef\"";
	put.tokens = 2;
	put.token = token;
	CHECK(penny_cache_put(&pg, &put) == PENNY_CACHE_KEPT);
	CHECK(find("a", &hit) == PENNY_CACHE_HIT);
	CHECK(hit.kind == PENNY_CACHE_CONVERSATION && hit.status == 200 && hit.head_len == 5 &&
		  hit.body_len == 7 && hit.created == NOW && hit.expires == NOW + TTL);
	CHECK(memcmp(hit.etag, put.etag, 18) == 0 && strcmp(hit.label, "label") == 0);
	CHECK(hit.tokens == 2 && hit.token[0].slot == 3 && hit.token[1].slot == PENNY_STAMP_NONE);
	penny_cache_hash(&pg, 200, put.head, put.body, &hash);
	CHECK(memcmp(&hash, &hit.hash, sizeof(hash)) == 0);
	CHECK(penny_cache_copy(&pg, &hit, out) && memcmp(out, "x: y\n{\"a\":1}", 12) == 0);
	CHECK(penny_cache_holds(&pg, &hit));
	CHECK(find("b", &hit) == PENNY_CACHE_MISS);
	stop();
}

TEST(stale_and_expired)
{
	PennyCacheToken token = {9, 0};
	PennyCachePut put;
	PennyCacheHit hit;
	PennyCacheKey key;

	start();
	token.seq = penny_stamp_seq(&pg, 9);
	key = key_of("a");
	put = a_put(key, span("old"));
	put.tokens = 1;
	put.token = &token;
	penny_cache_put(&pg, &put);
	CHECK(penny_cache_find(&pg, &key, NOW + TTL - 1, &hit) == PENNY_CACHE_HIT);
	CHECK(penny_cache_find(&pg, &key, NOW + TTL, &hit) == PENNY_CACHE_EXPIRED);
	CHECK(find("a", &hit) == PENNY_CACHE_HIT);
	penny_stamp_push(&pg, 8, 0, all_finished);
	CHECK(penny_cache_holds(&pg, &hit) && there("a", "old"));
	penny_stamp_push(&pg, 9, 0, all_finished);
	CHECK(!penny_cache_holds(&pg, &hit));
	CHECK(find("a", &hit) == PENNY_CACHE_STALE);
	token.seq = penny_stamp_seq(&pg, 9);
	put.body = span("new");
	penny_cache_put(&pg, &put);
	CHECK(there("a", "new") && usage().bodies == 1 && usage().entries == 1);
	stop();
}

/* Viewers who see the same share one body; the last one to go takes it along. */
TEST(shared)
{
	PennyCacheHit hit;

	start();
	for (unsigned i = 0; i < 8; i++)
		CHECK(put_body(key_number(i), span("same")) == PENNY_CACHE_KEPT);
	CHECK(usage().bodies == 1 && usage().entries == 8 && usage().shared == 7 &&
		  usage().bytes == PENNY_CHUNK);
	for (unsigned i = 0; i < 8; i++)
		CHECK(put_body(key_number(i), span("same")) == PENNY_CACHE_KEPT);
	CHECK(usage().bodies == 1 && usage().shared == 15);
	for (unsigned i = 0; i < 7; i++)
		put_body(key_number(i), filler(10, i));
	CHECK(usage().bodies == 8 && there("k7", "same"));
	put_body(key_number(7), span("other"));
	CHECK(usage().bodies == 8 && there("k7", "other"));
	/* the same bytes as head and body, and with another status, are another content */
	put_text("h", "ab");
	CHECK(find("h", &hit) == PENNY_CACHE_HIT);
	{
		PennyCachePut put = a_put(key_of("i"), span("b"));

		put.head = span("a");
		penny_cache_put(&pg, &put);
		put = a_put(key_of("j"), span("ab"));
		put.status = 201;
		penny_cache_put(&pg, &put);
	}
	CHECK(usage().bodies == 11);
	stop();
}

/* More bodies than the arena holds: entries stay, and get their bodies back. */
TEST(evicted_and_restored)
{
	int bodies = 0, gone = 0;
	PennyCacheHit hit;
	PennyCacheKey key;

	start();
	for (unsigned i = 0; i < 40; i++)
		CHECK(put_body(key_number(i), filler(16000, i)) == PENNY_CACHE_KEPT);
	CHECK(usage().bytes <= usage().arena && usage().evictions == 24 && usage().bodies == 16);
	for (unsigned i = 0; i < 40; i++)
	{
		PennyCacheResult result;

		key = key_number(i);
		result = penny_cache_find(&pg, &key, NOW, &hit);
		bodies += result == PENNY_CACHE_HIT;
		if (result == PENNY_CACHE_HIT)
			CHECK(penny_cache_copy(&pg, &hit, out) &&
				  memcmp(out, filler(16000, i).data, 16000) == 0);
		gone += result == PENNY_CACHE_NO_BODY;
		if (result == PENNY_CACHE_NO_BODY)
			CHECK(!penny_cache_copy(&pg, &hit, out));
	}
	CHECK(bodies == 16 && gone == 24);

	key = key_number(0);
	CHECK(penny_cache_find(&pg, &key, NOW, &hit) == PENNY_CACHE_NO_BODY);
	CHECK(!penny_cache_restore(&pg, &hit, span(""), filler(15999, 0)));
	CHECK(penny_cache_restore(&pg, &hit, span(""), filler(16000, 0)));
	CHECK(!penny_cache_restore(&pg, &hit, span(""), filler(16000, 0)));
	CHECK(penny_cache_find(&pg, &key, NOW, &hit) == PENNY_CACHE_HIT);
	CHECK(penny_cache_copy(&pg, &hit, out) && memcmp(out, filler(16000, 0).data, 16000) == 0);
	CHECK(usage().bodies == 16);
	stop();
}

/* A hit found before its body went is not copied after it. */
TEST(copy_of_evicted)
{
	PennyCacheHit hit;

	start();
	put_text("a", "first");
	CHECK(find("a", &hit) == PENNY_CACHE_HIT);
	put_text("a", "second");
	CHECK(!penny_cache_copy(&pg, &hit, out));
	CHECK(there("a", "second"));
	stop();
}

TEST(sizes)
{
	PennyPlaneConfig none = small;
	PennyCacheKey key;
	PennyCacheHit hit;

	start();
	CHECK(put_body(key_of("a"), filler(64 * 1024, 1)) == PENNY_CACHE_KEPT);
	CHECK(find("a", &hit) == PENNY_CACHE_HIT && penny_cache_copy(&pg, &hit, out));
	CHECK(memcmp(out, filler(64 * 1024, 1).data, sizeof(out)) == 0);
	CHECK(put_body(key_of("b"), (PennySpan){out, 64 * 1024 + 1}) == PENNY_CACHE_TOO_LARGE);
	CHECK(put_text("c", "") == PENNY_CACHE_KEPT && there("c", ""));
	/* what cannot be kept leaves what is there */
	CHECK(put_body(key_of("c"), (PennySpan){out, 64 * 1024 + 1}) == PENNY_CACHE_TOO_LARGE);
	CHECK(there("c", ""));
	stop();

	none.cache_chunks = none.cache_entries = none.cache_stamps = 0;
	start_as(&none);
	CHECK(http_key("r", "/a", "", &key));
	CHECK(put_text("a", "a") == PENNY_CACHE_OFF && find("a", &hit) == PENNY_CACHE_MISS);
	CHECK(penny_stamp_slot(&pg, "a", 1) == PENNY_STAMP_NONE && penny_stamp_seq(&pg, 5) == 0);
	penny_stamp_push(&pg, 5, 1, all_finished);
	penny_cache_clear(&pg);
	penny_cache_set_quota(&pg, PENNY_CACHE_LIST, 5);
	CHECK(penny_cache_entry(&pg, 0, NOW, &hit) == PENNY_CACHE_MISS && usage().arena == 0);
	stop();
}

TEST(configurations)
{
	static const struct
	{
		uint32_t stamps, entries, chunks, object;
		bool good;
	} row[] = {
		{256, 128, 256, 65536, true},           {0, 0, 0, 0, true},
		{255, 128, 256, 65536, false},          {256, 129, 256, 65536, false},
		{32, 128, 256, 65536, false},           {256, 32, 256, 65536, false},
		{256, 128, 32, 65536, false},           {256, 128, 256, 100, false},
		{1 << 25, 128, 256, 1 << 20, false},    {256, 1 << 23, 256, 1 << 20, false},
		{256, 128, UINT32_MAX, 1 << 20, false}, {256, 128, 256, UINT32_MAX, false},
		{262144, 16384, 65536, 1 << 20, true},
	};

	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++)
	{
		PennyPlaneConfig config = small;
		PennyPlaneSizes sizes;

		config.cache_stamps = row[i].stamps;
		config.cache_entries = row[i].entries;
		config.cache_chunks = row[i].chunks;
		config.cache_max_object = row[i].object;
		CHECK(penny_plane_sizes(&config, &sizes) == row[i].good);
	}
}

TEST(clear)
{
	PennyCacheHit hit;
	PennyCacheUse use;

	start();
	put_text("a", "a");
	CHECK(find("a", &hit) == PENNY_CACHE_HIT);
	for (unsigned i = 0; i < 200; i++)
		put_body(key_number(i), filler(3000, i));
	penny_cache_clear(&pg);
	use = usage();
	CHECK(use.entries == 0 && use.bodies == 0 && use.bytes == 0);
	CHECK(!penny_cache_copy(&pg, &hit, out));
	for (unsigned i = 0; i < 200; i++)
	{
		PennyCacheKey key = key_number(i);

		CHECK(penny_cache_find(&pg, &key, NOW, &hit) == PENNY_CACHE_MISS);
	}
	for (unsigned i = 0; i < 200; i++)
		put_body(key_number(i), filler(3000, i));
	CHECK(put_text("a", "again") == PENNY_CACHE_KEPT && there("a", "again"));
	stop();
}

/* A table with fewer places than keys: what is dead makes room first. */
TEST(replaced)
{
	PennyCacheToken token = {7, 0};
	PennyCacheHit hit;
	unsigned alive = 0, entries = 0;

	start();
	for (unsigned i = 0; i < 64; i++)
	{
		PennyCachePut put = a_put(key_number(i), filler(100, i));

		put.tokens = 1;
		put.token = &token;
		penny_cache_put(&pg, &put);
	}
	penny_stamp_push(&pg, 7, 0, all_finished);
	for (unsigned i = 100; i < 150; i++)
		put_body(key_number(i), filler(100, i));
	for (unsigned i = 100; i < 150; i++)
	{
		PennyCacheKey key = key_number(i);

		alive += penny_cache_find(&pg, &key, NOW, &hit) == PENNY_CACHE_HIT;
	}
	printf("# %u of 50 alive, %llu replaced\n", alive, (unsigned long long) usage().replaced);
	CHECK(alive >= 40);
	for (unsigned i = 1000; i < 3000; i++)
		CHECK(put_body(key_number(i), filler(100, i)) == PENNY_CACHE_KEPT);
	for (uint32_t i = 0; i < small.cache_entries; i++)
		entries += penny_cache_entry(&pg, i, NOW, &hit) == PENNY_CACHE_HIT;
	CHECK(entries == small.cache_entries && usage().entries == entries &&
		  usage().bodies == entries);
	stop();
}

/* ---- a put seen half-way ------------------------------------------------- */

static char *page;            /* of the value; to read it the first time is a fault */
static PennyCacheHit before;  /* of the same key, found before the put */
static PennyCacheResult seen; /* of the same key, in the middle of it */
static bool copied;           /* could the body of before be copied there? */

static void
in_the_middle(int signo)
{
	PennyCacheHit hit;

	(void) signo;
	seen = penny_cache_find(&pg, &before.key, NOW, &hit);
	copied = penny_cache_copy(&pg, &before, out);
	mprotect(page, 4096, PROT_READ);
}

/* The writer is stopped where it copies the value, by a fault at its bytes. */
TEST(half_way)
{
	struct sigaction action = {.sa_handler = in_the_middle};
	struct sigaction old;
	PennyCachePut put;
	PennyCacheKey hash;

	start();
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(page != MAP_FAILED);
	memset(page, 'x', 4096);
	put_text("a", "before");
	CHECK(find("a", &before) == PENNY_CACHE_HIT);
	put = a_put(key_of("a"), (PennySpan){page, 4096});
	penny_cache_hash(&pg, put.status, put.head, put.body, &hash);
	put.hash = &hash;
	seen = PENNY_CACHE_HIT;
	copied = true;
	mprotect(page, 4096, PROT_NONE);
	sigaction(SIGSEGV, &action, &old);
	CHECK(penny_cache_put(&pg, &put) == PENNY_CACHE_KEPT);
	sigaction(SIGSEGV, &old, NULL);
	CHECK(seen == PENNY_CACHE_MISS && !copied);
	CHECK(find("a", &before) == PENNY_CACHE_HIT && before.body_len == 4096 &&
		  penny_cache_copy(&pg, &before, out) && memcmp(out, page, 4096) == 0);
	munmap(page, 4096);
	stop();
}

int
main(void)
{
	RUN(hit);
	RUN(stale_and_expired);
	RUN(shared);
	RUN(evicted_and_restored);
	RUN(copy_of_evicted);
	RUN(sizes);
	RUN(configurations);
	RUN(clear);
	RUN(replaced);
	RUN(half_way);
	return unit_done();
}

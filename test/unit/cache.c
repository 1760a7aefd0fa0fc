/*-------------------------------------------------------------------------
 *
 * cache.c
 *		The cache of the plane in one process: keys, stamps against a model,
 *		entries in every state, shared bodies, quotas, full tables.
 *
 *-------------------------------------------------------------------------
 */
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "unit.h"

#include "plane/cache_layout.h"

#define TTL 1000
#define NOW 5000

static const PennyPlaneConfig small = {.edges = 2,
									   .executors = 1,
									   .slots = 1,
									   .request_size = 1024,
									   .response_size = 1024,
									   .events = 16,
									   .event_bytes = 4096,
									   .cache_stamps = 256,
									   .cache_entries = 128,
									   .cache_chunks = 256,
									   .cache_max_object = 64 * 1024};

static PennyPlane pg;
static PennyPlane edge;
static char out[64 * 1024];

static void
start_as(const PennyPlaneConfig *config)
{
	const char *failed = penny_plane_create(&pg, config);

	if (failed != NULL)
	{
		printf("Bail out! %s\n", failed);
		exit(1);
	}
	edge = pg;
	edge.self = 1;
}

static void
start(void)
{
	start_as(&small);
}

static void
stop(void)
{
	penny_plane_destroy(&pg);
}

/* ---- helpers ------------------------------------------------------------- */

static PennySpan
span(const char *text)
{
	return (PennySpan){text, strlen(text)};
}

static PennyCacheKey
key_of(const char *text)
{
	PennySpan part = span(text);
	PennyCacheKey key;

	penny_cache_key(&pg, &part, 1, &key);
	return key;
}

static PennyCacheKey
key_number(unsigned number)
{
	char text[16];

	snprintf(text, sizeof(text), "k%u", number);
	return key_of(text);
}

static bool
all_finished(uint64_t xid)
{
	(void) xid;
	return true;
}

static PennyCachePut
a_put(PennyCacheKey key, PennySpan body)
{
	PennyCachePut put = {.key = key,
						 .kind = PENNY_CACHE_LIST,
						 .status = 200,
						 .body = body,
						 .label = "label",
						 .now = NOW,
						 .expires = NOW + TTL};

	return put;
}

static PennyCachePutResult
put_body(PennyCacheKey key, PennySpan body)
{
	PennyCachePut put = a_put(key, body);

	return penny_cache_put(&pg, &put);
}

static PennyCachePutResult
put_text(const char *key, const char *body)
{
	return put_body(key_of(key), span(body));
}

static PennyCacheResult
find(const char *key, PennyCacheHit *hit)
{
	PennyCacheKey k = key_of(key);

	return penny_cache_find(&pg, &k, NOW, hit);
}

/* Is this what is there under the key? */
static bool
there(const char *key, const char *body)
{
	PennyCacheHit hit;

	return find(key, &hit) == PENNY_CACHE_HIT && hit.head_len == 0 &&
		   hit.body_len == strlen(body) && penny_cache_copy(&pg, &hit, out) &&
		   penny_cache_holds(&pg, &hit) && memcmp(out, body, hit.body_len) == 0;
}

static PennyCacheUse
usage(void)
{
	PennyCacheUse use;

	penny_cache_use(&pg, &use);
	return use;
}

/* A body of so many bytes, different for each seed. */
static PennySpan
filler(size_t len, unsigned seed)
{
	static char text[64 * 1024];

	for (size_t i = 0; i < len; i++)
		text[i] = (char) ((i / 7) * 31 + seed + (seed >> 8) * i);
	return (PennySpan){text, len};
}

/* ---- tests --------------------------------------------------------------- */

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

/* Vectors of the authors' reference: key 00 .. 0f, message 00 01 02 ... */
TEST(siphash)
{
	static const struct
	{
		size_t len;
		const char *hash;
	} vector[] = {
		{0, "a3817f04ba25a8e66df67214c7550293"},  {1, "da87c1d86b99af44347659119b22fc45"},
		{15, "5493e99933b0a8117e08ec0f97cfc3d9"}, {16, "6ee2a4ca67b054bbfd3315bf85230577"},
		{63, "5150d1772f50834a503e069a973fbd7c"},
	};
	unsigned char bytes[64];
	uint64_t secret[2];

	for (int i = 0; i < 64; i++)
		bytes[i] = (unsigned char) i;
	memcpy(secret, bytes, sizeof(secret));
	for (size_t i = 0; i < sizeof(vector) / sizeof(vector[0]); i++)
	{
		PennyCacheKey key;
		char text[33];

		penny_siphash(secret, bytes, vector[i].len, &key);
		for (int b = 0; b < 16; b++)
			snprintf(text + (size_t) b * 2, 3, "%02x", ((unsigned char *) &key)[b]);
		CHECK_ROW(strcmp(text, vector[i].hash) == 0, text);
	}
}

static bool
http_key(const char *route, const char *path, const char *query, PennyCacheKey *key)
{
	return penny_cache_http_key(&pg, span(route), span(path), span(query), span("me"), key);
}

TEST(keys)
{
	static const struct
	{
		const char *path[2];
		const char *query[2];
		bool same;
	} row[] = {
		{{"/a/b", "/a/b"}, {"", ""}, true},
		{{"/a/b", "/%61/b"}, {"", ""}, true},
		{{"/a/b", "/a%2Fb"}, {"", ""}, false},
		{{"/x/p%2Fq/r", "/x/p/q%2Fr"}, {"", ""}, false},
		{{"/a", "/a/"}, {"", ""}, false},
		{{"/a+b", "/a%20b"}, {"", ""}, false},
		{{"/a", "/a"}, {"x=1&y=2", "y=2&x=1"}, true},
		{{"/a", "/a"}, {"x=1&x=2", "x=2&x=1"}, false},
		{{"/a", "/a"}, {"x=1&ab=0&x=2", "ab=0&x=1&x=2"}, true},
		{{"/a", "/a"}, {"x=a+b", "%78=a%20b"}, true},
		{{"/a", "/a"}, {"x", "x="}, true},
		{{"/a", "/a"}, {"x=1&access_token=t", "access%5ftoken=u&x=1"}, true},
		{{"/a", "/a"}, {"x=1%26y=2", "x=1&y=2"}, false},
		{{"/a", "/a"}, {"xy=", "x=y"}, false},
	};
	PennySpan part[2] = {span("ab"), span("c")};
	PennyCacheKey one, two;
	char query[65 * 4 + 1];

	start();
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++)
	{
		CHECK(http_key("GET user /r", row[i].path[0], row[i].query[0], &one));
		CHECK(http_key("GET user /r", row[i].path[1], row[i].query[1], &two));
		CHECK_ROW((memcmp(&one, &two, sizeof(one)) == 0) == row[i].same, row[i].path[1]);
	}
	CHECK(http_key("GET user /s", "/a", "", &one) && http_key("GET user /r", "/a", "", &two));
	CHECK(memcmp(&one, &two, sizeof(one)) != 0);
	CHECK(penny_cache_http_key(&pg, span("GET user /s"), span("/a"), span(""), span("you"), &two));
	CHECK(memcmp(&one, &two, sizeof(one)) != 0);
	CHECK(!http_key("r", "/%", "", &one) && !http_key("r", "/%4", "", &one) &&
		  !http_key("r", "/%zz", "", &one) && !http_key("r", "/a%00", "", &one) &&
		  !http_key("r", "/a", "x=%", &one));
	memset(out, 'a', PENNY_CACHE_KEY_MAX);
	out[PENNY_CACHE_KEY_MAX] = '\0';
	CHECK(!http_key("r", "/a", out, &one));
	out[PENNY_CACHE_KEY_MAX - 5] = '\0';
	CHECK(http_key("r", "/a", out, &one));
	for (int i = 0; i < 65; i++)
		memcpy(query + (size_t) i * 4, "x=1&", 4);
	query[65 * 4 - 1] = '\0';
	CHECK(!http_key("r", "/a", query, &one));
	query[64 * 4 - 1] = '\0';
	CHECK(http_key("r", "/a", query, &one));

	penny_cache_key(&pg, part, 2, &one);
	part[0] = span("a"), part[1] = span("bc");
	penny_cache_key(&pg, part, 2, &two);
	CHECK(memcmp(&one, &two, sizeof(one)) != 0);
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

TEST(quotas)
{
	PennyCachePut put;
	PennyCacheHit hit;
	PennyCacheKey key;
	int lists = 0;

	start();
	penny_cache_set_quota(&pg, PENNY_CACHE_LIST, 25);
	put_text("models", "m");
	put = a_put(key_of("route"), span("r"));
	put.kind = PENNY_CACHE_ROUTE;
	penny_cache_put(&pg, &put);
	for (unsigned i = 0; i < 20; i++)
	{
		CHECK(put_body(key_number(i), filler(8000, i)) == PENNY_CACHE_KEPT);
		CHECK(usage().kind_bytes[PENNY_CACHE_LIST] <= 64 * 1024);
	}
	CHECK(there("route", "r"));
	for (unsigned i = 0; i < 20; i++)
	{
		key = key_number(i);
		lists += penny_cache_find(&pg, &key, NOW, &hit) == PENNY_CACHE_HIT;
	}
	CHECK(lists == 8);
	penny_cache_set_quota(&pg, PENNY_CACHE_LIST, 10);
	CHECK(usage().kind_bytes[PENNY_CACHE_LIST] <= 25 * 1024);
	CHECK(put_body(key_of("x"), filler(30000, 1)) == PENNY_CACHE_TOO_LARGE);
	penny_cache_set_quota(&pg, PENNY_CACHE_LIST, 0);
	CHECK(usage().kind_bytes[PENNY_CACHE_LIST] == 0 && put_text("y", "y") == PENNY_CACHE_TOO_LARGE);
	CHECK(there("route", "r"));
	stop();
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

/* Dead bodies go before one that was used, whatever queue they are in. */
TEST(dead_first)
{
	PennyCacheToken token = {7, 0};
	PennyCacheHit hit;

	start();
	put_body(key_of("kept"), filler(8000, 99));
	for (unsigned i = 0; i < 15; i++)
	{
		PennyCachePut put = a_put(key_number(i), filler(16000, i));

		put.tokens = 1;
		put.token = &token;
		penny_cache_put(&pg, &put);
		find("kept", &hit);
	}
	penny_stamp_push(&pg, 7, 0, all_finished);
	for (unsigned i = 100; i < 114; i++)
		put_body(key_number(i), filler(16000, i));
	CHECK(find("kept", &hit) == PENNY_CACHE_HIT);
	CHECK(usage().evictions <= 15);
	stop();
}

/* Uses keep a body, those of an edge like those of a backend, each up to three. */
TEST(uses)
{
	PennyCacheHit a, b, c;
	_Atomic uint64_t *hints;
	uint64_t before;

	start();
	put_body(key_of("a"), filler(2000, 1));
	put_body(key_of("b"), filler(2000, 2));
	put_body(key_of("c"), filler(2000, 3));
	find("a", &a);
	find("b", &b);
	find("c", &c);
	hints = penny_cache_hints(&pg, 1);
	for (int i = 0; i < 10; i++)
	{
		penny_cache_used(&pg, &a);
		penny_cache_hint(&edge, &b);
	}
	CHECK((penny_cache_bodies(&pg)[a.body - 1].uses & 3) == 3);
	CHECK((penny_cache_bodies(&pg)[b.body - 1].uses & 3) == 0);
	CHECK((hints[b.body - 1] & 3) == 3 && hints[a.body - 1] == 0);
	before = hints[a.body - 1];
	penny_cache_hint(&edge, &a);
	CHECK(hints[a.body - 1] == before);
	for (unsigned i = 0; i < 40; i++)
		put_body(key_number(i), filler(16000, i + 10));
	CHECK(find("a", &a) == PENNY_CACHE_HIT && find("b", &b) == PENNY_CACHE_HIT);
	CHECK(find("c", &c) == PENNY_CACHE_NO_BODY);
	/* the edge's count was spent once, and it may count again */
	CHECK(penny_cache_bodies(&pg)[b.body - 1].uses >> 2 != hints[b.body - 1] >> 2);
	penny_cache_hint(&edge, &b);
	CHECK((hints[b.body - 1] & 3) == 1);
	stop();
}

/* Who went out not long ago starts in the main queue, and so does an old key's new body. */
TEST(ghosts)
{
	PennyCacheHit hit;

	start();
	put_text("a", "one");
	for (unsigned i = 0; i < 20; i++)
		put_body(key_number(i), filler(16000, i));
	CHECK(find("a", &hit) == PENNY_CACHE_NO_BODY);
	put_text("a", "two");
	CHECK(find("a", &hit) == PENNY_CACHE_HIT &&
		  penny_cache_bodies(&pg)[hit.body - 1].queue == PENNY_QUEUE_MAIN);
	put_text("a", "three");
	CHECK(find("a", &hit) == PENNY_CACHE_HIT &&
		  penny_cache_bodies(&pg)[hit.body - 1].queue == PENNY_QUEUE_MAIN);
	put_text("new", "new");
	CHECK(find("new", &hit) == PENNY_CACHE_HIT &&
		  penny_cache_bodies(&pg)[hit.body - 1].queue == PENNY_QUEUE_SMALL);
	stop();
}

/* The arena has memory when it is used, and not before. */
TEST(memory_when_needed)
{
	PennyPlaneConfig large = small;
	struct stat stat;
	size_t at_start;

	large.cache_chunks = 65536;
	start_as(&large);
	CHECK(fstat(pg.p_fd, &stat) == 0 && (size_t) stat.st_size > (64 << 20));
	at_start = (size_t) stat.st_blocks * 512;
	CHECK(at_start < (2 << 20));
	for (unsigned i = 0; i < 20; i++)
		put_body(key_number(i), filler(60000, i));
	CHECK(fstat(pg.p_fd, &stat) == 0);
	CHECK((size_t) stat.st_blocks * 512 >= at_start + 20 * 60000);
	CHECK((size_t) stat.st_blocks * 512 <= at_start + 20 * 60000 + (1 << 20));
	stop();
}

/* Memory of the arena that is not to be had makes it smaller, and nothing else. */
TEST(no_memory)
{
	int fd;

	start();
	for (unsigned i = 0; i < 4; i++)
		put_body(key_number(i), filler(16000, i));
	fd = pg.p_fd;
	pg.p_fd = -1;
	penny_cache_header(&pg)->chunks_ready = penny_cache_header(&pg)->chunks_used + 8;
	for (unsigned i = 0; i < 20; i++)
		CHECK(put_body(key_number(i), filler(16000, i + 50)) == PENNY_CACHE_KEPT);
	CHECK(put_body(key_of("x"), filler(64 * 1024, 1)) == PENNY_CACHE_KEPT);
	CHECK(penny_cache_header(&pg)->chunks_used <= 72 && usage().bytes <= 72 * 1024);
	pg.p_fd = fd;
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

/* ---- stamps against a model ---------------------------------------------- */

#define XIDS 40

static bool done[XIDS + 1];

static bool
is_done(uint64_t xid)
{
	return done[xid];
}

/*
 * Whatever pushes come: a pusher that is not finished is in the ring, or the
 * ring says that it has overflowed and maxxid is not below the pusher.
 */
TEST(stamps)
{
	uint64_t random = 42;
	int overflows = 0;

	for (int run = 0; run < 2000; run++)
	{
		bool pushed[XIDS + 1] = {false};
		uint64_t pushes = 0;
		PennyStampView view;

		if (run % 100 == 0)
		{
			if (run > 0)
				stop();
			start();
		}
		memset(done, 0, sizeof(done));
		for (int step = 0; step < 30; step++)
		{
			uint64_t xid = unit_random(&random) % XIDS + 1;
			uint32_t slot = (uint32_t) (run % 100) + 5;
			uint64_t seq = penny_stamp_seq(&pg, slot);

			switch (unit_random(&random) % 4)
			{
				case 0:
					done[xid] = true;
					continue;
				case 1:
					xid = 0;
					break;
				default:
					if (done[xid])
						continue;
			}
			penny_stamp_push(&pg, slot, xid, is_done);
			pushed[xid] = true;
			pushes++;
			penny_stamp_view(&pg, slot, &view);
			CHECK(view.seq == penny_stamp_seq(&pg, slot) && view.seq == seq + 2 &&
				  view.seq == pushes * 2);
			overflows += view.overflow;
			for (uint64_t x = 1; x <= XIDS; x++)
			{
				if (pushed[x] && !done[x] && view.xid[0] != x && view.xid[1] != x)
					CHECK(view.overflow && view.maxxid >= x);
				if (pushed[x])
					CHECK(view.maxxid >= x);
			}
			CHECK(xid == 0 || view.xid[0] == xid);
		}
	}
	stop();
	CHECK(overflows > 0);
}

/* Two pushers at a time fit; a push half-way refuses every fill. */
TEST(stamp_ring)
{
	PennyStampView view;

	start();
	memset(done, 0, sizeof(done));
	penny_stamp_push(&pg, 9, 5, is_done);
	penny_stamp_push(&pg, 9, 4, is_done);
	penny_stamp_push(&pg, 9, 4, is_done);
	penny_stamp_view(&pg, 9, &view);
	CHECK(!view.overflow && view.xid[0] == 4 && view.xid[1] == 5 && view.maxxid == 5);
	done[5] = true;
	penny_stamp_push(&pg, 9, 6, is_done);
	penny_stamp_view(&pg, 9, &view);
	CHECK(!view.overflow && view.xid[0] == 6 && view.xid[1] == 4 && view.maxxid == 6);
	penny_stamp_push(&pg, 9, 7, is_done);
	penny_stamp_view(&pg, 9, &view);
	CHECK(view.overflow && view.xid[0] == 7 && view.xid[1] == 6 && view.maxxid == 7);
	penny_stamp_settle(&pg, 9, 7);
	penny_stamp_view(&pg, 9, &view);
	CHECK(view.overflow);
	penny_stamp_settle(&pg, 9, 8);
	CHECK(penny_stamp_seq(&pg, 9) == view.seq);
	penny_stamp_view(&pg, 9, &view);
	CHECK(!view.overflow && view.xid[0] == 7 && view.xid[1] == 6 && view.maxxid == 7);

	penny_version_open(&penny_cache_stamps(&pg)[9].seq);
	penny_stamp_view(&pg, 9, &view);
	CHECK((view.seq & 1) && view.overflow && view.maxxid == UINT64_MAX);
	for (int i = 0; i < 1000; i++)
	{
		char tag[16];
		uint32_t slot;

		snprintf(tag, sizeof(tag), "tag:%d", i);
		slot = penny_stamp_slot(&pg, tag, strlen(tag));
		CHECK(slot != PENNY_STAMP_ALL && slot < small.cache_stamps);
	}
	stop();
}

int
main(void)
{
	RUN(hit);
	RUN(stale_and_expired);
	RUN(siphash);
	RUN(keys);
	RUN(shared);
	RUN(evicted_and_restored);
	RUN(copy_of_evicted);
	RUN(sizes);
	RUN(configurations);
	RUN(quotas);
	RUN(clear);
	RUN(replaced);
	RUN(dead_first);
	RUN(uses);
	RUN(ghosts);
	RUN(memory_when_needed);
	RUN(no_memory);
	RUN(half_way);
	RUN(stamps);
	RUN(stamp_ring);
	return unit_done();
}

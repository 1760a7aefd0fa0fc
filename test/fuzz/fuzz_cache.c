/*-------------------------------------------------------------------------
 *
 * fuzz_cache.c
 *		The cache of the plane, three ways; the first byte of the input chooses.
 *
 *	0	a broken region P: any bytes anywhere in it, then every function of
 *		readers.  They may miss; they may not read out of bounds, hand over what
 *		is longer than config says, or loop.
 *	1	puts, pushes, finds, restores, clears in any order, with any words in
 *		the hints of edges, against a model: a hit has the bytes that were put last
 *		for its key, and only while its stamp has not moved; the books balance.
 *	2	keys of HTTP requests of any bytes.
 *
 * Region P is put at the end of mapped memory with nothing behind it.
 *
 *-------------------------------------------------------------------------
 */
#include <sys/mman.h>

#include "fuzz.h"

#include "plane/cache_layout.h"

#define KEYS 24
#define LARGEST 16384

static const PennyPlaneConfig config = {.edges = 1,
										.executors = 1,
										.slots = 1,
										.request_size = 1024,
										.response_size = 1024,
										.events = 16,
										.event_bytes = 4096,
										.cache_stamps = 64,
										.cache_entries = 64,
										.cache_chunks = 64,
										.cache_max_object = LARGEST};

/* What was put last for a key. */
typedef struct Model
{
	bool put;
	uint8_t seed;
	size_t len;
	uint64_t expires;
	uint64_t seq;
} Model;

static PennyPlane plane;
static PennyPlane edge;
static char *empty; /* the cache's part of region P when it was new */
static char *full;  /* and with entries of every sort */
static char bytes[LARGEST];

static size_t
cache_size(void)
{
	return plane.sizes.p_size - plane.sizes.cache;
}

static PennyCacheKey
key_number(uint8_t number)
{
	PennySpan part = {(char *) &number, 1};
	PennyCacheKey key;

	penny_cache_key(&plane, &part, 1, &key);
	return key;
}

static PennySpan
value(uint8_t seed, size_t len)
{
	memset(bytes, seed, len);
	for (size_t i = 0; i < len; i += 512)
		bytes[i] = (char) (seed ^ (i >> 9));
	return (PennySpan){bytes, len};
}

static void
put(uint8_t number, PennySpan body, uint64_t expires, PennyCacheToken token)
{
	PennyCachePut what = {.key = key_number(number),
						  .kind = (PennyCacheKind) (number % PENNY_CACHE_KINDS),
						  .body = body,
						  .label = "label",
						  .now = 1,
						  .expires = expires,
						  .tokens = 1,
						  .token = &token};

	MUST(penny_cache_put(&plane, &what) == PENNY_CACHE_KEPT);
}

static void
start(void)
{
	char *fence;
	void *there;

	if (plane.p != NULL)
		return;
	MUST(penny_plane_create(&plane, &config) == NULL);
	fence = mmap(NULL, plane.sizes.p_size + 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	MUST(fence != MAP_FAILED);
	there = mmap(fence, plane.sizes.p_size, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	MUST(there == fence);
	memcpy(there, plane.p, plane.sizes.p_size);
	munmap(plane.p, plane.sizes.p_size);
	plane.p = there;
	memcpy(penny_cache_header(&plane)->secret, "a known secret..", 16);
	edge = plane;
	edge.self = 0;
	empty = malloc(cache_size());
	full = malloc(cache_size());
	memcpy(empty, penny_cache_header(&plane), cache_size());
	for (uint8_t i = 0; i < KEYS; i++)
		put(i, value(i, (size_t) i * 300), 10, (PennyCacheToken){i, 0});
	memcpy(full, penny_cache_header(&plane), cache_size());
}

/* ---- a broken region ----------------------------------------------------- */

/* A place in one of the parts, the words that are followed more often. */
static size_t
anywhere(FuzzInput *input)
{
	const PennyPlaneSizes *sizes = &plane.sizes;
	uint8_t number = fuzz_byte(input) % 64;
	size_t within = fuzz_number(input, 2);

	switch (fuzz_byte(input) % 6)
	{
		case 0:
			return sizes->cache_entries + number * sizeof(PennyCacheEntry) +
				   within % sizeof(PennyCacheEntry);
		case 1:
			return sizes->cache_bodies + number * sizeof(PennyCacheBody) +
				   within % sizeof(PennyCacheBody);
		case 2:
			return sizes->cache_links + number * sizeof(uint32_t);
		case 3:
			return sizes->cache_marks + number * sizeof(uint64_t);
		case 4:
			return sizes->cache_stamps + number * sizeof(PennyStamp);
		default:
			return sizes->cache + fuzz_number(input, 3) % cache_size();
	}
}

static void
scribble(FuzzInput *input)
{
	size_t at = anywhere(input);
	size_t len;
	char *what = fuzz_bytes(input, 100, &len);

	if (len > plane.sizes.p_size - at)
		len = plane.sizes.p_size - at;
	memcpy((char *) plane.p + at, what, len);
	free(what);
}

/* Look at a hit as its owner would. */
static void
use_hit(const PennyCacheHit *hit)
{
	size_t len = (size_t) hit->head_len + hit->body_len;
	char *copy;

	MUST(len <= LARGEST && hit->kind < PENNY_CACHE_KINDS && hit->tokens <= PENNY_CACHE_TOKENS &&
		 memchr(hit->label, '\0', sizeof(hit->label)) != NULL);
	copy = malloc(len + 1);
	penny_cache_copy(&edge, hit, copy);
	free(copy);
	penny_cache_holds(&edge, hit);
	penny_cache_hint(&edge, hit);
	penny_cache_used(&plane, hit);
}

static void
read_entry(uint32_t i)
{
	PennyCacheHit hit;
	PennyCacheResult result = penny_cache_entry(&edge, i, 5, &hit);

	if (result == PENNY_CACHE_HIT || result == PENNY_CACHE_NO_BODY)
		use_hit(&hit);
}

static void
read_key(uint8_t number)
{
	PennyCacheKey key = key_number(number);
	PennyCacheHit hit;

	if (penny_cache_find(&edge, &key, 5, &hit) == PENNY_CACHE_HIT)
		use_hit(&hit);
}

static void
fuzz_readers(FuzzInput *input)
{
	PennyStampView view;
	PennyCacheUse use;

	memcpy(penny_cache_header(&plane), full, cache_size());
	while (input->size > 0)
	{
		scribble(input);
		read_entry(fuzz_byte(input));
		penny_stamp_view(&edge, fuzz_byte(input), &view);
	}
	for (uint32_t i = 0; i < config.cache_entries; i++)
		read_entry(i);
	for (uint8_t i = 0; i < KEYS; i++)
		read_key(i);
	penny_cache_use(&edge, &use);
}

/* ---- against a model ----------------------------------------------------- */

static bool
all_finished(uint64_t xid)
{
	(void) xid;
	return true;
}

static void
look(const Model *model, uint8_t number)
{
	PennyCacheKey key = key_number(number);
	PennyCacheHit hit;
	PennyCacheResult result = penny_cache_find(&edge, &key, 5, &hit);
	char copy[LARGEST];

	if (result == PENNY_CACHE_MISS)
		return;
	MUST(model->put);
	MUST((result == PENNY_CACHE_EXPIRED) == (model->expires <= 5));
	if (result == PENNY_CACHE_EXPIRED)
		return;
	MUST((result == PENNY_CACHE_STALE) == (penny_stamp_seq(&plane, number) != model->seq));
	if (result == PENNY_CACHE_STALE)
		return;
	MUST(hit.body_len == model->len && hit.head_len == 0);
	if (result == PENNY_CACHE_NO_BODY)
	{
		MUST(!penny_cache_copy(&edge, &hit, copy));
		if (model->seed & 1)
			return;
		MUST(penny_cache_restore(&plane, &hit, (PennySpan){"", 0}, value(model->seed, model->len)));
		MUST(penny_cache_find(&edge, &key, 5, &hit) == PENNY_CACHE_HIT);
	}
	MUST(penny_cache_copy(&edge, &hit, copy) && penny_cache_holds(&edge, &hit));
	MUST(memcmp(copy, value(model->seed, model->len).data, model->len) == 0);
	penny_cache_hint(&edge, &hit);
	penny_cache_used(&plane, &hit);
}

/* What is counted is what is there. */
static void
balance(void)
{
	const PennyCacheHeader *header = penny_cache_header(&plane);
	uint64_t chunks = 0, kinds = 0;
	uint32_t bodies = 0, entries = 0, queued = 0;
	PennyCacheUse use;

	penny_cache_use(&plane, &use);
	for (int q = 0; q < PENNY_QUEUES; q++)
	{
		chunks += header->queue[q].chunks;
		for (uint32_t i = header->queue[q].tail; i != 0;
			 i = penny_cache_bodies(&plane)[i - 1].in_queue.newer)
		{
			MUST(++queued <= config.cache_entries);
			bodies++;
			entries += penny_cache_bodies(&plane)[i - 1].entries;
		}
	}
	for (int kind = 0; kind < PENNY_CACHE_KINDS; kind++)
		kinds += use.kind_bytes[kind];
	MUST(chunks == header->chunks_used - header->chunks_free);
	MUST(use.bytes == chunks * PENNY_CHUNK && kinds == use.bytes && use.bodies == bodies);
	MUST(entries <= use.entries && use.entries <= config.cache_entries);
}

static void
fuzz_model(FuzzInput *input)
{
	Model model[KEYS] = {{.put = false}};

	memcpy(penny_cache_header(&plane), empty, cache_size());
	while (input->size > 0)
	{
		uint8_t what = fuzz_byte(input);
		uint8_t number = fuzz_byte(input) % KEYS;
		Model *it = &model[number];

		switch (what % 8)
		{
			case 0:
			case 1:
			case 2:
				it->put = true;
				it->seed = fuzz_byte(input) % 64;
				it->len = (size_t) it->seed * (what & 8 ? 10 : 200);
				it->expires = fuzz_byte(input) % 16 == 0 ? 3 : 10;
				it->seq = penny_stamp_seq(&plane, number);
				put(number, value(it->seed, it->len), it->expires,
					(PennyCacheToken){number, it->seq});
				break;
			case 3:
				penny_stamp_push(&plane, number, fuzz_byte(input), all_finished);
				break;
			case 4:
				if (what == 4)
					penny_cache_clear(&plane);
				break;
			case 5:
				penny_cache_hints(&plane, 0)[number] = fuzz_number(input, 8);
				break;
			default:
				look(it, number);
				break;
		}
	}
	for (uint8_t i = 0; i < KEYS; i++)
		look(&model[i], i);
	balance();
}

/* ---- keys ---------------------------------------------------------------- */

static void
fuzz_keys(FuzzInput *input)
{
	PennySpan path, query;
	char *path_bytes = fuzz_bytes(input, PENNY_CACHE_KEY_MAX, &path.len);
	char *query_bytes = fuzz_bytes(input, PENNY_CACHE_KEY_MAX, &query.len);
	PennySpan route = {"GET user /x", 11};
	PennyCacheKey one, two;

	path.data = path_bytes;
	query.data = query_bytes;
	if (penny_cache_http_key(&plane, route, path, query, route, &one))
	{
		MUST(penny_cache_http_key(&plane, route, path, query, route, &two));
		MUST(memcmp(&one, &two, sizeof(one)) == 0);
	}
	free(path_bytes);
	free(query_bytes);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	FuzzInput input = {data, size};

	start();
	switch (fuzz_byte(&input) % 3)
	{
		case 0:
			fuzz_readers(&input);
			break;
		case 1:
			fuzz_model(&input);
			break;
		default:
			fuzz_keys(&input);
			break;
	}
	return 0;
}

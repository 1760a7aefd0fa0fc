/*-------------------------------------------------------------------------
 *
 * cache_plane.h
 *		A small plane with a cache, and short words for what the tests do with
 *		it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_UNIT_CACHE_PLANE_H
#define PENNY_UNIT_CACHE_PLANE_H

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

static inline void
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

static inline void
start(void)
{
	start_as(&small);
}

static inline void
stop(void)
{
	penny_plane_destroy(&pg);
}

/* ---- helpers ------------------------------------------------------------- */

static inline PennySpan
span(const char *text)
{
	return (PennySpan){text, strlen(text)};
}

static inline PennyCacheKey
key_of(const char *text)
{
	PennySpan part = span(text);
	PennyCacheKey key;

	penny_cache_key(&pg, &part, 1, &key);
	return key;
}

static inline PennyCacheKey
key_number(unsigned number)
{
	char text[16];

	snprintf(text, sizeof(text), "k%u", number);
	return key_of(text);
}

static inline bool
all_finished(uint64_t xid)
{
	(void) xid;
	return true;
}

static inline PennyCachePut
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

static inline PennyCachePutResult
put_body(PennyCacheKey key, PennySpan body)
{
	PennyCachePut put = a_put(key, body);

	return penny_cache_put(&pg, &put);
}

static inline PennyCachePutResult
put_text(const char *key, const char *body)
{
	return put_body(key_of(key), span(body));
}

static inline PennyCacheResult
find(const char *key, PennyCacheHit *hit)
{
	PennyCacheKey k = key_of(key);

	return penny_cache_find(&pg, &k, NOW, hit);
}

/* Is this what is there under the key? */
static inline bool
there(const char *key, const char *body)
{
	PennyCacheHit hit;

	return find(key, &hit) == PENNY_CACHE_HIT && hit.head_len == 0 &&
		   hit.body_len == strlen(body) && penny_cache_copy(&pg, &hit, out) &&
		   penny_cache_holds(&pg, &hit) && memcmp(out, body, hit.body_len) == 0;
}

static inline PennyCacheUse
usage(void)
{
	PennyCacheUse use;

	penny_cache_use(&pg, &use);
	return use;
}

/* A body of so many bytes, different for each seed. */
static inline PennySpan
filler(size_t len, unsigned seed)
{
	static char text[64 * 1024];

	for (size_t i = 0; i < len; i++)
		text[i] = (char) ((i / 7) * 31 + seed + (seed >> 8) * i);
	return (PennySpan){text, len};
}

static inline bool
http_key(const char *route, const char *path, const char *query, PennyCacheKey *key)
{
	return penny_cache_http_key(&pg, span(route), span(path), span(query), span("me"), key);
}

#endif /* PENNY_UNIT_CACHE_PLANE_H */

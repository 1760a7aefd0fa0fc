/*-------------------------------------------------------------------------
 *
 * cache_hit.c
 *		Time of a hit inside a process: find, copy, compare the tokens.
 *
 *	cache_hit [HITS]
 *
 * For bodies of 1, 8 and 32 kB, of one hot key and of keys taken at random out
 * of 1,000: the time of each hit by the clock, which itself takes some 25 ns of
 * it; and the mean time of a put, hash and all.  Prints one line of JSON; times are nanoseconds.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "plane/cache.h"

#define KEYS 1000
#define TOKENS 4

static const PennyPlaneConfig config = {.edges = 1,
										.executors = 1,
										.slots = 1,
										.request_size = 1024,
										.response_size = 1024,
										.events = 16,
										.event_bytes = 4096,
										.cache_stamps = 262144,
										.cache_entries = 16384,
										.cache_chunks = 65536,
										.cache_max_object = 1 << 20};

static PennyPlane plane;
static PennyCacheKey key[KEYS];
static char body[32768];
static char copy[32768];

static uint64_t
now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t) now.tv_sec * 1000000000 + (uint64_t) now.tv_nsec;
}

static int
by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *) a;
	uint32_t y = *(const uint32_t *) b;

	return x < y ? -1 : x > y;
}

static void
fill(uint32_t len)
{
	for (uint32_t i = 0; i < KEYS; i++)
	{
		PennySpan part = {(const char *) &i, sizeof(i)};
		PennyCacheToken token[TOKENS];
		PennyCachePut put = {.kind = PENNY_CACHE_CONVERSATION,
							 .status = 200,
							 .expires = UINT64_MAX,
							 .tokens = TOKENS,
							 .token = token,
							 .body = {body, len}};

		for (uint32_t t = 0; t < TOKENS; t++)
			token[t] = (PennyCacheToken){t == 0 ? 0 : i * 97 + t, 0};
		memcpy(body, &i, sizeof(i));
		penny_cache_key(&plane, &part, 1, &put.key);
		key[i] = put.key;
		if (penny_cache_put(&plane, &put) != PENNY_CACHE_KEPT)
			exit(1);
	}
}

/* Each hit by itself, into ns[]. */
static void
measure(uint32_t *ns, int hits, bool hot)
{
	uint64_t random = 88172645463325252u;

	for (int i = 0; i < hits; i++)
	{
		PennyCacheHit hit;
		uint64_t start;
		uint32_t which;

		random ^= random << 13, random ^= random >> 7, random ^= random << 17;
		which = hot ? 1 : (uint32_t) (random % KEYS);
		start = now_ns();
		if (penny_cache_find(&plane, &key[which], 1, &hit) != PENNY_CACHE_HIT ||
			!penny_cache_copy(&plane, &hit, copy) || !penny_cache_holds(&plane, &hit))
			exit(2);
		penny_cache_used(&plane, &hit);
		ns[i] = (uint32_t) (now_ns() - start);
		if (memcmp(copy, &which, sizeof(which)) != 0)
			exit(3);
	}
	qsort(ns, (size_t) hits, sizeof(*ns), by_value);
}

int
main(int argc, char **argv)
{
	static const uint32_t size[] = {1024, 8192, 32768};
	int hits = argc > 1 ? atoi(argv[1]) : 200000;
	uint64_t start;
	uint32_t *ns = hits > 0 ? malloc((size_t) hits * sizeof(*ns)) : NULL;

	if (ns == NULL || penny_plane_create(&plane, &config) != NULL)
		return 1;
	printf("{\"hits\":%d", hits);
	for (int s = 0; s < 3; s++)
	{
		start = now_ns();
		fill(size[s]);
		printf(",\"put_%u\":%u", size[s], (uint32_t) ((now_ns() - start) / KEYS));
		for (int hot = 1; hot >= 0; hot--)
		{
			measure(ns, hits, hot);
			printf(",\"%s_%u_p50\":%u,\"%s_%u_p99\":%u", hot ? "hot" : "random", size[s],
				   ns[hits / 2], hot ? "hot" : "random", size[s], ns[hits / 100 * 99]);
		}
	}
	printf("}\n");
	free(ns);
	penny_plane_destroy(&plane);
	return 0;
}

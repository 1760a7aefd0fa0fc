/*-------------------------------------------------------------------------
 *
 * cache_trace.c
 *		Misses of the cache on a trace, against a reference of S3-FIFO and
 *		against LRU.
 *
 *	cache_trace [REQUESTS]
 *
 * The trace is the same each time: popularity by Zipf's law, of which a
 * hundredth of the objects changes hands now and then (churn), and scans over
 * objects that nobody asks for again.  It goes through the cache itself, which
 * is found, used (every other time as an edge does it) and filled, and through
 * two simulators that know nothing of it: S3-FIFO as its authors describe it,
 * with exact lists, and LRU.  All have the same bytes.  Since the number of a key
 * is random in each plane, so is a little of the result.
 *
 *-------------------------------------------------------------------------
 */
#include "unit.h"

#include "plane/cache.h"

#define CHUNK 1024
#define OBJECTS 40000
#define SCAN 4000         /* objects of a scan */
#define SCAN_EVERY 60000  /* requests */
#define CHURN_EVERY 10000 /* requests */
#define MAX_REQUESTS (100 * SCAN_EVERY)
#define MAX_IDS (OBJECTS + SCAN * 100)
#define MAX_SIZE 32 /* chunks of an object */

static const PennyPlaneConfig config = {.edges = 1,
										.executors = 1,
										.slots = 1,
										.request_size = 1024,
										.response_size = 1024,
										.events = 16,
										.event_bytes = 4096,
										.cache_stamps = 64,
										.cache_entries = 8192,
										.cache_chunks = 32768,
										.cache_max_object = 1 << 20};

static uint32_t requests = 1000000;
static uint32_t trace[MAX_REQUESTS];
static uint8_t size_of[MAX_IDS]; /* chunks */

/* ---- the trace ----------------------------------------------------------- */

static void
make_sizes(uint64_t *random)
{
	for (uint32_t id = 0; id < MAX_IDS; id++)
	{
		uint32_t size = 1 + (uint32_t) (unit_random(random) % 8);

		if (unit_random(random) % 8 == 0)
			size = 1 + (uint32_t) (unit_random(random) % MAX_SIZE);
		size_of[id] = (uint8_t) size;
	}
}

/* The rank that a number from 0 to 1 falls on. */
static uint32_t
rank_of(const double *sum, double at)
{
	uint32_t low = 0;
	uint32_t high = OBJECTS - 1;

	while (low < high)
	{
		uint32_t middle = (low + high) / 2;

		if (sum[middle] < at)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void
make_trace(void)
{
	static double sum[OBJECTS];
	static uint32_t object[OBJECTS]; /* of a rank */
	uint64_t random = 20231023;
	double total = 0;
	uint32_t scans = 0;

	for (uint32_t i = 0; i < OBJECTS; i++)
	{
		total += 1.0 / (i + 1);
		sum[i] = total;
		object[i] = i;
	}
	make_sizes(&random);
	for (uint32_t n = 0; n < requests; n++)
	{
		if (n % CHURN_EVERY == 0)
		{
			for (int i = 0; i < OBJECTS / 100; i++)
			{
				uint32_t a = (uint32_t) (unit_random(&random) % OBJECTS);
				uint32_t b = (uint32_t) (unit_random(&random) % OBJECTS);
				uint32_t swap = object[a];

				object[a] = object[b];
				object[b] = swap;
			}
		}
		if (n % SCAN_EVERY >= SCAN_EVERY - SCAN)
			trace[n] = OBJECTS + scans++;
		else
			trace[n] =
				object[rank_of(sum, (double) (unit_random(&random) >> 11) / (1ull << 53) * total)];
	}
}

/* ---- simulators: exact lists of all objects ------------------------------ */

enum
{
	OUT,
	SMALL,
	MAIN,
	GHOST,
	WHERES
};

typedef struct Node
{
	int where;
	int freq;
	uint32_t newer;
	uint32_t older;
} Node;

typedef struct List
{
	uint32_t head;
	uint32_t tail;
	uint64_t chunks;
} List;

static Node node[MAX_IDS + 1]; /* 0 is none */
static List list[WHERES];

static void
take(uint32_t id)
{
	List *from = &list[node[id].where];

	if (node[id].newer != 0)
		node[node[id].newer].older = node[id].older;
	else
		from->head = node[id].older;
	if (node[id].older != 0)
		node[node[id].older].newer = node[id].newer;
	else
		from->tail = node[id].newer;
	from->chunks -= size_of[id - 1];
	node[id].where = OUT;
}

static void
give(uint32_t id, int where)
{
	List *to = &list[where];

	node[id].where = where;
	node[id].newer = 0;
	node[id].older = to->head;
	if (to->head != 0)
		node[to->head].newer = id;
	else
		to->tail = id;
	to->head = id;
	to->chunks += size_of[id - 1];
}

static void
reference_evict_main(void)
{
	for (;;)
	{
		uint32_t id = list[MAIN].tail;

		take(id);
		if (node[id].freq == 0)
			return;
		node[id].freq--;
		give(id, MAIN);
	}
}

static void
reference_evict_small(void)
{
	while (list[SMALL].tail != 0)
	{
		uint32_t id = list[SMALL].tail;

		take(id);
		if (node[id].freq > 1)
		{
			node[id].freq = 0;
			give(id, MAIN);
			if (list[MAIN].chunks > config.cache_chunks / 10 * 9)
			{
				reference_evict_main();
				return;
			}
			continue;
		}
		give(id, GHOST);
		while (list[GHOST].chunks > (uint64_t) config.cache_chunks * 9 / 10)
			take(list[GHOST].tail);
		return;
	}
}

/* Misses of S3-FIFO. */
static uint32_t
run_reference(void)
{
	uint32_t misses = 0;

	memset(node, 0, sizeof(node));
	memset(list, 0, sizeof(list));
	for (uint32_t n = 0; n < requests; n++)
	{
		uint32_t id = trace[n] + 1;
		bool was_ghost = node[id].where == GHOST;

		if (node[id].where == SMALL || node[id].where == MAIN)
		{
			node[id].freq += node[id].freq < 3;
			continue;
		}
		misses++;
		if (was_ghost)
			take(id);
		while (list[SMALL].chunks + list[MAIN].chunks + size_of[id - 1] > config.cache_chunks)
		{
			if (list[SMALL].chunks >= config.cache_chunks / 10 || list[MAIN].tail == 0)
				reference_evict_small();
			else
				reference_evict_main();
		}
		node[id].freq = 0;
		give(id, was_ghost ? MAIN : SMALL);
	}
	return misses;
}

/* Misses of LRU. */
static uint32_t
run_lru(void)
{
	uint32_t misses = 0;

	memset(node, 0, sizeof(node));
	memset(list, 0, sizeof(list));
	for (uint32_t n = 0; n < requests; n++)
	{
		uint32_t id = trace[n] + 1;

		if (node[id].where == MAIN)
			take(id);
		else
		{
			misses++;
			while (list[MAIN].chunks + size_of[id - 1] > config.cache_chunks)
				take(list[MAIN].tail);
		}
		give(id, MAIN);
	}
	return misses;
}

/* ---- the cache itself ---------------------------------------------------- */

static uint32_t
run_cache(void)
{
	static char bytes[MAX_SIZE * CHUNK];
	PennyPlane plane;
	PennyPlane edge;
	uint32_t misses = 0;
	PennyCacheUse use;

	if (penny_plane_create(&plane, &config) != NULL)
		return 0;
	edge = plane;
	edge.self = 0;
	for (uint32_t n = 0; n < requests; n++)
	{
		PennySpan part = {(char *) &trace[n], sizeof(trace[n])};
		PennyCachePut put = {.kind = PENNY_CACHE_CONVERSATION, .expires = UINT64_MAX};
		PennyCacheHit hit;

		penny_cache_key(&plane, &part, 1, &put.key);
		if (penny_cache_find(&plane, &put.key, 1, &hit) == PENNY_CACHE_HIT)
		{
			if (n & 1)
				penny_cache_hint(&edge, &hit);
			else
				penny_cache_used(&plane, &hit);
			continue;
		}
		misses++;
		put.hash = &put.key; /* each object is another content */
		put.body = (PennySpan){bytes, (size_t) size_of[trace[n]] * CHUNK};
		CHECK(penny_cache_put(&plane, &put) == PENNY_CACHE_KEPT);
	}
	penny_cache_use(&plane, &use);
	printf("# %llu bodies in %llu kB, %llu entries replaced\n", (unsigned long long) use.bodies,
		   (unsigned long long) use.bytes / 1024, (unsigned long long) use.replaced);
	penny_plane_destroy(&plane);
	return misses;
}

TEST(misses)
{
	uint32_t cache, reference, lru;

	make_trace();
	cache = run_cache();
	reference = run_reference();
	lru = run_lru();
	printf("# {\"requests\":%u,\"miss_ratio\":%.4f,\"reference\":%.4f,\"lru\":%.4f,"
		   "\"to_reference\":%.4f,\"to_lru\":%.4f}\n",
		   requests, (double) cache / requests, (double) reference / requests,
		   (double) lru / requests, (double) cache / reference, (double) cache / lru);
	CHECK(cache > 0 && cache <= reference * 1.02 && cache >= reference * 0.98);
	CHECK(cache <= lru * 0.90);
}

int
main(int argc, char **argv)
{
	if (argc > 1 && atoi(argv[1]) > 0 && atoi(argv[1]) <= MAX_REQUESTS)
		requests = (uint32_t) atoi(argv[1]);
	RUN(misses);
	return unit_done();
}

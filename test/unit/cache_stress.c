/*-------------------------------------------------------------------------
 *
 * cache_stress.c
 *		The cache between processes: one writes, others read as fast as they
 *		can, two of them with region P mapped read-only as an edge has it.
 *
 * A value says which key and which version it is and has a checksum, and the
 * arena is so small that chunks change hands all the time.  What a reader
 * accepts must be whole, of the key it asked for, and not older than the last
 * version whose push was over when the reader began.
 *
 *-------------------------------------------------------------------------
 */
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "unit.h"

#include "plane/cache.h"

#define OBJECTS 40
#define VIEWERS 3 /* keys of an object, which share its body */
#define READERS 3
#define MAX_WORDS 2500

static const PennyPlaneConfig config = {.edges = 2,
										.executors = 1,
										.slots = 1,
										.request_size = 1024,
										.response_size = 1024,
										.events = 16,
										.event_bytes = 4096,
										.cache_stamps = 64,
										.cache_entries = 64,
										.cache_chunks = 128,
										.cache_max_object = MAX_WORDS * 8};

/* What a reader saw. */
typedef struct Seen
{
	uint64_t result[PENNY_CACHE_NO_BODY + 1];
	uint64_t gone;  /* found, but its body went before or during the copy */
	uint64_t moved; /* copied, but a stamp had moved */
	uint64_t accepted;
	uint64_t torn;
	uint64_t stale;
} Seen;

typedef struct Shared
{
	_Atomic uint64_t version[OBJECTS]; /* pushed */
	_Atomic int stop;
	Seen seen[READERS];
} Shared;

static PennyPlane plane;
static Shared *shared;
static PennyCacheKey keys[OBJECTS][VIEWERS];
static uint64_t value[MAX_WORDS];

static uint64_t
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
}

/* Words of a value: object, version, words, checksum, then what follows from them. */
static size_t
make_value(uint64_t object, uint64_t version)
{
	uint64_t random = (object + 1) * UINT64_C(0x9e3779b97f4a7c15) + version;
	size_t words = 4 + unit_random(&random) % (version % 4 == 0 ? MAX_WORDS - 4 : 300);

	value[0] = object;
	value[1] = version;
	value[2] = words;
	for (size_t i = 4; i < words; i++)
		value[i] = random + i * version;
	value[3] = 0;
	value[3] = penny_hash(value, words * 8, 1);
	return words * 8;
}

static bool
whole(size_t len, uint64_t object)
{
	uint64_t sum = value[3];

	value[3] = 0;
	return len >= 32 && value[0] == object && value[2] * 8 == len &&
		   penny_hash(value, len, 1) == sum;
}

/* ---- processes ----------------------------------------------------------- */

static void
read_one(Seen *seen, uint64_t object, int viewer, bool edge)
{
	uint64_t version = atomic_load_explicit(&shared->version[object], memory_order_acquire);
	PennyCacheHit hit;
	PennyCacheResult result = penny_cache_find(&plane, &keys[object][viewer], 1, &hit);

	seen->result[result]++;
	if (result != PENNY_CACHE_HIT)
		return;
	if (!penny_cache_copy(&plane, &hit, (char *) value))
	{
		seen->gone++;
		return;
	}
	if (!penny_cache_holds(&plane, &hit))
	{
		seen->moved++;
		return;
	}
	seen->accepted++;
	seen->torn += !whole(hit.body_len, object);
	seen->stale += value[1] < version;
	if (edge)
		penny_cache_hint(&plane, &hit);
	else
		penny_cache_used(&plane, &hit);
}

static pid_t
start_reader(int number)
{
	uint64_t random = (uint64_t) number + 77;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid != 0)
		return pid;
	if (number > 0)
	{
		plane.self = number - 1;
		if (mprotect(plane.p, plane.sizes.p_size, PROT_READ) != 0)
			_exit(1);
	}
	while (!atomic_load_explicit(&shared->stop, memory_order_relaxed))
		read_one(&shared->seen[number], unit_random(&random) % OBJECTS,
				 (int) (unit_random(&random) % VIEWERS), number > 0);
	_exit(0);
}

static void
put_object(uint64_t object, int viewer)
{
	uint32_t slot = (uint32_t) object + 1;
	PennyCacheToken token = {slot, penny_stamp_seq(&plane, slot)};
	size_t len = make_value(object, atomic_load(&shared->version[object]));
	PennyCachePut put = {.key = keys[object][viewer],
						 .kind = (PennyCacheKind) (object % PENNY_CACHE_KINDS),
						 .body = {(char *) value, len},
						 .expires = UINT64_MAX,
						 .tokens = 1,
						 .token = &token};

	if (penny_cache_put(&plane, &put) != PENNY_CACHE_KEPT)
		_exit(2);
}

/* Change, keep, evict, clear, for so long. */
static uint64_t
write_for(uint64_t ms)
{
	uint64_t end = now_ms() + ms;
	uint64_t random = 5;
	uint64_t writes = 0;

	while (writes++ % 64 != 0 || now_ms() < end)
	{
		uint64_t object = unit_random(&random) % OBJECTS;
		uint64_t what = unit_random(&random) % 4096;

		if (what == 0)
			penny_cache_clear(&plane);
		else if (what < 1024)
		{
			penny_stamp_push(&plane, (uint32_t) object + 1, 0, NULL);
			atomic_fetch_add_explicit(&shared->version[object], 1, memory_order_release);
		}
		else
			put_object(object, (int) (unit_random(&random) % VIEWERS));
	}
	return writes;
}

/* ---- the test ------------------------------------------------------------ */

static void
start(void)
{
	const char *failed = penny_plane_create(&plane, &config);

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (failed != NULL || shared == MAP_FAILED)
	{
		printf("Bail out! %s\n", failed);
		exit(1);
	}
	for (uint64_t object = 0; object < OBJECTS; object++)
	{
		for (int viewer = 0; viewer < VIEWERS; viewer++)
		{
			PennySpan part[2] = {{(char *) &object, sizeof(object)},
								 {(char *) &viewer, sizeof(viewer)}};

			penny_cache_key(&plane, part, 2, &keys[object][viewer]);
		}
	}
}

TEST(no_torn_or_stale_value)
{
	pid_t reader[READERS];
	Seen sum = {.accepted = 0};
	uint64_t writes;
	PennyCacheUse use;

	start();
	for (int i = 0; i < READERS; i++)
		reader[i] = start_reader(i);
	writes = write_for(2000);
	atomic_store(&shared->stop, 1);
	for (int i = 0; i < READERS; i++)
	{
		const Seen *seen = &shared->seen[i];
		int status;

		CHECK(waitpid(reader[i], &status, 0) == reader[i] && status == 0);
		CHECK(seen->torn == 0 && seen->stale == 0);
		CHECK(seen->accepted > 100);
		for (int r = 0; r <= PENNY_CACHE_NO_BODY; r++)
			sum.result[r] += seen->result[r];
		sum.accepted += seen->accepted;
		sum.gone += seen->gone;
		sum.moved += seen->moved;
		sum.torn += seen->torn;
		sum.stale += seen->stale;
	}
	penny_cache_use(&plane, &use);
	printf("# %llu writes, %llu evictions, %llu shared, %llu replaced\n",
		   (unsigned long long) writes, (unsigned long long) use.evictions,
		   (unsigned long long) use.shared, (unsigned long long) use.replaced);
	printf("# accepted %llu: torn %llu, stale %llu; misses %llu, stamps moved %llu + %llu, "
		   "no body %llu + %llu\n",
		   (unsigned long long) sum.accepted, (unsigned long long) sum.torn,
		   (unsigned long long) sum.stale, (unsigned long long) sum.result[PENNY_CACHE_MISS],
		   (unsigned long long) sum.result[PENNY_CACHE_STALE], (unsigned long long) sum.moved,
		   (unsigned long long) sum.result[PENNY_CACHE_NO_BODY], (unsigned long long) sum.gone);
	CHECK(sum.result[PENNY_CACHE_STALE] > 0 && sum.result[PENNY_CACHE_NO_BODY] > 0);
	CHECK(use.evictions > 0 && use.shared > 0 && use.replaced > 0);
	penny_plane_destroy(&plane);
}

int
main(void)
{
	RUN(no_torn_or_stale_value);
	return unit_done();
}

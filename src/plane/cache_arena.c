/*-------------------------------------------------------------------------
 *
 * cache_arena.c
 *		The cache's memory: its place in region P, and the chunks of its arena.
 *
 * Chunks that were given back form a list through their links; those never
 * used lie behind chunks_used.  Memory of the latter is allocated by steps when
 * it is first needed; when there is none, the arena ends there.
 *
 * Taking and giving back is the work of a writer under the cache's lock.  A
 * body's chunks are linked in order; readers follow the links, see cache_read.c.
 *
 *-------------------------------------------------------------------------
 */
#include "plane/cache_layout.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>

#define STEP 256     /* chunks that are given memory at once */
#define GROW_TRIES 8 /* when signals interrupt it */
#define MAX_STAMPS (1u << 24)
#define MAX_ENTRIES (1u << 22)
#define MAX_CHUNKS (1u << 26)
#define MAX_OBJECT (64u << 20)

static bool
power_of_two(uint32_t n)
{
	return n != 0 && (n & (n - 1)) == 0;
}

/* The place of `count` things of `size` from `*at` on, each part on pages of its own. */
static size_t
place(size_t *at, size_t size, size_t count)
{
	size_t here = *at;

	*at = (here + size * count + 4095) / 4096 * 4096;
	return here;
}

/*
 * Check the cache's part of a configuration and place it from `at` on, the
 * end of what comes before it in region P.  Without an arena there is none of it.
 */
bool
penny_cache_sizes(const PennyPlaneConfig *config, PennyPlaneSizes *sizes, size_t at)
{
	size_t entries = config->cache_entries;

	sizes->cache = sizes->cache_stamps = sizes->cache_marks = sizes->cache_entries = at;
	sizes->cache_bodies = sizes->cache_index = sizes->cache_ghosts = sizes->cache_links = at;
	sizes->cache_arena = sizes->p_size = at;
	if (config->cache_chunks == 0)
		return true;
	if (!power_of_two(config->cache_stamps) || config->cache_stamps < 64 ||
		config->cache_stamps > MAX_STAMPS || !power_of_two(config->cache_entries) ||
		config->cache_entries < 64 || config->cache_entries > MAX_ENTRIES ||
		config->cache_chunks < 64 || config->cache_chunks > MAX_CHUNKS ||
		config->cache_max_object < PENNY_CHUNK || config->cache_max_object > MAX_OBJECT)
		return false;

	sizes->cache = place(&at, sizeof(PennyCacheHeader), 1);
	sizes->cache_stamps = place(&at, sizeof(PennyStamp), config->cache_stamps);
	sizes->cache_marks = place(&at, sizeof(uint64_t), entries);
	sizes->cache_entries = place(&at, sizeof(PennyCacheEntry), entries);
	sizes->cache_bodies = place(&at, sizeof(PennyCacheBody), entries);
	sizes->cache_index = place(&at, sizeof(uint32_t), entries);
	sizes->cache_ghosts = place(&at, sizeof(PennyCacheGhost), 2 * entries);
	sizes->cache_links = place(&at, sizeof(uint32_t), config->cache_chunks);
	sizes->cache_arena = place(&at, PENNY_CHUNK, config->cache_chunks);
	sizes->p_size = at;
	return true;
}

/* In a new plane, all zeroes: false and errno when there is no secret to be had. */
bool
penny_cache_start(PennyPlane *plane)
{
	PennyCacheHeader *header;

	if (!penny_cache_on(plane))
		return true;
	header = penny_cache_header(plane);
	header->chunks_limit = plane->config.cache_chunks;
	return getrandom(header->secret, sizeof(header->secret), 0) == sizeof(header->secret);
}

/*
 * Give memory to the chunks below `chunks`; false and errno when there is none,
 * or when signals come so fast that it is not to be had now (EINTR).
 */
static bool
grow(PennyPlane *plane, uint32_t chunks)
{
	PennyCacheHeader *header = penny_cache_header(plane);
	uint32_t upto = (chunks + STEP - 1) / STEP * STEP;
	off_t from = (off_t) (plane->sizes.cache_arena + (size_t) header->chunks_ready * PENNY_CHUNK);
	int tries = 0;

	if (chunks <= header->chunks_ready)
		return true;
	if (upto > header->chunks_limit)
		upto = header->chunks_limit;
	while (fallocate(plane->p_fd, 0, from, (off_t) (upto - header->chunks_ready) * PENNY_CHUNK) !=
		   0)
	{
		if (errno != EINTR || ++tries == GROW_TRIES)
			return false;
	}
	header->chunks_ready = upto;
	return true;
}

/* Are so many chunks there to be taken? */
bool
penny_arena_has(PennyPlane *plane, uint32_t chunks)
{
	PennyCacheHeader *header = penny_cache_header(plane);

	if (chunks <= header->chunks_free)
		return true;
	chunks -= header->chunks_free;
	if (chunks > header->chunks_limit - header->chunks_used)
		return false;
	if (grow(plane, header->chunks_used + chunks))
		return true;
	if (errno == EINTR)
		return false;
	header->chunks_limit = header->chunks_ready;
	return chunks <= header->chunks_limit - header->chunks_used;
}

/* Take chunks that are there; the first of the chain, its number plus one. */
uint32_t
penny_arena_take(PennyPlane *plane, uint32_t chunks)
{
	PennyCacheHeader *header = penny_cache_header(plane);
	_Atomic uint32_t *links = penny_cache_links(plane);
	uint32_t first = 0;
	uint32_t last = 0;

	for (uint32_t i = 0; i < chunks; i++)
	{
		uint32_t chunk;

		if (header->chunk_free != 0)
		{
			chunk = header->chunk_free;
			header->chunk_free = atomic_load_explicit(&links[chunk - 1], memory_order_relaxed);
			header->chunks_free--;
		}
		else
			chunk = ++header->chunks_used;
		if (last == 0)
			first = chunk;
		else
			atomic_store_explicit(&links[last - 1], chunk, memory_order_relaxed);
		atomic_store_explicit(&links[chunk - 1], 0, memory_order_relaxed);
		last = chunk;
	}
	return first;
}

/* Give a chain back. */
void
penny_arena_give(PennyPlane *plane, uint32_t first)
{
	PennyCacheHeader *header = penny_cache_header(plane);
	_Atomic uint32_t *links = penny_cache_links(plane);

	while (first != 0)
	{
		uint32_t next = atomic_load_explicit(&links[first - 1], memory_order_relaxed);

		atomic_store_explicit(&links[first - 1], header->chunk_free, memory_order_relaxed);
		header->chunk_free = first;
		header->chunks_free++;
		first = next;
	}
}

/* Write head and body into a chain that is long enough. */
void
penny_arena_write(PennyPlane *plane, uint32_t first, PennySpan head, PennySpan body)
{
	_Atomic uint32_t *links = penny_cache_links(plane);
	const PennySpan part[2] = {head, body};
	size_t at = 0;

	for (int i = 0; i < 2; i++)
	{
		for (size_t done = 0; done < part[i].len;)
		{
			size_t n = part[i].len - done;

			if (at == PENNY_CHUNK)
			{
				first = atomic_load_explicit(&links[first - 1], memory_order_relaxed);
				at = 0;
			}
			if (n > PENNY_CHUNK - at)
				n = PENNY_CHUNK - at;
			memcpy(penny_cache_chunk(plane, first - 1) + at, part[i].data + done, n);
			at += n;
			done += n;
		}
	}
}

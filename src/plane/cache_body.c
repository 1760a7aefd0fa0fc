/*-------------------------------------------------------------------------
 *
 * cache_body.c
 *		Bodies: made, found by their content, freed; and which entries have
 *		which.  The work of writers, under the cache's lock.
 *
 * A body lives as long as it has an entry and is not evicted.  Each has a
 * list of its entries, to see whether any of them is still valid; eviction does
 * not walk it: entries of an evicted body learn by its version that they have
 * none, whatever their links say.
 *
 * There are as many records of bodies as entries, and a body has an entry, so a
 * record is always free for one who has just taken an entry.
 *
 *-------------------------------------------------------------------------
 */
#include "plane/cache_layout.h"

#define DEAD_LOOKED_AT 4 /* entries of a body; with more of them it is taken for alive */

static inline PennyCacheBody *
body_of(PennyPlane *plane, uint32_t number)
{
	return &penny_cache_bodies(plane)[number - 1];
}

static uint32_t *
index_of(PennyPlane *plane, const PennyCacheKey *hash)
{
	return &penny_cache_index(plane)[hash->word[0] & (plane->config.cache_entries - 1)];
}

/* The body of a content, or 0. */
uint32_t
penny_body_find(PennyPlane *plane, const PennyCacheKey *hash, uint32_t bytes)
{
	uint32_t number = *index_of(plane, hash);

	while (number != 0)
	{
		PennyCacheBody *body = body_of(plane, number);

		if (body->hash.word[0] == hash->word[0] && body->hash.word[1] == hash->word[1] &&
			body->bytes == bytes)
			return number;
		number = body->index_next;
	}
	return 0;
}

static uint32_t
take_record(PennyPlane *plane)
{
	PennyCacheHeader *header = penny_cache_header(plane);
	uint32_t number = header->body_free;

	if (number == 0)
		return ++header->bodies_used;
	header->body_free = body_of(plane, number)->index_next;
	return number;
}

/* A body of its own; the chunks are there (penny_cache_make_room). */
uint32_t
penny_body_make(PennyPlane *plane, const PennyCacheKey *hash, PennySpan head, PennySpan text,
				PennyCacheKind kind, uint64_t origin)
{
	PennyCacheHeader *header = penny_cache_header(plane);
	uint32_t number = take_record(plane);
	PennyCacheBody *body = body_of(plane, number);
	uint32_t first;

	body->bytes = (uint32_t) (head.len + text.len);
	body->chunks = penny_cache_chunks_of(body->bytes);
	body->kind = kind;
	body->freq = 0;
	body->entry = 0;
	body->entries = 0;
	body->hash = *hash;
	body->origin = origin;
	body->index_next = *index_of(plane, hash);
	*index_of(plane, hash) = number;

	penny_version_open(&body->version);
	first = penny_arena_take(plane, body->chunks);
	penny_arena_write(plane, first, head, text);
	atomic_store_explicit(&body->first, first, memory_order_relaxed);
	atomic_store_explicit(&body->uses,
						  (atomic_load_explicit(&body->uses, memory_order_relaxed) | 3) + 1,
						  memory_order_relaxed);
	penny_version_close(&body->version);

	penny_cache_add(&header->bodies, 1);
	penny_cache_add(&header->chunks, body->chunks);
	penny_cache_add(&header->kind_chunks[kind], body->chunks);
	return number;
}

static void
leave_index(PennyPlane *plane, uint32_t number)
{
	PennyCacheBody *body = body_of(plane, number);
	uint32_t *link = index_of(plane, &body->hash);

	while (*link != number)
		link = &body_of(plane, *link)->index_next;
	*link = body->index_next;
}

/* Take a body away; its entries find out by its version. */
void
penny_body_free(PennyPlane *plane, uint32_t number)
{
	PennyCacheHeader *header = penny_cache_header(plane);
	PennyCacheBody *body = body_of(plane, number);

	penny_version_open(&body->version);
	penny_queue_remove(plane, number);
	leave_index(plane, number);
	penny_arena_give(plane, atomic_load_explicit(&body->first, memory_order_relaxed));
	penny_cache_add(&header->bodies, -1);
	penny_cache_add(&header->chunks, -(int64_t) body->chunks);
	penny_cache_add(&header->kind_chunks[body->kind], -(int64_t) body->chunks);
	body->entry = 0;
	body->entries = 0;
	body->index_next = header->body_free;
	header->body_free = number;
}

/* Is nothing left that could give this body to a reader? */
bool
penny_body_dead(PennyPlane *plane, const PennyCacheBody *body)
{
	PennyCacheEntry *entries = penny_cache_entries(plane);

	if (body->entries > DEAD_LOOKED_AT)
		return false;
	for (uint32_t i = body->entry; i != 0; i = entries[i - 1].next)
	{
		if (penny_entry_holds(plane, &entries[i - 1]))
			return false;
	}
	return true;
}

/* ---- which entry has which body ------------------------------------------ */

/* Is the body that an entry names still there? */
bool
penny_entry_has_body(PennyPlane *plane, const PennyCacheEntry *entry)
{
	return entry->face.body != 0 &&
		   atomic_load_explicit(&body_of(plane, entry->face.body)->version, memory_order_relaxed) ==
			   entry->face.body_version;
}

/* Give an entry, whose version is odd, a body. */
void
penny_entry_join(PennyPlane *plane, uint32_t i, uint32_t number)
{
	PennyCacheEntry *entries = penny_cache_entries(plane);
	PennyCacheBody *body = body_of(plane, number);

	entries[i].face.body = number;
	entries[i].face.body_version = atomic_load_explicit(&body->version, memory_order_relaxed);
	entries[i].prev = 0;
	entries[i].next = body->entry;
	if (body->entry != 0)
		entries[body->entry - 1].prev = i + 1;
	body->entry = i + 1;
	body->entries++;
}

/* An entry no longer has its body, if it had one; the last one takes it along. */
void
penny_entry_leave(PennyPlane *plane, uint32_t i)
{
	PennyCacheEntry *entries = penny_cache_entries(plane);
	PennyCacheEntry *entry = &entries[i];
	PennyCacheBody *body;

	if (!penny_entry_has_body(plane, entry))
		return;
	body = body_of(plane, entry->face.body);
	if (entry->next != 0)
		entries[entry->next - 1].prev = entry->prev;
	if (entry->prev != 0)
		entries[entry->prev - 1].next = entry->next;
	else
		body->entry = entry->next;
	if (--body->entries == 0)
		penny_body_free(plane, entry->face.body);
}

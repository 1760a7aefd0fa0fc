/*-------------------------------------------------------------------------
 *
 * cache_read.c
 *		Readers: find, copy, compare.  No locks, nothing written but a count of
 *		uses that stops at three.
 *
 * Runs in backends and in the edge, which maps region P read-only.  Whatever
 * stands in region P, also when it was scribbled over: no number is followed
 * and no length used before it was compared with the reader's own copy of the
 * sizes, and no loop is longer than these say.
 *
 * A version that is odd or moved is looked at a few times more, then it is a
 * miss: its writer may have been interrupted half-way.
 *
 *-------------------------------------------------------------------------
 */
#include "plane/cache_layout.h"

#include <string.h>

#define TRIES 3

/* Does a token still have the seq of its stamp? */
static inline bool
token_holds(const PennyPlane *plane, uint32_t slot, uint64_t seq)
{
	if (slot == PENNY_STAMP_NONE)
		return true;
	return slot < plane->config.cache_stamps &&
		   atomic_load_explicit(&penny_cache_stamps(plane)[slot].seq, memory_order_relaxed) == seq;
}

/* Of a version that holds still: copy an entry out; false when it does not. */
static bool
copy_entry(const PennyCacheEntry *entry, PennyCacheFace *face, PennyCacheHit *hit)
{
	uint64_t version = atomic_load_explicit(&entry->version, memory_order_acquire);
	uint32_t tokens = atomic_load_explicit(&entry->tokens, memory_order_relaxed);

	if ((version & 1) || tokens > PENNY_CACHE_TOKENS)
		return false;
	memcpy(face, &entry->face, sizeof(*face));
	for (uint32_t i = 0; i < tokens; i++)
	{
		hit->token[i].slot = entry->slot[i];
		hit->token[i].seq = entry->seq[i];
	}
	atomic_thread_fence(memory_order_acquire);
	if (atomic_load_explicit(&entry->version, memory_order_relaxed) != version)
		return false;
	hit->tokens = (int) tokens;
	hit->entry_version = version;
	return true;
}

/* From the copy to the hit; false when it says what cannot be. */
static bool
take_face(const PennyPlane *plane, const PennyCacheFace *face, PennyCacheHit *hit)
{
	if (face->kind >= PENNY_CACHE_KINDS ||
		(uint64_t) face->head_len + face->body_len > plane->config.cache_max_object)
		return false;
	hit->key = face->key;
	hit->kind = (PennyCacheKind) face->kind;
	hit->status = face->status;
	hit->head_len = face->head_len;
	hit->body_len = face->body_len;
	hit->created = face->created;
	hit->expires = face->expires;
	hit->hash = face->hash;
	memcpy(hit->etag, face->etag, sizeof(hit->etag));
	memcpy(hit->label, face->label, sizeof(hit->label));
	hit->label[PENNY_CACHE_LABEL - 1] = '\0';
	hit->body = face->body;
	hit->body_version = face->body_version;
	return true;
}

static bool
body_lives(const PennyPlane *plane, const PennyCacheHit *hit)
{
	if (hit->body == 0 || hit->body > plane->config.cache_entries || (hit->body_version & 1))
		return false;
	return atomic_load_explicit(&penny_cache_bodies(plane)[hit->body - 1].version,
								memory_order_acquire) == hit->body_version;
}

/* Entry number i, in any state. */
PennyCacheResult
penny_entry_read(const PennyPlane *plane, uint32_t i, uint64_t now, PennyCacheHit *hit)
{
	const PennyCacheEntry *entry = &penny_cache_entries(plane)[i];
	PennyCacheFace face;
	int tries = 0;

	while (!copy_entry(entry, &face, hit))
	{
		if (++tries == TRIES)
			return PENNY_CACHE_MISS;
	}
	if (hit->entry_version == 0 || !take_face(plane, &face, hit))
		return PENNY_CACHE_MISS;
	hit->entry = i;
	if (hit->expires <= now)
		return PENNY_CACHE_EXPIRED;
	if (!penny_cache_holds(plane, hit))
		return PENNY_CACHE_STALE;
	return body_lives(plane, hit) ? PENNY_CACHE_HIT : PENNY_CACHE_NO_BODY;
}

/* Look up. */
PennyCacheResult
penny_cache_find(const PennyPlane *plane, const PennyCacheKey *key, uint64_t now,
				 PennyCacheHit *hit)
{
	const _Atomic uint64_t *marks = penny_cache_marks(plane);
	uint32_t set;

	if (!penny_cache_on(plane))
		return PENNY_CACHE_MISS;
	set = penny_cache_set(plane, key);
	for (uint32_t i = set; i < set + PENNY_CACHE_WAYS; i++)
	{
		PennyCacheResult result;

		if (atomic_load_explicit(&marks[i], memory_order_relaxed) != penny_cache_mark(key))
			continue;
		result = penny_entry_read(plane, i, now, hit);
		if (result != PENNY_CACHE_MISS && hit->key.word[0] == key->word[0] &&
			hit->key.word[1] == key->word[1])
			return result;
	}
	return PENNY_CACHE_MISS;
}

/* Entry number i, as find gives it. */
PennyCacheResult
penny_cache_entry(const PennyPlane *plane, uint32_t i, uint64_t now, PennyCacheHit *hit)
{
	if (!penny_cache_on(plane) || i >= plane->config.cache_entries ||
		atomic_load_explicit(&penny_cache_marks(plane)[i], memory_order_relaxed) == 0)
		return PENNY_CACHE_MISS;
	return penny_entry_read(plane, i, now, hit);
}

/*
 * Copy the bytes of a hit.  Not retried when the body went away: it does not
 * come back under this version.
 */
bool
penny_cache_copy(const PennyPlane *plane, const PennyCacheHit *hit, char *out)
{
	const _Atomic uint32_t *links = penny_cache_links(plane);
	const PennyCacheBody *body;
	size_t left = (size_t) hit->head_len + hit->body_len;
	uint32_t chunk;

	if (!penny_cache_on(plane) || !body_lives(plane, hit))
		return false;
	body = &penny_cache_bodies(plane)[hit->body - 1];
	chunk = atomic_load_explicit(&body->first, memory_order_relaxed);
	while (left > 0)
	{
		size_t n = left < PENNY_CHUNK ? left : PENNY_CHUNK;

		if (chunk == 0 || chunk > plane->config.cache_chunks)
			return false;
		memcpy(out, penny_cache_chunk(plane, chunk - 1), n);
		chunk = atomic_load_explicit(&links[chunk - 1], memory_order_relaxed);
		out += n;
		left -= n;
	}
	atomic_thread_fence(memory_order_acquire);
	return atomic_load_explicit(&body->version, memory_order_relaxed) == hit->body_version;
}

/*
 * Do all tokens hold?  The fence keeps the loads of the stamps behind the copy
 * that came before.
 */
bool
penny_cache_holds(const PennyPlane *plane, const PennyCacheHit *hit)
{
	if (!penny_cache_on(plane) || hit->tokens < 0 || hit->tokens > PENNY_CACHE_TOKENS)
		return false;
	atomic_thread_fence(memory_order_seq_cst);
	for (int i = 0; i < hit->tokens; i++)
	{
		if (!token_holds(plane, hit->token[i].slot, hit->token[i].seq))
			return false;
	}
	return true;
}

/* For writers, who find entries in order: do the tokens of this one hold? */
bool
penny_entry_holds(const PennyPlane *plane, const PennyCacheEntry *entry)
{
	for (uint32_t i = 0; i < atomic_load_explicit(&entry->tokens, memory_order_relaxed); i++)
	{
		if (!token_holds(plane, entry->slot[i], entry->seq[i]))
			return false;
	}
	return true;
}

/* ---- uses ---------------------------------------------------------------- */

/* In PostgreSQL: count a use, until three have been. */
void
penny_cache_used(PennyPlane *plane, const PennyCacheHit *hit)
{
	PennyCacheBody *body;
	uint64_t uses;

	if (!penny_cache_on(plane) || !body_lives(plane, hit))
		return;
	body = &penny_cache_bodies(plane)[hit->body - 1];
	uses = atomic_load_explicit(&body->uses, memory_order_relaxed);
	/* who loses against another one's count leaves it at that */
	if ((uses & 3) < 3)
		atomic_compare_exchange_strong_explicit(&body->uses, &uses, uses + 1, memory_order_relaxed,
												memory_order_relaxed);
}

/* In the edge: the same in its own region, beside the stamp that was current. */
void
penny_cache_hint(PennyPlane *plane, const PennyCacheHit *hit)
{
	_Atomic uint64_t *hint;
	uint64_t uses;
	uint64_t mine;

	if (!penny_cache_on(plane) || plane->self < 0 || !body_lives(plane, hit))
		return;
	uses =
		atomic_load_explicit(&penny_cache_bodies(plane)[hit->body - 1].uses, memory_order_relaxed);
	hint = &penny_cache_hints(plane, plane->self)[hit->body - 1];
	mine = atomic_load_explicit(hint, memory_order_relaxed);
	if (mine >> 2 != uses >> 2)
		mine = uses & ~UINT64_C(3);
	if ((uses & 3) + (mine & 3) < 3)
		atomic_store_explicit(hint, mine + 1, memory_order_relaxed);
}

/* What is there, by counters that anybody may read. */
void
penny_cache_use(const PennyPlane *plane, PennyCacheUse *use)
{
	const PennyCacheHeader *header = penny_cache_header(plane);

	memset(use, 0, sizeof(*use));
	if (!penny_cache_on(plane))
		return;
	use->arena = (uint64_t) plane->config.cache_chunks * PENNY_CHUNK;
	use->bytes = atomic_load_explicit(&header->chunks, memory_order_relaxed) * PENNY_CHUNK;
	use->bodies = atomic_load_explicit(&header->bodies, memory_order_relaxed);
	use->entries = atomic_load_explicit(&header->entries, memory_order_relaxed);
	use->shared = atomic_load_explicit(&header->shared, memory_order_relaxed);
	use->evictions = atomic_load_explicit(&header->evictions, memory_order_relaxed);
	use->replaced = atomic_load_explicit(&header->replaced, memory_order_relaxed);
	for (int kind = 0; kind < PENNY_CACHE_KINDS; kind++)
		use->kind_bytes[kind] =
			atomic_load_explicit(&header->kind_chunks[kind], memory_order_relaxed) * PENNY_CHUNK;
}

/*-------------------------------------------------------------------------
 *
 * cache_put.c
 *		Writing entries: put, restore, clear.  Under the cache's lock.
 *
 * An entry is replaced in its place when its key is there already; else it
 * takes the place in its set that is worth least: a free one, one that does not
 * hold, one without a body, the one whose body was used least, the oldest.
 *
 * A new body of a key takes over the place of the old one in the queues: it is
 * the object that is popular, not its bytes.
 *
 *-------------------------------------------------------------------------
 */
#include "plane/cache_layout.h"

#include <string.h>

/* What a new body of a key starts as. */
typedef struct Standing
{
	PennyCacheQueue queue;
	uint32_t freq;
} Standing;

static inline PennyCacheBody *
body_of(PennyPlane *plane, uint32_t number)
{
	return &penny_cache_bodies(plane)[number - 1];
}

/* ---- which place --------------------------------------------------------- */

/* What an entry is worth; the greater the more. */
static uint64_t
worth(PennyPlane *plane, const PennyCacheEntry *entry, uint64_t now)
{
	uint64_t age = (now - entry->face.created) & UINT32_MAX;
	PennyCacheBody *body;
	uint64_t much;

	if (entry->face.expires <= now || !penny_entry_holds(plane, entry))
		return 0;
	if (!penny_entry_has_body(plane, entry))
		much = 1;
	else
	{
		body = body_of(plane, entry->face.body);
		much = 2 + body->queue + body->freq +
			   (atomic_load_explicit(&body->uses, memory_order_relaxed) & 3);
	}
	return much << 32 | (UINT32_MAX - age);
}

/* The place of a key. */
static uint32_t
choose(PennyPlane *plane, const PennyCacheKey *key, uint64_t now, bool *same)
{
	PennyCacheEntry *entries = penny_cache_entries(plane);
	_Atomic uint64_t *marks = penny_cache_marks(plane);
	uint32_t set = penny_cache_set(plane, key);
	uint32_t best = UINT32_MAX;
	uint64_t least = UINT64_MAX;

	*same = false;
	for (uint32_t i = set; i < set + PENNY_CACHE_WAYS; i++)
	{
		if (atomic_load_explicit(&marks[i], memory_order_relaxed) == penny_cache_mark(key) &&
			memcmp(&entries[i].face.key, key, sizeof(*key)) == 0)
		{
			*same = true;
			return i;
		}
	}
	for (uint32_t i = set; i < set + PENNY_CACHE_WAYS; i++)
	{
		uint64_t this;

		if (atomic_load_explicit(&marks[i], memory_order_relaxed) == 0)
			return i;
		this = worth(plane, &entries[i], now);
		if (best == UINT32_MAX || this < least)
		{
			best = i;
			least = this;
		}
	}
	return best;
}

/* ---- writing ------------------------------------------------------------- */

/* What a new body of this key starts as, if its entry is (`same`) or was here. */
static Standing
standing(PennyPlane *plane, uint32_t i, bool same, const PennyCacheKey *key)
{
	PennyCacheEntry *entry = &penny_cache_entries(plane)[i];
	Standing start = {PENNY_QUEUE_SMALL, 0};

	if (same && penny_entry_has_body(plane, entry))
	{
		PennyCacheBody *old = body_of(plane, entry->face.body);
		uint64_t uses = atomic_load_explicit(&old->uses, memory_order_relaxed);

		start.queue = (PennyCacheQueue) old->queue;
		start.freq = old->freq + (uint32_t) (uses & 3);
		if (start.freq > 3)
			start.freq = 3;
	}
	else if (penny_ghost_take(plane, key->word[0]))
		start.queue = PENNY_QUEUE_MAIN;
	return start;
}

/* A body with this content that is there already, or 0. */
static uint32_t
share_body(PennyPlane *plane, const PennyCacheKey *hash, size_t bytes)
{
	uint32_t number = penny_body_find(plane, hash, (uint32_t) bytes);

	if (number != 0)
		penny_cache_add(&penny_cache_header(plane)->shared, 1);
	return number;
}

/* A new one; 0 when there is no room. */
static uint32_t
make_body(PennyPlane *plane, const PennyCacheKey *hash, PennySpan head, PennySpan text,
		  PennyCacheKind kind, const PennyCacheKey *key, Standing start)
{
	size_t bytes = head.len + text.len;
	uint32_t number;

	if (!penny_cache_make_room(plane, kind, penny_cache_chunks_of(bytes)))
		return 0;
	number = penny_body_make(plane, hash, head, text, kind, key->word[0]);
	body_of(plane, number)->freq = start.freq;
	penny_queue_add(plane, number, start.queue);
	return number;
}

/* All but the body. */
static void
write_face(PennyCacheFace *face, const PennyCachePut *put, const PennyCacheKey *hash)
{
	memset(face->etag, 0, sizeof(face->etag));
	memset(face->label, 0, sizeof(face->label));
	face->key = put->key;
	face->hash = *hash;
	face->created = put->now;
	face->expires = put->expires;
	face->kind = put->kind;
	face->status = put->status;
	face->head_len = (uint32_t) put->head.len;
	face->body_len = (uint32_t) put->body.len;
	if (put->etag != NULL)
		memcpy(face->etag, put->etag, strnlen(put->etag, sizeof(face->etag)));
	if (put->label != NULL)
		memcpy(face->label, put->label, strnlen(put->label, sizeof(face->label) - 1));
}

/*
 * Take the place: nobody finds what was there any more.  Its version stays odd.
 * It keeps its body if that is the one it is to have.
 */
static void
open_entry(PennyPlane *plane, uint32_t i, uint32_t keep)
{
	PennyCacheEntry *entry = &penny_cache_entries(plane)[i];

	penny_version_open(&entry->version);
	if (keep != 0 && entry->face.body == keep && penny_entry_has_body(plane, entry))
		return;
	penny_entry_leave(plane, i);
	entry->face.body = 0;
}

/* Nothing is there now. */
static void
drop_entry(PennyPlane *plane, uint32_t i)
{
	PennyCacheEntry *entry = &penny_cache_entries(plane)[i];

	atomic_store_explicit(&penny_cache_marks(plane)[i], 0, memory_order_relaxed);
	memset(&entry->face, 0, sizeof(entry->face));
	atomic_store_explicit(&entry->tokens, 0, memory_order_relaxed);
	penny_version_close(&entry->version);
	penny_cache_add(&penny_cache_header(plane)->entries, -1);
}

static void
write_entry(PennyPlane *plane, uint32_t i, const PennyCachePut *put, const PennyCacheKey *hash,
			uint32_t body)
{
	PennyCacheEntry *entry = &penny_cache_entries(plane)[i];

	write_face(&entry->face, put, hash);
	if (entry->face.body == 0)
		penny_entry_join(plane, i, body);
	for (int t = 0; t < put->tokens; t++)
	{
		entry->slot[t] = put->token[t].slot;
		entry->seq[t] = put->token[t].seq;
	}
	atomic_store_explicit(&entry->tokens, (uint32_t) put->tokens, memory_order_relaxed);
	penny_version_close(&entry->version);
	atomic_store_explicit(&penny_cache_marks(plane)[i], penny_cache_mark(&put->key),
						  memory_order_release);
}

/* Keep a value. */
PennyCachePutResult
penny_cache_put(PennyPlane *plane, const PennyCachePut *put)
{
	PennyCacheHeader *header = penny_cache_header(plane);
	PennyCacheKey hash;
	Standing start;
	uint32_t i;
	uint32_t body;
	bool same;
	bool fresh;

	if (!penny_cache_on(plane))
		return PENNY_CACHE_OFF;
	if (put->head.len > plane->config.cache_max_object ||
		put->body.len > plane->config.cache_max_object - put->head.len || put->tokens < 0 ||
		put->tokens > PENNY_CACHE_TOKENS ||
		!penny_cache_fits(plane, put->kind, penny_cache_chunks_of(put->head.len + put->body.len)))
		return PENNY_CACHE_TOO_LARGE;
	if (put->hash != NULL)
		hash = *put->hash;
	else
		penny_cache_hash(plane, put->status, put->head, put->body, &hash);

	i = choose(plane, &put->key, put->now, &same);
	fresh = atomic_load_explicit(&penny_cache_marks(plane)[i], memory_order_relaxed) == 0;
	start = standing(plane, i, same, &put->key);
	body = share_body(plane, &hash, put->head.len + put->body.len);
	open_entry(plane, i, body);
	if (fresh)
		penny_cache_add(&header->entries, 1);
	else if (!same)
		penny_cache_add(&header->replaced, 1);
	if (body == 0)
		body = make_body(plane, &hash, put->head, put->body, put->kind, &put->key, start);
	if (body == 0)
	{
		drop_entry(plane, i);
		return PENNY_CACHE_TOO_LARGE;
	}
	write_entry(plane, i, put, &hash, body);
	return PENNY_CACHE_KEPT;
}

/* Give an entry, still as it was found, its body again. */
bool
penny_cache_restore(PennyPlane *plane, const PennyCacheHit *hit, PennySpan head, PennySpan text)
{
	PennyCacheEntry *entry;
	Standing start;
	uint32_t body;

	if (!penny_cache_on(plane) || hit->entry >= plane->config.cache_entries)
		return false;
	entry = &penny_cache_entries(plane)[hit->entry];
	if (atomic_load_explicit(&entry->version, memory_order_relaxed) != hit->entry_version ||
		head.len != hit->head_len || text.len != hit->body_len)
		return false;
	if (penny_entry_has_body(plane, entry))
		return true;
	body = share_body(plane, &entry->face.hash, head.len + text.len);
	if (body == 0)
	{
		start = standing(plane, hit->entry, false, &entry->face.key);
		body = make_body(plane, &entry->face.hash, head, text, (PennyCacheKind) entry->face.kind,
						 &entry->face.key, start);
	}
	if (body == 0)
		return false;
	penny_version_open(&entry->version);
	penny_entry_join(plane, hit->entry, body);
	penny_version_close(&entry->version);
	return true;
}

/* Drop everything.  Ghosts and counters stay. */
void
penny_cache_clear(PennyPlane *plane)
{
	_Atomic uint64_t *marks = penny_cache_marks(plane);

	if (!penny_cache_on(plane))
		return;
	for (uint32_t i = 0; i < plane->config.cache_entries; i++)
	{
		if (atomic_load_explicit(&marks[i], memory_order_relaxed) == 0)
			continue;
		open_entry(plane, i, 0);
		drop_entry(plane, i);
	}
}

/* Percent of the arena that a kind may take. */
void
penny_cache_set_quota(PennyPlane *plane, PennyCacheKind kind, uint32_t percent)
{
	if (!penny_cache_on(plane) || (unsigned) kind >= PENNY_CACHE_KINDS)
		return;
	penny_cache_header(plane)->quota[kind] = percent < 100 ? 100 - percent : 0;
	penny_cache_make_room(plane, kind, 0);
}

/*-------------------------------------------------------------------------
 *
 * cache_layout.h
 *		How the cache lies in region P, and what its files share.  Private to
 *		src/plane/cache_*.c and plane.c.
 *
 * Parts, in the order of PennyPlaneSizes: header, stamps, marks (a word for
 * each entry, a set of them in one cache line), entries, bodies, heads of the
 * body index, ghosts, links of the chunks, chunks.
 *
 * Versions.  An entry and a body have a version, odd while it is being changed
 * (a body: while it is nobody's).  A writer makes it odd, fences, writes, and
 * makes it even with release.  A reader loads it with acquire, copies, fences
 * with acquire, and loads it again; a copy between two different or odd
 * versions is thrown away unread.  The words that steer a copy while it runs
 * (number of tokens, first chunk, links) are atomic, so each is loaded once
 * and checked; what is copied in bulk is not: for the C standard that is a race
 * whose result is thrown away, and gcc and clang compile it as what it says, a
 * copy from memory that changes, kept in its place by the fences.
 *
 * A body is never changed while it lives, and its chunks are taken for another
 * one only after its version has become odd.  An entry names a body by number
 * and version, so evicting a body touches no entry.
 *
 * Numbers of bodies and chunks are kept plus one, 0 is none: memory that was
 * never written is in order, and is not touched before it is used.  All but
 * the chunks is allocated when the plane is made.  Chunks are allocated when
 * first needed, by fallocate() and not by a page fault, so that a shortage of
 * memory makes the arena smaller and is never a signal.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_PLANE_CACHE_LAYOUT_H
#define PENNY_PLANE_CACHE_LAYOUT_H

#include "plane/cache.h"

#define PENNY_CACHE_WAYS 8 /* entries of a set; their marks fill a cache line */
#define PENNY_CHUNK 1024   /* bytes */
#define PENNY_GHOST_WAYS 4

/* ---- stamps -------------------------------------------------------------- */

#define PENNY_STAMP_OVERFLOW (UINT64_C(1) << 63) /* in maxxid */

typedef struct PennyStamp
{
	_Atomic uint64_t seq; /* odd while a push is under way */
	_Atomic uint64_t maxxid;
	_Atomic uint64_t xid[2];
} PennyStamp;

/* ---- entries ------------------------------------------------------------- */

/* What readers copy as one. */
typedef struct PennyCacheFace
{
	PennyCacheKey key;
	PennyCacheKey hash;
	uint64_t created;
	uint64_t expires;
	uint64_t body_version;
	uint32_t body; /* number plus one */
	uint32_t kind;
	uint32_t status;
	uint32_t head_len;
	uint32_t body_len;
	char etag[PENNY_CACHE_ETAG_LEN];
	char label[PENNY_CACHE_LABEL];
} PennyCacheFace;

typedef struct PennyCacheEntry
{
	_Alignas(PENNY_CACHE_LINE) _Atomic uint64_t version;
	_Atomic uint32_t tokens;
	uint32_t next; /* writers: entries of the same body, numbers plus one; */
	uint32_t prev; /* they say something while the body has the version named here */
	PennyCacheFace face;
	uint64_t seq[PENNY_CACHE_TOKENS];
	uint32_t slot[PENNY_CACHE_TOKENS];
} PennyCacheEntry;

/* ---- bodies -------------------------------------------------------------- */

typedef enum PennyCacheQueue
{
	PENNY_QUEUE_SMALL,
	PENNY_QUEUE_MAIN,
	PENNY_QUEUES
} PennyCacheQueue;

/* Neighbours in a list of bodies, numbers plus one. */
typedef struct PennyCacheLinks
{
	uint32_t newer;
	uint32_t older;
} PennyCacheLinks;

/*
 * uses: in the low two bits how often it was used since they were last taken
 *		into account (3 is "often"), above them a stamp that changes whenever that
 *		happens, so that the counts of edges in their hints, which name it, are
 *		taken once.  Backends CAS it.
 */
typedef struct PennyCacheBody
{
	_Alignas(PENNY_CACHE_LINE) _Atomic uint64_t version;
	_Atomic uint64_t uses;
	_Atomic uint32_t first; /* chunk, number plus one */
	uint32_t chunks;        /* from here on for writers alone */
	uint32_t bytes;
	uint32_t kind;
	uint32_t queue;
	uint32_t freq;    /* what S3-FIFO has counted and not yet spent */
	uint32_t entry;   /* first of its entries */
	uint32_t entries; /* how many */
	PennyCacheKey hash;
	uint64_t origin;     /* of the key that brought it: what the ghost remembers */
	uint32_t index_next; /* in the index by hash; in the free list */
	PennyCacheLinks in_queue;
	PennyCacheLinks in_kind;
} PennyCacheBody;

/* A list of bodies; new ones come in at the head. */
typedef struct PennyCacheList
{
	uint32_t head;
	uint32_t tail;
	uint32_t chunks;
} PennyCacheList;

/* An evicted key and when, in chunks evicted until then. */
typedef struct PennyCacheGhost
{
	uint64_t origin;
	uint64_t at;
} PennyCacheGhost;

/* Counters are written under the lock and read by anybody. */
typedef struct PennyCacheHeader
{
	uint64_t secret[2];                             /* of SipHash */
	_Alignas(PENNY_CACHE_LINE) uint32_t chunk_free; /* list through the links */
	uint32_t chunks_free;                           /* its length */
	uint32_t chunks_used;                           /* chunks beyond were never used */
	uint32_t chunks_ready;                          /* chunks beyond have no memory yet */
	uint32_t chunks_limit;                          /* chunks beyond never will */
	uint32_t body_free;
	uint32_t bodies_used;
	uint32_t sweep; /* the body at which to look for a dead one next */
	PennyCacheList queue[PENNY_QUEUES];
	PennyCacheList of_kind[PENNY_CACHE_KINDS];
	uint32_t quota[PENNY_CACHE_KINDS]; /* percent that a kind may not have: 0 is all */
	uint64_t ghost_now;                /* chunks that went through the ghost */
	_Alignas(PENNY_CACHE_LINE) _Atomic uint64_t bodies;
	_Atomic uint64_t entries;
	_Atomic uint64_t chunks; /* of bodies */
	_Atomic uint64_t shared;
	_Atomic uint64_t evictions;
	_Atomic uint64_t replaced;
	_Atomic uint64_t kind_chunks[PENNY_CACHE_KINDS];
} PennyCacheHeader;

/* ---- where things lie ---------------------------------------------------- */

static inline bool
penny_cache_on(const PennyPlane *plane)
{
	return plane->config.cache_chunks != 0;
}

static inline void *
penny_cache_at(const PennyPlane *plane, size_t offset)
{
	return (char *) plane->p + offset;
}

static inline PennyCacheHeader *
penny_cache_header(const PennyPlane *plane)
{
	return penny_cache_at(plane, plane->sizes.cache);
}

static inline PennyStamp *
penny_cache_stamps(const PennyPlane *plane)
{
	return penny_cache_at(plane, plane->sizes.cache_stamps);
}

/* One word of the key of each entry, 0 where none was ever. */
static inline _Atomic uint64_t *
penny_cache_marks(const PennyPlane *plane)
{
	return penny_cache_at(plane, plane->sizes.cache_marks);
}

static inline PennyCacheEntry *
penny_cache_entries(const PennyPlane *plane)
{
	return penny_cache_at(plane, plane->sizes.cache_entries);
}

static inline PennyCacheBody *
penny_cache_bodies(const PennyPlane *plane)
{
	return penny_cache_at(plane, plane->sizes.cache_bodies);
}

/* First body of each value of the hash; as many as entries. */
static inline uint32_t *
penny_cache_index(const PennyPlane *plane)
{
	return penny_cache_at(plane, plane->sizes.cache_index);
}

/* Twice as many as entries. */
static inline PennyCacheGhost *
penny_cache_ghosts(const PennyPlane *plane)
{
	return penny_cache_at(plane, plane->sizes.cache_ghosts);
}

static inline _Atomic uint32_t *
penny_cache_links(const PennyPlane *plane)
{
	return penny_cache_at(plane, plane->sizes.cache_links);
}

static inline char *
penny_cache_chunk(const PennyPlane *plane, uint32_t chunk)
{
	return penny_cache_at(plane, plane->sizes.cache_arena + (size_t) chunk * PENNY_CHUNK);
}

/* Region E: what an edge used; [config.cache_entries], a word for each body. */
static inline _Atomic uint64_t *
penny_cache_hints(const PennyPlane *plane, int edge)
{
	return (_Atomic uint64_t *) ((char *) plane->e[edge] + plane->sizes.hints);
}

static inline uint32_t
penny_cache_chunks_of(uint64_t bytes)
{
	return bytes == 0 ? 1 : (uint32_t) ((bytes + PENNY_CHUNK - 1) / PENNY_CHUNK);
}

/* First entry of the set of a key. */
static inline uint32_t
penny_cache_set(const PennyPlane *plane, const PennyCacheKey *key)
{
	return (uint32_t) key->word[0] & (plane->config.cache_entries - 1) &
		   ~(uint32_t) (PENNY_CACHE_WAYS - 1);
}

static inline uint64_t
penny_cache_mark(const PennyCacheKey *key)
{
	return key->word[1] | 1;
}

/* One writer at a time: a load and a store do. */
static inline void
penny_cache_add(_Atomic uint64_t *counter, int64_t delta)
{
	atomic_store_explicit(counter,
						  atomic_load_explicit(counter, memory_order_relaxed) + (uint64_t) delta,
						  memory_order_relaxed);
}

/* Make a version odd before changes, even after them. */
static inline void
penny_version_open(_Atomic uint64_t *version)
{
	uint64_t v = atomic_load_explicit(version, memory_order_relaxed);

	atomic_store_explicit(version, v | 1, memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst);
}

static inline uint64_t
penny_version_close(_Atomic uint64_t *version)
{
	uint64_t v = (atomic_load_explicit(version, memory_order_relaxed) | 1) + 1;

	atomic_store_explicit(version, v, memory_order_release);
	return v;
}

/* ---- what the files give each other -------------------------------------- */

/* cache_key.c */
extern void penny_siphash(const uint64_t secret[2], const void *bytes, size_t len,
						  PennyCacheKey *key);

/* cache_arena.c */
extern bool penny_cache_sizes(const PennyPlaneConfig *config, PennyPlaneSizes *sizes, size_t at);
extern bool penny_cache_start(PennyPlane *plane);
extern bool penny_arena_has(PennyPlane *plane, uint32_t chunks);
extern uint32_t penny_arena_take(PennyPlane *plane, uint32_t chunks);
extern void penny_arena_give(PennyPlane *plane, uint32_t first);
extern void penny_arena_write(PennyPlane *plane, uint32_t first, PennySpan head, PennySpan body);

/* cache_read.c */
extern PennyCacheResult penny_entry_read(const PennyPlane *plane, uint32_t i, uint64_t now,
										 PennyCacheHit *hit);
extern bool penny_entry_holds(const PennyPlane *plane, const PennyCacheEntry *entry);

/* cache_body.c */
extern uint32_t penny_body_find(PennyPlane *plane, const PennyCacheKey *hash, uint32_t bytes);
extern uint32_t penny_body_make(PennyPlane *plane, const PennyCacheKey *hash, PennySpan head,
								PennySpan body, PennyCacheKind kind, uint64_t origin);
extern void penny_body_free(PennyPlane *plane, uint32_t number);
extern bool penny_body_dead(PennyPlane *plane, const PennyCacheBody *body);
extern bool penny_entry_has_body(PennyPlane *plane, const PennyCacheEntry *entry);
extern void penny_entry_join(PennyPlane *plane, uint32_t entry, uint32_t body);
extern void penny_entry_leave(PennyPlane *plane, uint32_t entry);

/* cache_evict.c */
extern bool penny_cache_make_room(PennyPlane *plane, PennyCacheKind kind, uint32_t chunks);
extern bool penny_cache_fits(const PennyPlane *plane, PennyCacheKind kind, uint32_t chunks);
extern void penny_queue_add(PennyPlane *plane, uint32_t number, PennyCacheQueue queue);
extern void penny_queue_remove(PennyPlane *plane, uint32_t number);
extern bool penny_ghost_take(PennyPlane *plane, uint64_t origin);

#endif /* PENNY_PLANE_CACHE_LAYOUT_H */

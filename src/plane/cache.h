/*-------------------------------------------------------------------------
 *
 * cache.h
 *		The cache in the plane: stamps, entries, bodies.
 *
 * Region P holds, written by PostgreSQL alone and read by everybody:
 *
 *	stamps	 never evicted; a slot for each hash of a tag such as
 *			 "conversation:<id>".  A writer pushes its transaction id into the
 *			 slots of all tags that it changes before it commits.
 *	entries	 key -> body, with the stamps that the body was read under
 *			 (tokens) and an expiry.  A small record in a set-associative table.
 *	bodies	 bytes in chains of chunks of a fixed arena, found by the hash of
 *			 their content: two viewers who see the same share one.  Evicted by
 *			 S3-FIFO (Yang et al., SOSP 2023) by bytes, within quotas of kinds.
 *
 * Why two levels: what somebody may see is decided by policies, so each viewer
 * has an entry of his own, which only his own read can make; the bytes are
 * stored once.  An entry whose body was evicted still proves which bytes are
 * right, so that they can come back from Redis and be checked by their hash.
 *
 * Coherence (XID fence).  An entry is valid while each of its tokens has the
 * seq that its stamp has now.  A fill is accepted only if the snapshot that it
 * was read under sees every pusher of its stamps as finished, that is: no xid
 * in the stamp's ring is in progress in that snapshot, and, when the ring has
 * overflowed, maxxid is below the snapshot's xmin.  A token may be read after
 * the snapshot was taken: who pushed since then is the newest in the ring (or
 * has overflowed it), is in progress in that snapshot, and so refuses the fill.
 * Pushers are taken from the ring only by a later push and when finished.
 * Pushes without a transaction (clear, other servers' messages, settings) only
 * raise seq; they hold for tokens read before the snapshot.
 *
 * Readers take no lock: they copy, then compare versions, then tokens, in this
 * order; what does not compare is a miss.  Memory never goes away, and every
 * index and length is checked against the reader's own copy of the sizes
 * before it is followed, so that a torn read can do no harm.
 *
 * Writers of PostgreSQL hold the locks named at each function; the edge writes
 * nothing here.  It says what it used by hints in its region E.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_PLANE_CACHE_H
#define PENNY_PLANE_CACHE_H

#include "plane/call.h"

#define PENNY_CACHE_TOKENS 64    /* of an entry; who depends on more is not kept */
#define PENNY_CACHE_ETAG_LEN 18  /* as penny_etag_of(), quotes included */
#define PENNY_CACHE_LABEL 80     /* bytes of the text that says what an entry is */
#define PENNY_CACHE_KEY_MAX 4096 /* bytes that a key is made of */

/* Stamp slot of no tag: a token of it is always valid. */
#define PENNY_STAMP_NONE UINT32_MAX
/* The slot that every entry depends on: catalogs, settings, TRUNCATE, clear. */
#define PENNY_STAMP_ALL 0

typedef enum PennyCacheKind
{
	PENNY_CACHE_CONVERSATION,
	PENNY_CACHE_LIST,
	PENNY_CACHE_MESSAGES,
	PENNY_CACHE_ARTIFACTS,
	PENNY_CACHE_SESSION,
	PENNY_CACHE_MODELS,
	PENNY_CACHE_ROUTE,
	PENNY_CACHE_FUNCTION,
	PENNY_CACHE_KINDS
} PennyCacheKind;

extern const char *penny_cache_kind_name(PennyCacheKind kind);

/* SipHash-2-4 with 128 bits under the plane's random key: strangers cannot aim at it. */
typedef struct PennyCacheKey
{
	uint64_t word[2];
} PennyCacheKey;

typedef struct PennyCacheToken
{
	uint32_t slot;
	uint64_t seq;
} PennyCacheToken;

/* ---- keys ---------------------------------------------------------------- */

/* Key of parts; each counts with its length. */
extern void penny_cache_key(const PennyPlane *plane, const PennySpan *part, int parts,
							PennyCacheKey *key);

/*
 * Key of a GET: the route (its line in the table is method and pattern), the
 * path percent-decoded, the query decoded and sorted by name, without
 * access_token, and who it is for (viewer.user, viewer.role, or nothing for
 * scope public).  False when these are not canonical text or longer than
 * PENNY_CACHE_KEY_MAX: then nothing is cached.
 */
extern bool penny_cache_http_key(const PennyPlane *plane, PennySpan route, PennySpan path,
								 PennySpan query, PennySpan whose, PennyCacheKey *key);

/* ---- stamps -------------------------------------------------------------- */

/* Slot of a tag, never PENNY_STAMP_ALL. */
extern uint32_t penny_stamp_slot(const PennyPlane *plane, const char *tag, size_t len);
extern uint64_t penny_stamp_seq(const PennyPlane *plane, uint32_t slot);

typedef struct PennyStampView
{
	uint64_t seq;
	uint64_t maxxid; /* greatest FullTransactionId ever pushed, 0 = none */
	uint64_t xid[2]; /* newest pushers, 0 = free */
	bool overflow;   /* pushers are missing in xid[] */
} PennyStampView;

/* A consistent copy; lock-free. */
extern void penny_stamp_view(const PennyPlane *plane, uint32_t slot, PennyStampView *view);

/*
 * Push.  The caller holds the lock of the slot (penny_stamp_lock() of
 * PENNY_STAMP_LOCKS); xid 0 only raises seq.  `finished` says whether a pusher
 * may be taken from the ring.
 */
#define PENNY_STAMP_LOCKS 128
#define penny_stamp_lock(slot) ((slot) % PENNY_STAMP_LOCKS)
extern void penny_stamp_push(PennyPlane *plane, uint32_t slot, uint64_t xid,
							 bool (*finished)(uint64_t xid));
/*
 * All transactions below `oldest` are over: if they include every pusher, the
 * ring tells all again.  Under the same lock; seq stays.
 */
extern void penny_stamp_settle(PennyPlane *plane, uint32_t slot, uint64_t oldest);

/* ---- reading ------------------------------------------------------------- */

typedef enum PennyCacheResult
{
	PENNY_CACHE_HIT,
	PENNY_CACHE_MISS,    /* no entry */
	PENNY_CACHE_STALE,   /* an entry whose stamps have moved */
	PENNY_CACHE_EXPIRED, /* or whose time is over */
	PENNY_CACHE_NO_BODY  /* valid, but its body was evicted: hit.hash says which */
} PennyCacheResult;

/* A found entry: a private copy, of which penny_cache_copy() gets the bytes. */
typedef struct PennyCacheHit
{
	PennyCacheKey key;
	PennyCacheKind kind;
	uint32_t status;   /* of HTTP, 0 for values of SQL */
	uint32_t head_len; /* header lines "name: value\n", first in the bytes */
	uint32_t body_len;
	uint64_t created;                /* ms of CLOCK_MONOTONIC */
	uint64_t expires;                /* likewise */
	PennyCacheKey hash;              /* of status, head and body */
	char etag[PENNY_CACHE_ETAG_LEN]; /* of the body; first byte 0: none */
	char label[PENNY_CACHE_LABEL];
	uint32_t entry; /* where it lies */
	uint64_t entry_version;
	uint32_t body;
	uint64_t body_version;
	int tokens;
	PennyCacheToken token[PENNY_CACHE_TOKENS];
} PennyCacheHit;

/* Look up; fills `hit` for HIT and NO_BODY.  now: ms of CLOCK_MONOTONIC. */
extern PennyCacheResult penny_cache_find(const PennyPlane *plane, const PennyCacheKey *key,
										 uint64_t now, PennyCacheHit *hit);
/*
 * Copy head and body (head_len + body_len bytes); false when the body went away
 * meanwhile.  The copy may be used only if penny_cache_holds() says so after it.
 */
extern bool penny_cache_copy(const PennyPlane *plane, const PennyCacheHit *hit, char *out);
/* Do all tokens still have the seq of their stamps?  The moment at which the hit is true. */
extern bool penny_cache_holds(const PennyPlane *plane, const PennyCacheHit *hit);
/*
 * Edge: say that a body was used; evictions look there.  PostgreSQL: count it.
 * Neither writes anything once a body is known to be used often.
 */
extern void penny_cache_hint(PennyPlane *plane, const PennyCacheHit *hit);
extern void penny_cache_used(PennyPlane *plane, const PennyCacheHit *hit);

/* ---- writing: PostgreSQL, under the cache's lock -------------------------- */

typedef struct PennyCachePut
{
	PennyCacheKey key;
	PennyCacheKind kind;
	uint32_t status;
	PennySpan head;
	PennySpan body;
	const char *etag;  /* NULL: none */
	const char *label; /* for penny.cache_entries() */
	uint64_t now;      /* ms */
	uint64_t expires;
	int tokens;
	const PennyCacheToken *token;
	const PennyCacheKey *hash; /* penny_cache_hash() made before the lock; NULL: made here */
} PennyCachePut;

typedef enum PennyCachePutResult
{
	PENNY_CACHE_KEPT,
	PENNY_CACHE_TOO_LARGE, /* larger than config.cache_max_object, its quota or the arena */
	PENNY_CACHE_OFF        /* the cache has no arena */
} PennyCachePutResult;

/* Everything below: the caller holds the cache's lock exclusively. */
extern PennyCachePutResult penny_cache_put(PennyPlane *plane, const PennyCachePut *put);
/* Give a valid entry its body again (hit.hash was checked by the caller's hash of it). */
extern bool penny_cache_restore(PennyPlane *plane, const PennyCacheHit *hit, PennySpan head,
								PennySpan body);
/* Hash as in hit.hash. */
extern void penny_cache_hash(const PennyPlane *plane, uint32_t status, PennySpan head,
							 PennySpan body, PennyCacheKey *hash);
/* Drop every entry and body. */
extern void penny_cache_clear(PennyPlane *plane);
/* Percent of the arena that bodies of a kind may take; 100 for all at the start. */
extern void penny_cache_set_quota(PennyPlane *plane, PennyCacheKind kind, uint32_t percent);

/* Entry number i of plane->config.cache_entries, as penny_cache_find() gives it; any state. */
extern PennyCacheResult penny_cache_entry(const PennyPlane *plane, uint32_t i, uint64_t now,
										  PennyCacheHit *hit);

typedef struct PennyCacheUse
{
	uint64_t arena; /* bytes */
	uint64_t bytes; /* of bodies, chunks counted whole */
	uint64_t bodies;
	uint64_t entries;
	uint64_t shared;    /* puts whose body was there already */
	uint64_t evictions; /* bodies */
	uint64_t replaced;  /* entries that made room for others */
	uint64_t kind_bytes[PENNY_CACHE_KINDS];
} PennyCacheUse;

extern void penny_cache_use(const PennyPlane *plane, PennyCacheUse *use);

#endif /* PENNY_PLANE_CACHE_H */

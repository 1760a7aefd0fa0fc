/*-------------------------------------------------------------------------
 *
 * cache.h
 *		Reads through the cache, and what makes it coherent (plane/cache.h).
 *
 * A cached read:
 *
 *	PennyCacheRead read;
 *
 *	if (penny_cache_open(&read, kind, label, part, parts) == PENNY_CACHE_HIT)
 *		return read.body;					palloc'd copy in the current context
 *	... build the value under the active snapshot ...
 *	penny_cache_fill(&read, 0, head, body, etag, ttl);	or penny_cache_abandon(&read)
 *
 * Between open and fill a collector is open.  Everything that the value depends
 * on is told to it by penny_cache_depend(), by whoever reads it: the reads of
 * the store, the questions of policies (store/access.c), penny.cache_tag().
 * Collectors nest; what an inner one depends on (or an inner hit), the outer
 * one depends on too.  An error drops the collectors of its (sub)transaction.
 *
 * A hit is what the active snapshot sees: it is taken only when every pusher of
 * its stamps is finished in that snapshot.  So cached functions are STABLE, and
 * hold in every isolation level; SERIALIZABLE, recovery, and a transaction that
 * has an xid, or has changed what one of the entry's tags stands for, go around
 * the cache.
 *
 * Who may call: any backend in a transaction with an active snapshot.  Without
 * a plane (penny not preloaded) every read is a bypass.
 *
 * The key of a read has, beside its parts, the database and, with
 * PENNY_CACHE_FOR_VIEWER, who reads: user, role, claims without exp, iat, nbf
 * and jti, and the settings that the form of values depends on.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_CACHE_H
#define PENNY_CACHE_H

#include "postgres.h"

#include "utils/uuid.h"

#include "plane/cache.h"

/* Why something was not kept or not looked for; names in penny.cache_stats(). */
typedef enum PennyCacheRefusal
{
	PENNY_CACHE_FINE,
	PENNY_CACHE_REFUSED_FENCE,        /* a pusher is in progress in the snapshot */
	PENNY_CACHE_REFUSED_MOVED,        /* a stamp moved while it was built */
	PENNY_CACHE_REFUSED_WRITER,       /* the transaction has an xid or changed the tags */
	PENNY_CACHE_REFUSED_SERIALIZABLE, /* or recovery, or a historic snapshot */
	PENNY_CACHE_REFUSED_TAGS,         /* more tags than an entry holds */
	PENNY_CACHE_REFUSED_SIZE,
	PENNY_CACHE_REFUSED_POLICY,  /* policies or triggers of a table are not ones we know */
	PENNY_CACHE_REFUSED_STARTUP, /* transactions from before the start are not over */
	PENNY_CACHE_REFUSED_OTHER,   /* the builder said so: volatile, Set-Cookie, ... */
	PENNY_CACHE_REFUSALS
} PennyCacheRefusal;

typedef struct PennyCacheRead
{
	PennyCacheKey key;
	PennyCacheKind kind;
	PennyCacheResult result;   /* of open; NO_BODY, STALE and EXPIRED are told as MISS */
	PennyCacheRefusal refusal; /* not FINE: this read goes around the cache */
	int level;                 /* of the collector, 0 = none */
	int64 begun_us;            /* MISS: when building began */
	bool tagged;               /* depends on declared tags, not on time alone */
	char label[PENNY_CACHE_LABEL];
	PennyCacheHit hit; /* HIT: what was found */
	char *head;        /* HIT: header lines, hit.head_len bytes */
	char *body;        /* HIT: hit.body_len bytes, a NUL behind them */
} PennyCacheRead;

#define PENNY_CACHE_FOR_ALL 0    /* the same for everybody who gets to it */
#define PENNY_CACHE_FOR_VIEWER 1 /* depends on who reads */
#define PENNY_CACHE_AS_IS 2      /* `key` was given by the caller (penny_cache_http_key) */

/*
 * Look up, and on a miss wait a moment for another process that builds the
 * same, or open a collector.  `label` says what it is, for people.
 */
extern PennyCacheResult penny_cache_open(PennyCacheRead *read, PennyCacheKind kind, int whose,
										 const char *label, const PennySpan *part, int parts);
/* The same for a key that is known. */
extern PennyCacheResult penny_cache_open_key(PennyCacheRead *read, PennyCacheKind kind,
											 const PennyCacheKey *key, const char *label);
/* Open a collector without looking up: the value is built anew, whatever is there. */
extern void penny_cache_renew(PennyCacheRead *read, PennyCacheKind kind, const PennyCacheKey *key,
							  const char *label);
/* Close the collector and keep the value for ttl_ms, if the fence lets it. */
extern PennyCacheRefusal penny_cache_fill(PennyCacheRead *read, uint32 status, PennySpan head,
										  PennySpan body, const char *etag, int64 ttl_ms);
/* Close the collector and keep nothing. */
extern void penny_cache_abandon(PennyCacheRead *read);

/* What is being built depends on the tag "name:value"; name alone: value NULL. */
extern void penny_cache_depend(const char *name, const char *value);
extern void penny_cache_depend_uuid(const char *name, const pg_uuid_t *id);
/*
 * Is the cache told of every row of a table "schema.table" by tags of this name:
 * has it a trigger penny.invalidate(name, ..) that always fires?  It holds as
 * long as PENNY_STAMP_ALL does not move.
 */
extern bool penny_cache_is_told(const char *table, const char *name);
/* What is being built must not be kept. */
extern void penny_cache_refuse(PennyCacheRefusal why);
/* A read of this kind goes around the cache, and so what it is a part of; counted. */
extern void penny_cache_pass_by(PennyCacheKind kind, PennyCacheRefusal why);
/* What is being built is of this kind (the outermost collector of HTTP routes asks). */
extern void penny_cache_note_kind(PennyCacheKind kind);
/* Is a collector open?  Spares the making of texts. */
extern bool penny_cache_collecting(void);
/* Did the last fill or hit depend on declared tags, or on time alone? */
extern bool penny_cache_is_tagged(const PennyCacheRead *read);

/*
 * For what is remembered outside of entries: where does the stamp stand (seq),
 * and is everything that moved it finished in the active snapshot?  If it is,
 * what that snapshot and the catalogs show holds as long as the stamp does not
 * move.  Never without a cache.
 */
extern bool penny_cache_settled(uint32 slot, uint64 *seq);

/* The transaction has changed what this tag stands for. */
extern void penny_cache_invalidate(const char *name, const char *value);
extern void penny_cache_invalidate_uuid(const char *name, const pg_uuid_t *id);
/* It has changed anything: every entry ends with its commit. */
extern void penny_cache_invalidate_all(void);
/* At once, outside any transaction: other servers' messages, settings, clear. */
extern void penny_cache_push_now(const char *name, const char *value);
extern void penny_cache_push_all_now(void);

/*
 * Who reads, as 16 bytes: `user` with user, role and claims; `role` with the
 * role alone.  For the keys of HTTP, which the edge makes too.
 */
typedef struct PennyCacheViewer
{
	uint8 user[16];
	uint8 role[16];
} PennyCacheViewer;

struct PennyIdentity;
extern void penny_cache_viewer(const struct PennyIdentity *identity, PennyCacheViewer *viewer);

/*
 * Checkers: read past the cache until told otherwise or until the transaction
 * ends; gives what was in force.
 */
extern bool penny_cache_go_around(bool on);
/* Drop everything; gives how many entries there were. */
extern uint64 penny_cache_drop_all(void);
/* Settings that lie in the plane: quotas; at start and after a reload. */
extern void penny_cache_apply_settings(void);

/* Is there a cache: a plane, with an arena? */
extern bool penny_cache_is_on(void);

/* Shared memory, hooks and callbacks; from _PG_init. */
extern void penny_cache_init(void);

#endif /* PENNY_CACHE_H */

/*-------------------------------------------------------------------------
 *
 * l2.h
 *		Redis as a second place for the bodies of conversations; inside cache
 *		only, but for penny_l2_init().
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_L2_H
#define PENNY_L2_H

#include "postgres.h"

#include "cache/cache.h"

/* Give redis what it calls when others say that something changed; from _PG_init. */
extern void penny_l2_init(void);

/*
 * The bytes of a valid entry whose body was evicted: head, then body and a NUL,
 * palloc'd; NULL when they do not come back.  Whether the entry is still valid
 * must be asked after this.
 */
extern char *penny_l2_get(const PennyCacheHit *hit);
/* An entry was filled, and this is how long it took to build; its body may go to Redis. */
extern void penny_l2_put(PennyCacheKind kind, uint32 status, const char *label,
						 const PennyCacheKey *key, const PennyCacheKey *hash, int64 took_us);

/* Settings were read again: give up what they do not allow any more. */
extern void penny_l2_trim(void);

#endif /* PENNY_L2_H */

/*-------------------------------------------------------------------------
 *
 * trust.h
 *		May a read of the store be cached?
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_TRUST_H
#define PENNY_TRUST_H

#include "postgres.h"

#include "plane/cache.h"

/*
 * Do the triggers and policies of all tables that a read of this kind goes to
 * let its result be cached?  Costs next to nothing once it is known.  A result
 * may be kept only if this is true after it was read.
 */
extern bool penny_trust_read(PennyCacheKind kind);
/* What is being built depends on the tables that policies ask. */
extern void penny_trust_depend(void);

#endif /* PENNY_TRUST_H */

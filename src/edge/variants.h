/*-------------------------------------------------------------------------
 *
 * variants.h
 *		Compressed bodies that are kept, by the hash of what they are made of.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_VARIANTS_H
#define PENNY_EDGE_VARIANTS_H

#include "edge/edge.h"
#include "plane/cache.h"

typedef struct PennyVariant PennyVariant;

/* A variant; NULL when it is not known.  Valid until the next call of keep or trim. */
extern const PennyVariant *penny_variant_find(const PennyCacheKey *hash, PennyCoding coding);
/* Header lines of the entry that it was made of. */
extern PennySpan penny_variant_head(const PennyVariant *variant);
/* The compressed body; empty: compressing does not make it smaller. */
extern PennySpan penny_variant_body(const PennyVariant *variant);
/* Is one of that many bytes kept? */
extern bool penny_variant_fits(size_t len);
/* Keep one, within penny.compression_cache_size. */
extern void penny_variant_keep(const PennyCacheKey *hash, PennyCoding coding, PennySpan head,
							   PennySpan body);
/* Give up what is beyond the budget. */
extern void penny_variants_trim(void);
/* Bytes that are kept, and variants. */
extern size_t penny_variants_bytes(void);
extern size_t penny_variants_count(void);

#endif /* PENNY_EDGE_VARIANTS_H */

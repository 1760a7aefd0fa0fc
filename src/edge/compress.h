/*-------------------------------------------------------------------------
 *
 * compress.h
 *		Compressing one body; compressing and unpacking one message.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_COMPRESS_H
#define PENNY_EDGE_COMPRESS_H

#include "plane/call.h"

/* For whom it is compressed. */
typedef enum PennyEffort
{
	PENNY_EFFORT_ONCE, /* one answer */
	PENNY_EFFORT_KEPT  /* many: it is kept */
} PennyEffort;

/* Longest body that is compressed with this effort; longer ones would hold the loop. */
extern size_t penny_compress_max(PennyEffort effort);
/*
 * Compress into `out` of `size` bytes; the length, or 0 when it does not fit,
 * is longer than that effort takes, or there is no memory.
 */
extern size_t penny_compress(PennyCoding coding, PennyEffort effort, PennySpan body, char *out,
							 size_t size);

/*
 * The share of the loop's time that goes into compressing.  May it be done now?
 * It took that long (us of CLOCK_MONOTONIC).
 */
extern bool penny_compress_may(uint64_t now);
extern void penny_compress_took(uint64_t from, uint64_t to);

/*
 * One message of RFC 7692 without context: compress it into at most `size`
 * bytes; 0 when it does not fit or there is no memory.
 */
extern size_t penny_deflate(PennySpan text, char *out, size_t size);

typedef enum PennyInflate
{
	PENNY_INFLATED,
	PENNY_INFLATE_LARGE, /* it would have more than `most` bytes */
	PENNY_INFLATE_BAD    /* it is none, or there is no memory */
} PennyInflate;

/* The other way round, into a buffer that grows as need be. */
extern PennyInflate penny_inflate(PennySpan payload, size_t most, char **buffer, size_t *size,
								  size_t *len);

#endif /* PENNY_EDGE_COMPRESS_H */

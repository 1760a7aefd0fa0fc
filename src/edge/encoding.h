/*-------------------------------------------------------------------------
 *
 * encoding.h
 *		Which content coding a client wants, and which entity tag it has.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_ENCODING_H
#define PENNY_EDGE_ENCODING_H

#include "plane/call.h"

extern const char *penny_coding_name(PennyCoding coding);

/* What one or several Accept-Encoding headers say. */
typedef struct PennyAccept
{
	bool malformed;
	uint16_t any;                    /* quality of "*" in thousandths, PENNY_QUALITY_UNSAID */
	uint16_t quality[PENNY_CODINGS]; /* likewise of each coding */
} PennyAccept;

#define PENNY_QUALITY_UNSAID UINT16_MAX

extern void penny_accept_init(PennyAccept *accept);
/* Take one header's value. */
extern void penny_accept_take(PennyAccept *accept, PennySpan value);
/*
 * The coding to answer with, of those in `offered`, which stand in the order
 * of the server's preference and end with PENNY_IDENTITY.
 */
extern PennyCoding penny_accept_choose(const PennyAccept *accept,
									   const uint8_t offered[PENNY_CODINGS]);

/* Take every Accept-Encoding among "name: value\n" lines with names in lower case. */
extern void penny_accept_take_lines(PennyAccept *accept, PennySpan lines);
/* The next value of that name in such lines, which are moved behind it; false: no more. */
extern bool penny_lines_next(PennySpan *lines, const char *name, PennySpan *value);

/* The longest that a coding adds to an entity tag: "-deflate". */
#define PENNY_ETAG_SUFFIX_MAX 8

/*
 * Does the value of If-None-Match name this entity tag, or one of its variants?
 * Comparison is weak (RFC 9110 13.1.2).  `match` is the member that does, or
 * empty when it is "*".  What is malformed matches nothing.
 */
extern bool penny_etag_matches(PennySpan value, PennySpan etag, PennySpan *match);
/*
 * Write the tag of a variant: "x" becomes "x-gzip"; a weak one stays as it is.
 * Needs etag.len + PENNY_ETAG_SUFFIX_MAX bytes; returns the length.
 */
extern size_t penny_etag_variant(PennySpan etag, PennyCoding coding, char *out);

#endif /* PENNY_EDGE_ENCODING_H */

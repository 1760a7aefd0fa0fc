/*-------------------------------------------------------------------------
 *
 * utf8.h
 *		UTF-8 validation, also over pieces.
 *
 * Strict as RFC 3629 has it: no overlong forms, no surrogates, nothing above
 * U+10FFFF.  NUL is a character like any other here.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_UTF8_H
#define PENNY_EDGE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where a validation stands between two pieces; all zero = at a character's start. */
typedef struct PennyUtf8
{
	uint8_t need; /* continuation bytes still to come */
	uint8_t low;  /* range of the next one */
	uint8_t high;
} PennyUtf8;

/* Take the next piece; false as soon as the text cannot become valid. */
extern bool penny_utf8_feed(PennyUtf8 *state, const void *bytes, size_t len);
/* Does the text end at the end of a character? */
extern bool penny_utf8_complete(const PennyUtf8 *state);
/* Is this whole text valid? */
extern bool penny_utf8_valid(const void *bytes, size_t len);

#endif /* PENNY_EDGE_UTF8_H */

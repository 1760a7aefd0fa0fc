/*-------------------------------------------------------------------------
 *
 * json_span.h
 *		Strict JSON scanner that gives spans, without allocation.
 *
 * penny_json_object() validates a whole text (RFC 8259, UTF-8, at most
 * PENNY_JSON_DEPTH deep and PENNY_JSON_MEMBERS members and elements in all)
 * and finds members of the top-level object by name.  A name asked for may
 * occur once only; names are compared unescaped.  An object found may be
 * handed in again.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_JSON_SPAN_H
#define PENNY_EDGE_JSON_SPAN_H

#include "plane/call.h"

#define PENNY_JSON_DEPTH 64
#define PENNY_JSON_MEMBERS 10000

typedef enum PennyJsonKind
{
	PENNY_JSON_ABSENT, /* no such member */
	PENNY_JSON_NULL,
	PENNY_JSON_FALSE,
	PENNY_JSON_TRUE,
	PENNY_JSON_NUMBER,
	PENNY_JSON_STRING,
	PENNY_JSON_ARRAY,
	PENNY_JSON_OBJECT
} PennyJsonKind;

/* A member asked for; the caller sets name, the scanner the rest. */
typedef struct PennyJsonMember
{
	const char *name; /* unescaped, NUL-terminated */
	PennyJsonKind kind;
	PennySpan raw; /* the value as written, a string with its quotes */
} PennyJsonMember;

/* NULL, or a static text that says what is wrong; *where is its offset then. */
extern const char *penny_json_object(PennySpan text, PennyJsonMember *wanted, int n, size_t *where);
/* The same for any JSON text of which nothing is asked. */
extern const char *penny_json_valid(PennySpan text, size_t *where);
/*
 * Unescape a string as found (with its quotes); false when it does not fit
 * into size bytes, or holds NUL or half a surrogate pair, which PostgreSQL
 * cannot store.  No NUL is added.
 */
extern bool penny_json_string(PennySpan raw, char *out, size_t size, size_t *len);
/* Is a string as found equal to this text? */
extern bool penny_json_string_is(PennySpan raw, const char *text);
/* A number as found that is an integer in 0 .. INT64_MAX; false for others. */
extern bool penny_json_integer(PennySpan raw, int64_t *value);
/*
 * Write text as a JSON string with quotes; returns the bytes needed, which
 * were written only if they are at most size.  Needs at most 6 * len + 2.
 */
extern size_t penny_json_quote(PennySpan text, char *out, size_t size);

#endif /* PENNY_EDGE_JSON_SPAN_H */

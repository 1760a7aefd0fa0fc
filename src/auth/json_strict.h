/*-------------------------------------------------------------------------
 *
 * json_strict.h
 *		Walk over one small JSON object, strictly.
 *
 * For tokens: RFC 8259 and nothing else, bounded depth and members, duplicate
 * members refused at every level, strings valid UTF-8 without NUL and lone
 * surrogates.  The members of the outermost object, and the elements of an
 * array directly in it, are told to a callback; an object among them as the
 * text it has, which can be walked over in turn.
 *
 * Plain C without PostgreSQL headers, allocation or global state.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_JSON_STRICT_H
#define PENNY_JSON_STRICT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PENNY_JSON_DEPTH 16    /* nesting */
#define PENNY_JSON_MEMBERS 256 /* members of all open objects together */
#define PENNY_JSON_BYTES 16384 /* bytes of the text */

/* Bytes that a walk over a text of so many bytes wants to write to. */
#define PENNY_JSON_SCRATCH(len) (2 * (len))

typedef enum PennyJsonType
{
	PENNY_JSON_STRING, /* text: unescaped */
	PENNY_JSON_NUMBER, /* text: as written */
	PENNY_JSON_TRUE,
	PENNY_JSON_FALSE,
	PENNY_JSON_NULL,
	PENNY_JSON_OBJECT, /* told when it closes; text: as written */
	PENNY_JSON_ARRAY   /* told when it opens; no text */
} PennyJsonType;

/*
 * A value under member `name` of the outermost object.  depth 1: the value of
 * the member; depth 2: an element of the array that is its value.  Texts are
 * valid during the call only.
 */
typedef struct PennyJsonValue
{
	const char *name;
	size_t name_len;
	int depth;
	PennyJsonType type;
	const char *text;
	size_t len;
} PennyJsonValue;

/* Told each value; false stops the walk, which then fails. */
typedef bool (*PennyJsonVisit)(void *arg, const PennyJsonValue *value);

/* Walk over `text`, which must be exactly one object; false if it is not. */
extern bool penny_json_walk(const char *text, size_t len, PennyJsonVisit visit, void *arg);
/* The same for a text of any size, in the caller's scratch memory. */
extern bool penny_json_walk_large(const char *text, size_t len, PennyJsonVisit visit, void *arg,
								  char *scratch, size_t scratch_len);

#endif /* PENNY_JSON_STRICT_H */

/*-------------------------------------------------------------------------
 *
 * room_filter.c
 *		Filters: which types of frames a member wants.
 *
 * A filter is kept as its types, sorted, each with a NUL behind it, so that
 * members who want the same share an audience however they said it.
 *
 * A frame is looked into once, whatever the number of filters: it remembers
 * where its types are.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "edge/json_span.h"
#include "edge/rooms.h"

#define TYPE_MAX 64 /* bytes of a type */

typedef struct Types
{
	char name[PENNY_ROOMS_FILTER_TYPES][TYPE_MAX + 1];
	int n;
} Types;

/* Skip white space, and a comma before the next element. */
static PennySpan
skip(PennySpan rest)
{
	while (rest.len > 0 && strchr(" \t\r\n,", *rest.data) != NULL)
	{
		rest.data++;
		rest.len--;
	}
	return rest;
}

/* The string at the start of valid JSON, with its quotes; empty when it is none. */
static PennySpan
string_at(PennySpan rest)
{
	size_t len = 1;

	if (rest.len == 0 || rest.data[0] != '"')
		return (PennySpan){rest.data, 0};
	while (len < rest.len && rest.data[len] != '"')
		len += rest.data[len] == '\\' ? 2 : 1;
	return (PennySpan){rest.data, len < rest.len ? len + 1 : 0};
}

/* Take one type, unless it is there already. */
static bool
add_type(Types *types, PennySpan raw)
{
	char name[TYPE_MAX + 1];
	size_t len;

	if (!penny_json_string(raw, name, TYPE_MAX, &len) || len == 0)
		return false;
	name[len] = '\0';
	for (int i = 0; i < types->n; i++)
	{
		if (strcmp(types->name[i], name) == 0)
			return true;
	}
	if (types->n == PENNY_ROOMS_FILTER_TYPES)
		return false;
	memcpy(types->name[types->n++], name, len + 1);
	return true;
}

static int
compare_types(const void *a, const void *b)
{
	return strcmp(a, b);
}

const char *
penny_filter_read(PennySpan json, char filter[PENNY_ROOMS_FILTER_MAX], size_t *len)
{
	static const char wrong[] = "types must be an array of 1 to 16 strings of 1 to 64 bytes, "
								"together at most 512 bytes";
	PennyJsonMember member = {.name = "types"};
	Types types = {.n = 0};
	PennySpan rest;
	size_t where;

	if (penny_json_object(json, &member, 1, &where) != NULL || member.kind != PENNY_JSON_ARRAY)
		return wrong;
	rest = skip((PennySpan){member.raw.data + 1, member.raw.len - 2});
	while (rest.len > 0)
	{
		PennySpan raw = string_at(rest);

		if (raw.len == 0 || !add_type(&types, raw))
			return wrong;
		rest = skip((PennySpan){rest.data + raw.len, rest.len - raw.len});
	}
	qsort(types.name, (size_t) types.n, sizeof(types.name[0]), compare_types);
	*len = 0;
	for (int i = 0; i < types.n; i++)
	{
		size_t size = strlen(types.name[i]) + 1;

		if (*len + size > PENNY_ROOMS_FILTER_MAX)
			return wrong;
		memcpy(filter + *len, types.name[i], size);
		*len += size;
	}
	return types.n > 0 ? NULL : wrong;
}

/* Is this JSON string among the types? */
static bool
has_type(PennySpan filter, PennySpan type)
{
	if (type.len == 0)
		return false;
	for (size_t at = 0; at < filter.len; at += strlen(filter.data + at) + 1)
	{
		if (penny_json_string_is(type, filter.data + at))
			return true;
	}
	return false;
}

/* Note in a frame where this JSON string is: one behind its place, and its length. */
static void
note_type(PennyFrame *frame, uint32_t place[2], const PennyJsonMember *type)
{
	bool there = type->kind == PENNY_JSON_STRING;

	place[0] = there ? (uint32_t) (type->raw.data - frame->bytes) + 1 : 1;
	place[1] = there ? (uint32_t) type->raw.len : 0;
}

static void
find_types(PennyFrame *frame)
{
	PennyJsonMember outer[2] = {{.name = "type"}, {.name = "event"}};
	PennyJsonMember inner = {.name = "type"};
	size_t where;

	if (penny_json_object(penny_frame_text(frame), outer, 2, &where) != NULL)
	{
		frame->types[0] = UINT32_MAX;
		return;
	}
	if (outer[1].kind != PENNY_JSON_OBJECT ||
		penny_json_object(outer[1].raw, &inner, 1, &where) != NULL)
		inner.kind = PENNY_JSON_ABSENT;
	note_type(frame, &frame->types[0], &outer[0]);
	note_type(frame, &frame->types[2], &inner);
}

bool
penny_filter_passes(PennySpan filter, PennyFrame *frame)
{
	if (filter.len == 0)
		return true;
	if (frame->types[0] == 0)
		find_types(frame);
	if (frame->types[0] == UINT32_MAX)
		return true; /* too deep or too large to look into: rather too much than a hole */
	for (int i = 0; i < 4; i += 2)
	{
		if (has_type(filter, (PennySpan){frame->bytes + frame->types[i] - 1, frame->types[i + 1]}))
			return true;
	}
	return false;
}

/*-------------------------------------------------------------------------
 *
 * sse_text.c
 *		Frames as Server-Sent Events, and positions as their ids.
 *
 * Pure.  Frames are made by PostgreSQL or by the edge itself, so they are
 * scanned for what is needed and not validated again: a batch may be larger
 * than the checking scanner takes (json_span.h).  The scan never leaves the
 * text, whatever is in it.
 *
 *-------------------------------------------------------------------------
 */
#include "edge/sse_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "edge/json_span.h"

#define TYPE_MAX 64           /* bytes of a type that is told as the event's */
#define KEEP_MAX (256 * 1024) /* bytes of the text that are kept for the next */
#define CHUNK_HEAD_MAX 20     /* bytes of a chunk's size and line end */

/* Text that is being made, for one caller at a time. */
static struct
{
	char *data;
	size_t len;
	size_t size;
	bool failed; /* there was no memory */
} text;

/* ---- ids ---------------------------------------------------------------------- */

static bool
is_epoch_char(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
		   c == '_' || c == '.';
}

static bool
read_epoch(PennySpan span, PennySsePosition *position)
{
	if (span.len == 0 || span.len > PENNY_SSE_EPOCH_MAX)
		return false;
	for (size_t i = 0; i < span.len; i++)
	{
		if (!is_epoch_char(span.data[i]))
			return false;
	}
	memcpy(position->epoch, span.data, span.len);
	position->epoch[span.len] = '\0';
	return true;
}

static bool
read_version(PennySpan digits, uint64_t *version)
{
	int64_t value;

	if (digits.len == 0 || !penny_json_integer(digits, &value))
		return false;
	for (size_t i = 0; i < digits.len; i++)
	{
		if (digits.data[i] < '0' || digits.data[i] > '9')
			return false;
	}
	if (digits.data[0] == '0' && digits.len > 1)
		return false;
	*version = (uint64_t) value;
	return true;
}

bool
penny_sse_read_id(PennySpan id, PennySsePosition *position)
{
	const char *colon = id.len > 0 ? memchr(id.data, ':', id.len) : NULL;
	size_t len;

	if (colon == NULL)
		return false;
	len = (size_t) (colon - id.data);
	return read_epoch((PennySpan){id.data, len}, position) &&
		   read_version((PennySpan){colon + 1, id.len - len - 1}, &position->version);
}

size_t
penny_sse_since(const PennySsePosition *position, char out[PENNY_SSE_SINCE_MAX])
{
	return (size_t) snprintf(out, PENNY_SSE_SINCE_MAX, "{\"epoch\":\"%s\",\"version\":%llu}",
							 position->epoch, (unsigned long long) position->version);
}

bool
penny_sse_read_position(PennySpan json, PennySsePosition *position)
{
	PennyJsonMember member[2] = {{.name = "epoch"}, {.name = "version"}};
	size_t where;

	return penny_json_object(json, member, 2, &where) == NULL &&
		   member[0].kind == PENNY_JSON_STRING && member[1].kind == PENNY_JSON_NUMBER &&
		   read_epoch((PennySpan){member[0].raw.data + 1, member[0].raw.len - 2}, position) &&
		   read_version(member[1].raw, &position->version);
}

/* ---- looking into frames --------------------------------------------------------- */

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void
skip(PennySpan *rest, size_t len)
{
	rest->data += len;
	rest->len -= len;
}

/* Skip white space and this mark. */
static void
skip_to_value(PennySpan *rest, char mark)
{
	while (rest->len > 0 && (is_blank(*rest->data) || *rest->data == mark))
		skip(rest, 1);
}

/* Bytes of the string at the start, with its quotes. */
static size_t
string_len(PennySpan rest)
{
	size_t len = 1;

	while (len < rest.len && rest.data[len] != '"')
		len += rest.data[len] == '\\' ? 2 : 1;
	return len < rest.len ? len + 1 : rest.len;
}

/* Bytes of the value at the start. */
static size_t
value_len(PennySpan rest)
{
	size_t len = 0;
	uint64_t depth = 0;

	while (len < rest.len)
	{
		char c = rest.data[len];

		if (c == '"')
			len += string_len((PennySpan){rest.data + len, rest.len - len});
		else if (c == '{' || c == '[')
		{
			depth++;
			len++;
			continue;
		}
		else if (c == '}' || c == ']')
		{
			if (depth == 0)
				break;
			depth--;
			len++;
		}
		else if (depth == 0 && (c == ',' || is_blank(c)))
			break;
		else
		{
			len++;
			if (depth == 0)
				continue; /* inside a number, or a word */
		}
		if (depth == 0)
			break;
	}
	return len;
}

bool
penny_sse_member(PennySpan object, const char *name, PennySpan *value)
{
	size_t name_len = strlen(name);

	skip_to_value(&object, '{');
	while (object.len > 0 && *object.data == '"')
	{
		size_t len = string_len(object);
		bool found = len == name_len + 2 && memcmp(object.data + 1, name, name_len) == 0;

		skip(&object, len);
		skip_to_value(&object, ':');
		*value = (PennySpan){object.data, value_len(object)};
		if (found && value->len > 0)
			return true;
		skip(&object, value->len);
		skip_to_value(&object, ',');
	}
	return false;
}

bool
penny_sse_element(PennySpan *array, PennySpan *element)
{
	/* Its opening bracket is taken off once; no element begins with a comma. */
	if (array->len > 0 && *array->data == '[')
		skip(array, 1);
	skip_to_value(array, ',');
	*element = (PennySpan){array->data, value_len(*array)};
	skip(array, element->len);
	return element->len > 0;
}

/* ---- events --------------------------------------------------------------------- */

static void
begin_text(void)
{
	if (text.size > KEEP_MAX)
	{
		free(text.data);
		text.data = NULL;
		text.size = 0;
	}
	text.len = 0;
	text.failed = false;
}

static char *
reserve(size_t len)
{
	if (text.len + len > text.size && !text.failed)
	{
		size_t size = (text.len + len) * 2;
		char *grown = realloc(text.data, size);

		text.failed = grown == NULL;
		if (grown != NULL)
		{
			text.data = grown;
			text.size = size;
		}
	}
	return text.failed ? NULL : text.data + text.len;
}

static void
append(const char *bytes, size_t len)
{
	char *at = reserve(len);

	if (at == NULL || len == 0)
		return;
	memcpy(at, bytes, len);
	text.len += len;
}

/* A frame on one line. */
static void
append_line(PennySpan frame)
{
	char *at = reserve(frame.len);

	if (at == NULL)
		return;
	for (size_t i = 0; i < frame.len; i++)
		at[i] = frame.data[i] == '\n' || frame.data[i] == '\r' ? ' ' : frame.data[i];
	text.len += frame.len;
}

/* Its type, if that can stand in a line; else as one that says nothing. */
static PennySpan
type_of(PennySpan frame)
{
	PennySpan value;

	if (!penny_sse_member(frame, "type", &value) || value.len < 3 || value.len > TYPE_MAX + 2 ||
		value.data[0] != '"')
		return (PennySpan){"message", 7};
	value = (PennySpan){value.data + 1, value.len - 2};
	for (size_t i = 0; i < value.len; i++)
	{
		if (!is_epoch_char(value.data[i]))
			return (PennySpan){"message", 7};
	}
	return value;
}

static bool
version_of(PennySpan frame, uint64_t *version)
{
	PennySpan value;

	return penny_sse_member(frame, "version", &value) && read_version(value, version);
}

static void
append_event(PennySpan frame, const char *epoch, const uint64_t *version)
{
	PennySpan type = type_of(frame);
	uint64_t own;
	char id[PENNY_SSE_EPOCH_MAX + 40];

	if (version == NULL && version_of(frame, &own))
		version = &own;
	if (version != NULL)
		append(id, (size_t) snprintf(id, sizeof(id), "id: %s:%llu\n", epoch,
									 (unsigned long long) *version));
	append("event: ", 7);
	append(type.data, type.len);
	append("\ndata: ", 7);
	append_line(frame);
	append("\n\n", 2);
}

/* Each frame of a batch. */
static void
append_batch(PennySpan batch, PennySpan messages, const char *epoch)
{
	uint64_t version;
	bool versioned = version_of(batch, &version);
	PennySpan frame, next;
	bool more = penny_sse_element(&messages, &frame);

	while (more)
	{
		more = penny_sse_element(&messages, &next);
		append_event(frame, epoch, !more && versioned ? &version : NULL);
		frame = next;
	}
}

PennyFrame *
penny_sse_chunk(PennySpan data)
{
	char head[CHUNK_HEAD_MAX];
	size_t head_len = (size_t) snprintf(head, sizeof(head), "%zx\r\n", data.len);
	char *out;
	PennyFrame *frame = penny_frame_raw(head_len, head_len + data.len + 2, &out);

	if (frame == NULL)
		return NULL;
	out = mempcpy(out, head, head_len);
	out = mempcpy(out, data.data, data.len);
	memcpy(out, "\r\n", 2);
	return frame;
}

/* What was made, as a chunk. */
static PennyFrame *
end_text(void)
{
	return text.failed ? NULL : penny_sse_chunk((PennySpan){text.data, text.len});
}

PennyFrame *
penny_sse_event(PennySpan frame, const char *epoch, const uint64_t *version)
{
	begin_text();
	append_event(frame, epoch, version);
	return end_text();
}

PennyFrame *
penny_sse_events(PennyFrame *frame, const char *epoch)
{
	PennySpan whole = penny_frame_text(frame);
	PennySpan type, messages;

	if (frame->events == NULL)
	{
		begin_text();
		if (penny_sse_member(whole, "type", &type) && type.len == 7 &&
			memcmp(type.data, "\"batch\"", 7) == 0 &&
			penny_sse_member(whole, "messages", &messages))
			append_batch(whole, messages, epoch);
		/* never nothing: an empty chunk would end the answer */
		if (text.len == 0)
			append_event(whole, epoch, NULL);
		frame->events = end_text();
	}
	return frame->events != NULL ? penny_frame_ref(frame->events) : NULL;
}

PennySpan
penny_sse_plain(const PennyFrame *events)
{
	return (PennySpan){events->bytes + events->head_len, events->len - events->head_len - 2};
}

/*-------------------------------------------------------------------------
 *
 * route_line.c
 *		A line of the route table, taken apart and checked.
 *
 * Spans point into the text; nothing is copied.  What is wrong with a line is
 * told by a text that people read, in the log of who compiled the table.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "plane/route_private.h"

#define TTL_DIGITS 15

static const char *const access_names[PENNY_ACCESSES] = {"public", "user", "agent", "admin"};
static const char *const scope_names[PENNY_SCOPES] = {"public", "role", "user"};

const char *
penny_access_name(PennyAccess access)
{
	return (unsigned) access < PENNY_ACCESSES ? access_names[access] : "unknown";
}

static bool
span_is(PennySpan span, const char *text)
{
	return span.len == strlen(text) && memcmp(span.data, text, span.len) == 0;
}

bool
penny_route_spans_equal(PennySpan a, PennySpan b)
{
	return a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
}

/* Take the text up to a separator, and the separator with it; false at the end. */
bool
penny_route_next_part(PennySpan *text, char separator, PennySpan *part)
{
	const char *mark;

	if (text->data == NULL)
		return false;
	mark = text->len > 0 ? memchr(text->data, separator, text->len) : NULL;
	*part = *text;
	if (mark == NULL)
	{
		*text = (PennySpan){NULL, 0};
		return true;
	}
	part->len = (size_t) (mark - text->data);
	text->data = mark + 1;
	text->len -= part->len + 1;
	return true;
}

/* Split a path or pattern at its slashes; -1 when there are too many. */
int
penny_route_split(PennySpan path, PennySpan segment[PENNY_MAX_ROUTE_SEGMENTS])
{
	PennySpan rest = {path.data + 1, path.len - 1};
	PennySpan part;
	int n = 0;

	while (penny_route_next_part(&rest, '/', &part))
	{
		if (n == PENNY_MAX_ROUTE_SEGMENTS)
			return -1;
		segment[n++] = part;
	}
	return n;
}

bool
penny_route_is_parameter(PennySpan segment)
{
	return segment.len >= 2 && segment.data[0] == '{' && segment.data[segment.len - 1] == '}';
}

/* Name inside a parameter's braces. */
PennySpan
penny_route_name_inside(PennySpan segment)
{
	return (PennySpan){segment.data + 1, segment.len - 2};
}

/* Is this segment a parameter of a good name? */
static bool
parameter_valid(PennySpan segment)
{
	PennySpan name = penny_route_name_inside(segment);

	for (size_t i = 0; i < name.len; i++)
	{
		char c = name.data[i];

		if (!(c >= 'a' && c <= 'z') && c != '_' && (i == 0 || !(c >= '0' && c <= '9')))
			return false;
	}
	return name.len > 0;
}

/* Is this segment literal text that a path can hold? */
static bool
literal_valid(PennySpan segment)
{
	for (size_t i = 0; i < segment.len; i++)
	{
		char c = segment.data[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') && !(c >= '0' && c <= '9') &&
			(c == '\0' || strchr("-._~!$&'()*+,;=:@", c) == NULL))
			return false;
	}
	return !span_is(segment, ".") && !span_is(segment, "..");
}

/* Does a parameter of this name stand before segment n? */
static bool
name_repeated(const PennySpan *segment, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (penny_route_is_parameter(segment[i]) && penny_route_spans_equal(segment[i], segment[n]))
			return true;
	}
	return false;
}

/* What is wrong with the segments of a pattern; NULL when nothing is. */
static const char *
check_segments(const PennySpan *segment, int n)
{
	int params = 0;

	for (int i = 0; i < n; i++)
	{
		if (segment[i].len == 0 && i < n - 1)
			return "pattern has an empty segment";
		if (!penny_route_is_parameter(segment[i]))
		{
			if (!literal_valid(segment[i]))
				return "pattern holds characters that it may not";
			continue;
		}
		if (!parameter_valid(segment[i]))
			return "parameter's name is malformed";
		if (name_repeated(segment, i))
			return "parameter's name is repeated";
		if (++params > PENNY_MAX_ROUTE_PARAMS)
			return "pattern has too many parameters";
	}
	return NULL;
}

/* The value of a word "name=value"; false when the word is another. */
static bool
word_value(PennySpan word, const char *name, PennySpan *value)
{
	size_t len = strlen(name);

	if (word.len < len || memcmp(word.data, name, len) != 0)
		return false;
	*value = (PennySpan){word.data + len, word.len - len};
	return true;
}

/* Read the words after the pattern; NULL or what is wrong. */
static const char *
read_more(PennySpan rest, PennyRouteLine *line)
{
	PennySpan word, value;

	line->ttl = 0;
	line->scope = PENNY_SCOPE_USER;
	while (penny_route_next_part(&rest, ' ', &word))
	{
		if (word_value(word, "ttl=", &value))
		{
			if (value.len == 0 || value.len > TTL_DIGITS)
				return "ttl is malformed";
			line->ttl = 0;
			for (size_t i = 0; i < value.len; i++)
			{
				if (value.data[i] < '0' || value.data[i] > '9')
					return "ttl is malformed";
				line->ttl = line->ttl * 10 + (uint64_t) (value.data[i] - '0');
			}
		}
		else if (word_value(word, "scope=", &value))
		{
			line->scope = PENNY_SCOPE_PUBLIC;
			while (line->scope < PENNY_SCOPES && !span_is(value, scope_names[line->scope]))
				line->scope++;
			if (line->scope == PENNY_SCOPES)
				return "scope is not known";
		}
	}
	if (line->method != PENNY_GET)
		line->ttl = 0;
	return NULL;
}

const char *
penny_route_read_line(PennySpan text, PennyRouteLine *line,
					  PennySpan segment[PENNY_MAX_ROUTE_SEGMENTS], int *n)
{
	PennySpan rest = text;
	PennySpan method, access;
	const char *wrong;

	if (!penny_route_next_part(&rest, ' ', &method) ||
		!penny_route_next_part(&rest, ' ', &access) ||
		!penny_route_next_part(&rest, ' ', &line->pattern))
		return "line has too few words";
	line->method = PENNY_GET;
	while (line->method < PENNY_METHODS && !span_is(method, penny_method_name(line->method)))
		line->method++;
	if (line->method == PENNY_METHODS)
		return "method is not known";
	line->access = PENNY_ACCESS_PUBLIC;
	while (line->access < PENNY_ACCESSES && !span_is(access, access_names[line->access]))
		line->access++;
	if (line->access == PENNY_ACCESSES)
		return "access is not known";
	if (line->pattern.len == 0 || line->pattern.data[0] != '/')
		return "pattern does not start with a slash";
	line->key.data = text.data;
	line->key.len = (size_t) (line->pattern.data + line->pattern.len - text.data);
	wrong = read_more(rest, line);
	if (wrong != NULL)
		return wrong;
	*n = penny_route_split(line->pattern, segment);
	return *n < 0 ? "pattern has too many segments" : check_segments(segment, *n);
}

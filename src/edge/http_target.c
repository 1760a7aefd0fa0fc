/*-------------------------------------------------------------------------
 *
 * http_target.c
 *		The request target: its forms, checks of path and query,
 *		percent-decoding.
 *
 * A path is taken as written: nothing is normalised, so what two readers could
 * understand differently is refused instead (dot segments, encoded or not,
 * %00, malformed escapes, bytes that belong into no URI).  The query may hold
 * some bytes that browsers send unescaped although RFC 3986 has them escaped.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>
#include <strings.h>

#include "edge/http_target.h"

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

/* Byte of the escape that starts at text[at]; -1 when it is malformed. */
static int
escape_at(PennySpan text, size_t at)
{
	int high, low;

	if (text.len - at < 3)
		return -1;
	high = hex_value(text.data[at + 1]);
	low = hex_value(text.data[at + 2]);
	return high < 0 || low < 0 ? -1 : high << 4 | low;
}

/* Check the bytes and escapes of a path or a query. */
static const char *
check_bytes(PennySpan text, const char *refused)
{
	for (size_t i = 0; i < text.len; i++)
	{
		unsigned char c = (unsigned char) text.data[i];

		if (c <= 0x20 || c >= 0x7F || strchr(refused, c) != NULL)
			return "the request target holds a byte that must be percent-encoded";
		if (c == '%')
		{
			int byte = escape_at(text, i);

			if (byte < 0)
				return "the request target holds a malformed percent-encoding";
			if (byte == 0)
				return "the request target holds an encoded NUL";
			i += 2;
		}
	}
	return NULL;
}

/* Is a segment "." or "..", however written?  Its escapes are well-formed. */
static bool
is_dot_segment(PennySpan segment)
{
	size_t dots = 0;

	for (size_t i = 0; i < segment.len; i++)
	{
		int c = segment.data[i];

		if (c == '%')
		{
			c = escape_at(segment, i);
			i += 2;
		}
		if (c != '.' || ++dots > 2)
			return false;
	}
	return dots > 0;
}

void
penny_http_target_split(PennySpan *target, PennySpan *authority)
{
	size_t scheme = 0;
	size_t end;

	*authority = (PennySpan){target->data, 0};
	if (target->len > 7 && strncasecmp(target->data, "http://", 7) == 0)
		scheme = 7;
	else if (target->len > 8 && strncasecmp(target->data, "https://", 8) == 0)
		scheme = 8;
	else
		return;
	end = scheme;
	while (end < target->len && target->data[end] != '/' && target->data[end] != '?')
		end++;
	if (end == scheme)
		return;
	*authority = (PennySpan){target->data + scheme, end - scheme};
	if (end < target->len)
		*target = (PennySpan){target->data + end, target->len - end};
	else
		*target = (PennySpan){target->data + scheme - 1, 1}; /* the slash before the authority */
}

const char *
penny_http_target_check(PennySpan target, PennySpan *path, PennySpan *query)
{
	const char *mark = target.len > 0 ? memchr(target.data, '?', target.len) : NULL;
	const char *end = target.data + target.len;
	const char *wrong;

	*path = target;
	*query = (PennySpan){end, 0};
	if (mark != NULL)
	{
		path->len = (size_t) (mark - target.data);
		*query = (PennySpan){mark + 1, (size_t) (end - mark) - 1};
	}
	if (path->len == 0 || path->data[0] != '/')
		return "the request target must be a path";
	wrong = check_bytes(*path, "\"#<>[\\]^`{|}");
	if (wrong == NULL)
		wrong = check_bytes(*query, "#");
	if (wrong != NULL)
		return wrong;

	for (size_t at = 1; at <= path->len;)
	{
		const char *slash = memchr(path->data + at, '/', path->len - at);
		size_t next = slash != NULL ? (size_t) (slash - path->data) : path->len;

		if (is_dot_segment((PennySpan){path->data + at, next - at}))
			return "the request target holds a dot segment";
		at = next + 1;
	}
	return NULL;
}

/* Decode text, optionally taking '+' for a space. */
static bool
decode(PennySpan text, bool plus, char *out, size_t size, size_t *len)
{
	size_t n = 0;

	for (size_t i = 0; i < text.len; i++)
	{
		int c = (unsigned char) text.data[i];

		if (c == '%')
		{
			c = escape_at(text, i);
			if (c < 0)
				return false;
			i += 2;
		}
		else if (plus && c == '+')
			c = ' ';
		if (n == size)
			return false;
		out[n++] = (char) c;
	}
	*len = n;
	return true;
}

bool
penny_http_decode(PennySpan text, char *out, size_t size, size_t *len)
{
	return decode(text, false, out, size, len);
}

bool
penny_http_query_value(PennySpan query, const char *name, char *out, size_t size, size_t *len)
{
	size_t name_len = strlen(name);

	while (query.len > 0)
	{
		const char *mark = memchr(query.data, '&', query.len);
		size_t pair = mark != NULL ? (size_t) (mark - query.data) : query.len;

		if (pair > name_len && query.data[name_len] == '=' &&
			memcmp(query.data, name, name_len) == 0)
			return decode((PennySpan){query.data + name_len + 1, pair - name_len - 1}, true, out,
						  size, len);
		if (mark == NULL)
			break;
		query.data += pair + 1;
		query.len -= pair + 1;
	}
	return false;
}

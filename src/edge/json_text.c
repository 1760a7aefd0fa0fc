/*-------------------------------------------------------------------------
 *
 * json_text.c
 *		Strings and numbers of JSON: unescape, compare, quote.
 *
 * What is unescaped here was found by the scanner, so its form is right; spans
 * are bounded all the same.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "edge/json_span.h"

static int
hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Code unit of "\uXXXX" at text; -1 when there is none. */
static int32_t
unit_at(const char *text, const char *end)
{
	int32_t unit = 0;

	if (end - text < 6 || text[0] != '\\' || text[1] != 'u')
		return -1;
	for (int i = 2; i < 6; i++)
	{
		if (hex_digit(text[i]) < 0)
			return -1;
		unit = unit << 4 | hex_digit(text[i]);
	}
	return unit;
}

/* Write a code point as UTF-8; returns its length. */
static int
put_utf8(int32_t code, char out[4])
{
	if (code < 0x80)
	{
		out[0] = (char) code;
		return 1;
	}
	if (code < 0x800)
	{
		out[0] = (char) (0xC0 | code >> 6);
		out[1] = (char) (0x80 | (code & 63));
		return 2;
	}
	if (code < 0x10000)
	{
		out[0] = (char) (0xE0 | code >> 12);
		out[1] = (char) (0x80 | (code >> 6 & 63));
		out[2] = (char) (0x80 | (code & 63));
		return 3;
	}
	out[0] = (char) (0xF0 | code >> 18);
	out[1] = (char) (0x80 | (code >> 12 & 63));
	out[2] = (char) (0x80 | (code >> 6 & 63));
	out[3] = (char) (0x80 | (code & 63));
	return 4;
}

/*
 * Take one character, perhaps escaped, from *at.  Returns the bytes written
 * to out, 0 when it cannot be stored.
 */
static int
next_character(const char **at, const char *end, char out[4])
{
	static const char escapes[] = "\"\\/bfnrt";
	static const char meanings[] = "\"\\/\b\f\n\r\t";
	const char *escape;
	int32_t unit, second;

	if (**at != '\\')
	{
		out[0] = *(*at)++;
		return out[0] != '\0';
	}
	if (end - *at < 2)
		return 0;
	if ((*at)[1] != 'u')
	{
		escape = (*at)[1] == '\0' ? NULL : strchr(escapes, (*at)[1]);
		if (escape == NULL)
			return 0;
		out[0] = meanings[escape - escapes];
		*at += 2;
		return 1;
	}
	unit = unit_at(*at, end);
	if (unit <= 0)
		return 0;
	*at += 6;
	if (unit >= 0xD800 && unit <= 0xDFFF)
	{
		second = unit <= 0xDBFF ? unit_at(*at, end) : -1;
		if (second < 0xDC00 || second > 0xDFFF)
			return 0;
		*at += 6;
		unit = 0x10000 + ((unit - 0xD800) << 10 | (second - 0xDC00));
	}
	return put_utf8(unit, out);
}

/* The text between the quotes; false when there are none. */
static bool
inside_quotes(PennySpan raw, const char **from, const char **end)
{
	if (raw.len < 2 || raw.data[0] != '"' || raw.data[raw.len - 1] != '"')
		return false;
	*from = raw.data + 1;
	*end = raw.data + raw.len - 1;
	return true;
}

bool
penny_json_string(PennySpan raw, char *out, size_t size, size_t *len)
{
	const char *at, *end;
	size_t n = 0;

	if (!inside_quotes(raw, &at, &end))
		return false;
	while (at < end)
	{
		char character[4];
		int bytes = next_character(&at, end, character);

		if (bytes == 0 || (size_t) bytes > size - n)
			return false;
		memcpy(out + n, character, (size_t) bytes);
		n += (size_t) bytes;
	}
	*len = n;
	return true;
}

bool
penny_json_string_is(PennySpan raw, const char *text)
{
	const char *at, *end;
	size_t left = strlen(text);

	if (!inside_quotes(raw, &at, &end))
		return false;
	while (at < end)
	{
		char character[4];
		int bytes = next_character(&at, end, character);

		if (bytes == 0 || (size_t) bytes > left || memcmp(text, character, (size_t) bytes) != 0)
			return false;
		text += bytes;
		left -= (size_t) bytes;
	}
	return left == 0;
}

bool
penny_json_integer(PennySpan raw, int64_t *value)
{
	uint64_t n = 0;

	if (raw.len == 0 || raw.len > 19)
		return false;
	for (size_t i = 0; i < raw.len; i++)
	{
		if (raw.data[i] < '0' || raw.data[i] > '9')
			return false;
		n = n * 10 + (uint64_t) (raw.data[i] - '0');
	}
	if (n > INT64_MAX)
		return false;
	*value = (int64_t) n;
	return true;
}

size_t
penny_json_quote(PennySpan text, char *out, size_t size)
{
	static const char hex[] = "0123456789abcdef";
	size_t need = 2;
	size_t at = 0;

	for (size_t i = 0; i < text.len; i++)
	{
		unsigned char c = (unsigned char) text.data[i];

		need += c < 0x20 ? 6 : c == '"' || c == '\\' ? 2 : 1;
	}
	if (need > size)
		return need;
	out[at++] = '"';
	for (size_t i = 0; i < text.len; i++)
	{
		unsigned char c = (unsigned char) text.data[i];

		if (c < 0x20)
		{
			memcpy(out + at, "\\u00", 4);
			out[at + 4] = hex[c >> 4];
			out[at + 5] = hex[c & 15];
			at += 6;
			continue;
		}
		if (c == '"' || c == '\\')
			out[at++] = '\\';
		out[at++] = (char) c;
	}
	out[at] = '"';
	return need;
}

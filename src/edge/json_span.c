/*-------------------------------------------------------------------------
 *
 * json_span.c
 *		Strict JSON scanner that gives spans, without allocation.
 *
 * One loop over the text with a stack of one bit a level (object or array):
 * no recursion, so depth costs no stack, and time is linear.  Strings are
 * checked for UTF-8 and their escapes for form; whether they can be stored is
 * asked when they are unescaped.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "edge/json_span.h"
#include "edge/utf8.h"

#define TOO_DEEP "JSON is nested too deeply"
#define TOO_MANY "JSON has too many members"
#define MALFORMED "JSON is malformed"

typedef struct Scanner
{
	const char *start;
	const char *at;
	const char *end;
	const char *wrong;
	uint64_t objects; /* bit d: level d is an object */
	int depth;
	int members;
} Scanner;

static bool
fail(Scanner *scanner, const char *wrong)
{
	scanner->wrong = wrong;
	return false;
}

static void
skip_blanks(Scanner *scanner)
{
	while (scanner->at < scanner->end && (*scanner->at == ' ' || *scanner->at == '\t' ||
										  *scanner->at == '\n' || *scanner->at == '\r'))
		scanner->at++;
}

/* Is the next byte this one?  Then take it. */
static bool
take(Scanner *scanner, char c)
{
	if (scanner->at == scanner->end || *scanner->at != c)
		return false;
	scanner->at++;
	return true;
}

/* Value of 4 hex digits; -1 when they are none. */
static int
hex4(const char *text)
{
	int value = 0;

	for (int i = 0; i < 4; i++)
	{
		char c = text[i];
		int digit = c >= '0' && c <= '9'   ? c - '0'
					: c >= 'a' && c <= 'f' ? c - 'a' + 10
					: c >= 'A' && c <= 'F' ? c - 'A' + 10
										   : -1;

		if (digit < 0)
			return -1;
		value = value << 4 | digit;
	}
	return value;
}

/* Scan the escape after a backslash. */
static bool
scan_escape(Scanner *scanner)
{
	char c;

	if (scanner->at == scanner->end)
		return fail(scanner, MALFORMED);
	c = *scanner->at++;
	if (c == 'u')
	{
		if (scanner->end - scanner->at < 4 || hex4(scanner->at) < 0)
			return fail(scanner, "JSON string has a malformed escape");
		scanner->at += 4;
		return true;
	}
	if (c == '\0' || strchr("\"\\/bfnrt", c) == NULL)
		return fail(scanner, "JSON string has a malformed escape");
	return true;
}

/* Scan a string whose opening quote was taken. */
static bool
scan_string(Scanner *scanner)
{
	const char *from = scanner->at;

	while (scanner->at < scanner->end)
	{
		unsigned char c = (unsigned char) *scanner->at++;

		if (c == '"')
		{
			if (!penny_utf8_valid(from, (size_t) (scanner->at - from)))
				return fail(scanner, "JSON string is not UTF-8");
			return true;
		}
		if (c < 0x20)
			return fail(scanner, "JSON string holds a control character");
		if (c == '\\' && !scan_escape(scanner))
			return false;
	}
	return fail(scanner, "JSON string is not closed");
}

/* Take one or more digits. */
static bool
scan_digits(Scanner *scanner)
{
	const char *from = scanner->at;

	while (scanner->at < scanner->end && *scanner->at >= '0' && *scanner->at <= '9')
		scanner->at++;
	return scanner->at > from || fail(scanner, "JSON number is malformed");
}

static bool
scan_number(Scanner *scanner)
{
	take(scanner, '-');
	if (!take(scanner, '0') && !scan_digits(scanner))
		return false;
	if (take(scanner, '.') && !scan_digits(scanner))
		return false;
	if (take(scanner, 'e') || take(scanner, 'E'))
	{
		if (!take(scanner, '+'))
			take(scanner, '-');
		return scan_digits(scanner);
	}
	return true;
}

static bool
scan_word(Scanner *scanner, const char *word)
{
	size_t len = strlen(word);

	if ((size_t) (scanner->end - scanner->at) < len || memcmp(scanner->at, word, len) != 0)
		return fail(scanner, MALFORMED);
	scanner->at += len;
	return true;
}

/* Scan a value that is no object and no array. */
static bool
scan_scalar(Scanner *scanner)
{
	if (take(scanner, '"'))
		return scan_string(scanner);
	if (scanner->at == scanner->end)
		return fail(scanner, "JSON ends too early");
	switch (*scanner->at)
	{
		case 'n':
			return scan_word(scanner, "null");
		case 't':
			return scan_word(scanner, "true");
		case 'f':
			return scan_word(scanner, "false");
		default:
			if (*scanner->at != '-' && (*scanner->at < '0' || *scanner->at > '9'))
				return fail(scanner, MALFORMED);
			return scan_number(scanner);
	}
}

/* Scan a member's name and colon; name gives it with its quotes. */
static bool
scan_name(Scanner *scanner, PennySpan *name)
{
	const char *from;

	skip_blanks(scanner);
	from = scanner->at;
	if (!take(scanner, '"'))
		return fail(scanner, "JSON member has no name");
	if (!scan_string(scanner))
		return false;
	*name = (PennySpan){from, (size_t) (scanner->at - from)};
	skip_blanks(scanner);
	if (!take(scanner, ':'))
		return fail(scanner, "JSON member has no colon");
	skip_blanks(scanner);
	return true;
}

/* Count one member or element. */
static bool
count(Scanner *scanner)
{
	return ++scanner->members <= PENNY_JSON_MEMBERS || fail(scanner, TOO_MANY);
}

/* Is the innermost level an object? */
static bool
in_object(const Scanner *scanner)
{
	return scanner->objects >> (scanner->depth - 1) & 1;
}

/* Enter an object or array; *open is false when it closed at once. */
static bool
enter(Scanner *scanner, char opener, bool *open)
{
	if (scanner->depth == PENNY_JSON_DEPTH)
		return fail(scanner, TOO_DEEP);
	scanner->objects &= ~(UINT64_C(1) << scanner->depth);
	scanner->objects |= (uint64_t) (opener == '{') << scanner->depth;
	scanner->depth++;
	skip_blanks(scanner);
	*open = !take(scanner, opener == '{' ? '}' : ']');
	if (!*open)
		scanner->depth--;
	return true;
}

/*
 * A value has ended: close what closes, down to level `floor`, and stand at
 * the next value of an open level, or set *more false.
 */
static bool
after_value(Scanner *scanner, int floor, bool *more)
{
	PennySpan name;

	*more = false;
	while (scanner->depth > floor)
	{
		skip_blanks(scanner);
		if (take(scanner, ','))
		{
			*more = true;
			if (!count(scanner))
				return false;
			if (in_object(scanner))
				return scan_name(scanner, &name);
			skip_blanks(scanner);
			return true;
		}
		if (!take(scanner, in_object(scanner) ? '}' : ']'))
			return fail(scanner, scanner->at == scanner->end ? "JSON ends too early" : MALFORMED);
		scanner->depth--;
	}
	return true;
}

/* Scan one whole value, with everything in it. */
static bool
scan_value(Scanner *scanner)
{
	int floor = scanner->depth;
	bool more = true;

	while (more)
	{
		PennySpan name;
		bool open = false;
		char opener = '\0';

		if (take(scanner, '{'))
			opener = '{';
		else if (take(scanner, '['))
			opener = '[';
		if (opener != '\0' ? !enter(scanner, opener, &open) : !scan_scalar(scanner))
			return false;
		if (open)
		{
			/* stand at the first value inside */
			if (!count(scanner) || (opener == '{' && !scan_name(scanner, &name)))
				return false;
			continue;
		}
		if (!after_value(scanner, floor, &more))
			return false;
	}
	return true;
}

/* Kind of a value by its first byte; it was scanned. */
static PennyJsonKind
kind_of(char first)
{
	switch (first)
	{
		case '{':
			return PENNY_JSON_OBJECT;
		case '[':
			return PENNY_JSON_ARRAY;
		case '"':
			return PENNY_JSON_STRING;
		case 'n':
			return PENNY_JSON_NULL;
		case 't':
			return PENNY_JSON_TRUE;
		case 'f':
			return PENNY_JSON_FALSE;
		default:
			return PENNY_JSON_NUMBER;
	}
}

/* Note a member's value if it was asked for. */
static bool
note_member(Scanner *scanner, PennySpan name, PennySpan value, PennyJsonMember *wanted, int n)
{
	for (int i = 0; i < n; i++)
	{
		if (!penny_json_string_is(name, wanted[i].name))
			continue;
		if (wanted[i].kind != PENNY_JSON_ABSENT)
			return fail(scanner, "JSON member is repeated");
		wanted[i].kind = kind_of(value.data[0]);
		wanted[i].raw = value;
	}
	return true;
}

/* Scan the members of the object whose brace was taken. */
static bool
scan_members(Scanner *scanner, PennyJsonMember *wanted, int n)
{
	bool open;

	if (!enter(scanner, '{', &open))
		return false;
	while (open)
	{
		PennySpan name;
		const char *from;

		if (!count(scanner) || !scan_name(scanner, &name))
			return false;
		from = scanner->at;
		if (!scan_value(scanner) ||
			!note_member(scanner, name, (PennySpan){from, (size_t) (scanner->at - from)}, wanted,
						 n))
			return false;
		skip_blanks(scanner);
		if (take(scanner, ','))
			continue;
		if (!take(scanner, '}'))
			return fail(scanner, scanner->at == scanner->end ? "JSON ends too early" : MALFORMED);
		scanner->depth--;
		open = false;
	}
	return true;
}

/* Finish: nothing but blanks may follow; tell what is wrong, and where. */
static const char *
finish(Scanner *scanner, bool good, size_t *where)
{
	if (good)
	{
		skip_blanks(scanner);
		if (scanner->at < scanner->end)
			fail(scanner, "JSON text is followed by something else");
	}
	*where = (size_t) (scanner->at - scanner->start);
	return scanner->wrong;
}

const char *
penny_json_object(PennySpan text, PennyJsonMember *wanted, int n, size_t *where)
{
	Scanner scanner = {text.data, text.data, text.data + text.len, NULL, 0, 0, 0};
	bool good;

	for (int i = 0; i < n; i++)
	{
		wanted[i].kind = PENNY_JSON_ABSENT;
		wanted[i].raw = (PennySpan){text.data, 0};
	}
	skip_blanks(&scanner);
	if (take(&scanner, '{'))
		good = scan_members(&scanner, wanted, n);
	else
		good = fail(&scanner, "JSON text is not an object");
	return finish(&scanner, good, where);
}

const char *
penny_json_valid(PennySpan text, size_t *where)
{
	Scanner scanner = {text.data, text.data, text.data + text.len, NULL, 0, 0, 0};

	skip_blanks(&scanner);
	return finish(&scanner, scan_value(&scanner), where);
}

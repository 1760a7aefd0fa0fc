/*-------------------------------------------------------------------------
 *
 * json_strict.c
 *		Walk over one small JSON object, strictly.  See json_strict.h.
 *
 * Recursion is bounded by PENNY_JSON_DEPTH.  Names of the members of all open
 * objects lie unescaped, one behind the other, in one buffer with the
 * discipline of a stack: an object drops its own when it closes.  Unescaping
 * never makes a text longer, so a buffer of the size of the input is enough.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "auth/json_strict.h"

typedef struct Member
{
	size_t offset; /* of its name in names[] */
	size_t len;
} Member;

typedef struct Walk
{
	const char *at;
	const char *end;
	PennyJsonVisit visit;
	void *arg;
	int depth;
	int members; /* of all open objects */
	size_t names_len;
	Member member[PENNY_JSON_MEMBERS];
	char *names;          /* as long as the input */
	char *text;           /* likewise; the string that is being told */
	const char *top_name; /* member of the outermost object we are in */
	size_t top_name_len;
} Walk;

static bool walk_value(Walk *walk);

static void
skip_space(Walk *walk)
{
	while (walk->at < walk->end &&
		   (*walk->at == ' ' || *walk->at == '\t' || *walk->at == '\n' || *walk->at == '\r'))
		walk->at++;
}

/* Take one given character. */
static bool
take(Walk *walk, char c)
{
	if (walk->at >= walk->end || *walk->at != c)
		return false;
	walk->at++;
	return true;
}

/* Read four hexadecimal digits. */
static bool
read_hex4(Walk *walk, uint32_t *code)
{
	int i;

	*code = 0;
	if (walk->end - walk->at < 4)
		return false;
	for (i = 0; i < 4; i++)
	{
		char c = *walk->at++;

		*code <<= 4;
		if (c >= '0' && c <= '9')
			*code |= (uint32_t) (c - '0');
		else if (c >= 'a' && c <= 'f')
			*code |= (uint32_t) (c - 'a' + 10);
		else if (c >= 'A' && c <= 'F')
			*code |= (uint32_t) (c - 'A' + 10);
		else
			return false;
	}
	return true;
}

/* Write a code point as UTF-8; the number of bytes, at most 4. */
static size_t
put_utf8(char *out, uint32_t code)
{
	if (code < 0x80)
	{
		out[0] = (char) code;
		return 1;
	}
	if (code < 0x800)
	{
		out[0] = (char) (0xc0 | (code >> 6));
		out[1] = (char) (0x80 | (code & 0x3f));
		return 2;
	}
	if (code < 0x10000)
	{
		out[0] = (char) (0xe0 | (code >> 12));
		out[1] = (char) (0x80 | ((code >> 6) & 0x3f));
		out[2] = (char) (0x80 | (code & 0x3f));
		return 3;
	}
	out[0] = (char) (0xf0 | (code >> 18));
	out[1] = (char) (0x80 | ((code >> 12) & 0x3f));
	out[2] = (char) (0x80 | ((code >> 6) & 0x3f));
	out[3] = (char) (0x80 | (code & 0x3f));
	return 4;
}

/* Read what follows \u, a surrogate pair included. */
static bool
read_unicode_escape(Walk *walk, uint32_t *code)
{
	uint32_t low;

	if (!read_hex4(walk, code) || *code == 0)
		return false;
	if (*code >= 0xdc00 && *code <= 0xdfff)
		return false;
	if (*code < 0xd800 || *code > 0xdbff)
		return true;
	if (!take(walk, '\\') || !take(walk, 'u') || !read_hex4(walk, &low))
		return false;
	if (low < 0xdc00 || low > 0xdfff)
		return false;
	*code = 0x10000 + ((*code - 0xd800) << 10) + (low - 0xdc00);
	return true;
}

/* Read what follows a backslash; appends to out. */
static bool
read_escape(Walk *walk, char *out, size_t *len)
{
	static const char from[] = "\"\\/bfnrt";
	static const char to[] = "\"\\/\b\f\n\r\t";
	const char *found;
	uint32_t code;
	char c;

	if (walk->at >= walk->end)
		return false;
	c = *walk->at++;
	if (c == 'u')
	{
		if (!read_unicode_escape(walk, &code))
			return false;
		*len += put_utf8(out + *len, code);
		return true;
	}
	found = c == '\0' ? NULL : strchr(from, c);
	if (found == NULL)
		return false;
	out[(*len)++] = to[found - from];
	return true;
}

/* Copy one UTF-8 sequence of more than one byte, checking it (RFC 3629). */
static bool
read_multibyte(Walk *walk, char *out, size_t *len)
{
	uint8_t first = (uint8_t) *walk->at;
	uint8_t low = 0x80;
	uint8_t high = 0xbf;
	int follow;
	int i;

	if (first >= 0xc2 && first <= 0xdf)
		follow = 1;
	else if (first >= 0xe0 && first <= 0xef)
		follow = 2;
	else if (first >= 0xf0 && first <= 0xf4)
		follow = 3;
	else
		return false;
	if (first == 0xe0)
		low = 0xa0;
	else if (first == 0xed)
		high = 0x9f;
	else if (first == 0xf0)
		low = 0x90;
	else if (first == 0xf4)
		high = 0x8f;

	if (walk->end - walk->at <= follow)
		return false;
	out[(*len)++] = *walk->at++;
	for (i = 0; i < follow; i++)
	{
		uint8_t next = (uint8_t) *walk->at;

		if (next < low || next > high)
			return false;
		low = 0x80;
		high = 0xbf;
		out[(*len)++] = *walk->at++;
	}
	return true;
}

/* Read a string, opening quote included; unescapes into out. */
static bool
read_string(Walk *walk, char *out, size_t *len)
{
	*len = 0;
	if (!take(walk, '"'))
		return false;
	while (walk->at < walk->end)
	{
		uint8_t c = (uint8_t) *walk->at;

		if (c == '"')
		{
			walk->at++;
			return true;
		}
		if (c < 0x20)
			return false;
		if (c == '\\')
		{
			walk->at++;
			if (!read_escape(walk, out, len))
				return false;
		}
		else if (c < 0x80)
			out[(*len)++] = *walk->at++;
		else if (!read_multibyte(walk, out, len))
			return false;
	}
	return false;
}

/* Skip digits; at least one must be there. */
static bool
skip_digits(Walk *walk)
{
	const char *start = walk->at;

	while (walk->at < walk->end && *walk->at >= '0' && *walk->at <= '9')
		walk->at++;
	return walk->at > start;
}

/* Skip a number as RFC 8259 writes it. */
static bool
skip_number(Walk *walk)
{
	(void) take(walk, '-');
	if (!take(walk, '0') && !skip_digits(walk))
		return false;
	if (take(walk, '.') && !skip_digits(walk))
		return false;
	if (take(walk, 'e') || take(walk, 'E'))
	{
		if (!take(walk, '+'))
			(void) take(walk, '-');
		return skip_digits(walk);
	}
	return true;
}

/* Tell the caller of a value, if it lies where callers look. */
static bool
tell(Walk *walk, PennyJsonType type, const char *text, size_t len)
{
	PennyJsonValue value;

	if (walk->top_name == NULL || walk->depth > 2)
		return true;
	value.name = walk->top_name;
	value.name_len = walk->top_name_len;
	value.depth = walk->depth;
	value.type = type;
	value.text = text;
	value.len = len;
	return walk->visit(walk->arg, &value);
}

/* Put a member's name on the stack; false when its object has it already. */
static bool
push_member(Walk *walk, int first)
{
	Member *member;
	int i;

	if (walk->members >= PENNY_JSON_MEMBERS)
		return false;
	member = &walk->member[walk->members];
	member->offset = walk->names_len;
	if (!read_string(walk, walk->names + walk->names_len, &member->len))
		return false;
	for (i = first; i < walk->members; i++)
	{
		if (walk->member[i].len == member->len &&
			memcmp(walk->names + walk->member[i].offset, walk->names + member->offset,
				   member->len) == 0)
			return false;
	}
	walk->names_len += member->len;
	walk->members++;
	return true;
}

/* Walk over an object; the brace has been taken. */
static bool
walk_object(Walk *walk)
{
	int first = walk->members;
	size_t names_len = walk->names_len;

	skip_space(walk);
	if (take(walk, '}'))
		return true;
	for (;;)
	{
		skip_space(walk);
		if (!push_member(walk, first))
			return false;
		if (walk->depth == 1)
		{
			walk->top_name = walk->names + walk->member[walk->members - 1].offset;
			walk->top_name_len = walk->member[walk->members - 1].len;
		}
		skip_space(walk);
		if (!take(walk, ':') || !walk_value(walk))
			return false;
		skip_space(walk);
		if (take(walk, '}'))
			break;
		if (!take(walk, ','))
			return false;
	}
	walk->members = first;
	walk->names_len = names_len;
	return true;
}

/* Walk over an array; the bracket has been taken. */
static bool
walk_array(Walk *walk)
{
	skip_space(walk);
	if (take(walk, ']'))
		return true;
	for (;;)
	{
		if (!walk_value(walk))
			return false;
		skip_space(walk);
		if (take(walk, ']'))
			return true;
		if (!take(walk, ','))
			return false;
	}
}

/* Take a literal word. */
static bool
walk_word(Walk *walk, const char *word, PennyJsonType type)
{
	size_t len = strlen(word);

	if ((size_t) (walk->end - walk->at) < len || memcmp(walk->at, word, len) != 0)
		return false;
	walk->at += len;
	return tell(walk, type, "", 0);
}

/* Walk over an object or array one level down. */
static bool
walk_nested(Walk *walk, PennyJsonType type)
{
	const char *start = walk->at;
	bool ok;

	if (type == PENNY_JSON_ARRAY && !tell(walk, type, "", 0))
		return false;
	walk->at++;
	if (walk->depth >= PENNY_JSON_DEPTH)
		return false;
	walk->depth++;

	/* members of inner objects are not told: only arrays are looked into */
	if (type == PENNY_JSON_OBJECT)
	{
		const char *top_name = walk->top_name;

		walk->top_name = NULL;
		ok = walk_object(walk);
		walk->top_name = top_name;
	}
	else
		ok = walk_array(walk);
	walk->depth--;
	if (ok && type == PENNY_JSON_OBJECT)
		ok = tell(walk, type, start, (size_t) (walk->at - start));
	return ok;
}

/* Walk over any value. */
static bool
walk_value(Walk *walk)
{
	const char *start;
	size_t len;

	skip_space(walk);
	if (walk->at >= walk->end)
		return false;
	switch (*walk->at)
	{
		case '{':
			return walk_nested(walk, PENNY_JSON_OBJECT);
		case '[':
			return walk_nested(walk, PENNY_JSON_ARRAY);
		case '"':
			return read_string(walk, walk->text, &len) &&
				   tell(walk, PENNY_JSON_STRING, walk->text, len);
		case 't':
			return walk_word(walk, "true", PENNY_JSON_TRUE);
		case 'f':
			return walk_word(walk, "false", PENNY_JSON_FALSE);
		case 'n':
			return walk_word(walk, "null", PENNY_JSON_NULL);
		default:
			start = walk->at;
			return skip_number(walk) &&
				   tell(walk, PENNY_JSON_NUMBER, start, (size_t) (walk->at - start));
	}
}

bool
penny_json_walk_large(const char *text, size_t len, PennyJsonVisit visit, void *arg, char *scratch,
					  size_t scratch_len)
{
	Walk walk;

	if (scratch_len < PENNY_JSON_SCRATCH(len))
		return false;
	walk.at = text;
	walk.end = text + len;
	walk.visit = visit;
	walk.arg = arg;
	walk.depth = 1;
	walk.members = 0;
	walk.names = scratch;
	walk.names_len = 0;
	walk.text = scratch + len;
	walk.top_name = NULL;
	walk.top_name_len = 0;

	skip_space(&walk);
	if (!take(&walk, '{') || !walk_object(&walk))
		return false;
	skip_space(&walk);
	return walk.at == walk.end;
}

bool
penny_json_walk(const char *text, size_t len, PennyJsonVisit visit, void *arg)
{
	char scratch[PENNY_JSON_SCRATCH(PENNY_JSON_BYTES)];

	return penny_json_walk_large(text, len, visit, arg, scratch, sizeof(scratch));
}

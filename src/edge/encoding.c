/*-------------------------------------------------------------------------
 *
 * encoding.c
 *		Accept-Encoding (RFC 9110 12.5.3), If-None-Match (13.1.2).
 *
 * Both are parsed where they lie, without memory of their own, once for each
 * request.  A header that is malformed says nothing: the answer is then not
 * compressed, or sent whole, which is right for every client.
 *
 * Of codings with the same quality the server's order decides.  Identity is
 * chosen before a coding only when the client says so: when it gives it the
 * greater quality.  A client that accepts nothing at all ("identity;q=0" and no
 * coding that is offered) gets identity: RFC 9110 allows that, and it helps
 * more than a 406 would.
 *
 * The strong tag of a variant is that of the identity with the name of the
 * coding behind it.  A client may send back either, so the names are taken off
 * before comparing.  The other way round nothing can be confused: tags of penny
 * are hexadecimal digits, and a handler's own that ends so is compared as a
 * whole first.
 *
 *-------------------------------------------------------------------------
 */
#include "edge/encoding.h"

#include <string.h>
#include <strings.h>

#include "edge/http_fields.h"

#define QUALITY_ONE 1000

static const char *const names[PENNY_CODINGS] = {
	[PENNY_IDENTITY] = "identity",
	[PENNY_BR] = "br",
	[PENNY_GZIP] = "gzip",
	[PENNY_DEFLATE] = "deflate",
};

const char *
penny_coding_name(PennyCoding coding)
{
	return names[coding];
}

/* ---- Accept-Encoding --------------------------------------------------------- */

static const char *
skip_blanks(const char *at, const char *end)
{
	while (at < end && (*at == ' ' || *at == '\t'))
		at++;
	return at;
}

/*
 * Read "0", "1", "0.5", "1.000": thousandths; NULL when it is something else.
 * The value ends at a blank, a comma or the end.
 */
static const char *
read_quality(const char *at, const char *end, uint16_t *quality)
{
	uint16_t value;
	uint16_t unit = QUALITY_ONE / 10;

	if (at == end || (*at != '0' && *at != '1'))
		return NULL;
	value = *at++ == '1' ? QUALITY_ONE : 0;
	if (at < end && *at == '.')
	{
		at++;
		for (int digits = 0; digits < 3 && at < end && *at >= '0' && *at <= '9'; digits++)
		{
			value = (uint16_t) (value + (*at++ - '0') * unit);
			unit /= 10;
		}
	}
	if (value > QUALITY_ONE)
		return NULL;
	*quality = value;
	return at;
}

/* Read [OWS ";" OWS "q=" qvalue]; NULL when it is malformed. */
static const char *
read_weight(const char *at, const char *end, uint16_t *quality)
{
	*quality = QUALITY_ONE;
	at = skip_blanks(at, end);
	if (at == end || *at == ',')
		return at;
	if (*at != ';')
		return NULL;
	at = skip_blanks(at + 1, end);
	if (end - at < 3 || (at[0] != 'q' && at[0] != 'Q') || at[1] != '=')
		return NULL;
	at = read_quality(at + 2, end, quality);
	return at == NULL ? NULL : skip_blanks(at, end);
}

static void
note(PennyAccept *accept, const char *name, size_t len, uint16_t quality)
{
	if (len == 1 && name[0] == '*')
	{
		accept->any = quality;
		return;
	}
	/* RFC 9110 8.4.1.3: "x-gzip" is the same */
	if (len == 6 && strncasecmp(name, "x-gzip", 6) == 0)
	{
		name += 2;
		len -= 2;
	}
	for (int i = 0; i < PENNY_CODINGS; i++)
	{
		if (strlen(names[i]) == len && strncasecmp(names[i], name, len) == 0)
			accept->quality[i] = quality;
	}
}

void
penny_accept_init(PennyAccept *accept)
{
	accept->malformed = false;
	accept->any = PENNY_QUALITY_UNSAID;
	for (int i = 0; i < PENNY_CODINGS; i++)
		accept->quality[i] = PENNY_QUALITY_UNSAID;
}

void
penny_accept_take(PennyAccept *accept, PennySpan value)
{
	const char *at = value.data;
	const char *end = value.data + value.len;

	while (at < end && !accept->malformed)
	{
		const char *name;
		size_t len;
		uint16_t quality;

		at = skip_blanks(at, end);
		if (at == end)
			break;
		if (*at == ',')
		{
			at++; /* empty elements are allowed */
			continue;
		}
		name = at;
		while (at < end && penny_http_is_token((unsigned char) *at))
			at++;
		len = (size_t) (at - name);
		at = len > 0 ? read_weight(at, end, &quality) : NULL;
		if (at == NULL || (at < end && *at != ','))
			accept->malformed = true;
		else
			note(accept, name, len, quality);
	}
}

PennyCoding
penny_accept_choose(const PennyAccept *accept, const uint8_t offered[PENNY_CODINGS])
{
	PennyCoding best = PENNY_IDENTITY;
	uint16_t best_quality = 0;
	uint16_t identity = accept->quality[PENNY_IDENTITY];

	if (accept->malformed)
		return PENNY_IDENTITY;
	for (int i = 0; i < PENNY_CODINGS && offered[i] != PENNY_IDENTITY; i++)
	{
		uint16_t quality = accept->quality[offered[i]];

		if (quality == PENNY_QUALITY_UNSAID)
			quality = accept->any == PENNY_QUALITY_UNSAID ? 0 : accept->any;
		if (quality > best_quality)
		{
			best = (PennyCoding) offered[i];
			best_quality = quality;
		}
	}
	/* "*" speaks of what is not named, but nobody means by it: rather large */
	if (identity != PENNY_QUALITY_UNSAID && identity > best_quality)
		return PENNY_IDENTITY;
	return best;
}

bool
penny_lines_next(PennySpan *lines, const char *name, PennySpan *value)
{
	size_t name_len = strlen(name);

	while (lines->len > 0)
	{
		const char *feed = memchr(lines->data, '\n', lines->len);
		size_t len = feed != NULL ? (size_t) (feed - lines->data) : lines->len;
		size_t whole = feed != NULL ? len + 1 : len;
		const char *line = lines->data;

		lines->data += whole;
		lines->len -= whole;
		if (len >= name_len + 2 && memcmp(line, name, name_len) == 0 &&
			memcmp(line + name_len, ": ", 2) == 0)
		{
			*value = (PennySpan){line + name_len + 2, len - name_len - 2};
			return true;
		}
	}
	return false;
}

void
penny_accept_take_lines(PennyAccept *accept, PennySpan lines)
{
	PennySpan value;

	while (penny_lines_next(&lines, "accept-encoding", &value))
		penny_accept_take(accept, value);
}

/* ---- entity tags --------------------------------------------------------------- */

/* Is this an entity tag?  Its opaque part, with the quotes. */
static const char *
read_tag(const char *at, const char *end, PennySpan *opaque)
{
	const char *start;

	if (end - at >= 2 && at[0] == 'W' && at[1] == '/')
		at += 2;
	if (at == end || *at != '"')
		return NULL;
	start = at++;
	while (at < end && *at != '"' && (unsigned char) *at > 0x20 && *at != 0x7f)
		at++;
	if (at == end || *at != '"')
		return NULL;
	*opaque = (PennySpan){start, (size_t) (at + 1 - start)};
	return at + 1;
}

/* Take the name of a coding off a tag. */
static PennySpan
without_coding(PennySpan tag, char *room)
{
	for (int i = PENNY_IDENTITY + 1; i < PENNY_CODINGS; i++)
	{
		size_t len = strlen(names[i]);

		if (tag.len >= len + 3 && tag.data[tag.len - len - 2] == '-' &&
			memcmp(tag.data + tag.len - len - 1, names[i], len) == 0)
		{
			size_t kept = tag.len - len - 2;

			memcpy(room, tag.data, kept);
			room[kept] = '"';
			return (PennySpan){room, kept + 1};
		}
	}
	return tag;
}

static bool
same(PennySpan a, PennySpan b)
{
	return a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
}

/* Is the tag that the client has the one of ours, or of a variant of it? */
static bool
names_it(PennySpan theirs, PennySpan ours)
{
	char room[256];

	if (same(theirs, ours))
		return true;
	return theirs.len <= sizeof(room) && same(without_coding(theirs, room), ours);
}

bool
penny_etag_matches(PennySpan value, PennySpan etag, PennySpan *match)
{
	const char *at = value.data;
	const char *end = value.data + value.len;
	PennySpan ours;
	bool found = false;

	*match = (PennySpan){NULL, 0};
	if (read_tag(etag.data, etag.data + etag.len, &ours) != etag.data + etag.len || etag.len == 0)
		return false;
	if (value.len == 1 && value.data[0] == '*')
		return true;
	while (at < end)
	{
		PennySpan theirs;
		const char *start;

		at = skip_blanks(at, end);
		if (at == end)
			break;
		if (*at == ',')
		{
			at++;
			continue;
		}
		start = at;
		at = read_tag(at, end, &theirs);
		if (at == NULL)
			return false;
		if (!found && names_it(theirs, ours))
		{
			*match = (PennySpan){start, (size_t) (at - start)};
			found = true;
		}
		at = skip_blanks(at, end);
		if (at < end && *at != ',')
			return false;
	}
	return found;
}

size_t
penny_etag_variant(PennySpan etag, PennyCoding coding, char *out)
{
	size_t len = strlen(names[coding]);

	memcpy(out, etag.data, etag.len);
	if (coding == PENNY_IDENTITY || etag.len < 2 || etag.data[0] != '"')
		return etag.len;
	out[etag.len - 1] = '-';
	memcpy(out + etag.len, names[coding], len);
	out[etag.len + len] = '"';
	return etag.len + len + 1;
}

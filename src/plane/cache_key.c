/*-------------------------------------------------------------------------
 *
 * cache_key.c
 *		Keys and hashes: SipHash, and the one form of a GET's arguments.
 *
 * SipHash-2-4 with 128 bits of result: J.-P. Aumasson and D. J. Bernstein,
 * "SipHash: a fast short-input PRF" (INDOCRYPT 2012), written after the
 * authors' reference (github.com/veorq/SipHash, CC0), whose vectors the unit
 * test has.  Under a random secret nobody outside can find two keys of one
 * value, so keys are compared by their hash alone.
 *
 * A part of a key goes in after its length: what differs in its parts differs
 * in its bytes.
 *
 *-------------------------------------------------------------------------
 */
#include "plane/cache_layout.h"

#include <endian.h>
#include <string.h>

#define MAX_PAIRS 64 /* of a query that is kept */

#define ROTL(x, b) (((x) << (b)) | ((x) >> (64 - (b))))

typedef struct Sip
{
	uint64_t v[4];
	uint64_t word; /* bytes that do not fill a word yet */
	uint64_t len;
} Sip;

/* Decoded text of a request, one piece after the other. */
typedef struct Decoder
{
	char text[PENNY_CACHE_KEY_MAX];
	size_t used;
} Decoder;

typedef struct Pair
{
	PennySpan name;
	PennySpan value;
} Pair;

/* ---- SipHash ------------------------------------------------------------- */

static void
sip_rounds(Sip *sip, int rounds)
{
	uint64_t v0 = sip->v[0], v1 = sip->v[1], v2 = sip->v[2], v3 = sip->v[3];

	while (rounds-- > 0)
	{
		v0 += v1;
		v1 = ROTL(v1, 13) ^ v0;
		v0 = ROTL(v0, 32);
		v2 += v3;
		v3 = ROTL(v3, 16) ^ v2;
		v0 += v3;
		v3 = ROTL(v3, 21) ^ v0;
		v2 += v1;
		v1 = ROTL(v1, 17) ^ v2;
		v2 = ROTL(v2, 32);
	}
	sip->v[0] = v0, sip->v[1] = v1, sip->v[2] = v2, sip->v[3] = v3;
}

static void
sip_word(Sip *sip, uint64_t word)
{
	sip->v[3] ^= word;
	sip_rounds(sip, 2);
	sip->v[0] ^= word;
}

static void
sip_start(Sip *sip, const uint64_t secret[2])
{
	sip->v[0] = UINT64_C(0x736f6d6570736575) ^ secret[0];
	sip->v[1] = UINT64_C(0x646f72616e646f6d) ^ secret[1] ^ 0xee;
	sip->v[2] = UINT64_C(0x6c7967656e657261) ^ secret[0];
	sip->v[3] = UINT64_C(0x7465646279746573) ^ secret[1];
	sip->word = sip->len = 0;
}

/* Up to eight bytes as they would stand in a little-endian word. */
static inline uint64_t
load(const unsigned char *at, size_t len)
{
	uint64_t word = 0;

	memcpy(&word, at, len);
	return le64toh(word);
}

/* Take the lowest bytes of a word behind those that do not fill one yet. */
static inline void
sip_part(Sip *sip, uint64_t word, size_t bytes)
{
	unsigned have = sip->len & 7;

	sip->word |= word << have * 8;
	sip->len += bytes;
	if (have + bytes < 8)
		return;
	sip_word(sip, sip->word);
	sip->word = have > 0 ? word >> (8 - have) * 8 : 0;
}

static void
sip_add(Sip *sip, const void *bytes, size_t len)
{
	const unsigned char *at = bytes;

	for (; len >= 8; len -= 8, at += 8)
		sip_part(sip, load(at, 8), 8);
	if (len > 0)
		sip_part(sip, load(at, len), len);
}

static void
sip_end(Sip *sip, PennyCacheKey *key)
{
	sip_word(sip, sip->word | sip->len << 56);
	sip->v[2] ^= 0xee;
	sip_rounds(sip, 4);
	key->word[0] = sip->v[0] ^ sip->v[1] ^ sip->v[2] ^ sip->v[3];
	sip->v[1] ^= 0xdd;
	sip_rounds(sip, 4);
	key->word[1] = sip->v[0] ^ sip->v[1] ^ sip->v[2] ^ sip->v[3];
}

static void
sip_span(Sip *sip, PennySpan span)
{
	uint64_t len = span.len;

	sip_add(sip, &len, sizeof(len));
	sip_add(sip, span.data, span.len);
}

/* SipHash-2-4-128 of bytes. */
void
penny_siphash(const uint64_t secret[2], const void *bytes, size_t len, PennyCacheKey *key)
{
	Sip sip;

	sip_start(&sip, secret);
	sip_add(&sip, bytes, len);
	sip_end(&sip, key);
}

/* ---- keys ---------------------------------------------------------------- */

static void
start_key(Sip *sip, const PennyPlane *plane)
{
	static const uint64_t none[2] = {0, 0};

	sip_start(sip, penny_cache_on(plane) ? penny_cache_header(plane)->secret : none);
}

/* Key of parts; each counts with its length. */
void
penny_cache_key(const PennyPlane *plane, const PennySpan *part, int parts, PennyCacheKey *key)
{
	Sip sip;

	start_key(&sip, plane);
	for (int i = 0; i < parts; i++)
		sip_span(&sip, part[i]);
	sip_end(&sip, key);
}

/* Hash of what a body holds. */
void
penny_cache_hash(const PennyPlane *plane, uint32_t status, PennySpan head, PennySpan body,
				 PennyCacheKey *hash)
{
	PennySpan part[3] = {{(const char *) &status, sizeof(status)}, head, body};

	penny_cache_key(plane, part, 3, hash);
}

/* ---- keys of HTTP -------------------------------------------------------- */

static int
hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Decode %xx, and '+' if asked; false when malformed, NUL, or too long. */
static bool
decode(Decoder *decoder, PennySpan text, bool plus, PennySpan *decoded)
{
	size_t plain = 0;

	while (plain < text.len && text.data[plain] != '%' && text.data[plain] != '\0' &&
		   !(plus && text.data[plain] == '+'))
		plain++;
	*decoded = text;
	if (plain == text.len)
		return true; /* as it stands */
	decoded->data = decoder->text + decoder->used;
	for (size_t i = 0; i < text.len; i++)
	{
		char c = text.data[i];

		if (c == '%')
		{
			if (text.len - i < 3 || hex_value(text.data[i + 1]) < 0 ||
				hex_value(text.data[i + 2]) < 0)
				return false;
			c = (char) (hex_value(text.data[i + 1]) << 4 | hex_value(text.data[i + 2]));
			i += 2;
		}
		else if (c == '+' && plus)
			c = ' ';
		if (c == '\0' || decoder->used == sizeof(decoder->text))
			return false;
		decoder->text[decoder->used++] = c;
	}
	decoded->len = (size_t) (decoder->text + decoder->used - decoded->data);
	return true;
}

/* What comes before the next separator, which is taken away too. */
static PennySpan
next_piece(PennySpan *text, char separator)
{
	const char *end = text->len == 0 ? NULL : memchr(text->data, separator, text->len);
	PennySpan piece = *text;

	if (end != NULL)
		piece.len = (size_t) (end - text->data);
	text->data += piece.len + (end != NULL);
	text->len -= piece.len + (end != NULL);
	return piece;
}

/* Each segment by itself: "/a%2Fb" is not "/a/b". */
static bool
add_path(Sip *sip, Decoder *decoder, PennySpan path)
{
	PennySpan segment;
	bool more = true;

	while (more)
	{
		PennySpan piece = next_piece(&path, '/');

		more = piece.data + piece.len != path.data;
		if (!decode(decoder, piece, false, &segment))
			return false;
		sip_span(sip, segment);
	}
	return true;
}

static bool
after(PennySpan a, PennySpan b)
{
	int order = memcmp(a.data, b.data, a.len < b.len ? a.len : b.len);

	return order > 0 || (order == 0 && a.len > b.len);
}

/* Insert by name, behind those of the same name: which is last matters. */
static void
insert_pair(Pair *pair, int pairs, Pair new)
{
	while (pairs > 0 && after(pair[pairs - 1].name, new.name))
	{
		pair[pairs] = pair[pairs - 1];
		pairs--;
	}
	pair[pairs] = new;
}

static bool
add_query(Sip *sip, Decoder *decoder, PennySpan query)
{
	const uint64_t end_of_path = UINT64_MAX; /* where another length could be */
	Pair pair[MAX_PAIRS];
	int pairs = 0;

	while (query.len > 0)
	{
		PennySpan value = next_piece(&query, '&');
		PennySpan name;
		Pair new;

		if (value.len == 0)
			continue; /* no parameter, for a handler neither */
		name = next_piece(&value, '=');
		if (pairs == MAX_PAIRS || !decode(decoder, name, true, &new.name) ||
			!decode(decoder, value, true, &new.value))
			return false;
		if (new.name.len == 12 && memcmp(new.name.data, "access_token", 12) == 0)
			continue;
		insert_pair(pair, pairs++, new);
	}
	sip_add(sip, &end_of_path, sizeof(end_of_path));
	for (int i = 0; i < pairs; i++)
	{
		sip_span(sip, pair[i].name);
		sip_span(sip, pair[i].value);
	}
	return true;
}

/* Key of a GET. */
bool
penny_cache_http_key(const PennyPlane *plane, PennySpan route, PennySpan path, PennySpan query,
					 PennySpan whose, PennyCacheKey *key)
{
	Decoder decoder;
	Sip sip;

	if (route.len + path.len + query.len + whose.len > PENNY_CACHE_KEY_MAX)
		return false;
	decoder.used = 0;
	start_key(&sip, plane);
	sip_span(&sip, (PennySpan){"http", 4});
	sip_span(&sip, route);
	sip_span(&sip, whose);
	if (!add_path(&sip, &decoder, path) || !add_query(&sip, &decoder, query))
		return false;
	sip_end(&sip, key);
	return true;
}

/* ---- names --------------------------------------------------------------- */

const char *
penny_cache_kind_name(PennyCacheKind kind)
{
	static const char *const name[PENNY_CACHE_KINDS] = {
		[PENNY_CACHE_CONVERSATION] = "conversation",
		[PENNY_CACHE_LIST] = "list",
		[PENNY_CACHE_MESSAGES] = "messages",
		[PENNY_CACHE_ARTIFACTS] = "artifacts",
		[PENNY_CACHE_SESSION] = "session",
		[PENNY_CACHE_MODELS] = "models",
		[PENNY_CACHE_ROUTE] = "route",
		[PENNY_CACHE_FUNCTION] = "function",
	};

	return (unsigned) kind < PENNY_CACHE_KINDS ? name[kind] : "unknown";
}

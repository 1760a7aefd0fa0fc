/*-------------------------------------------------------------------------
 *
 * key_parse.c
 *		Strict reading of files with keys.  See key_parse.h.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "auth/json_strict.h"
#include "auth/key_der.h"
#include "auth/key_parse.h"

#define FIELD_MAX 700 /* bytes of a member's value: base64url of 512 bytes */

#define PEM_BEGIN "-----BEGIN "
#define PEM_LABEL_BEGIN "-----BEGIN PUBLIC KEY-----"
#define PEM_LABEL_END "-----END PUBLIC KEY-----"
#define PEM_BODY_MAX 1024 /* characters of base64 in a block */

/* Members of a JWK that are looked at. */
typedef enum Field
{
	KTY,
	ALG,
	USE,
	KID,
	CRV,
	X,
	N,
	E,
	K,
	FIELDS
} Field;

static const char *const field_name[FIELDS] = {
	[KTY] = "kty", [ALG] = "alg", [USE] = "use", [KID] = "kid", [CRV] = "crv",
	[X] = "x",     [N] = "n",     [E] = "e",     [K] = "k",
};

typedef struct Jwk
{
	struct
	{
		bool seen;
		bool bad; /* not a string, or too long for any use */
		size_t len;
		char text[FIELD_MAX + 1];
	} field[FIELDS];
	bool private_part; /* a member that only private keys have */
	bool ops_seen;     /* key_ops is there */
	bool ops_verify;   /* and says "verify" */
} Jwk;

/* The walk over a JWK Set. */
typedef struct Jwks
{
	PennyKeySet *set;
	bool keys_seen;
	const char *wrong;
} Jwks;

static const char *const algorithm_name[PENNY_KEY_ALGORITHMS] = {
	[PENNY_HS256] = "HS256",
	[PENNY_RS256] = "RS256",
	[PENNY_EDDSA] = "EdDSA",
};

const char *
penny_key_algorithm_name(PennyKeyAlgorithm algorithm)
{
	return algorithm_name[algorithm];
}

bool
penny_key_algorithm_find(const char *name, PennyKeyAlgorithm *algorithm)
{
	for (int i = 0; i < PENNY_KEY_ALGORITHMS; i++)
	{
		if (strcmp(name, algorithm_name[i]) == 0)
		{
			*algorithm = (PennyKeyAlgorithm) i;
			return true;
		}
	}
	return false;
}

/* ---- the set ---------------------------------------------------------------- */

/* Add a key that can be told from those that are there. */
static const char *
add_key(PennyKeySet *set, PennyKeyAlgorithm algorithm, const char *kid, const uint8_t *data,
		size_t len)
{
	PennyJwtKey *key = &set->key[set->count];

	for (int i = 0; i < set->count; i++)
	{
		const PennyJwtKey *other = &set->key[i];

		if (kid[0] != '\0' && strcmp(other->kid, kid) == 0)
			return "Two keys have the same kid.";
		if (other->algorithm == algorithm && (kid[0] == '\0' || other->kid[0] == '\0'))
			return "Where several keys have one algorithm, each needs a kid.";
	}
	if (set->count == PENNY_KEYS_MAX || len > sizeof(set->data) - set->used)
		return "There are too many keys.";
	key->algorithm = algorithm;
	memcpy(key->kid, kid, strlen(kid) + 1);
	key->at = set->used;
	key->len = (uint32_t) len;
	memcpy(set->data + set->used, data, len);
	set->used += (uint32_t) len;
	set->count++;
	return NULL;
}

static const char *
add_rsa(PennyKeySet *set, const char *kid, const PennyRsaNumbers *rsa)
{
	uint8_t der[PENNY_DER_MAX];
	size_t bits = rsa->n_len * 8;
	uint64_t exponent = 0;

	for (uint8_t first = rsa->n[0]; (first & 0x80) == 0; first = (uint8_t) (first << 1))
		bits--; /* the first byte is not zero */
	for (size_t i = 0; i < rsa->e_len; i++)
		exponent = exponent << 8 | rsa->e[i];
	if (bits < PENNY_RSA_MIN_BITS || bits > PENNY_RSA_MAX_BITS)
		return "An RSA key has 2048 to 4096 bits.";
	if ((rsa->n[rsa->n_len - 1] & 1) == 0 || (exponent & 1) == 0 || exponent < 65537)
		return "An RSA key has an odd modulus and an odd exponent of at least 65537.";
	return add_key(set, PENNY_RS256, kid, der, penny_der_write_rsa(rsa, der));
}

/* Points of small order, the sign left out: signatures under them are no proof. */
static bool
is_small_order(const uint8_t point[PENNY_ED25519_LEN])
{
	static const uint8_t small[][PENNY_ED25519_LEN] = {
		{0x00},
		{0x01},
		{0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4,
		 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6,
		 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05},
		{0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b,
		 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39,
		 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a},
	};
	uint8_t unsigned_point[PENNY_ED25519_LEN];
	bool high = true; /* p - 1 and more: ec, ed .. ff, then ff, and 7f at the end */

	memcpy(unsigned_point, point, PENNY_ED25519_LEN);
	unsigned_point[PENNY_ED25519_LEN - 1] &= 0x7f;
	for (size_t i = 0; i < sizeof(small) / sizeof(small[0]); i++)
	{
		if (memcmp(unsigned_point, small[i], PENNY_ED25519_LEN) == 0)
			return true;
	}
	for (int i = 1; i < PENNY_ED25519_LEN - 1; i++)
		high = high && unsigned_point[i] == 0xff;
	return high && unsigned_point[0] >= 0xec && unsigned_point[PENNY_ED25519_LEN - 1] == 0x7f;
}

static const char *
add_ed25519(PennyKeySet *set, const char *kid, const uint8_t point[PENNY_ED25519_LEN])
{
	uint8_t der[PENNY_DER_MAX];

	if (is_small_order(point))
		return "An Ed25519 key is a point of small order.";
	return add_key(set, PENNY_EDDSA, kid, der, penny_der_write_ed25519(point, der));
}

/* ---- JSON ------------------------------------------------------------------- */

static bool
name_is(const PennyJsonValue *value, const char *name)
{
	return value->name_len == strlen(name) && memcmp(value->name, name, value->name_len) == 0;
}

static bool
field_is(const Jwk *jwk, Field field, const char *text)
{
	return strcmp(jwk->field[field].text, text) == 0;
}

/* A member of a JWK. */
static bool
visit_jwk(void *arg, const PennyJsonValue *value)
{
	static const char *const private_name[] = {"d", "p", "q", "dp", "dq", "qi", "oth"};
	Jwk *jwk = arg;

	if (name_is(value, "key_ops"))
	{
		jwk->ops_seen = true;
		if (value->type == PENNY_JSON_STRING && value->len == 6 &&
			memcmp(value->text, "verify", 6) == 0)
			jwk->ops_verify = true;
	}
	for (size_t i = 0; i < sizeof(private_name) / sizeof(private_name[0]); i++)
		jwk->private_part = jwk->private_part || name_is(value, private_name[i]);
	for (int i = 0; i < FIELDS; i++)
	{
		if (!name_is(value, field_name[i]))
			continue;
		jwk->field[i].seen = true;
		if (value->depth != 1 || value->type != PENNY_JSON_STRING || value->len == 0 ||
			value->len > FIELD_MAX)
		{
			jwk->field[i].bad = true;
			continue;
		}
		memcpy(jwk->field[i].text, value->text, value->len);
		jwk->field[i].text[value->len] = '\0';
		jwk->field[i].len = value->len;
	}
	return true;
}

/* Bytes of a member in base64url; 0 when it is not there or not that. */
static size_t
decode(const Jwk *jwk, Field field, uint8_t *out, size_t size)
{
	long len = -1;

	if (jwk->field[field].seen && !jwk->field[field].bad)
		len = penny_base64url_decode(jwk->field[field].text, jwk->field[field].len, out, size);
	return len > 0 ? (size_t) len : 0;
}

/* Is the key meant to verify signatures by this algorithm? */
static bool
is_for(const Jwk *jwk, PennyKeyAlgorithm algorithm)
{
	if (jwk->field[ALG].seen && !field_is(jwk, ALG, algorithm_name[algorithm]))
		return false;
	if (jwk->field[USE].seen && !field_is(jwk, USE, "sig"))
		return false;
	return !jwk->ops_seen || jwk->ops_verify;
}

static const char *
take_rsa(PennyKeySet *set, const Jwk *jwk)
{
	PennyRsaNumbers rsa;

	if (jwk->private_part)
		return "It holds a private key; only public keys belong here.";
	rsa.n_len = decode(jwk, N, rsa.n, sizeof(rsa.n));
	rsa.e_len = decode(jwk, E, rsa.e, sizeof(rsa.e));
	if (rsa.n_len == 0 || rsa.e_len == 0 || rsa.n[0] == 0 || rsa.e[0] == 0)
		return "n and e of an RSA key are numbers in base64url, without leading zeros and of at "
			   "most 4096 and 64 bits.";
	return add_rsa(set, jwk->field[KID].text, &rsa);
}

static const char *
take_okp(PennyKeySet *set, const Jwk *jwk)
{
	uint8_t point[PENNY_ED25519_LEN];

	if (jwk->private_part)
		return "It holds a private key; only public keys belong here.";
	if (decode(jwk, X, point, sizeof(point)) != sizeof(point))
		return "x of an Ed25519 key is 32 bytes in base64url.";
	return add_ed25519(set, jwk->field[KID].text, point);
}

static const char *
take_oct(PennyKeySet *set, const Jwk *jwk)
{
	uint8_t secret[FIELD_MAX];
	size_t len = decode(jwk, K, secret, sizeof(secret));

	if (len < PENNY_SECRET_MIN)
		return "k of a secret is 32 to 512 bytes in base64url.";
	return add_key(set, PENNY_HS256, jwk->field[KID].text, secret, len);
}

/* Add one JWK, or leave it out. */
static const char *
take_jwk(PennyKeySet *set, const char *text, size_t len)
{
	Jwk jwk;

	memset(&jwk, 0, sizeof(jwk));
	if (!penny_json_walk(text, len, visit_jwk, &jwk))
		return "A key is not a strict JSON object of at most 16384 bytes.";
	if (!jwk.field[KTY].seen || jwk.field[KTY].bad)
		return "A key does not say its kty.";
	if (jwk.field[KID].bad || jwk.field[KID].len > PENNY_JWT_NAME_MAX)
		return "A kid is a string of 1 to 64 bytes.";
	if (jwk.field[ALG].bad || jwk.field[USE].bad || jwk.field[CRV].bad)
		return "alg, use and crv of a key are strings.";
	if (field_is(&jwk, KTY, "RSA") && is_for(&jwk, PENNY_RS256))
		return take_rsa(set, &jwk);
	if (field_is(&jwk, KTY, "OKP") && field_is(&jwk, CRV, "Ed25519") && is_for(&jwk, PENNY_EDDSA))
		return take_okp(set, &jwk);
	if (field_is(&jwk, KTY, "oct") && is_for(&jwk, PENNY_HS256))
		return take_oct(set, &jwk);
	set->skipped++;
	return NULL;
}

/* A member of the set. */
static bool
visit_jwks(void *arg, const PennyJsonValue *value)
{
	Jwks *jwks = arg;

	if (!name_is(value, "keys"))
		return true;
	jwks->keys_seen = true;
	if (value->depth == 1 && value->type == PENNY_JSON_ARRAY)
		return true;
	if (value->depth != 2 || value->type != PENNY_JSON_OBJECT)
		jwks->wrong = "\"keys\" is not a list of objects.";
	else
		jwks->wrong = take_jwk(jwks->set, value->text, value->len);
	return jwks->wrong == NULL;
}

static const char *
parse_json(const char *text, size_t len, PennyKeySet *set)
{
	char scratch[PENNY_JSON_SCRATCH(PENNY_KEY_FILE_MAX)];
	Jwks jwks = {set, false, NULL};

	if (!penny_json_walk_large(text, len, visit_jwks, &jwks, scratch, sizeof(scratch)))
		return jwks.wrong != NULL ? jwks.wrong : "It is not a strict JSON object.";
	if (!jwks.keys_seen)
		return "It is not a JWK Set: there is no \"keys\".";
	return NULL;
}

/* ---- PEM -------------------------------------------------------------------- */

/* The next line, without its end; false after the last. */
static bool
next_line(const char **at, const char *end, const char **line, size_t *len)
{
	const char *feed;

	if (*at >= end)
		return false;
	*line = *at;
	feed = memchr(*at, '\n', (size_t) (end - *at));
	*at = feed != NULL ? feed + 1 : end;
	*len = (size_t) ((feed != NULL ? feed : end) - *line);
	if (*len > 0 && (*line)[*len - 1] == '\r')
		(*len)--;
	return true;
}

static bool
line_is(const char *line, size_t len, const char *text)
{
	return len == strlen(text) && memcmp(line, text, len) == 0;
}

/* Decode canonical base64 with padding, by way of base64url. */
static long
decode_base64(char *text, size_t len, uint8_t *out, size_t size)
{
	if (len == 0 || len % 4 != 0)
		return -1;
	for (int i = 0; i < 2 && text[len - 1] == '='; i++)
		len--;
	for (size_t i = 0; i < len; i++)
	{
		if (text[i] == '-' || text[i] == '_')
			return -1;
		if (text[i] == '+')
			text[i] = '-';
		else if (text[i] == '/')
			text[i] = '_';
	}
	return penny_base64url_decode(text, len, out, size);
}

/* The lines of a block, up to its end. */
static const char *
take_block(PennyKeySet *set, const char **at, const char *end)
{
	char body[PEM_BODY_MAX];
	uint8_t der[PEM_BODY_MAX];
	uint8_t point[PENNY_ED25519_LEN];
	PennyRsaNumbers rsa;
	const char *line;
	size_t used = 0;
	size_t len;
	long der_len;

	for (;;)
	{
		if (!next_line(at, end, &line, &len))
			return "A block PUBLIC KEY has no end.";
		if (line_is(line, len, PEM_LABEL_END))
			break;
		if (len > sizeof(body) - used)
			return "A block PUBLIC KEY is too long: an RSA key has 2048 to 4096 bits.";
		memcpy(body + used, line, len);
		used += len;
	}
	der_len = decode_base64(body, used, der, sizeof(der));
	if (der_len < 0)
		return "A block PUBLIC KEY is not canonical base64.";
	if (penny_der_read_rsa(der, (size_t) der_len, &rsa))
		return add_rsa(set, "", &rsa);
	if (penny_der_read_ed25519(der, (size_t) der_len, point))
		return add_ed25519(set, "", point);
	return "A block PUBLIC KEY holds neither an RSA key of 2048 to 4096 bits nor an Ed25519 key.";
}

static bool
contains(const char *line, size_t len, const char *word)
{
	size_t word_len = strlen(word);

	for (size_t i = 0; i + word_len <= len; i++)
	{
		if (memcmp(line + i, word, word_len) == 0)
			return true;
	}
	return false;
}

static const char *
parse_pem(const char *text, size_t len, PennyKeySet *set)
{
	const char *end = text + len;
	const char *wrong = NULL;
	const char *line;
	size_t line_len;

	while (wrong == NULL && next_line(&text, end, &line, &line_len))
	{
		if (line_len == 0 || line[0] == '#')
			continue;
		if (line_is(line, line_len, PEM_LABEL_BEGIN))
			wrong = take_block(set, &text, end);
		else if (contains(line, line_len, PEM_BEGIN) && contains(line, line_len, "PRIVATE KEY"))
			wrong = "It holds a private key; only public keys belong here.";
		else if (contains(line, line_len, PEM_BEGIN))
			wrong =
				"It holds a PEM block that is not a PUBLIC KEY; from a certificate, \"openssl x509 "
				"-pubkey -noout\" writes one.";
		else
			wrong = "It is neither a JWK Set nor PEM blocks PUBLIC KEY.";
	}
	return wrong;
}

/* ---- files ------------------------------------------------------------------ */

const char *
penny_key_parse(const char *text, size_t len, PennyKeySet *set)
{
	const char *wrong;
	size_t space = 0;

	set->count = set->skipped = 0;
	set->used = 0;
	if (len > PENNY_KEY_FILE_MAX)
		return "A file of keys has at most 65536 bytes.";
	while (space < len && (text[space] == ' ' || text[space] == '\t' || text[space] == '\n' ||
						   text[space] == '\r'))
		space++;
	if (space < len && text[space] == '{')
		wrong = parse_json(text, len, set);
	else
		wrong = parse_pem(text, len, set);
	if (wrong == NULL && set->count == 0)
		wrong = "It holds no key for RS256, EdDSA or HS256.";
	return wrong;
}

const char *
penny_key_parse_secret(const char *text, size_t len, PennyKeySet *set)
{
	set->count = set->skipped = 0;
	set->used = 0;
	if (len > 0 && text[len - 1] == '\n')
		len--;
	if (len < PENNY_SECRET_MIN || len > PENNY_SECRET_MAX)
		return "A secret has 32 to 4096 bytes, not counting one newline at its end.";
	return add_key(set, PENNY_HS256, "", (const uint8_t *) text, len);
}

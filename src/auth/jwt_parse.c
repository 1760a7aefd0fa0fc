/*-------------------------------------------------------------------------
 *
 * jwt_parse.c
 *		Strict reading of a JSON Web Token.  See jwt_parse.h.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "auth/json_strict.h"
#include "auth/jwt_parse.h"

/* Greatest NumericDate taken: far enough, and safe in every sum below. */
#define DATE_MAX INT64_C(0xffffffffffff)

/* What the header said. */
typedef struct Header
{
	PennyJwt *jwt;
	PennyJwtError error;
	bool alg_seen;
} Header;

/* What the payload said so far. */
typedef struct Payload
{
	PennyJwt *jwt;
	const PennyJwtExpect *expect;
	PennyJwtError error;
	bool exp_seen;
	bool sub_seen;
	bool audience_found;
	bool issuer_found;
	bool nbf_seen;
	bool iat_seen;
	int64_t nbf;
	int64_t iat;
} Payload;

const char *
penny_jwt_error_text(PennyJwtError error)
{
	static const char *const text[PENNY_JWT_ERRORS] = {
		[PENNY_JWT_OK] = "the token is valid",
		[PENNY_JWT_TOO_LONG] = "the token is too long",
		[PENNY_JWT_NOT_THREE_PARTS] = "the token does not have three parts",
		[PENNY_JWT_BAD_BASE64] = "a part of the token is not canonical base64url",
		[PENNY_JWT_BAD_HEADER] = "the header of the token is not a strict JSON object",
		[PENNY_JWT_BAD_PAYLOAD] = "the payload of the token is not a strict JSON object",
		[PENNY_JWT_FORBIDDEN_HEADER] = "the header of the token has a member that is not allowed",
		[PENNY_JWT_BAD_TYP] = "typ of the token is not JWT",
		[PENNY_JWT_BAD_ALG] = "alg of the token is not that of a key",
		[PENNY_JWT_BAD_KID] = "kid of the token names no key",
		[PENNY_JWT_MANY_KEYS] = "the token has no kid, and several keys have its alg",
		[PENNY_JWT_BAD_SIGNATURE] = "the signature of the token is wrong",
		[PENNY_JWT_BAD_EXP] = "exp, nbf or iat of the token is missing or not a date",
		[PENNY_JWT_EXPIRED] = "the token has expired",
		[PENNY_JWT_NOT_YET] = "the token is not valid yet",
		[PENNY_JWT_FROM_FUTURE] = "the token was issued in the future",
		[PENNY_JWT_BAD_SUB] = "sub of the token is missing or not a UUID",
		[PENNY_JWT_BAD_AUD] = "aud of the token is not the audience expected",
		[PENNY_JWT_BAD_ISS] = "iss of the token is not the issuer expected",
		[PENNY_JWT_BAD_ROLE] = "role of the token is not allowed",
		[PENNY_JWT_NO_KEY] = "no key to verify tokens is configured",
	};

	if (error < 0 || error >= PENNY_JWT_ERRORS)
		return "the token is not valid";
	return text[error];
}

/* Value of one character of base64url, or -1. */
static int
base64url_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '-')
		return 62;
	if (c == '_')
		return 63;
	return -1;
}

long
penny_base64url_decode(const char *in, size_t len, uint8_t *out, size_t size)
{
	uint32_t bits = 0;
	int held = 0;
	size_t written = 0;
	size_t i;

	if (len % 4 == 1)
		return -1;
	for (i = 0; i < len; i++)
	{
		int value = base64url_value(in[i]);

		if (value < 0)
			return -1;
		bits = (bits << 6) | (uint32_t) value;
		held += 6;
		if (held >= 8)
		{
			if (written >= size)
				return -1;
			held -= 8;
			out[written++] = (uint8_t) (bits >> held);
			bits &= (UINT32_C(1) << held) - 1;
		}
	}
	/* bits left over must be zero, or one value could be written in many ways */
	if (bits != 0)
		return -1;
	return (long) written;
}

bool
penny_uuid_read(const char *in, size_t len, uint8_t out[16])
{
	size_t i;
	int nibble = 0;

	if (len != 36)
		return false;
	memset(out, 0, 16);
	for (i = 0; i < len; i++)
	{
		char c = in[i];
		int value;

		if (i == 8 || i == 13 || i == 18 || i == 23)
		{
			if (c != '-')
				return false;
			continue;
		}
		if (c >= '0' && c <= '9')
			value = c - '0';
		else if (c >= 'a' && c <= 'f')
			value = c - 'a' + 10;
		else if (c >= 'A' && c <= 'F')
			value = c - 'A' + 10;
		else
			return false;
		out[nibble / 2] |= (uint8_t) (nibble % 2 == 0 ? value << 4 : value);
		nibble++;
	}
	return true;
}

static bool
is_name(const PennyJsonValue *value, const char *name)
{
	return value->name_len == strlen(name) && memcmp(value->name, name, value->name_len) == 0;
}

static bool
is_text(const PennyJsonValue *value, const char *text)
{
	return value->type == PENNY_JSON_STRING && value->len == strlen(text) &&
		   memcmp(value->text, text, value->len) == 0;
}

/* Copy a short, non-empty string; false when it is something else. */
static bool
copy_name(const PennyJsonValue *value, char *out)
{
	if (value->depth != 1 || value->type != PENNY_JSON_STRING || value->len == 0 ||
		value->len > PENNY_JWT_NAME_MAX)
		return false;
	memcpy(out, value->text, value->len);
	out[value->len] = '\0';
	return true;
}

/* Does the header carry a member that would change who signed or what? */
static bool
is_forbidden(const PennyJsonValue *value)
{
	static const char *const forbidden[] = {"crit", "jku", "x5u", "jwk", "x5c",
											"x5t",  "b64", "zip", "enc", "x5t#S256"};
	size_t i;

	for (i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++)
		if (is_name(value, forbidden[i]))
			return true;
	return false;
}

static bool
fail_header(Header *header, PennyJwtError error)
{
	header->error = error;
	return false;
}

/* A member of the header. */
static bool
visit_header(void *arg, const PennyJsonValue *value)
{
	Header *header = arg;

	if (is_forbidden(value))
		return fail_header(header, PENNY_JWT_FORBIDDEN_HEADER);
	if (value->depth != 1)
		return true;
	if (is_name(value, "typ") && !is_text(value, "JWT"))
		return fail_header(header, PENNY_JWT_BAD_TYP);
	if (is_name(value, "kid") && !copy_name(value, header->jwt->kid))
		return fail_header(header, PENNY_JWT_BAD_HEADER);
	if (is_name(value, "alg"))
	{
		if (!copy_name(value, header->jwt->alg))
			return fail_header(header, PENNY_JWT_BAD_ALG);
		header->alg_seen = true;
	}
	return true;
}

static PennyJwtError
read_header(PennyJwt *jwt, const char *text, size_t len)
{
	Header header = {jwt, PENNY_JWT_BAD_HEADER, false};

	if (!penny_json_walk(text, len, visit_header, &header))
		return header.error;
	return header.alg_seen ? PENNY_JWT_OK : PENNY_JWT_BAD_ALG;
}

PennyJwtError
penny_jwt_split(const char *token, size_t len, PennyJwt *jwt)
{
	uint8_t header[PENNY_JWT_MAX];
	const char *payload;
	const char *signature;
	const char *end = token + len;
	long decoded;

	jwt->kid[0] = '\0';
	if (len > PENNY_JWT_MAX)
		return PENNY_JWT_TOO_LONG;
	payload = memchr(token, '.', len);
	if (payload == NULL)
		return PENNY_JWT_NOT_THREE_PARTS;
	payload++;
	signature = memchr(payload, '.', (size_t) (end - payload));
	if (signature == NULL)
		return PENNY_JWT_NOT_THREE_PARTS;
	jwt->signed_len = (size_t) (signature - token);
	signature++;
	if (memchr(signature, '.', (size_t) (end - signature)) != NULL)
		return PENNY_JWT_NOT_THREE_PARTS;

	decoded = penny_base64url_decode(payload, (size_t) (signature - 1 - payload),
									 (uint8_t *) jwt->payload, sizeof(jwt->payload) - 1);
	if (decoded < 0)
		return PENNY_JWT_BAD_BASE64;
	jwt->payload_len = (size_t) decoded;
	jwt->payload[decoded] = '\0';

	decoded = penny_base64url_decode(signature, (size_t) (end - signature), jwt->signature,
									 sizeof(jwt->signature));
	if (decoded < 0)
		return PENNY_JWT_BAD_BASE64;
	jwt->signature_len = (size_t) decoded;

	decoded = penny_base64url_decode(token, (size_t) (payload - 1 - token), header, sizeof(header));
	if (decoded < 0)
		return PENNY_JWT_BAD_BASE64;
	return read_header(jwt, (const char *) header, (size_t) decoded);
}

/*
 * Read a date: an integer, maybe with a fraction that is cut off, without
 * sign and exponent.
 */
static bool
read_date(const PennyJsonValue *value, int64_t *date)
{
	size_t i;

	if (value->depth != 1 || value->type != PENNY_JSON_NUMBER)
		return false;
	*date = 0;
	for (i = 0; i < value->len && value->text[i] != '.'; i++)
	{
		if (value->text[i] < '0' || value->text[i] > '9')
			return false;
		*date = *date * 10 + (value->text[i] - '0');
		if (*date > DATE_MAX)
			return false;
	}
	return memchr(value->text, 'e', value->len) == NULL &&
		   memchr(value->text, 'E', value->len) == NULL;
}

static bool
fail_payload(Payload *payload, PennyJwtError error)
{
	payload->error = error;
	return false;
}

/* aud: a string, or an array of strings of which one must fit. */
static bool
visit_audience(Payload *payload, const PennyJsonValue *value)
{
	if (value->depth == 1 && value->type == PENNY_JSON_ARRAY)
		return true;
	if (value->type != PENNY_JSON_STRING)
		return fail_payload(payload, PENNY_JWT_BAD_AUD);
	if (payload->expect->audience != NULL && is_text(value, payload->expect->audience))
		payload->audience_found = true;
	return true;
}

/* The claims that say when. */
static bool
visit_date(Payload *payload, const PennyJsonValue *value, int64_t *date, bool *seen)
{
	if (value->depth != 1)
		return true;
	*seen = true;
	if (!read_date(value, date))
		return fail_payload(payload, PENNY_JWT_BAD_EXP);
	return true;
}

/* A member of the payload. */
static bool
visit_payload(void *arg, const PennyJsonValue *value)
{
	Payload *payload = arg;
	PennyJwt *jwt = payload->jwt;

	if (is_name(value, "exp"))
		return visit_date(payload, value, &jwt->exp, &payload->exp_seen);
	if (is_name(value, "nbf"))
		return visit_date(payload, value, &payload->nbf, &payload->nbf_seen);
	if (is_name(value, "iat"))
		return visit_date(payload, value, &payload->iat, &payload->iat_seen);
	if (is_name(value, "aud"))
		return visit_audience(payload, value);
	if (is_name(value, "sub"))
	{
		if (value->type != PENNY_JSON_STRING || value->depth != 1 ||
			!penny_uuid_read(value->text, value->len, jwt->sub))
			return fail_payload(payload, PENNY_JWT_BAD_SUB);
		payload->sub_seen = true;
	}
	if (is_name(value, "role") && !copy_name(value, jwt->role))
		return fail_payload(payload, PENNY_JWT_BAD_ROLE);
	if (is_name(value, "iss"))
	{
		if (value->type != PENNY_JSON_STRING || value->depth != 1)
			return fail_payload(payload, PENNY_JWT_BAD_ISS);
		payload->issuer_found =
			payload->expect->issuer != NULL && is_text(value, payload->expect->issuer);
	}
	return true;
}

static bool
configured(const char *setting)
{
	return setting != NULL && setting[0] != '\0';
}

PennyJwtError
penny_jwt_claims(PennyJwt *jwt, const PennyJwtExpect *expect)
{
	Payload payload = {0};

	payload.jwt = jwt;
	payload.expect = expect;
	payload.error = PENNY_JWT_BAD_PAYLOAD;
	jwt->role[0] = '\0';
	if (!penny_json_walk(jwt->payload, jwt->payload_len, visit_payload, &payload))
		return payload.error;

	if (!payload.exp_seen)
		return PENNY_JWT_BAD_EXP;
	if (!payload.sub_seen)
		return PENNY_JWT_BAD_SUB;
	if (expect->now >= jwt->exp + expect->leeway)
		return PENNY_JWT_EXPIRED;
	if (payload.nbf_seen && expect->now + expect->leeway < payload.nbf)
		return PENNY_JWT_NOT_YET;
	if (payload.iat_seen && expect->now + expect->leeway < payload.iat)
		return PENNY_JWT_FROM_FUTURE;
	if (configured(expect->audience) && !payload.audience_found)
		return PENNY_JWT_BAD_AUD;
	if (configured(expect->issuer) && !payload.issuer_found)
		return PENNY_JWT_BAD_ISS;
	return PENNY_JWT_OK;
}

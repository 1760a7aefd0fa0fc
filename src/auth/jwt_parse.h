/*-------------------------------------------------------------------------
 *
 * jwt_parse.h
 *		Strict reading of a JSON Web Token: bytes in, checked fields out.
 *
 * Plain C without PostgreSQL headers, allocation or global state, so that it
 * can be fuzzed and unit-tested on its own.  Cryptography is not here: the
 * caller verifies the signature (jwt.c) between penny_jwt_split() and
 * penny_jwt_claims(), so the payload of a forged token is never looked at.
 *
 * What is refused, beside everything that is not a JWS compact serialization:
 * non-canonical base64url, duplicate members (compared after unescaping),
 * nesting deeper than PENNY_JWT_DEPTH, invalid UTF-8, NUL and lone surrogates
 * in strings, bytes after the JSON object, headers that name a key or change
 * the meaning of the token (crit, jku, x5u, jwk, x5c, b64, zip, enc), a typ
 * other than JWT.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_JWT_PARSE_H
#define PENNY_JWT_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PENNY_JWT_MAX 8192      /* bytes of a token */
#define PENNY_JWT_DEPTH 16      /* nesting of its JSON */
#define PENNY_JWT_MEMBERS 256   /* members of all open objects together */
#define PENNY_JWT_NAME_MAX 64   /* bytes of alg, kid, role */
#define PENNY_JWT_SIGNATURE 512 /* bytes of a signature: RSA of 4096 bits */

typedef enum PennyJwtError
{
	PENNY_JWT_OK,
	PENNY_JWT_TOO_LONG,
	PENNY_JWT_NOT_THREE_PARTS,
	PENNY_JWT_BAD_BASE64,
	PENNY_JWT_BAD_HEADER,
	PENNY_JWT_BAD_PAYLOAD,
	PENNY_JWT_FORBIDDEN_HEADER,
	PENNY_JWT_BAD_TYP,
	PENNY_JWT_BAD_ALG,
	PENNY_JWT_BAD_KID,
	PENNY_JWT_MANY_KEYS,
	PENNY_JWT_BAD_SIGNATURE,
	PENNY_JWT_BAD_EXP,
	PENNY_JWT_EXPIRED,
	PENNY_JWT_NOT_YET,
	PENNY_JWT_FROM_FUTURE,
	PENNY_JWT_BAD_SUB,
	PENNY_JWT_BAD_AUD,
	PENNY_JWT_BAD_ISS,
	PENNY_JWT_BAD_ROLE,
	PENNY_JWT_NO_KEY,
	PENNY_JWT_ERRORS
} PennyJwtError;

/*
 * A token taken apart.  Filled by penny_jwt_split(): signed_len, alg, kid,
 * payload, signature.  Filled by penny_jwt_claims(): the rest.
 */
typedef struct PennyJwt
{
	size_t signed_len; /* bytes of the token that the signature covers */
	char alg[PENNY_JWT_NAME_MAX + 1];
	char kid[PENNY_JWT_NAME_MAX + 1]; /* empty: not given */
	size_t payload_len;
	char payload[PENNY_JWT_MAX]; /* decoded, NUL-terminated */
	size_t signature_len;
	uint8_t signature[PENNY_JWT_SIGNATURE];

	int64_t exp;
	uint8_t sub[16];                   /* a UUID */
	char role[PENNY_JWT_NAME_MAX + 1]; /* empty: not given */
} PennyJwt;

/* What the claims are held against. */
typedef struct PennyJwtExpect
{
	int64_t now;          /* seconds since 1970 */
	int64_t leeway;       /* seconds of clock difference allowed */
	const char *audience; /* NULL or empty: not checked */
	const char *issuer;   /* likewise */
} PennyJwtExpect;

extern PennyJwtError penny_jwt_split(const char *token, size_t len, PennyJwt *jwt);
extern PennyJwtError penny_jwt_claims(PennyJwt *jwt, const PennyJwtExpect *expect);
/* What is wrong, as a sentence fragment for the client; never NULL. */
extern const char *penny_jwt_error_text(PennyJwtError error);
/* Decode canonical base64url; the number of bytes or -1. */
extern long penny_base64url_decode(const char *in, size_t len, uint8_t *out, size_t size);
/* Read a UUID in its 8-4-4-4-12 form. */
extern bool penny_uuid_read(const char *in, size_t len, uint8_t out[16]);

#endif /* PENNY_JWT_PARSE_H */

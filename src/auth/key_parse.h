/*-------------------------------------------------------------------------
 *
 * key_parse.h
 *		Strict reading of files with keys: bytes in, a checked set out.
 *
 * Two forms.  PEM: one or more blocks PUBLIC KEY (SubjectPublicKeyInfo), with
 * nothing between them but blank lines and lines that begin with '#'.  JSON: a
 * JWK Set (RFC 7517), {"keys":[...]}.
 *
 * A key has one algorithm, which follows from its kind and is never asked of
 * a token: RSA is RS256, Ed25519 is EdDSA, oct is HS256.  Keys of a JWK Set
 * that are for something else (another kty, crv, alg, use or key_ops) are left
 * out and counted, as RFC 7517 wants it.  Everything else that is not as it
 * should be refuses the whole file: malformed values, RSA below 2048 bits,
 * points of small order, secrets below 32 bytes, private keys, one kid twice,
 * and a key without kid beside another of its algorithm, which no token could
 * choose.
 *
 * Public keys come out as DER that is written here, whatever the file held, so
 * that OpenSSL's decoders see nothing else.  Plain C without PostgreSQL
 * headers, allocation or global state.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_KEY_PARSE_H
#define PENNY_KEY_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "auth/jwt_parse.h"

#define PENNY_KEYS_MAX 32              /* keys of one file */
#define PENNY_KEY_FILE_MAX (64 * 1024) /* bytes of a file */
#define PENNY_KEY_BYTES (24 * 1024)    /* bytes of all keys of one file */
#define PENNY_SECRET_MIN 32            /* bytes; RFC 7518 3.2: as long as the hash */
#define PENNY_SECRET_MAX 4096          /* bytes of a secret in a file of its own */
#define PENNY_RSA_MIN_BITS 2048
#define PENNY_RSA_MAX_BITS 4096

typedef enum PennyKeyAlgorithm
{
	PENNY_HS256, /* data: the secret */
	PENNY_RS256, /* data: SubjectPublicKeyInfo, DER */
	PENNY_EDDSA, /* likewise */
	PENNY_KEY_ALGORITHMS
} PennyKeyAlgorithm;

typedef struct PennyJwtKey
{
	PennyKeyAlgorithm algorithm;
	char kid[PENNY_JWT_NAME_MAX + 1]; /* empty: it has none */
	uint32_t at;                      /* in PennyKeySet.data */
	uint32_t len;
} PennyJwtKey;

typedef struct PennyKeySet
{
	int count;
	int skipped; /* keys that are for something else */
	uint32_t used;
	PennyJwtKey key[PENNY_KEYS_MAX];
	uint8_t data[PENNY_KEY_BYTES];
} PennyKeySet;

/* As tokens write it. */
extern const char *penny_key_algorithm_name(PennyKeyAlgorithm algorithm);
/* False when no key can have it. */
extern bool penny_key_algorithm_find(const char *name, PennyKeyAlgorithm *algorithm);

/* Read a file of keys; NULL, or why it is refused, as a sentence. */
extern const char *penny_key_parse(const char *text, size_t len, PennyKeySet *set);
/* Read a file that holds one secret, maybe with a newline at its end; likewise. */
extern const char *penny_key_parse_secret(const char *text, size_t len, PennyKeySet *set);

#endif /* PENNY_KEY_PARSE_H */

/*-------------------------------------------------------------------------
 *
 * token.h
 *		From a bearer token to who is calling.
 *
 * No catalog and no SQL here: names of roles stay names, a session token is
 * only recognised and hashed.  The executor looks both up, inside the
 * transaction of the request.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_TOKEN_H
#define PENNY_TOKEN_H

#include "postgres.h"

#include "utils/uuid.h"

#include "auth/jwt_parse.h"

#define PENNY_TOKEN_HASH 32 /* sha256 */

typedef enum PennyTokenKind
{
	PENNY_TOKEN_NONE,    /* no token */
	PENNY_TOKEN_SESSION, /* pns_...: a row of chat.sessions */
	PENNY_TOKEN_JWT      /* anything else */
} PennyTokenKind;

/* What a token says about the caller. */
typedef struct PennyClaims
{
	pg_uuid_t user_id;
	char role[NAMEDATALEN];
	int64 exp;        /* seconds since 1970; 0 = does not end */
	const char *json; /* palloc'd in the caller's context */
} PennyClaims;

extern PennyTokenKind penny_token_kind(const char *token, size_t len);

/* Is it written as create_session() writes them? */
extern bool penny_token_is_session(const char *token, size_t len);
extern void penny_token_hash(const char *token, size_t len, uint8 hash[PENNY_TOKEN_HASH]);

/* Verify a JWT against the keys and the settings. */
extern PennyJwtError penny_token_verify_jwt(const char *token, size_t len, PennyClaims *claims);

/* Is the name one of penny.jwt_roles? */
extern bool penny_token_role_allowed(const char *role);

#endif /* PENNY_TOKEN_H */

/*-------------------------------------------------------------------------
 *
 * token.c
 *		From a bearer token to who is calling.  See token.h.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <time.h>

#include "common/cryptohash.h"
#include "common/sha2.h"
#include "utils/memutils.h"
#include "utils/varlena.h"

#include "auth/key.h"
#include "auth/token.h"
#include "config/config.h"

#define SESSION_PREFIX "pns_"
#define SESSION_RANDOM 43 /* base64url characters: 32 bytes */

PennyTokenKind
penny_token_kind(const char *token, size_t len)
{
	if (len == 0)
		return PENNY_TOKEN_NONE;
	if (len >= strlen(SESSION_PREFIX) && memcmp(token, SESSION_PREFIX, strlen(SESSION_PREFIX)) == 0)
		return PENNY_TOKEN_SESSION;
	return PENNY_TOKEN_JWT;
}

bool
penny_token_is_session(const char *token, size_t len)
{
	uint8 bytes[32];

	return penny_token_kind(token, len) == PENNY_TOKEN_SESSION &&
		   len == strlen(SESSION_PREFIX) + SESSION_RANDOM &&
		   penny_base64url_decode(token + strlen(SESSION_PREFIX), SESSION_RANDOM, bytes,
								  sizeof(bytes)) == sizeof(bytes);
}

void
penny_token_hash(const char *token, size_t len, uint8 hash[PENNY_TOKEN_HASH])
{
	pg_cryptohash_ctx *ctx = pg_cryptohash_create(PG_SHA256);
	bool ok = ctx != NULL && pg_cryptohash_init(ctx) == 0 &&
			  pg_cryptohash_update(ctx, (const uint8 *) token, len) == 0 &&
			  pg_cryptohash_final(ctx, hash, PENNY_TOKEN_HASH) == 0;

	pg_cryptohash_free(ctx);
	if (!ok)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not hash the token")));
}

PennyJwtError
penny_token_verify_jwt(const char *token, size_t len, PennyClaims *claims)
{
	PennyJwtExpect expect = {0};
	PennyJwt jwt;
	PennyJwtError error;

	if (!penny_key_exists())
		return PENNY_JWT_NO_KEY;
	error = penny_jwt_split(token, len, &jwt);
	if (error != PENNY_JWT_OK)
		return error;
	error = penny_key_verify(&jwt, token);
	if (error != PENNY_JWT_OK)
		return error;

	expect.now = (int64_t) time(NULL);
	expect.leeway = penny_jwt_leeway;
	expect.audience = penny_jwt_audience;
	expect.issuer = penny_jwt_issuer;
	error = penny_jwt_claims(&jwt, &expect);
	if (error != PENNY_JWT_OK)
		return error;
	if (jwt.role[0] == '\0')
		strlcpy(claims->role, penny_jwt_default_role, sizeof(claims->role));
	else if (strlcpy(claims->role, jwt.role, sizeof(claims->role)) >= sizeof(claims->role))
		return PENNY_JWT_BAD_ROLE;
	if (!penny_token_role_allowed(claims->role))
		return PENNY_JWT_BAD_ROLE;

	memcpy(claims->user_id.data, jwt.sub, UUID_LEN);
	claims->exp = jwt.exp;
	claims->json = pnstrdup(jwt.payload, jwt.payload_len);
	return PENNY_JWT_OK;
}

/* penny.jwt_roles: a list of identifiers, checked when it was set. */
bool
penny_token_role_allowed(const char *role)
{
	char *copy = pstrdup(penny_jwt_roles);
	List *names = NIL;
	ListCell *lc;
	bool allowed = false;

	if (role[0] != '\0' && SplitIdentifierString(copy, ',', &names))
	{
		foreach (lc, names)
		{
			if (strcmp((const char *) lfirst(lc), role) == 0)
				allowed = true;
		}
	}
	list_free(names);
	pfree(copy);
	return allowed;
}

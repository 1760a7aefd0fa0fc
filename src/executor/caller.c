/*-------------------------------------------------------------------------
 *
 * caller.c
 *		Who is calling: from a request's token to identity and role.
 *
 * A role that a token names must be in penny.jwt_roles (for JWTs), exist, be
 * no superuser, and be one that penny_authenticator is a member of: granting
 * it that is how the owner of the database says which roles may come in by
 * HTTP.
 *
 * Nobody, at a public route, acts in role penny_user with no user id: what
 * policies give to penny.user_id() = NULL is nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/timestamp.h"

#include "auth/token.h"
#include "base/error.h"
#include "config/config.h"
#include "executor/caller.h"
#include "executor/params.h"
#include "executor/plans.h"

#define ROLE_NOBODY "penny_user"
#define ROLE_DEV "penny_agent"

static void from_session(PennySpan token, PennyClaims *claims);
static void from_jwt(PennySpan token, PennyClaims *claims);
static bool from_dev_user(const PennyRun *run, PennyClaims *claims);
static Oid caller_role(const char *name);

/* Refuse the token. */
static void
refuse(const char *why)
{
	ereport(ERROR, (errcode(ERRCODE_PENNY_UNAUTHORIZED), errmsg("%s", why)));
}

void
penny_caller_find(PennyRun *run)
{
	PennySpan token = run->request.field[PENNY_FIELD_TOKEN];
	PennyCaller *caller = &run->caller;
	PennyClaims claims = {0};
	bool known = true;

	memset(caller, 0, sizeof(*caller));
	run->problem.token_given = token.len > 0;
	switch (penny_token_kind(token.data, token.len))
	{
		case PENNY_TOKEN_SESSION:
			from_session(token, &claims);
			break;
		case PENNY_TOKEN_JWT:
			from_jwt(token, &claims);
			break;
		case PENNY_TOKEN_NONE:
			known = from_dev_user(run, &claims);
			break;
	}
	caller->identity.valid = true;
	caller->identity.has_user = known;
	caller->identity.user_id = claims.user_id;
	caller->identity.claims = known ? MemoryContextStrdup(run->context, claims.json) : NULL;
	caller->identity.role = caller_role(known ? claims.role : ROLE_NOBODY);
	caller->role = known ? MemoryContextStrdup(run->context, claims.role) : NULL;
	caller->exp = claims.exp;
	run->authenticated = penny_run_clock();
}

/* A JWT, by the configured key. */
static void
from_jwt(PennySpan token, PennyClaims *claims)
{
	PennyJwtError error = penny_token_verify_jwt(token.data, token.len, claims);

	if (error != PENNY_JWT_OK)
		refuse(penny_jwt_error_text(error));
}

/* Claims of a caller that has no JWT, in the same form. */
static const char *
made_claims(const PennyClaims *claims)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfoString(&json, "{\"sub\":\"");
	appendStringInfoString(
		&json, DatumGetCString(DirectFunctionCall1(uuid_out, UUIDPGetDatum(&claims->user_id))));
	appendStringInfoString(&json, "\",\"role\":");
	escape_json(&json, claims->role);
	if (claims->exp != 0)
		appendStringInfo(&json, ",\"exp\":" INT64_FORMAT, claims->exp);
	appendStringInfoChar(&json, '}');
	return json.data;
}

/* A session token, by its hash in chat.sessions. */
static void
from_session(PennySpan token, PennyClaims *claims)
{
	static const char query[] = "SELECT s.user_id, s.role, s.expires_at FROM _penny.session($1) s";
	Oid type = BYTEAOID;
	bytea *hash = palloc(VARHDRSZ + PENNY_TOKEN_HASH);
	Datum value = PointerGetDatum(hash);
	HeapTuple row;
	TupleDesc desc;
	bool isnull;
	char *role;
	TimestampTz expires;

	if (!penny_token_is_session(token.data, token.len))
		refuse("the session token is malformed");
	SET_VARSIZE(hash, VARHDRSZ + PENNY_TOKEN_HASH);
	penny_token_hash(token.data, token.len, (uint8 *) VARDATA(hash));
	penny_plan_run(query, 1, &type, &value, NULL, 1);
	if (SPI_processed == 0)
		refuse("the session token is unknown or has ended");

	row = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	claims->user_id = *DatumGetUUIDP(SPI_getbinval(row, desc, 1, &isnull));
	role = SPI_getvalue(row, desc, 2);
	strlcpy(claims->role, role != NULL ? role : "", sizeof(claims->role));
	expires = DatumGetTimestampTz(SPI_getbinval(row, desc, 3, &isnull));
	if (!isnull && expires <= GetCurrentTimestamp())
		refuse("the session token is unknown or has ended");
	if (!isnull && !TIMESTAMP_NOT_FINITE(expires))
		claims->exp = (int64) timestamptz_to_time_t(expires);
	claims->json = made_claims(claims);
}

/* penny.dev_user: a client on this machine that brings no token. */
static bool
from_dev_user(const PennyRun *run, PennyClaims *claims)
{
	if ((run->request.flags & PENNY_REQUEST_LOOPBACK) == 0 || penny_dev_user == NULL ||
		penny_dev_user[0] == '\0')
		return false;
	if (!penny_uuid_read(penny_dev_user, strlen(penny_dev_user), claims->user_id.data))
		return false;
	strlcpy(claims->role, ROLE_DEV, sizeof(claims->role));
	claims->json = made_claims(claims);
	return true;
}

/* The database role that the caller acts in. */
static Oid
caller_role(const char *name)
{
	Oid role = get_role_oid(name, true);

	if (!OidIsValid(role) || superuser_arg(role) ||
		!is_member_of_role_nosuper(GetSessionUserId(), role))
		refuse("role of the token is not allowed");
	return role;
}

void
penny_caller_check(const PennyRun *run, PennyAccess access)
{
	static const char *const needed[PENNY_ACCESSES] = {
		[PENNY_ACCESS_USER] = "penny_user",
		[PENNY_ACCESS_AGENT] = "penny_agent",
		[PENNY_ACCESS_ADMIN] = "penny_admin",
	};

	if (access == PENNY_ACCESS_PUBLIC)
		return;
	if (!run->caller.identity.has_user)
		ereport(ERROR, (errcode(ERRCODE_PENNY_UNAUTHORIZED), errmsg("a token is needed")));
	if (!has_privs_of_role(run->caller.identity.role, get_role_oid(needed[access], false)))
		ereport(ERROR, (errcode(ERRCODE_PENNY_FORBIDDEN),
						errmsg("role \"%s\" may not do this", run->caller.role)));
}

void
penny_caller_become(PennyRun *run)
{
	penny_identity_set(&run->caller.identity);
}

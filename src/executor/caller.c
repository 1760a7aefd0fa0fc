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
 * Sessions are looked up through the cache: the row of a token's hash, as long
 * as the row does not change; not without the trigger that tells of its change.
 *
 * The edge remembers whom it may take a token for (PennyViewer), so that a hit
 * needs no executor.  It forgets when the token ends, when the keys are others,
 * when the session's row changes, and when roles or settings may have changed.
 * What it compares is read here before the token is looked at, and nothing is
 * told to it while a transaction that moved one of these stamps is in progress
 * in our snapshot: what we see would be the state before that.
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
#include "cache/cache.h"
#include "config/config.h"
#include "executor/caller.h"
#include "executor/params.h"
#include "executor/plans.h"

#define ROLE_NOBODY "penny_user"
#define ROLE_DEV "penny_agent"

/* What is kept of a session. */
typedef struct Session
{
	pg_uuid_t user_id;
	char role[NAMEDATALEN];
	TimestampTz expires; /* DT_NOEND: does not */
} Session;

#define SESSION_TTL 3600000 /* ms */
#define SESSION_TABLE "chat.sessions"
#define SESSION_TAG "session"

static void begin_viewer(PennyRun *run);
static void end_viewer(PennyRun *run);
static void from_session(PennyRun *run, PennySpan token, PennyClaims *claims);
static void from_jwt(PennySpan token, PennyClaims *claims);
static bool from_dev_user(const PennyRun *run, PennyClaims *claims);
static Oid caller_role(const char *name);

/* Has the role the rights that this access needs? */
static bool
has_access(Oid role, PennyAccess access)
{
	static const char *const needed[PENNY_ACCESSES] = {
		[PENNY_ACCESS_USER] = "penny_user",
		[PENNY_ACCESS_AGENT] = "penny_agent",
		[PENNY_ACCESS_ADMIN] = "penny_admin",
	};

	return access == PENNY_ACCESS_PUBLIC ||
		   has_privs_of_role(role, get_role_oid(needed[access], false));
}

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
	begin_viewer(run);
	run->problem.token_given = token.len > 0;
	switch (penny_token_kind(token.data, token.len))
	{
		case PENNY_TOKEN_SESSION:
			from_session(run, token, &claims);
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
	end_viewer(run);
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

/* Read a session's row; false when there is none. */
static bool
read_session(const uint8 *hash, Session *session)
{
	static const char query[] = "SELECT s.user_id, s.role, s.expires_at FROM _penny.session($1) s";
	Oid type = BYTEAOID;
	bytea *argument = palloc(VARHDRSZ + PENNY_TOKEN_HASH);
	Datum value = PointerGetDatum(argument);
	HeapTuple row;
	TupleDesc desc;
	bool isnull;
	char *role;

	SET_VARSIZE(argument, VARHDRSZ + PENNY_TOKEN_HASH);
	memcpy(VARDATA(argument), hash, PENNY_TOKEN_HASH);
	penny_plan_run(query, 1, &type, &value, NULL, 1);
	if (SPI_processed == 0)
		return false;
	row = SPI_tuptable->vals[0];
	desc = SPI_tuptable->tupdesc;
	memset(session, 0, sizeof(*session)); /* its bytes are kept */
	session->user_id = *DatumGetUUIDP(SPI_getbinval(row, desc, 1, &isnull));
	role = SPI_getvalue(row, desc, 2);
	strlcpy(session->role, role != NULL ? role : "", sizeof(session->role));
	session->expires = DatumGetTimestampTz(SPI_getbinval(row, desc, 3, &isnull));
	if (isnull)
		session->expires = DT_NOEND;
	return true;
}

/* A session by the hash of its token, from the cache or from its row. */
static bool
find_session(const uint8 *hash, const char *hex, Session *session)
{
	PennySpan part = {(const char *) hash, PENNY_TOKEN_HASH};
	PennySpan value = {(const char *) session, sizeof(*session)};
	PennyCacheRead read;

	if (penny_cache_open(&read, PENNY_CACHE_SESSION, PENNY_CACHE_FOR_ALL, "session", &part, 1) ==
		PENNY_CACHE_HIT)
	{
		penny_ensure(read.hit.body_len == sizeof(*session));
		memcpy(session, read.body, sizeof(*session));
		return true;
	}
	if (!read_session(hash, session))
	{
		penny_cache_abandon(&read);
		return false;
	}
	penny_cache_depend(SESSION_TAG, hex);
	if (penny_cache_collecting() && !penny_cache_is_told(SESSION_TABLE, SESSION_TAG))
		penny_cache_refuse(PENNY_CACHE_REFUSED_POLICY);
	(void) penny_cache_fill(&read, 0, (PennySpan){"", 0}, value, NULL, SESSION_TTL);
	return true;
}

/* A session token, by its hash in chat.sessions. */
static void
from_session(PennyRun *run, PennySpan token, PennyClaims *claims)
{
	static const char prefix[] = SESSION_TAG ":";
	char tag[sizeof(prefix) + 2 * PENNY_TOKEN_HASH];
	PennyViewer *viewer = &run->answer.extra.viewer;
	uint8 hash[PENNY_TOKEN_HASH];
	uint64 seq;
	Session session;

	if (!penny_token_is_session(token.data, token.len))
		refuse("the session token is malformed");
	penny_token_hash(token.data, token.len, hash);
	memcpy(tag, prefix, sizeof(prefix));
	hex_encode((const char *) hash, PENNY_TOKEN_HASH, tag + strlen(prefix));
	tag[sizeof(tag) - 1] = '\0';
	if (viewer->known)
	{
		viewer->stamp_slot = penny_stamp_slot(run->plane, tag, strlen(tag));
		viewer->known = penny_cache_settled(viewer->stamp_slot, &seq) &&
						penny_cache_is_told(SESSION_TABLE, SESSION_TAG);
		viewer->stamp_seq = seq;
	}

	if (!find_session(hash, tag + strlen(prefix), &session) ||
		session.expires <= GetCurrentTimestamp())
		refuse("the session token is unknown or has ended");
	claims->user_id = session.user_id;
	strlcpy(claims->role, session.role, sizeof(claims->role));
	if (!TIMESTAMP_NOT_FINITE(session.expires))
		claims->exp = (int64) timestamptz_to_time_t(session.expires);
	claims->json = made_claims(claims);
}

/* ---- what the edge may remember ----------------------------------------------- */

/* Read the stamps, before the token is looked at. */
static void
begin_viewer(PennyRun *run)
{
	PennyViewer *viewer = &run->answer.extra.viewer;
	uint64 seq;

	memset(viewer, 0, sizeof(*viewer));
	viewer->keys_stamp = atomic_load(&run->plane->p->keys_stamp);
	viewer->stamp_slot = PENNY_STAMP_NONE;
	viewer->known = penny_cache_settled(PENNY_STAMP_ALL, &seq);
	viewer->all_seq = seq;
}

/* Greatest access of those that the role has without a gap. */
static PennyAccess
greatest_access(Oid role)
{
	PennyAccess access = PENNY_ACCESS_PUBLIC;

	while (access + 1 < PENNY_ACCESSES && has_access(role, access + 1))
		access++;
	return access;
}

/* The caller is found: who it is for the keys of kept answers. */
static void
end_viewer(PennyRun *run)
{
	PennyViewer *viewer = &run->answer.extra.viewer;
	const PennyIdentity *identity = &run->caller.identity;
	PennyCacheViewer keys;

	if (run->request.op != PENNY_OP_HTTP && run->request.op != PENNY_OP_AUTH)
	{
		viewer->known = 0;
		return;
	}
	penny_cache_viewer(identity, &keys);
	memcpy(viewer->user, keys.user, sizeof(viewer->user));
	memcpy(viewer->role, keys.role, sizeof(viewer->role));
	if (!run->problem.token_given)
	{
		viewer->known = 0; /* nothing to remember it by */
		return;
	}
	viewer->id_hash = penny_hash(identity->user_id.data, UUID_LEN, run->plane->p->generation);
	viewer->until = (uint64) run->caller.exp;
	viewer->access = greatest_access(identity->role);
}

/* ---- the rest ----------------------------------------------------------------- */

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
	if (access == PENNY_ACCESS_PUBLIC)
		return;
	if (!run->caller.identity.has_user)
		ereport(ERROR, (errcode(ERRCODE_PENNY_UNAUTHORIZED), errmsg("a token is needed")));
	if (!has_access(run->caller.identity.role, access))
		ereport(ERROR, (errcode(ERRCODE_PENNY_FORBIDDEN),
						errmsg("role \"%s\" may not do this", run->caller.role)));
}

Oid
penny_caller_nobody(void)
{
	return get_role_oid(ROLE_NOBODY, false);
}

void
penny_caller_become(PennyRun *run)
{
	penny_identity_set(&run->caller.identity);
}

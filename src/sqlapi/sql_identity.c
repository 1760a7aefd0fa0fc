/*-------------------------------------------------------------------------
 *
 * sql_identity.c
 *		penny.user_id(), penny.claims(), penny.act_as(), penny.uuid_v7(),
 *		penny.reload_keys().
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/uuid.h"

#include "auth/identity.h"
#include "auth/key.h"
#include "base/error.h"
#include "store/uuid.h"

PG_FUNCTION_INFO_V1(penny_user_id);
PG_FUNCTION_INFO_V1(penny_claims);
PG_FUNCTION_INFO_V1(penny_act_as);
PG_FUNCTION_INFO_V1(penny_uuid_v7);
PG_FUNCTION_INFO_V1(penny_reload_keys);

/* penny.user_id() */
Datum
penny_user_id(PG_FUNCTION_ARGS)
{
	const PennyIdentity *identity = penny_identity_get();
	pg_uuid_t *user;

	(void) fcinfo;
	if (!identity->has_user)
		PG_RETURN_NULL();
	user = palloc(sizeof(pg_uuid_t));
	*user = identity->user_id;
	PG_RETURN_UUID_P(user);
}

/* penny.claims() */
Datum
penny_claims(PG_FUNCTION_ARGS)
{
	const PennyIdentity *identity = penny_identity_get();

	(void) fcinfo;
	if (!identity->valid || identity->claims == NULL)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(DirectFunctionCall1(jsonb_in, CStringGetDatum(identity->claims)));
}

/* The claims that a token for this user and role would have. */
static char *
made_claims(const PennyIdentity *identity, const char *role)
{
	StringInfoData claims;

	initStringInfo(&claims);
	appendStringInfoString(&claims, "{\"role\":");
	escape_json(&claims, role);
	if (identity->has_user)
	{
		char sub[PENNY_UUID_TEXT];

		penny_uuid_write(sub, &identity->user_id);
		appendStringInfo(&claims, ",\"sub\":\"%.*s\"", PENNY_UUID_TEXT, sub);
	}
	appendStringInfoChar(&claims, '}');
	return claims.data;
}

/*
 * penny.act_as(user uuid, role text)
 *
 * The check is of the login, since the current role is penny_user when one
 * acting session turns to the next user.
 */
Datum
penny_act_as(PG_FUNCTION_ARGS)
{
	PennyIdentity identity;
	char *role;

	if (!superuser_arg(GetSessionUserId()))
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("only a superuser's session may act as another user")));
	if (InSecurityRestrictedOperation() || InLocalUserIdChange())
		ereport(ERROR, (errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
						errmsg("cannot act as another user here")));
	if (PG_ARGISNULL(0))
	{
		(void) set_config_option("role", "none", PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SET, true,
								 0, false);
		(void) set_config_option("request.jwt.claims", "", PGC_USERSET, PGC_S_SESSION,
								 GUC_ACTION_SET, true, 0, false);
		penny_identity_act_as(NULL);
		PG_RETURN_VOID();
	}
	role = PG_ARGISNULL(1) ? pstrdup("penny_user") : text_to_cstring(PG_GETARG_TEXT_PP(1));
	memset(&identity, 0, sizeof(identity));
	identity.has_user = true;
	identity.user_id = *PG_GETARG_UUID_P(0);
	identity.role = get_role_oid(role, false);
	identity.claims = made_claims(&identity, role);
	(void) set_config_option("role", role, PGC_USERSET, PGC_S_SESSION, GUC_ACTION_SET, true, 0,
							 false);
	(void) set_config_option("request.jwt.claims", identity.claims, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SET, true, 0, false);
	penny_identity_act_as(&identity);
	PG_RETURN_VOID();
}

/* penny.uuid_v7() */
Datum
penny_uuid_v7(PG_FUNCTION_ARGS)
{
	pg_uuid_t *uuid = palloc(sizeof(pg_uuid_t));

	(void) fcinfo;
	penny_uuid_make(uuid);
	PG_RETURN_UUID_P(uuid);
}

/* penny.reload_keys() */
Datum
penny_reload_keys(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	penny_require_preload();
	PG_RETURN_INT32(penny_key_reload());
}

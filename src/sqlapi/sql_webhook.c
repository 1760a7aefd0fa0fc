/*-------------------------------------------------------------------------
 *
 * sql_webhook.c
 *		_penny.webhook_check() and penny.webhook_secret(), for penny.handle().
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "base/error.h"
#include "queue/webhook.h"
#include "queue/webhook_sign.h"

PG_FUNCTION_INFO_V1(penny_webhook_check);
PG_FUNCTION_INFO_V1(penny_webhook_secret);

/* _penny.webhook_check(url, secret): an error unless both may be registered. */
Datum
penny_webhook_check(PG_FUNCTION_ARGS)
{
	const char *wrong;

	penny_require_preload();
	penny_webhook_check_url(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	wrong = penny_webhook_secret_wrong(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	if (wrong != NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("the secret of the webhook is not valid"), errdetail("%s", wrong),
						errhint("Make one by penny.webhook_secret().")));
	PG_RETURN_VOID();
}

/* penny.webhook_secret(): a new one. */
Datum
penny_webhook_secret(PG_FUNCTION_ARGS)
{
	char *secret = penny_webhook_secret_make();

	if (secret == NULL)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not get random bytes")));
	PG_RETURN_TEXT_P(cstring_to_text(secret));
}

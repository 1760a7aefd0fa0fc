/*-------------------------------------------------------------------------
 *
 * webhook_check.c
 *		May a URL be registered, and still be called?
 *
 * Says what the text of the URL and the setting say.  The courier, which has
 * the same rules, checks again and looks at every address.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "config/config.h"
#include "plane/webhook_url.h"
#include "queue/webhook.h"

/* penny.webhook_allow as rules, read again when it is another. */
static const PennyWebhookRules *
current_rules(void)
{
	static PennyWebhookRules *rules = NULL;
	static char *list = NULL;
	const char *entry;
	size_t entry_len;

	if (rules == NULL)
		rules = MemoryContextAllocZero(TopMemoryContext, sizeof(*rules));
	if (list != NULL && strcmp(list, penny_webhook_allow) == 0)
		return rules;
	if (list != NULL)
		pfree(list);
	list = NULL;
	list = MemoryContextStrdup(TopMemoryContext, penny_webhook_allow);
	if (penny_webhook_rules_parse(list, rules, &entry, &entry_len) != NULL)
		rules->n = 0; /* the check hook let it through: cannot be */
	return rules;
}

const char *
penny_webhook_url_wrong(const char *text)
{
	PennyWebhookUrl url;
	const char *wrong = penny_webhook_url_parse(text, strlen(text), &url);

	if (wrong != NULL)
		return wrong;
	if (!penny_webhook_permits_url(current_rules(), &url))
		return "The setting \"penny.webhook_allow\" does not allow this URL.";
	return NULL;
}

void
penny_webhook_check_url(const char *text)
{
	PennyWebhookUrl url;
	const char *wrong = penny_webhook_url_parse(text, strlen(text), &url);

	if (wrong != NULL)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("the URL of the webhook is not valid"), errdetail("%s", wrong)));
	if (current_rules()->n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE), errmsg("webhooks are off"),
				 errhint("A superuser can list the hosts that webhooks may call in "
						 "\"penny.webhook_allow\".")));
	if (!penny_webhook_permits_url(current_rules(), &url))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE), errmsg("webhooks may not call this URL"),
				 errdetail("No entry of \"penny.webhook_allow\" has the scheme %s, the host "
						   "%s and the port %d.",
						   url.https ? "https" : "http", url.host, url.port)));
}

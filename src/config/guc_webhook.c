/*-------------------------------------------------------------------------
 *
 * guc_webhook.c
 *		Settings of webhooks: which may be called, and how much of them there
 *		may be.
 *
 * What may be called, and where names and certificates come from, decides what
 * of a network is reached through this server, so it is for superusers.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "utils/guc.h"

#include "config/config.h"
#include "plane/courier.h"
#include "plane/webhook_url.h"

char *penny_courier_program = "";
char *penny_webhook_allow = "";
char *penny_webhook_ca_file = "";
int penny_webhook_concurrency = 100;
int penny_webhook_max_response = 256 * 1024;
char *penny_webhook_resolver = "";
int penny_webhook_timeout = 15 * 1000;

static bool check_program(char **value, void **extra, GucSource source);
static bool check_allow(char **value, void **extra, GucSource source);
static bool check_ca_file(char **value, void **extra, GucSource source);
static bool check_resolver(char **value, void **extra, GucSource source);

/* Define them, sorted by name. */
void
penny_config_webhook(void)
{
	DefineCustomStringVariable(
		"penny.courier_program", "Sets the path of the program penny-courier.",
		"Empty means the one beside the server's own program.", &penny_courier_program,
		penny_courier_program, PGC_POSTMASTER, GUC_SUPERUSER_ONLY, check_program, NULL, NULL);
	DefineCustomStringVariable("penny.webhook_allow", "Sets which hosts webhooks may call.",
							   "A list separated by commas, of hosts with scheme, port and network "
							   "as far as needed. Empty means none.",
							   &penny_webhook_allow, penny_webhook_allow, PGC_SIGHUP,
							   GUC_SUPERUSER_ONLY, check_allow, NULL, NULL);
	DefineCustomStringVariable(
		"penny.webhook_ca_file", "Sets the file with the certificates that webhooks trust.",
		"PEM. Empty means those that the system trusts.", &penny_webhook_ca_file,
		penny_webhook_ca_file, PGC_SIGHUP, GUC_SUPERUSER_ONLY, check_ca_file, NULL, NULL);
	DefineCustomIntVariable("penny.webhook_concurrency",
							"Sets how many webhooks may be called at the same time.", NULL,
							&penny_webhook_concurrency, penny_webhook_concurrency, 1,
							PENNY_COURIER_REQUESTS_MAX, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"penny.webhook_max_response", "Sets how much of a webhook's response is read.",
		"A longer one of success counts, without a result.", &penny_webhook_max_response,
		penny_webhook_max_response, 0, PENNY_COURIER_RESPONSE_MAX, PGC_SIGHUP, GUC_UNIT_BYTE, NULL,
		NULL, NULL);
	DefineCustomStringVariable("penny.webhook_resolver",
							   "Sets the name servers that find the hosts of webhooks.",
							   "Addresses with commas between, with a port if it is not 53. Empty "
							   "means those of the system.",
							   &penny_webhook_resolver, penny_webhook_resolver, PGC_SIGHUP,
							   GUC_SUPERUSER_ONLY, check_resolver, NULL, NULL);
	DefineCustomIntVariable("penny.webhook_timeout", "Sets how long a webhook may take to answer.",
							"A job with a shorter timeout has its own.", &penny_webhook_timeout,
							penny_webhook_timeout, 100, PENNY_COURIER_TIMEOUT_MAX, PGC_SIGHUP,
							GUC_UNIT_MS, NULL, NULL, NULL);
}

static bool
check_program(char **value, void **extra, GucSource source)
{
	(void) extra;
	(void) source;
	if (**value == '\0' || (is_absolute_path(*value) && strlen(*value) < MAXPGPATH))
		return true;
	GUC_check_errdetail("The path must be absolute.");
	return false;
}

static bool
check_allow(char **value, void **extra, GucSource source)
{
	PennyWebhookRules *rules = malloc(sizeof(*rules));
	const char *entry;
	size_t entry_len;
	const char *wrong;

	(void) extra;
	(void) source;
	if (rules == NULL)
	{
		GUC_check_errcode(ERRCODE_OUT_OF_MEMORY);
		GUC_check_errmsg("out of memory");
		return false;
	}
	wrong = penny_webhook_rules_parse(*value, rules, &entry, &entry_len);
	free(rules);
	if (wrong == NULL)
		return true;
	GUC_check_errdetail("In the entry \"%.*s\": %s", (int) Min(entry_len, 100), entry, wrong);
	GUC_check_errhint("Write hosts such as hooks.example.com, *.example.org:8443, "
					  "http://127.0.0.1:9000, or hooks.lan=10.1.0.0/16.");
	return false;
}

static bool
check_ca_file(char **value, void **extra, GucSource source)
{
	(void) extra;
	(void) source;
	if (**value == '\0' || (is_absolute_path(*value) && strlen(*value) < PENNY_COURIER_PATH_MAX))
		return true;
	GUC_check_errdetail("The path must be absolute.");
	return false;
}

/* "address", "address:port", "[address]:port", with commas between. */
static bool
check_resolver(char **value, void **extra, GucSource source)
{
	const char *next = *value;
	bool good = strlen(*value) < PENNY_COURIER_PATH_MAX;

	(void) extra;
	(void) source;
	if (*next == '\0')
		return true;
	while (good)
	{
		size_t len = strcspn(next, ",");
		size_t host_len = len;
		const char *colon = memchr(next, ':', len);
		char host[PENNY_WEBHOOK_HOST_MAX + 1];
		bool literal = false;
		PennyAddress address;

		if (*next == '[')
			colon = memchr(next, ']', len);
		if (colon != NULL)
			host_len = (size_t) (colon - next) + (*colon == ']');
		good = penny_webhook_host_parse(next, host_len, host, &literal, &address) == NULL &&
			   literal &&
			   (host_len == len ||
				(next[host_len] == ':' &&
				 penny_webhook_port_parse(next + host_len + 1, len - host_len - 1) != 0));
		next += len;
		if (*next == '\0')
			break;
		next++;
	}
	if (!good)
		GUC_check_errdetail("The list must have addresses, with a port where needed, and commas "
							"between without spaces.");
	return good;
}

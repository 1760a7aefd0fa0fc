/*-------------------------------------------------------------------------
 *
 * guc_redis.c
 *		Settings of Redis: where it is, and how long anybody may wait for it.
 *
 * URL and path of the password are shown to superusers only.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/guc.h"

#include "config/config.h"

#define PREFIX_MAX 64
#define URL_MAX 1000

int penny_redis_command_timeout = 20;
int penny_redis_connect_timeout = 50;
char *penny_redis_password_file = "";
int penny_redis_pool_max = 50;
int penny_redis_pool_min = 5;
char *penny_redis_prefix = "";
char *penny_redis_url = "";

const char *(*penny_redis_check_url)(const char *url, const char **hint) = NULL;

static bool check_prefix(char **value, void **extra, GucSource source);
static bool check_url(char **value, void **extra, GucSource source);

/* Define them, sorted by name. */
void
penny_config_redis(void)
{
	DefineCustomIntVariable(
		"penny.redis_command_timeout", "Sets how long a read may wait for an answer of Redis.",
		"Then the database is asked.", &penny_redis_command_timeout, penny_redis_command_timeout, 1,
		1000, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"penny.redis_connect_timeout", "Sets how long a read may wait for a connection to Redis.",
		"Then the database is asked.", &penny_redis_connect_timeout, penny_redis_connect_timeout, 1,
		1000, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomStringVariable("penny.redis_password_file",
							   "Sets the file with the password for Redis.",
							   "One line, readable by the server and not by others. Empty is the "
							   "password of \"penny.redis_url\", or none.",
							   &penny_redis_password_file, penny_redis_password_file, PGC_SIGHUP,
							   GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomIntVariable("penny.redis_pool_max",
							"Sets how many connections to Redis reads may have together.",
							"A read that finds none free asks the database.", &penny_redis_pool_max,
							penny_redis_pool_max, 0, 10000, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("penny.redis_pool_min",
							"Sets how many of these connections are kept open while idle.",
							"Others are closed after each read.", &penny_redis_pool_min,
							penny_redis_pool_min, 0, 10000, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable(
		"penny.redis_prefix", "Sets what the names of keys and of the channel in Redis begin with.",
		"For several databases that share one Redis.", &penny_redis_prefix, penny_redis_prefix,
		PGC_SIGHUP, 0, check_prefix, NULL, NULL);
	DefineCustomStringVariable("penny.redis_url", "Sets the Redis that penny shares values with.",
							   "Such as redis://host:6379/0 or unix:///run/redis.sock?db=0. Empty "
							   "is without Redis.",
							   &penny_redis_url, penny_redis_url, PGC_SIGHUP, GUC_SUPERUSER_ONLY,
							   check_url, NULL, NULL);
}

/* Printable ASCII without spaces. */
static bool
check_prefix(char **value, void **extra, GucSource source)
{
	size_t len = strlen(*value);

	(void) extra;
	(void) source;
	for (size_t i = 0; i < len; i++)
	{
		if ((*value)[i] > ' ' && (*value)[i] <= '~' && len <= PREFIX_MAX)
			continue;
		GUC_check_errdetail("The prefix must have at most %d characters of ASCII and no spaces.",
							PREFIX_MAX);
		return false;
	}
	return true;
}

static bool
check_url(char **value, void **extra, GucSource source)
{
	const char *hint = NULL;
	const char *wrong;

	(void) extra;
	(void) source;
	if (**value == '\0' || penny_redis_check_url == NULL)
		return true;
	wrong =
		strlen(*value) > URL_MAX ? "The URL is too long." : penny_redis_check_url(*value, &hint);
	if (wrong == NULL)
		return true;
	GUC_check_errdetail("%s", wrong);
	if (hint != NULL)
		GUC_check_errhint("%s", hint);
	return false;
}

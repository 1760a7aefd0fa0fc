/*-------------------------------------------------------------------------
 *
 * guc_cache.c
 *		Settings of the cache.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/guc.h"

#include "config/config.h"

#define SIZE_LEAST 1024              /* kB */
#define SIZE_MOST (32 * 1024 * 1024) /* kB */
#define STAMPS_MOST (16 * 1024 * 1024)

int penny_cache_max_object = 1024;
char *penny_cache_quotas = "";
int penny_cache_size = 64 * 1024;
int penny_cache_stamps = 262144;
int penny_debug_cache_fence = 0;

/* In the order of PennyFenceMode (cache/cache_private.h). */
static const struct config_enum_entry fence_modes[] = {
	{"on", 0, false}, {"generation", 1, false}, {"delete", 2, false}, {NULL, 0, false}};

static bool check_size(int *value, void **extra, GucSource source);
static bool check_quotas(char **value, void **extra, GucSource source);
static bool check_stamps(int *value, void **extra, GucSource source);

/* Define them, sorted by name. */
void
penny_config_cache(void)
{
	DefineCustomIntVariable("penny.cache_max_object",
							"Sets the size above which a value is not cached.", NULL,
							&penny_cache_max_object, penny_cache_max_object, 1, 64 * 1024,
							PGC_POSTMASTER, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomStringVariable(
		"penny.cache_quotas", "Sets the share of the cache that values of a kind may take.",
		"A list such as \"route 50, session 10\", in percent; a kind that is "
		"not named may take all of it.",
		&penny_cache_quotas, penny_cache_quotas, PGC_SIGHUP, 0, check_quotas, NULL, NULL);
	DefineCustomIntVariable("penny.cache_size", "Sets the memory for cached values.",
							"0 turns the cache off.", &penny_cache_size, penny_cache_size, 0,
							SIZE_MOST, PGC_POSTMASTER, GUC_UNIT_KB, check_size, NULL, NULL);
	DefineCustomIntVariable("penny.cache_stamps",
							"Sets how many stamps say whether cached values are current.",
							"A power of two. When two tags share a stamp, a change of one ends "
							"the values of the other too.",
							&penny_cache_stamps, penny_cache_stamps, 1024, STAMPS_MOST,
							PGC_POSTMASTER, 0, check_stamps, NULL, NULL);
	DefineCustomEnumVariable(
		"penny.debug_cache_fence", "Weakens the fence that keeps stale values out of the cache.",
		"For tests, which must then fail: anything but \"on\" serves stale values.",
		&penny_debug_cache_fence, penny_debug_cache_fence, fence_modes, PGC_SUSET,
		GUC_NOT_IN_SAMPLE, NULL, NULL, NULL);
}

static bool
check_size(int *value, void **extra, GucSource source)
{
	(void) extra;
	(void) source;
	if (*value == 0 || *value >= SIZE_LEAST)
		return true;
	GUC_check_errdetail("The value must be 0 or at least %d kB.", SIZE_LEAST);
	return false;
}

static bool
check_stamps(int *value, void **extra, GucSource source)
{
	(void) extra;
	(void) source;
	if ((*value & (*value - 1)) == 0)
		return true;
	GUC_check_errdetail("The value must be a power of two.");
	return false;
}

/* The list of quotas, one after the other; false when it is malformed. */
bool
penny_config_quotas(const char *list, void (*each)(PennyCacheKind kind, int percent))
{
	while (*(list += strspn(list, " ,")) != '\0')
	{
		size_t len = strcspn(list, " ,");
		int kind = 0;
		char *end;
		long percent;

		while (kind < PENNY_CACHE_KINDS && (strlen(penny_cache_kind_name(kind)) != len ||
											strncmp(penny_cache_kind_name(kind), list, len) != 0))
			kind++;
		percent = strtol(list + len, &end, 10);
		if (kind == PENNY_CACHE_KINDS || end == list + len || percent < 1 || percent > 100 ||
			strchr(" ,", *end) == NULL)
			return false;
		if (each != NULL)
			each(kind, (int) percent);
		list = end;
	}
	return true;
}

static bool
check_quotas(char **value, void **extra, GucSource source)
{
	(void) extra;
	(void) source;
	if (penny_config_quotas(*value, NULL))
		return true;
	GUC_check_errdetail("The value must be a list of kinds and percents, such as \"route 50, "
						"session 10\".");
	return false;
}

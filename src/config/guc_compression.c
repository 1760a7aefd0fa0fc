/*-------------------------------------------------------------------------
 *
 * guc_compression.c
 *		Settings of the compression of answers and messages.
 *
 * All take effect on reload; the edge does the work (edge/compress.c).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/guc.h"

#include "config/config.h"

#define KB 1024
#define MB (1024 * KB)

char *penny_compression = "br, gzip, deflate";
int penny_compression_cache_size = 16 * KB;
int penny_compression_min_size = 1 * KB;
bool penny_websocket_compression = false;

static const char *const coding_names[PENNY_CODINGS] = {
	[PENNY_IDENTITY] = "off",
	[PENNY_BR] = "br",
	[PENNY_GZIP] = "gzip",
	[PENNY_DEFLATE] = "deflate",
};

static bool check_compression(char **value, void **extra, GucSource source);
static bool read_codings(const char *list, uint8 codings[PENNY_CODINGS]);

void
penny_config_compression(void)
{
	DefineCustomStringVariable(
		"penny.compression", "Sets the codings in which answers may be compressed.",
		"A list of br, gzip and deflate, the preferred one first; off compresses nothing.",
		&penny_compression, penny_compression, PGC_SIGHUP, 0, check_compression, NULL, NULL);
	DefineCustomIntVariable(
		"penny.compression_cache_size",
		"Sets the memory for compressed answers that each edge keeps.",
		"Of answers that come from the cache. 0 keeps none: they are compressed each time.",
		&penny_compression_cache_size, penny_compression_cache_size, 0, 512 * KB, PGC_SIGHUP,
		GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable("penny.compression_min_size",
							"Sets the size from which answers are compressed.", NULL,
							&penny_compression_min_size, penny_compression_min_size, 64, 1 * MB,
							PGC_SIGHUP, GUC_UNIT_BYTE, NULL, NULL, NULL);
	DefineCustomBoolVariable(
		"penny.websocket_compression", "Compresses messages of WebSockets whose clients offer it.",
		"By permessage-deflate. Takes effect for new connections.", &penny_websocket_compression,
		penny_websocket_compression, PGC_SIGHUP, 0, NULL, NULL, NULL);
}

void
penny_config_codings(uint8 codings[PENNY_CODINGS])
{
	if (!read_codings(penny_compression, codings))
		memset(codings, PENNY_IDENTITY, PENNY_CODINGS);
}

static int
coding_of(const char *word, size_t len)
{
	for (int i = 0; i < PENNY_CODINGS; i++)
	{
		if (strlen(coding_names[i]) == len && pg_strncasecmp(word, coding_names[i], len) == 0)
			return i;
	}
	return PENNY_CODINGS;
}

/* The list as the edge wants it; false when it is not one. */
static bool
read_codings(const char *list, uint8 codings[PENNY_CODINGS])
{
	bool off = false;
	int n = 0;

	memset(codings, PENNY_IDENTITY, PENNY_CODINGS);
	for (const char *word = list + strspn(list, " ,"); *word != '\0';)
	{
		size_t len = strcspn(word, " ,");
		int coding = coding_of(word, len);

		if (coding == PENNY_CODINGS || (coding == PENNY_IDENTITY ? n > 0 : off))
			return false;
		off = coding == PENNY_IDENTITY;
		for (int i = 0; i < n; i++)
		{
			if (codings[i] == coding)
				return false;
		}
		if (!off)
			codings[n++] = (uint8) coding;
		word += len;
		word += strspn(word, " ,");
	}
	return true;
}

static bool
check_compression(char **value, void **extra, GucSource source)
{
	uint8 codings[PENNY_CODINGS];

	(void) extra;
	(void) source;
	if (read_codings(*value, codings))
		return true;
	GUC_check_errdetail("The value is \"off\", or a list of \"br\", \"gzip\" and \"deflate\", each "
						"at most once.");
	return false;
}

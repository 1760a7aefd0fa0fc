/*-------------------------------------------------------------------------
 *
 * fuzz_cron.c
 *		Any text as cron text, any zone: what is refused says where, and the
 *		moments of what is read go forward and match, whatever the clock does.
 *
 *-------------------------------------------------------------------------
 */
#include <stdbool.h>

#include "fuzz.h"

#include "queue/cron.h"

#define CHANGES 6

typedef struct Zone
{
	int64_t at[CHANGES];
	int64_t offset[CHANGES + 1];
} Zone;

static void
zone_offset(void *arg, int64_t at, int64_t *offset, int64_t *until)
{
	const Zone *zone = arg;
	int i = 0;

	while (i < CHANGES && zone->at[i] <= at)
		i++;
	*offset = zone->offset[i];
	*until = i < CHANGES ? zone->at[i] : PENNY_CRON_NEVER;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	FuzzInput input = {data, size};
	PennyCronZone zone;
	Zone clock;
	PennyCron cron;
	size_t len, where;
	char *text = fuzz_bytes(&input, PENNY_CRON_TEXT_MAX + 8, &len);
	const char *why = penny_cron_parse(text, len, &cron, &where);
	int64_t at = (int64_t) (fuzz_number(&input, 4));

	MUST(where <= len);
	clock.offset[0] = (int64_t) (fuzz_number(&input, 2)) - 32768;
	for (int i = 0; i < CHANGES; i++)
	{
		clock.at[i] = (i == 0 ? at : clock.at[i - 1]) + 1 + (int64_t) fuzz_number(&input, 3);
		clock.offset[i + 1] = (int64_t) (fuzz_number(&input, 2)) - 32768;
	}
	zone = (PennyCronZone){zone_offset, &clock};
	if (why == NULL)
		for (int i = 0; i < 8; i++)
		{
			int64_t next = penny_cron_next(&cron, &zone, at);
			int64_t offset, until, found[4];
			size_t n;

			MUST(next > at);
			if (next == PENNY_CRON_NEVER)
				break;
			zone_offset(&clock, next, &offset, &until);
			MUST(cron.every > 0 || !cron.moving ||
				 penny_cron_match(&cron, next + offset) == next + offset);
			n = penny_cron_last(&cron, &zone, at, next, found, 4);
			MUST(n == 1 && found[0] == next);
			at = next;
		}
	free(text);
	return 0;
}

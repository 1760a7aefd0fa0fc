/*-------------------------------------------------------------------------
 *
 * breaker.c
 *		When reads go to Redis, and when they leave it alone.  See breaker.h.
 *
 *-------------------------------------------------------------------------
 */
#include "redis/breaker.h"

#include <string.h>

#define SLOW_SHARE 100 /* one of so many may be slow */
#define MAX_LEVEL 5

static void
open_breaker(PennyBreaker *breaker, int64_t now, uint64_t random)
{
	int64_t pause = (int64_t) PENNY_BREAKER_PAUSE_MIN << breaker->level;

	pause = pause * 3 / 4 + (int64_t) (random % (uint64_t) (pause / 2 + 1));
	if (pause < PENNY_BREAKER_PAUSE_MIN)
		pause = PENNY_BREAKER_PAUSE_MIN;
	if (pause > PENNY_BREAKER_PAUSE_MAX)
		pause = PENNY_BREAKER_PAUSE_MAX;
	if (breaker->level < MAX_LEVEL)
		breaker->level++;
	breaker->retry_at = now + pause;
	breaker->failures = breaker->window = breaker->slow = 0;
	breaker->opened++;
	atomic_store(&breaker->state, PENNY_BREAKER_OPEN);
}

void
penny_breaker_init(PennyBreaker *breaker)
{
	memset(breaker, 0, sizeof(*breaker));
	atomic_store(&breaker->state, PENNY_BREAKER_OPEN);
}

const char *
penny_breaker_name(uint32_t state)
{
	switch (state)
	{
		case PENNY_BREAKER_CLOSED:
			return "closed";
		case PENNY_BREAKER_HALF_OPEN:
			return "half-open";
		default:
			return "open";
	}
}

bool
penny_breaker_good(PennyBreaker *breaker, int64_t took_us, int64_t budget_us, int64_t now,
				   uint64_t random)
{
	if (atomic_load(&breaker->state) != PENNY_BREAKER_CLOSED)
		return false; /* it began before */
	breaker->failures = 0;
	breaker->window++;
	breaker->slow += took_us > budget_us / 2;
	if (breaker->slow * SLOW_SHARE > PENNY_BREAKER_WINDOW)
	{
		open_breaker(breaker, now, random);
		return true;
	}
	if (breaker->window >= PENNY_BREAKER_WINDOW)
		breaker->window = breaker->slow = breaker->level = 0;
	return false;
}

bool
penny_breaker_bad(PennyBreaker *breaker, int64_t now, uint64_t random)
{
	if (atomic_load(&breaker->state) != PENNY_BREAKER_CLOSED ||
		++breaker->failures < PENNY_BREAKER_FAILURES)
		return false;
	open_breaker(breaker, now, random);
	return true;
}

bool
penny_breaker_probe(PennyBreaker *breaker, int64_t now)
{
	uint32_t state = atomic_load(&breaker->state);

	/* HALF_OPEN: a relay before this one did not come to an end with its try */
	if (state == PENNY_BREAKER_CLOSED || (state == PENNY_BREAKER_OPEN && now < breaker->retry_at))
		return false;
	breaker->probes++;
	atomic_store(&breaker->state, PENNY_BREAKER_HALF_OPEN);
	return true;
}

void
penny_breaker_probed(PennyBreaker *breaker, bool good, int64_t now, uint64_t random)
{
	if (atomic_load(&breaker->state) != PENNY_BREAKER_HALF_OPEN)
		return;
	if (!good)
	{
		open_breaker(breaker, now, random);
		return;
	}
	breaker->failures = breaker->window = breaker->slow = 0;
	breaker->closed++;
	atomic_store(&breaker->state, PENNY_BREAKER_CLOSED);
}

void
penny_breaker_reset(PennyBreaker *breaker)
{
	breaker->level = 0;
	breaker->retry_at = 0;
	atomic_store(&breaker->state, PENNY_BREAKER_OPEN);
}

/*-------------------------------------------------------------------------
 *
 * breaker.h
 *		When reads go to Redis, and when they leave it alone.  Plain C.
 *
 *	CLOSED	-> OPEN			5 failures in a row, or more than one of 100 reads
 *							slower than half of the time that a read may take
 *	OPEN	-> HALF_OPEN	after a pause of 0.2 to 5 s, doubled each time, with
 *							jitter; the relay then tries one read as any reader would
 *	HALF_OPEN -> CLOSED, OPEN	as that read went
 *
 * The relay alone tries, so no request ever pays for it.  The pause starts
 * small again after 100 good reads.  The caller holds the lock of the struct;
 * `state` may be read without.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_BREAKER_H
#define PENNY_BREAKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum PennyBreakerState
{
	PENNY_BREAKER_CLOSED,
	PENNY_BREAKER_OPEN,
	PENNY_BREAKER_HALF_OPEN
} PennyBreakerState;

#define PENNY_BREAKER_FAILURES 5
#define PENNY_BREAKER_WINDOW 100
#define PENNY_BREAKER_PAUSE_MIN 200  /* ms */
#define PENNY_BREAKER_PAUSE_MAX 5000 /* ms */

typedef struct PennyBreaker
{
	_Atomic uint32_t state;
	uint32_t failures; /* in a row */
	uint32_t window;   /* reads of this window */
	uint32_t slow;     /* of them */
	uint32_t level;    /* of the pause */
	int64_t retry_at;  /* ms; OPEN: when to try */
	uint64_t opened;   /* counters */
	uint64_t closed;
	uint64_t probes;
} PennyBreaker;

/* Open at first: the relay's first good read closes it. */
extern void penny_breaker_init(PennyBreaker *breaker);
extern const char *penny_breaker_name(uint32_t state);

/* What a read's end means; random: any number, for the jitter.  True when it opened. */
extern bool penny_breaker_good(PennyBreaker *breaker, int64_t took_us, int64_t budget_us,
							   int64_t now, uint64_t random);
extern bool penny_breaker_bad(PennyBreaker *breaker, int64_t now, uint64_t random);

/* The relay: is it time to try?  Then it must say how that went. */
extern bool penny_breaker_probe(PennyBreaker *breaker, int64_t now);
extern void penny_breaker_probed(PennyBreaker *breaker, bool good, int64_t now, uint64_t random);
/* Another server: try at once. */
extern void penny_breaker_reset(PennyBreaker *breaker);

#endif /* PENNY_BREAKER_H */

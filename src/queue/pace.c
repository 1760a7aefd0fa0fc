/*-------------------------------------------------------------------------
 *
 * pace.c
 *		How many jobs make a batch.
 *
 * A batch is one transaction and is to last for PENNY_BATCH_TIME: long enough
 * that its begin and end cost little, short enough that nobody waits for it.
 * Each worker keeps a moving mean of how long a job of a kind takes, and does
 * not begin what is likely not to fit; what it took too much goes back at once,
 * before anybody could wait for it.  A kind that was never run counts as a
 * fifth of a batch.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "queue/run_private.h"

#define KINDS 256 /* means kept, by the hash of the kind; a collision mixes two */
#define WEIGHT 0.2f
#define LEAST 0.5f /* us that a job counts at least */

typedef struct Mean
{
	uint64 kind; /* 0: none */
	float us;
} Mean;

static Mean means[KINDS];

static Mean *
mean_of(uint64 kind)
{
	return &means[kind % KINDS];
}

void
penny_pace_note(uint64 kind, int64 us)
{
	Mean *mean = mean_of(kind);

	if (mean->kind != kind)
	{
		mean->kind = kind;
		mean->us = (float) us;
	}
	else
		mean->us += WEIGHT * ((float) us - mean->us);
	mean->us = Max(mean->us, LEAST);
}

/* What a job of the kind is likely to take. */
static float
expected(uint64 kind)
{
	const Mean *mean = mean_of(kind);

	return mean->kind == kind ? mean->us : PENNY_BATCH_TIME / 5.0f;
}

int
penny_run_fitting(PennySched *sched, const PennyJobRef *refs, int n, uint32 *next_max)
{
	float sum = 0;
	int fit = 0;

	while (fit < n)
	{
		sum += expected(penny_sched_job(sched, refs[fit])->kind);
		if (fit > 0 && sum > PENNY_BATCH_TIME)
			break;
		fit++;
	}
	/* room for more of what is quick, without taking much that goes back */
	*next_max = (uint32) Min(Max(fit + fit / 2, 8), PENNY_BATCH_MAX);
	if (fit == n && sum < PENNY_BATCH_TIME / 2.0f)
		*next_max = (uint32) Min(Max(fit * 4, 8), PENNY_BATCH_MAX);
	return fit;
}

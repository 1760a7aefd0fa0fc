/*-------------------------------------------------------------------------
 *
 * sched_look.c
 *		For who looks: counts, all jobs, those of a segment.
 *
 * Counts are kept and cost nothing to read.  The others go through all entries
 * that were ever used, some milliseconds for a quarter of a million, and are
 * for people and for rotation.  What an ENDING entry's owner writes meanwhile
 * (verb, due, attempt, flags) may be seen before or after.
 *
 *-------------------------------------------------------------------------
 */
#include "queue/sched_private.h"

#include <string.h>

void
penny_sched_counts(const PennySched *s, uint16_t queue, int64_t now, PennyQueueCounts *out)
{
	const PennySchedQueue *of = &s->queues[queue % PENNY_SCHED_QUEUES];

	(void) now;
	memset(out, 0, sizeof(*out));
	for (int runner = 0; runner < PENNY_RUNNERS; runner++)
		out->ready[runner] = of->ready[runner];
	out->delayed = of->delayed;
	out->active = of->active;
	out->ending = of->ending;
	out->oldest_ready = of->oldest == 0 ? PENNY_SCHED_NEVER : penny_job_at(s, of->oldest)->due;
	out->started = of->started;
	out->ended = of->ended;
	out->limited = of->limited;
}

void
penny_sched_each(PennySched *s, uint32_t queue, void (*each)(const PennyJob *job, void *arg),
				 void *arg)
{
	uint32_t used = penny_sched_used(s);

	for (uint32_t ref = 1; ref < used; ref++)
	{
		const PennyJob *job = penny_job_at(s, ref);

		if (penny_job_known(s, job) && (queue == PENNY_SCHED_ANY || job->queue == queue))
			each(job, arg);
	}
}

uint32_t
penny_sched_of_segment(PennySched *s, int64_t segment, uint32_t max, PennyJobRef *refs)
{
	uint32_t used = penny_sched_used(s);
	uint32_t n = 0;

	for (uint32_t ref = 1; ref < used && n < max; ref++)
	{
		const PennyJob *job = penny_job_at(s, ref);

		if (penny_job_known(s, job) && job->in_segment && penny_segment_of(job->id) == segment)
			refs[n++] = ref;
	}
	return n;
}

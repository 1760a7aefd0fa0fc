/*-------------------------------------------------------------------------
 *
 * sched_tools.h
 *		What the tests of the ready order are written with: one scheduler, its clock,
 *		jobs and takes in few words.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_SCHED_TOOLS_H
#define PENNY_SCHED_TOOLS_H

#include "unit.h"

#include "queue/sched_private.h"

#define SQL 11 /* kinds */
#define HOOK 12
#define SECOND INT64_C(1000000)
#define MINUTE (60 * SECOND)
#define MANY 150000

static PennySched *s;
static int64_t now;
static int64_t last_id;
static PennyJobRef refs[MANY];

static const PennyKindRunner kinds[] = {{SQL, PENNY_RUNNER_SQL}, {HOOK, PENNY_RUNNER_WEBHOOK}};
static const PennyQueueLimits unlimited = {.exists = true};

static inline void
begin(uint32_t entries)
{
	free(s);
	s = aligned_alloc(64, penny_sched_size(entries));
	memset(s, 0xa5, penny_sched_size(entries)); /* nothing is taken for granted */
	penny_sched_init(s, entries, 1000);
	now = INT64_C(800000000000000);
	last_id = 0;
	penny_sched_open_segment(s, 0);
	penny_sched_kinds(s, kinds, 2, now);
	for (uint16_t queue = 0; queue < 8; queue++)
		penny_sched_queue(s, queue, &unlimited, now);
}

static inline void
holds(void)
{
	const char *wrong = penny_sched_check(s);

	CHECK_ROW(wrong == NULL, wrong != NULL ? wrong : "");
}

static inline PennyJob
row_of(uint16_t queue, uint64_t group, int32_t priority)
{
	return (PennyJob){.id = ++last_id,
					  .due = now,
					  .queue = queue,
					  .group = group,
					  .priority = priority,
					  .kind = SQL};
}

static inline PennyJobRef
add_row(PennyJob row)
{
	return penny_sched_offer(s, &row, now);
}

static inline PennyJobRef
add(uint16_t queue, uint64_t group, int32_t priority)
{
	return add_row(row_of(queue, group, priority));
}

static inline PennyTake
any_of(uint32_t max)
{
	return (PennyTake){.runner = PENNY_RUNNER_SQL,
					   .queue = PENNY_SCHED_ANY,
					   .until = PENNY_SCHED_NEVER,
					   .max = max};
}

static inline uint32_t
take(uint32_t max)
{
	PennyTake how = any_of(max);

	return penny_sched_take(s, &how, now, refs);
}

static inline uint32_t
take_of(uint32_t queue, uint32_t max)
{
	PennyTake how = any_of(max);

	how.queue = queue;
	return penny_sched_take(s, &how, now, refs);
}

static inline uint32_t
take_batch(uint32_t holder, uint32_t max)
{
	PennyTake how = any_of(max);

	how.serial = true;
	how.holder = holder;
	return penny_sched_take(s, &how, now, refs);
}

static inline PennyJob *
job_of(int64_t id)
{
	PennyJobRef ref = penny_sched_find(s, id, now);

	return ref == 0 ? NULL : penny_sched_job(s, ref);
}

static inline void
end_all(uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		penny_sched_finish(s, refs[i], PENNY_VERB_ENDED, now);
}

static inline void
limit(uint16_t queue, PennyQueueLimits limits)
{
	limits.exists = true;
	penny_sched_queue(s, queue, &limits, now);
}

static inline PennyQueueCounts
counts_of(uint16_t queue)
{
	PennyQueueCounts counts;

	penny_sched_counts(s, queue, now, &counts);
	return counts;
}

/* The ids of the next n, taken one by one and ended, as text. */
static inline const char *
order(uint32_t n)
{
	static char text[512];
	size_t len = 0;

	text[0] = '\0';
	while (n-- > 0 && take(1) == 1)
	{
		len += (size_t) snprintf(text + len, sizeof(text) - len, "%s%lld", len > 0 ? " " : "",
								 (long long) penny_sched_job(s, refs[0])->id);
		end_all(1);
	}
	return text;
}

#endif /* PENNY_SCHED_TOOLS_H */

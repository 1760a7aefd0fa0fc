/*-------------------------------------------------------------------------
 *
 * sched.c
 *		The rules of the ready order of jobs, one by one.  Schedules at random,
 *		with a model, are in sched_simulation.c.
 *
 *-------------------------------------------------------------------------
 */
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

/* ---- what the tests are written with ----------------------------------------------- */

static void
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

static void
holds(void)
{
	const char *wrong = penny_sched_check(s);

	CHECK_ROW(wrong == NULL, wrong != NULL ? wrong : "");
}

static PennyJob
row_of(uint16_t queue, uint64_t group, int32_t priority)
{
	return (PennyJob){.id = ++last_id,
					  .due = now,
					  .queue = queue,
					  .group = group,
					  .priority = priority,
					  .kind = SQL};
}

static PennyJobRef
add_row(PennyJob row)
{
	return penny_sched_offer(s, &row, now);
}

static PennyJobRef
add(uint16_t queue, uint64_t group, int32_t priority)
{
	return add_row(row_of(queue, group, priority));
}

static PennyTake
any_of(uint32_t max)
{
	return (PennyTake){.runner = PENNY_RUNNER_SQL,
					   .queue = PENNY_SCHED_ANY,
					   .until = PENNY_SCHED_NEVER,
					   .max = max};
}

static uint32_t
take(uint32_t max)
{
	PennyTake how = any_of(max);

	return penny_sched_take(s, &how, now, refs);
}

static uint32_t
take_of(uint32_t queue, uint32_t max)
{
	PennyTake how = any_of(max);

	how.queue = queue;
	return penny_sched_take(s, &how, now, refs);
}

static uint32_t
take_batch(uint32_t holder, uint32_t max)
{
	PennyTake how = any_of(max);

	how.serial = true;
	how.holder = holder;
	return penny_sched_take(s, &how, now, refs);
}

static PennyJob *
job_of(int64_t id)
{
	PennyJobRef ref = penny_sched_find(s, id, now);

	return ref == 0 ? NULL : penny_sched_job(s, ref);
}

static void
end_all(uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		penny_sched_finish(s, refs[i], PENNY_VERB_ENDED, now);
}

static void
limit(uint16_t queue, PennyQueueLimits limits)
{
	limits.exists = true;
	penny_sched_queue(s, queue, &limits, now);
}

static PennyQueueCounts
counts_of(uint16_t queue)
{
	PennyQueueCounts counts;

	penny_sched_counts(s, queue, now, &counts);
	return counts;
}

/* The ids of the next n, taken one by one and ended, as text. */
static const char *
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

/* ---- order ----------------------------------------------------------------------------- */

TEST(priority_then_id)
{
	begin(100);
	add(0, 0, 5);  /* 1 */
	add(0, 0, -1); /* 2 */
	add(0, 0, 0);  /* 3 */
	add(0, 0, -1); /* 4 */
	add(0, 0, 5);  /* 5 */
	CHECK(strcmp(order(9), "2 4 3 1 5") == 0);
	holds();
}

/* More priorities than a lane has runs, ids out of order: the heap's part. */
TEST(many_priorities)
{
	uint64_t random = 5;
	int32_t last_priority = INT32_MIN;
	int64_t last = 0;

	begin(3000);
	for (int i = 0; i < 1500; i++)
	{
		PennyJob row = row_of(0, 0, (int32_t) ((unit_random(&random) >> 20) % 40));

		row.id = (int64_t) ((uint64_t) last_id * 7919 % 1501 + 1);
		add_row(row);
	}
	holds();
	for (int i = 0; i < 1500; i++)
	{
		const PennyJob *job;

		if (!CHECK(take(1) == 1))
			break;
		job = penny_sched_job(s, refs[0]);
		CHECK(job->priority > last_priority || (job->priority == last_priority && job->id > last));
		last_priority = job->priority;
		last = job->id;
		if (i % 7 == 0)
			penny_sched_put_back(s, refs[0], now);
		if (i % 7 == 0)
			take(1);
		end_all(1);
	}
	CHECK(take(1) == 0);
	holds();
}

TEST(groups_take_turns)
{
	begin(100);
	for (int i = 0; i < 3; i++)
		add(0, 1, 0); /* 1 2 3 */
	add(0, 2, 9);     /* 4: another group's priority is nobody's business */
	add(0, 0, 0);     /* 5 */
	add(0, 2, 0);     /* 6 */
	CHECK(strcmp(order(9), "1 6 5 2 4 3") == 0);
	holds();
}

TEST(queues_take_turns)
{
	begin(100);
	add(1, 0, 0); /* 1 */
	add(1, 0, 0); /* 2 */
	add(1, 0, 0); /* 3 */
	add(5, 0, 0); /* 4 */
	add(7, 0, 0); /* 5 */
	add(5, 0, 0); /* 6 */
	CHECK(strcmp(order(9), "1 4 5 2 6 3") == 0);
}

/* One of nine starts is of rank 1 while it waits. */
TEST(ranks_take_turns)
{
	int since = 0;
	int low = 0;

	begin(2000);
	limit(1, (PennyQueueLimits){.urgent = true});
	for (int i = 0; i < 900; i++)
	{
		add(1, 0, 0);
		if (i < 50)
			add(0, 0, 0);
	}
	for (int i = 0; i < 90; i++)
	{
		CHECK(take(1) == 1);
		since++;
		if (penny_sched_job(s, refs[0])->queue == 0)
		{
			CHECK(since == PENNY_SCHED_TURNS);
			since = 0;
			low++;
		}
		end_all(1);
	}
	CHECK(low == 10);
}

/* Who waited for a second goes first; a backlog of such takes every second start. */
TEST(aged_goes_first)
{
	char ranks[10];

	begin(2000);
	limit(1, (PennyQueueLimits){.urgent = true});
	for (int i = 0; i < 100; i++)
		add(1, 0, 0);
	add(0, 0, 0);
	CHECK(take(1) == 1 && penny_sched_job(s, refs[0])->queue == 1);
	now += PENNY_SCHED_AGE - 1;
	CHECK(take(1) == 1 && penny_sched_job(s, refs[0])->queue == 1);
	now += 1;
	CHECK(take(1) == 1 && penny_sched_job(s, refs[0])->queue == 0);
	for (int i = 0; i < 20; i++)
		add(0, 0, 0);
	now += PENNY_SCHED_AGE;
	for (int i = 0; i < 9; i++)
	{
		CHECK(take(1) == 1);
		ranks[i] = penny_sched_job(s, refs[0])->queue == 0 ? '1' : '0';
	}
	ranks[9] = '\0';
	CHECK(strcmp(ranks, "010101010") == 0);
}

/* Of two aged queues of rank 1 the older goes first. */
TEST(oldest_of_the_aged)
{
	begin(100);
	limit(1, (PennyQueueLimits){.urgent = true});
	add(3, 0, 0);
	now -= 5;
	add(2, 0, 0);
	now += 5 + 2 * PENNY_SCHED_AGE;
	add(1, 0, 0);
	CHECK(take(1) == 1 && penny_sched_job(s, refs[0])->queue == 2);
}

/* A flood of rank 0 in batches: a job of rank 1 starts within the bound, whatever it asks for. */
TEST(flood_in_batches)
{
	int starts = 0;

	begin(20000);
	limit(1, (PennyQueueLimits){.urgent = true});
	for (int i = 0; i < 12000; i++)
		add(1, 0, 0);
	take_batch(0, 512);
	end_all(512);
	add(0, 0, 0);
	for (bool low = false; !low && starts < 20; starts++)
	{
		uint32_t n = take_batch(0, 512);

		low = penny_sched_job(s, refs[0])->queue == 0;
		CHECK(n == (low ? 1 : 512));
		end_all(n);
	}
	CHECK(starts <= PENNY_SCHED_TURNS);
	holds();
}

/* ---- concurrency ------------------------------------------------------------------------ */

TEST(concurrency)
{
	begin(100);
	limit(0, (PennyQueueLimits){.concurrency = 2});
	for (int i = 0; i < 5; i++)
		add(0, 0, 0);
	add(1, 0, 0);
	CHECK(take(9) == 3);
	CHECK(take(9) == 0 && !penny_sched_waits(s, PENNY_RUNNER_SQL, 0, now));
	CHECK(penny_sched_next(s, PENNY_RUNNER_SQL, now) == PENNY_SCHED_NEVER);
	CHECK(counts_of(0).active == 2 && counts_of(0).limited == 1);
	/* ENDING after ACTIVE counts, until it is posted */
	refs[0] = penny_sched_find(s, 1, now);
	CHECK(penny_sched_own(s, refs[0], now));
	CHECK(!penny_sched_waits(s, PENNY_RUNNER_SQL, 0, now));
	penny_sched_job(s, refs[0])->verb = PENNY_VERB_ENDED;
	penny_sched_post(s, refs[0], refs[0]);
	CHECK(penny_sched_waits(s, PENNY_RUNNER_SQL, 0, now));
	CHECK(take(9) == 1);
	holds();
}

TEST(batch_counts_as_one)
{
	begin(100);
	limit(0, (PennyQueueLimits){.concurrency = 2});
	for (int i = 0; i < 50; i++)
		add(0, 0, 0);
	CHECK(take_batch(0, 10) == 10 && take_batch(0, 10) == 0);
	CHECK(take_batch(1, 10) == 10);
	CHECK(take_batch(2, 10) == 0);
	for (int i = 0; i < 10; i++)
	{
		CHECK(!penny_sched_waits(s, PENNY_RUNNER_SQL, 0, now));
		penny_sched_finish(
			s, job_of(11 + i)->state == PENNY_JOB_ACTIVE ? penny_sched_find(s, 11 + i, now) : 0,
			PENNY_VERB_ENDED, now);
	}
	CHECK(take_batch(2, 10) == 10);
	holds();
}

/* One group at its limit is set aside; the others and those without go on. */
TEST(group_concurrency)
{
	begin(100);
	limit(0, (PennyQueueLimits){.group_concurrency = 1});
	for (int i = 0; i < 10; i++)
		add(0, 1 + (uint64_t) i % 2, 0);
	for (int i = 0; i < 3; i++)
		add(0, 0, 0);
	CHECK(take_batch(0, 20) == 5);
	CHECK(take(20) == 0 && penny_sched_next(s, PENNY_RUNNER_SQL, now) == PENNY_SCHED_NEVER);
	penny_sched_finish(s, penny_sched_find(s, 1, now), PENNY_VERB_ENDED, now);
	CHECK(take(20) == 1 && penny_sched_job(s, refs[0])->id == 3);
	holds();
}

TEST(limits_change)
{
	begin(100);
	limit(0, (PennyQueueLimits){.concurrency = 5, .group_concurrency = 1});
	for (int i = 0; i < 20; i++)
		add(0, 1 + (uint64_t) i % 4, 0);
	CHECK(take(20) == 4);
	limit(0, (PennyQueueLimits){.concurrency = 2});
	CHECK(take(20) == 0);
	end_all(4);
	CHECK(take(20) == 2);
	limit(0, (PennyQueueLimits){.concurrency = 6});
	CHECK(take(20) == 4);
	limit(0, (PennyQueueLimits){.concurrency = 6, .paused = true});
	penny_sched_put_back(s, refs[0], now);
	CHECK(take(20) == 0 && !penny_sched_waits(s, PENNY_RUNNER_SQL, PENNY_SCHED_ANY, now));
	limit(0, (PennyQueueLimits){.concurrency = 6});
	CHECK(penny_sched_waits(s, PENNY_RUNNER_SQL, 0, now) && take(20) == 1);
	limit(0, (PennyQueueLimits){0});
	CHECK(take(20) == 10);
	penny_sched_put_back(s, refs[0], now);
	penny_sched_queue(s, 0, &(PennyQueueLimits){.exists = false}, now);
	CHECK(take(20) == 0);
	holds();
}

/* ---- rates --------------------------------------------------------------------------------- */

static int64_t starts[MANY];

/* The most starts in any half-open window. */
static uint32_t
most_in_window(uint32_t n, int64_t window)
{
	uint32_t most = 0;
	uint32_t from = 0;

	for (uint32_t i = 0; i < n; i++)
	{
		while (starts[i] - starts[from] >= window)
			from++;
		if (i - from + 1 > most)
			most = i - from + 1;
	}
	return most;
}

/* 100 in 60 s under pressure: never more in any window, and all of it is used. */
TEST(rate_is_exact)
{
	uint64_t random = 9;
	int64_t begun;
	uint32_t n = 0;

	begin(600);
	limit(0, (PennyQueueLimits){.rate = 100, .window = MINUTE});
	begun = now;
	while (now < begun + 20 * MINUTE)
	{
		while (counts_of(0).ready[PENNY_RUNNER_SQL] < 5)
			add(0, 0, 0);
		/* claims, batches; at every moment, or at the one that next() names */
		if (unit_random(&random) >> 63 != 0)
		{
			int64_t next = penny_sched_next(s, PENNY_RUNNER_SQL, now);

			if (next != PENNY_SCHED_NEVER && !penny_sched_waits(s, PENNY_RUNNER_SQL, 0, now))
			{
				CHECK(next > now);
				now = next;
				CHECK(penny_sched_waits(s, PENNY_RUNNER_SQL, 0, now));
			}
		}
		else
			now += (int64_t) ((unit_random(&random) >> 20) % 200000);
		for (uint32_t got; (got = n % 2 != 0 ? take_batch(0, 50) : take(50)) > 0;)
		{
			CHECK(got == 1 && (penny_sched_job(s, refs[0])->flags & PENNY_JOB_ALONE) != 0);
			starts[n++] = penny_sched_job(s, refs[0])->started;
			CHECK(starts[n - 1] == now);
			end_all(1);
		}
	}
	CHECK(most_in_window(n, MINUTE) == 100);
	CHECK(n >= 20 * 99);
	holds();
}

/* What a rate counted stays counted when the start is undone. */
TEST(rate_keeps_what_was_put_back)
{
	begin(100);
	limit(0, (PennyQueueLimits){.rate = 2, .window = SECOND});
	add(0, 0, 0);
	CHECK(take(1) == 1);
	penny_sched_put_back(s, refs[0], now);
	CHECK(take(1) == 1);
	penny_sched_put_back(s, refs[0], now);
	CHECK(take(1) == 0);
	CHECK(penny_sched_next(s, PENNY_RUNNER_SQL, now) == now + SECOND);
	CHECK(penny_sched_next(s, PENNY_RUNNER_WEBHOOK, now) == PENNY_SCHED_NEVER);
	now += SECOND - 1;
	CHECK(take(1) == 0);
	now += 1;
	CHECK(take(1) == 1);
}

TEST(group_rate_blocks_nobody_else)
{
	uint32_t of_group[4] = {0};

	begin(400);
	limit(0, (PennyQueueLimits){.group_rate = 3, .group_window = SECOND});
	for (int i = 0; i < 200; i++)
		add(0, (uint64_t) i % 4, 0);
	for (uint32_t got; (got = take(100)) > 0;)
		for (uint32_t i = 0; i < got; i++)
			of_group[penny_sched_job(s, refs[i])->group]++;
	CHECK(of_group[0] == 50 && of_group[1] == 3 && of_group[2] == 3 && of_group[3] == 3);
	CHECK(penny_sched_next(s, PENNY_RUNNER_SQL, now) == now + SECOND);
	now += SECOND;
	for (uint32_t got; (got = take(100)) > 0;)
		of_group[penny_sched_job(s, refs[0])->group]++;
	CHECK(of_group[1] == 6 && of_group[2] == 6 && of_group[3] == 6);
	holds();
	limit(0, (PennyQueueLimits){.group_rate = 5, .group_window = SECOND});
	CHECK(take(1) == 1);
	limit(0, (PennyQueueLimits){0});
	CHECK(take(300) > 100);
	holds();
}

/* A clock that steps back a little, or by much, opens no limiter early. */
TEST(rate_and_clock)
{
	begin(100);
	limit(0, (PennyQueueLimits){.rate = 2, .window = MINUTE});
	for (int i = 0; i < 20; i++)
		add(0, 0, 0);
	CHECK(take(1) == 1);
	now -= 5 * SECOND;
	CHECK(take(1) == 1 && penny_sched_job(s, refs[0])->started == now + 5 * SECOND);
	now += MINUTE;
	CHECK(take(1) == 0);
	now += 5 * SECOND;
	CHECK(take(1) == 1 && take(1) == 1 && take(1) == 0);
	/* by an hour: the minute begins where it stood */
	now -= 60 * MINUTE;
	CHECK(take(1) == 0);
	CHECK(penny_sched_next(s, PENNY_RUNNER_SQL, now) == now + MINUTE);
	now += MINUTE - 1;
	CHECK(take(1) == 0);
	now += 1;
	CHECK(take(1) == 1 && penny_sched_job(s, refs[0])->started == now);
	holds();
}

/* Memory for times is short: nothing starts, until there is some again. */
TEST(rate_without_memory)
{
	uint32_t n = 0;
	uint32_t most;

	begin(64);
	most = s->blocks * PENNY_SCHED_TIMES;
	limit(0, (PennyQueueLimits){.rate = 1000000, .window = MINUTE});
	limit(1, (PennyQueueLimits){.rate = 10, .window = MINUTE});
	for (; n < most; n++)
	{
		add(0, 0, 0);
		if (take_of(0, 1) == 0)
			break;
		end_all(1);
	}
	CHECK(n < most && n > most / 2);
	CHECK(penny_sched_next(s, PENNY_RUNNER_SQL, now) <= now + SECOND);
	/* another limiter still finds memory */
	add(1, 0, 0);
	CHECK(take_of(1, 1) == 1);
	holds();
	now += MINUTE;
	CHECK(take_of(0, 1) == 1);
	holds();
}

/* After a restart: receipts tell of the starts, in any order. */
TEST(rate_from_receipts)
{
	static const int seconds[] = {10, 50, 30, 59, 61, 70, 0, 45};

	begin(100);
	limit(0, (PennyQueueLimits){
				 .rate = 6, .window = MINUTE, .group_rate = 2, .group_window = 20 * SECOND});
	for (int i = 0; i < 8; i++)
		penny_sched_started(s, 0, i == 6 ? 7 : 0, now - seconds[i] * SECOND, now);
	penny_sched_started(s, 0, 7, now - 5 * SECOND, now);
	holds();
	for (int i = 0; i < 5; i++)
		add(0, 7, 0);
	add(0, 0, 0);
	/* seven count, of two too many; of the group's two one is 5 s old */
	CHECK(take(1) == 0);
	now += SECOND;
	CHECK(take(1) == 0);
	now += 9 * SECOND;
	CHECK(take(1) == 1 && penny_sched_job(s, refs[0])->group == 0);
	CHECK(take(1) == 0);
	now += 5 * SECOND;
	CHECK(take(1) == 1 && penny_sched_job(s, refs[0])->group == 7);
	CHECK(take(1) == 0);
	holds();
	/* one that the clock puts into the future counts as of now */
	penny_sched_started(s, 3, 0, now + 60 * MINUTE, now);
	limit(3, (PennyQueueLimits){.rate = 1, .window = MINUTE});
	penny_sched_started(s, 3, 0, now + 60 * MINUTE, now);
	add(3, 0, 0);
	CHECK(take_of(3, 1) == 0);
	now += MINUTE;
	CHECK(take_of(3, 1) == 1);
}

/* More starts than there is memory for: their queue waits until they do not count. */
TEST(receipts_without_memory)
{
	begin(64);
	limit(0, (PennyQueueLimits){.rate = 1000000, .window = MINUTE});
	for (uint32_t i = 0; i < s->blocks * PENNY_SCHED_TIMES; i++)
		penny_sched_started(s, 0, 0, now - 10 * SECOND, now);
	add(0, 0, 0);
	CHECK(take(1) == 0);
	now += 49 * SECOND;
	CHECK(take(1) == 0);
	now += SECOND;
	CHECK(take(1) == 1);
	holds();
}

/* ---- time ------------------------------------------------------------------------------- */

TEST(delays)
{
	begin(100);
	for (int i = 0; i < 20; i++)
	{
		PennyJob row = row_of(0, 0, 0);

		row.due = now + (i * 7 % 20 + 1) * SECOND;
		add_row(row);
	}
	CHECK(counts_of(0).delayed == 20 && take(1) == 0);
	CHECK(penny_sched_next(s, PENNY_RUNNER_SQL, now) == now + SECOND);
	CHECK(penny_sched_next(s, PENNY_RUNNER_EXTERNAL, now) == PENNY_SCHED_NEVER);
	now += 5 * SECOND;
	CHECK(take(20) == 5 && counts_of(0).delayed == 15);
	now -= 3 * SECOND;
	CHECK(take(20) == 0);
	CHECK(counts_of(0).oldest_ready == PENNY_SCHED_NEVER);
	now += 4 * SECOND;
	penny_sched_drain(s, now);
	CHECK(counts_of(0).oldest_ready == now && counts_of(0).ready[PENNY_RUNNER_SQL] == 1);
	/* ready is ready, though the clock steps back */
	now -= SECOND;
	CHECK(take(20) == 1);
	holds();
}

TEST(leases)
{
	PennyTake how = any_of(3);
	PennyJobRef over[4];
	uint64_t token;

	begin(100);
	for (int i = 0; i < 3; i++)
		add(0, 0, 0);
	how.until = now + SECOND;
	CHECK(penny_sched_take(s, &how, now, refs) == 3);
	token = penny_sched_job(s, refs[1])->token;
	CHECK(token > penny_sched_job(s, refs[0])->token);
	CHECK(penny_sched_next(s, PENNY_RUNNER_EXTERNAL, now) == now + SECOND);
	penny_sched_lease(s, refs[1], now + 9 * SECOND, now);
	CHECK(penny_sched_own(s, refs[2], now)); /* its end is being recorded */
	now += SECOND;
	CHECK(penny_sched_expired(s, now, 4, over) == 1 && over[0] == refs[0]);
	CHECK(penny_sched_job(s, refs[0])->state == PENNY_JOB_ENDING);
	/* who was to record it rolled back: it is found again */
	penny_sched_finish(s, refs[0], PENNY_VERB_KEPT, now);
	CHECK(penny_sched_expired(s, now, 4, over) == 1);
	penny_sched_job(s, over[0])->attempt++;
	penny_sched_job(s, over[0])->due = now;
	penny_sched_finish(s, over[0], PENNY_VERB_RETRY, now);
	CHECK(take(5) == 1 && penny_sched_job(s, refs[0])->token > token + 1);
	CHECK(penny_sched_job(s, refs[0])->attempt == 1);
	CHECK(penny_sched_next(s, PENNY_RUNNER_SQL, now) == now + 8 * SECOND);
	holds();
}

/* ---- workers that go ------------------------------------------------------------------- */

TEST(abandon)
{
	begin(100);
	limit(0, (PennyQueueLimits){.concurrency = 1, .group_concurrency = 1});
	for (int i = 0; i < 6; i++)
		add(0, i < 3 ? 0 : (uint64_t) i, 0);
	CHECK(take_batch(7, 10) == 6);
	/* one is ended by its worker, one cancelled by another, whose transactions go on */
	CHECK(penny_sched_own(s, penny_sched_find(s, 1, now), now));
	CHECK(penny_sched_own(s, penny_sched_find(s, 4, now), now));
	CHECK(penny_sched_own(s, penny_sched_find(s, 5, now), now));
	CHECK(penny_sched_abandon(s, 7, now) == 3);
	holds();
	CHECK(counts_of(0).ending == 3 && counts_of(0).ready[PENNY_RUNNER_SQL] == 3);
	penny_sched_finish(s, penny_sched_find(s, 1, now), PENNY_VERB_ENDED, now);
	penny_sched_finish(s, penny_sched_find(s, 4, now), PENNY_VERB_KEPT, now);
	CHECK(job_of(1) == NULL && job_of(4)->state == PENNY_JOB_READY);
	CHECK(take_batch(7, 10) == 4);
	penny_sched_finish(s, penny_sched_find(s, 5, now), PENNY_VERB_RETRY, now);
	CHECK(job_of(5)->state == PENNY_JOB_READY);
	CHECK(take_batch(8, 10) == 0);
	holds();
}

/* A batch that is put back stands where it stood. */
TEST(abandoned_batch_is_in_order)
{
	begin(2000);
	for (int i = 0; i < 1000; i++)
		add(0, 0, i % 2);
	CHECK(take_batch(0, 512) == 512);
	CHECK(penny_sched_abandon(s, 0, now) == 512);
	CHECK(penny_group_at(s, 1)->lane[PENNY_RUNNER_SQL].heap == 0);
	CHECK(strcmp(order(3), "1 3 5") == 0);
	holds();
}

/* ---- coming in ------------------------------------------------------------------------- */

static void
post_arrivals(uint16_t queue, int64_t id, uint32_t n, PennyJobVerb verb)
{
	PennyJobRef first;
	PennyJobRef last = 0;

	CHECK(penny_sched_reserve(s, queue, n, &first) == n);
	for (PennyJobRef ref = first; ref != 0; ref = penny_sched_next_of(s, ref))
	{
		PennyJob *job = penny_sched_job(s, ref);

		job->id = id++;
		job->due = now;
		job->kind = SQL;
		job->verb = (uint8_t) verb;
		last = ref;
	}
	penny_sched_post(s, first, last);
}

TEST(offered_twice)
{
	PennyJob row;
	PennyJobRef ref;

	begin(100);
	post_arrivals(0, 1, 3, PENNY_VERB_ARRIVED);
	row = row_of(0, 0, 0);
	row.id = 2;
	/* a rescan read the row before the post was handled */
	ref = penny_sched_offer(s, &row, now);
	CHECK(ref != 0 && ref != PENNY_SCHED_ANY);
	CHECK(penny_sched_offer(s, &row, now) == 0);
	penny_sched_drain(s, now);
	CHECK(counts_of(0).ready[PENNY_RUNNER_SQL] == 3);
	CHECK(take(9) == 3);
	end_all(3);
	CHECK(penny_sched_seen(s, 2) && penny_sched_done(s, 2));
	CHECK(penny_sched_offer(s, &row, now) == 0);
	post_arrivals(0, 2, 1, PENNY_VERB_ARRIVED);
	CHECK(take(9) == 0);
	/* its row is among the deferred: no bits, but one at a time */
	row.flags = PENNY_JOB_DEFERRED;
	CHECK(penny_sched_offer(s, &row, now) != 0);
	CHECK(penny_sched_offer(s, &row, now) == 0);
	/* told by a receipt */
	penny_sched_mark_done(s, 50);
	row.flags = 0;
	row.id = 50;
	CHECK(penny_sched_offer(s, &row, now) == 0);
	post_arrivals(0, 60, 2, PENNY_VERB_DROPPED);
	penny_sched_drain(s, now);
	CHECK(job_of(60) == NULL && !penny_sched_seen(s, 60));
	CHECK(penny_sched_rescan(s) == PENNY_SCHED_NEVER);
	holds();
}

TEST(room)
{
	PennyJobRef first;
	PennyJob row;

	begin(300);
	CHECK(penny_sched_room(s, 0) == 200);
	CHECK(penny_sched_reserve(s, 0, 1000, &first) == 200);
	CHECK(penny_sched_room(s, 0) == 0 && penny_sched_reserve(s, 0, 1, &first) == 0);
	CHECK(penny_sched_room(s, 1) == 67);
	row = row_of(0, 0, 0);
	row.id = 77;
	CHECK(penny_sched_offer(s, &row, now) == PENNY_SCHED_ANY);
	penny_sched_missed(s, 99);
	CHECK(penny_sched_rescan(s) == 77 && penny_sched_rescan(s) == PENNY_SCHED_NEVER);
	CHECK(penny_sched_reserve(s, 1, 1000, &first) == 67);
	CHECK(penny_sched_reserve(s, 2, 1000, &first) == 22);
	CHECK(penny_sched_reserve(s, PENNY_SCHED_QUEUES, 1, &first) == 0);
}

/* ---- segments ----------------------------------------------------------------------------- */

#define ID(segment, n) ((INT64_C(segment) << PENNY_SEGMENT_BITS) + (n))

TEST(segments)
{
	PennyJob row;
	uint32_t seen;
	uint32_t done;

	begin(100);
	row = row_of(0, 0, 0);
	row.id = ID(2, 5);
	/* above: noted */
	CHECK(penny_sched_offer(s, &row, now) == PENNY_SCHED_ANY);
	CHECK(penny_sched_rescan(s) == ID(2, 5));
	post_arrivals(0, ID(2, 5), 1, PENNY_VERB_ARRIVED);
	penny_sched_drain(s, now);
	CHECK(penny_sched_rescan(s) == ID(2, 5) && !penny_sched_seen(s, ID(2, 5)));
	add(0, 0, 0);
	for (int64_t segment = 1; segment < PENNY_SEGMENTS; segment++)
		CHECK(penny_sched_open_segment(s, segment));
	CHECK(penny_sched_offer(s, &row, now) != 0);
	penny_sched_segment_counts(s, 2, &seen, &done);
	CHECK(seen == 1 && done == 0);
	/* the number before has a job that is not done */
	CHECK(!penny_sched_open_segment(s, PENNY_SEGMENTS));
	CHECK(penny_sched_of_segment(s, 0, 9, refs) == 1);
	/* it moves to the deferred ones */
	CHECK(penny_sched_own(s, refs[0], now));
	penny_sched_job(s, refs[0])->flags |= PENNY_JOB_DEFERRED;
	penny_sched_finish(s, refs[0], PENNY_VERB_RETRY, now);
	penny_sched_segment_counts(s, 0, &seen, &done);
	CHECK(seen == 1 && done == 1 && penny_sched_of_segment(s, 0, 9, refs) == 0);
	CHECK(penny_sched_open_segment(s, PENNY_SEGMENTS));
	holds();
	/* below: was seen and is done */
	CHECK(penny_sched_seen(s, ID(0, 9)) && penny_sched_done(s, ID(0, 9)));
	row.id = ID(0, 9);
	CHECK(penny_sched_offer(s, &row, now) == 0);
	CHECK(!penny_sched_open_segment(s, 0));
	CHECK(penny_sched_rescan(s) == PENNY_SCHED_NEVER);
	/* the job that moved still runs, and leaves no bit behind */
	CHECK(take(9) == 2);
	end_all(2);
	penny_sched_segment_counts(s, PENNY_SEGMENTS, &seen, &done);
	CHECK(seen == 0 && done == 0);
	holds();
}

/* ---- settings ----------------------------------------------------------------------------- */

TEST(kinds_change)
{
	static const PennyKindRunner other[] = {{SQL, PENNY_RUNNER_WEBHOOK}};
	PennyJob row;

	begin(100);
	for (int i = 0; i < 10; i++)
		add(0, (uint64_t) i % 3, 0);
	row = row_of(0, 0, 0);
	row.due = now + SECOND;
	add_row(row);
	row = row_of(0, 0, 0);
	row.kind = HOOK;
	add_row(row);
	CHECK(take(1) == 1);
	penny_sched_kinds(s, other, 1, now);
	holds();
	CHECK(counts_of(0).ready[PENNY_RUNNER_SQL] == 0);
	CHECK(counts_of(0).ready[PENNY_RUNNER_WEBHOOK] == 9);
	CHECK(counts_of(0).ready[PENNY_RUNNER_EXTERNAL] == 1);
	CHECK(penny_sched_next(s, PENNY_RUNNER_WEBHOOK, now) == now + SECOND);
	CHECK(penny_sched_next(s, PENNY_RUNNER_SQL, now) == PENNY_SCHED_NEVER);
	/* what was active is of the new kind when it comes again */
	penny_sched_put_back(s, refs[0], now);
	CHECK(counts_of(0).ready[PENNY_RUNNER_WEBHOOK] == 10);
	CHECK(take(9) == 0);
	holds();
}

TEST(clear)
{
	PennyJobRef reserved;
	PennyJobRef ending;

	begin(90);
	for (int i = 0; i < 6; i++)
		add(0, (uint64_t) i, 0);
	CHECK(take(2) == 2 && penny_sched_own(s, refs[0], now));
	ending = refs[0];
	CHECK(penny_sched_reserve(s, 0, 1, &reserved) == 1);
	post_arrivals(0, 70, 1, PENNY_VERB_ARRIVED);
	penny_sched_clear(s);
	CHECK(penny_sched_incarnation(s) == 1 && job_of(1) == NULL && take(9) == 0);
	holds();
	/* committed before, but not in memory: it must be read again */
	CHECK(penny_sched_rescan(s) == 70);
	penny_sched_job(s, reserved)->id = 71;
	penny_sched_job(s, reserved)->verb = PENNY_VERB_ARRIVED;
	penny_sched_post(s, reserved, reserved);
	penny_sched_job(s, ending)->verb = PENNY_VERB_RETRY;
	penny_sched_post(s, ending, ending);
	penny_sched_open_segment(s, 0);
	CHECK(take(9) == 0 && penny_sched_rescan(s) == 71);
	CHECK(penny_sched_room(s, 0) == 60);
	CHECK(counts_of(0).ending == 0 && counts_of(0).started == 0);
	/* the same ids come again */
	last_id = 0;
	add(0, 0, 0);
	CHECK(take(9) == 1 && penny_sched_job(s, refs[0])->token > 1001);
	holds();
}

/* ---- many ------------------------------------------------------------------------------- */

TEST(a_group_for_each_job)
{
	uint32_t n = 0;

	begin(MANY + MANY / 2);
	limit(0, (PennyQueueLimits){.group_concurrency = 1, .group_rate = 5, .group_window = MINUTE});
	for (int i = 0; i < 100000; i++)
		add(0, 1 + (uint64_t) i, 0);
	holds();
	while (n < 100000 && take(1) == 1)
	{
		CHECK(penny_sched_job(s, refs[0])->id == (int64_t) ++n);
		if (n % 2 == 0)
			end_all(1);
	}
	/* each has a start time that counts, and the pool is smaller than that */
	CHECK(n > s->blocks / 2 && n < s->blocks);
	holds();
	for (; now < INT64_C(800000000000000) + 100 * MINUTE && n < 100000; now += MINUTE)
		while (take(1) == 1)
		{
			n++;
			end_all(1);
		}
	CHECK(n == 100000);
	now += MINUTE;
	penny_sched_drain(s, now);
	holds();
	/* those that ended are forgotten, but for those whose job is active still */
	CHECK(s->idle == 0 && s->blocks_used <= s->blocks);
}

TEST(many_in_a_group)
{
	begin(MANY + MANY / 2);
	for (int i = 0; i < 100000; i++)
		add(0, 1, 0);
	for (int i = 0; i < 10; i++)
		add(0, 2, 0);
	/* every second start is of the small group, while it has jobs */
	CHECK(take_batch(0, 20) == 20);
	for (int i = 0; i < 20; i++)
		CHECK(penny_sched_job(s, refs[i])->group == (uint64_t) (1 + i % 2));
	end_all(20);
	CHECK(take_batch(0, 100000) == 100000 - 10);
	end_all(100000 - 10);
	holds();
	CHECK(counts_of(0).ended == 100010);
}

TEST(hash_is_never_0)
{
	CHECK(penny_sched_hash("", 0) != 0 && penny_sched_hash("a", 1) != 0);
	CHECK(penny_sched_hash("a", 1) != penny_sched_hash("b", 1));
}

int
main(void)
{
	RUN(priority_then_id);
	RUN(many_priorities);
	RUN(groups_take_turns);
	RUN(queues_take_turns);
	RUN(ranks_take_turns);
	RUN(aged_goes_first);
	RUN(oldest_of_the_aged);
	RUN(flood_in_batches);
	RUN(concurrency);
	RUN(batch_counts_as_one);
	RUN(group_concurrency);
	RUN(limits_change);
	RUN(rate_is_exact);
	RUN(rate_keeps_what_was_put_back);
	RUN(group_rate_blocks_nobody_else);
	RUN(rate_and_clock);
	RUN(rate_without_memory);
	RUN(rate_from_receipts);
	RUN(receipts_without_memory);
	RUN(delays);
	RUN(leases);
	RUN(abandon);
	RUN(abandoned_batch_is_in_order);
	RUN(offered_twice);
	RUN(room);
	RUN(segments);
	RUN(kinds_change);
	RUN(clear);
	RUN(a_group_for_each_job);
	RUN(many_in_a_group);
	RUN(hash_is_never_0);
	free(s);
	return unit_done();
}

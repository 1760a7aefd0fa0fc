/*-------------------------------------------------------------------------
 *
 * sched_limits.c
 *		What holds jobs back for a time: rates, delays, leases.
 *
 *-------------------------------------------------------------------------
 */
#include "sched_tools.h"

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

int
main(void)
{
	RUN(rate_is_exact);
	RUN(rate_keeps_what_was_put_back);
	RUN(group_rate_blocks_nobody_else);
	RUN(rate_and_clock);
	RUN(rate_without_memory);
	RUN(rate_from_receipts);
	RUN(receipts_without_memory);
	RUN(delays);
	RUN(leases);
	free(s);
	return unit_done();
}

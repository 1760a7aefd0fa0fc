/*-------------------------------------------------------------------------
 *
 * sched.c
 *		Which job starts: order, turns, concurrency; many jobs.
 *		Rates and times are in sched_limits.c, what comes and goes in sched_life.c;
 *		schedules at random, with a model, in sched_simulation.c.
 *
 *-------------------------------------------------------------------------
 */
#include "sched_tools.h"

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
	RUN(a_group_for_each_job);
	RUN(many_in_a_group);
	RUN(hash_is_never_0);
	free(s);
	return unit_done();
}

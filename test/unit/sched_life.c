/*-------------------------------------------------------------------------
 *
 * sched_life.c
 *		Jobs that come, and come again; workers that go; segments; kinds and memory
 *		made anew.
 *
 *-------------------------------------------------------------------------
 */
#include "sched_tools.h"

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

/* A worker whose job runs long gives up what is behind it, and stays the one that its queue counts. */
TEST(give_up)
{
	uint64_t from;

	begin(100);
	limit(0, (PennyQueueLimits){.concurrency = 1});
	for (int i = 0; i < 6; i++)
		add(0, 0, 0);
	CHECK(take_batch(7, 10) == 6);
	from = job_of(3)->token;
	/* the first has been ended by its worker, one behind is cancelled by another: both go on */
	CHECK(penny_sched_own(s, penny_sched_find(s, 1, now), now));
	CHECK(penny_sched_own(s, penny_sched_find(s, 5, now), now));
	CHECK(penny_sched_give_up(s, 6, from, now) == 0);
	CHECK(penny_sched_give_up(s, 7, from, now) == 3);
	holds();
	CHECK(penny_sched_give_up(s, 7, from, now) == 0);
	CHECK(job_of(2)->state == PENNY_JOB_ACTIVE && job_of(3)->state == PENNY_JOB_READY);
	penny_sched_finish(s, penny_sched_find(s, 5, now), PENNY_VERB_KEPT, now);
	CHECK(job_of(5)->state == PENNY_JOB_READY);
	CHECK(take_batch(8, 10) == 0 && take_batch(7, 10) == 0);
	penny_sched_finish(s, penny_sched_find(s, 2, now), PENNY_VERB_ENDED, now);
	CHECK(take_batch(8, 10) == 0);
	penny_sched_finish(s, penny_sched_find(s, 1, now), PENNY_VERB_ENDED, now);
	CHECK(take_batch(8, 10) == 4 && penny_sched_job(s, refs[0])->id == 3);
	CHECK(penny_sched_give_up(s, 7, from, now) == 0);
	CHECK(counts_of(0).active == 4);
	holds();
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

int
main(void)
{
	RUN(offered_twice);
	RUN(room);
	RUN(abandon);
	RUN(abandoned_batch_is_in_order);
	RUN(give_up);
	RUN(segments);
	RUN(kinds_change);
	RUN(clear);
	free(s);
	return unit_done();
}

/*-------------------------------------------------------------------------
 *
 * sched_batch.c
 *		Time of the ready order in memory: what a job costs when it is reserved
 *		and posted, when it arrives, when it is taken, when its end is posted
 *		and handled.
 *
 *	sched_batch [JOBS]
 *
 * One process, no lock, no database.  For each case JOBS jobs wait first, or
 * 4,096 where it says so, then batches of 512 (claims of 50) are taken and
 * ended until all are gone.  Each case runs ROUNDS times, and the least of each
 * time counts: others use the machine too.  Prints one line of JSON; times are
 * nanoseconds a job.
 *
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "queue/sched.h"

#define ENTRIES 262144
#define BATCH 512
#define ROUNDS 5

typedef struct Case
{
	const char *name;
	uint32_t backlog; /* 0: all */
	uint32_t groups;  /* 0: none */
	uint32_t priorities;
	bool serial;
	int32_t rate;
} Case;

static const Case cases[] = {
	{"plain", 4096, 0, 1, true, 0},
	{"plain_all", 0, 0, 1, true, 0},
	{"groups_100", 0, 100, 1, true, 0},
	{"groups_100000", 0, 100000, 1, true, 0},
	{"priorities_10", 0, 0, 10, true, 0},
	{"priorities_4096", 4096, 0, 1 << 30, true, 0},
	{"priorities_random", 0, 0, 1 << 30, true, 0},
	{"claims", 0, 0, 1, false, 0},
	{"limited", 0, 0, 1, true, 1 << 20},
};

static PennySched *s;
static uint64_t spent[4]; /* post, arrive, take, end */
static int64_t id;
static uint64_t random_state = 88172645463325252u;

static uint64_t
now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t) now.tv_sec * 1000000000 + (uint64_t) now.tv_nsec;
}

static uint64_t
next_random(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

/* Enqueue n jobs, as transactions of up to 100. */
static void
enqueue(const Case *test, uint32_t n)
{
	while (n > 0)
	{
		uint64_t start = now_ns();
		PennyJobRef first;
		PennyJobRef last = 0;
		uint32_t got = penny_sched_reserve(s, 0, n < 100 ? n : 100, &first);

		if (got == 0)
			exit(1);
		for (PennyJobRef ref = first; ref != 0; ref = penny_sched_next_of(s, ref))
		{
			PennyJob *job = penny_sched_job(s, ref);

			job->id = ++id;
			job->due = 1;
			job->kind = 1;
			job->group = test->groups > 0 ? 1 + next_random() % test->groups : 0;
			job->priority = (int32_t) (next_random() % test->priorities);
			job->verb = PENNY_VERB_ARRIVED;
			last = ref;
		}
		penny_sched_post(s, first, last);
		n -= got;
		spent[0] += now_ns() - start;
		start = now_ns();
		penny_sched_drain(s, 1);
		spent[1] += now_ns() - start;
	}
}

/* Take a batch and end it; how many. */
static uint32_t
work(const Case *test, int64_t now)
{
	PennyTake how = {.runner = PENNY_RUNNER_SQL,
					 .queue = test->serial ? PENNY_SCHED_ANY : 0,
					 .serial = test->serial,
					 .until = test->serial ? PENNY_SCHED_NEVER : 1000000,
					 .max = test->serial ? BATCH : 50};
	PennyJobRef refs[BATCH];
	uint64_t start = now_ns();
	uint32_t n = penny_sched_take(s, &how, now, refs);

	spent[2] += now_ns() - start;
	start = now_ns();
	for (uint32_t i = 0; i < n; i++)
	{
		penny_sched_own(s, refs[i], now);
		penny_sched_job(s, refs[i])->verb = PENNY_VERB_ENDED;
		penny_sched_link(s, refs[i], i + 1 < n ? refs[i + 1] : 0);
	}
	if (n > 0)
		penny_sched_post(s, refs[0], refs[n - 1]);
	penny_sched_drain(s, now);
	spent[3] += now_ns() - start;
	return n;
}

static void
run_once(const Case *test, uint32_t jobs)
{
	static const PennyKindRunner kind = {1, PENNY_RUNNER_SQL};
	PennyQueueLimits limits = {.exists = true, .rate = test->rate, .window = 1};
	uint32_t left = jobs;
	uint32_t waiting = 0;
	int64_t now = 1;

	id = 0;
	memset(spent, 0, sizeof(spent));
	penny_sched_init(s, ENTRIES, 1);
	penny_sched_open_segment(s, 0);
	penny_sched_queue(s, 0, &limits, 1);
	penny_sched_kinds(s, &kind, 1, 1);
	while (left > 0 || waiting > 0)
	{
		uint32_t want = test->backlog > 0 ? test->backlog : jobs;
		uint32_t more = want > waiting && left > 0 ? want - waiting : 0;

		more = more < left ? more : left;
		enqueue(test, more);
		left -= more;
		waiting += more;
		waiting -= work(test, now++);
	}
	if (penny_sched_check(s) != NULL)
		exit(2);
}

static void
measure(const Case *test, uint32_t jobs)
{
	uint64_t least[4];

	memset(least, 0xff, sizeof(least));
	for (int round = 0; round < ROUNDS; round++)
	{
		run_once(test, jobs);
		for (int i = 0; i < 4; i++)
			least[i] = spent[i] < least[i] ? spent[i] : least[i];
	}
	printf(",\"%s\":{\"post\":%u,\"arrive\":%u,\"take\":%u,\"end\":%u}", test->name,
		   (uint32_t) (least[0] / jobs), (uint32_t) (least[1] / jobs), (uint32_t) (least[2] / jobs),
		   (uint32_t) (least[3] / jobs));
}

int
main(int argc, char **argv)
{
	int jobs = argc > 1 ? atoi(argv[1]) : 150000;

	if (jobs <= 0 || jobs > 150000)
		return 1;
	s = aligned_alloc(64, penny_sched_size(ENTRIES));
	if (s == NULL)
		return 1;
	memset(s, 0, penny_sched_size(ENTRIES)); /* so that page faults are not measured */
	printf("{\"jobs\":%d", jobs);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		measure(&cases[i], (uint32_t) jobs);
	printf("}\n");
	free(s);
	return 0;
}

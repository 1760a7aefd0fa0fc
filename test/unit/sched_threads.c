/*-------------------------------------------------------------------------
 *
 * sched_threads.c
 *		The free list and the inbox of the scheduler between threads: enqueuers
 *		reserve, commit or roll back, while one worker at a time holds the lock,
 *		takes, and posts the ends like a committing transaction.
 *
 * Build it with -fsanitize=thread to have the memory order checked.
 *
 *-------------------------------------------------------------------------
 */
#include <pthread.h>
#include <sched.h>

#include "unit.h"

#include "queue/sched_private.h"

#define ENQUEUERS 3
#define WORKERS 2
#define ENTRIES 256 /* few, so that entries come round and round */
#define QUEUES 3

static PennySched *s;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t transactions = 20000; /* of each enqueuer */
static _Atomic int64_t next_id = 1;
static _Atomic uint64_t committed;
static _Atomic uint64_t rolled_back;
static _Atomic uint64_t refused;
static _Atomic uint64_t doubled;
static _Atomic int enqueuing;
static uint64_t ended; /* under the lock, as all below */
static _Atomic uint8_t ran[1 << PENNY_SEGMENT_BITS];

static void *
enqueue(void *arg)
{
	uint64_t random = 77 + (uint64_t) (uintptr_t) arg;

	for (uint64_t i = 0; i < transactions;)
	{
		uint32_t want = 1 + (uint32_t) (unit_random(&random) >> 16) % 9;
		uint16_t queue = (uint16_t) ((unit_random(&random) >> 16) % QUEUES);
		bool commits = (unit_random(&random) >> 16) % 4 != 0;
		PennyJobRef first;
		PennyJobRef last = 0;
		uint32_t got = penny_sched_reserve(s, queue, want, &first);

		for (PennyJobRef ref = first; ref != 0; ref = penny_sched_next_of(s, ref))
		{
			PennyJob *job = penny_sched_job(s, ref);

			job->id = atomic_fetch_add(&next_id, 1);
			job->due = 1;
			job->group = (uint64_t) job->id % 7;
			job->verb = commits ? PENNY_VERB_ARRIVED : PENNY_VERB_DROPPED;
			last = ref;
		}
		atomic_fetch_add(commits ? &committed : &rolled_back, got);
		atomic_fetch_add(&refused, want - got);
		if (got > 0)
		{
			penny_sched_post(s, first, last);
			i++;
		}
		else
			sched_yield();
	}
	atomic_fetch_sub(&enqueuing, 1);
	return NULL;
}

/* Post the ends without the lock; some are kept, and run again. */
static void
end_batch(PennyJobRef *refs, uint32_t n, uint64_t *random)
{
	for (uint32_t i = 0; i < n; i++)
	{
		PennyJob *job = penny_sched_job(s, refs[i]);
		uint64_t how = (unit_random(random) >> 16) % 10;

		job->verb = how == 0 ? PENNY_VERB_KEPT : how == 1 ? PENNY_VERB_RETRY : PENNY_VERB_ENDED;
		if (job->verb == PENNY_VERB_ENDED && atomic_fetch_add(&ran[job->id], 1) != 0)
			atomic_fetch_add(&doubled, 1);
		penny_sched_link(s, refs[i], i + 1 < n ? refs[i + 1] : 0);
	}
	if (n > 0)
		penny_sched_post(s, refs[0], refs[n - 1]);
}

static void *
work(void *arg)
{
	uint32_t self = (uint32_t) (uintptr_t) arg;
	uint64_t random = 1234 + self;
	bool more = true;

	while (more)
	{
		PennyTake how = {PENNY_RUNNER_EXTERNAL, PENNY_SCHED_ANY, true, self, PENNY_SCHED_NEVER, 16};
		PennyJobRef refs[16];
		bool last = atomic_load(&enqueuing) == 0;
		uint32_t n;

		pthread_mutex_lock(&lock);
		penny_sched_abandon(s, self, 1); /* what was kept is ready again */
		n = penny_sched_take(s, &how, 1, refs);
		for (uint32_t i = 0; i < n; i++)
			if (!penny_sched_own(s, refs[i], 1))
				atomic_fetch_add(&doubled, 1);
		more = n > 0 || !last || penny_sched_posted(s);
		pthread_mutex_unlock(&lock);
		end_batch(refs, n, &random);
	}
	return NULL;
}

static uint32_t
count_free(void)
{
	uint32_t count = s->entries + 1 - penny_sched_used(s);

	for (uint32_t ref = (uint32_t) atomic_load(&s->free); ref != 0; ref = penny_job_link(s, ref))
		if (++count > s->entries)
			break;
	return count;
}

/* Every committed job ends once, and every entry is free again. */
TEST(all_end_once)
{
	pthread_t thread[ENQUEUERS + WORKERS];
	PennyQueueLimits limits = {.exists = true};
	PennyQueueCounts counts;
	const char *wrong;

	s = aligned_alloc(64, penny_sched_size(ENTRIES));
	penny_sched_init(s, ENTRIES, 1);
	penny_sched_open_segment(s, 0);
	for (uint16_t queue = 0; queue < QUEUES; queue++)
		penny_sched_queue(s, queue, &limits, 1);
	atomic_store(&enqueuing, ENQUEUERS);
	for (uintptr_t i = 0; i < ENQUEUERS; i++)
		pthread_create(&thread[i], NULL, enqueue, (void *) i);
	for (uintptr_t i = 0; i < WORKERS; i++)
		pthread_create(&thread[ENQUEUERS + i], NULL, work, (void *) i);
	for (int i = 0; i < ENQUEUERS + WORKERS; i++)
		pthread_join(thread[i], NULL);
	penny_sched_drain(s, 1);
	for (uint32_t i = 0; i < WORKERS; i++)
		penny_sched_abandon(s, i, 1);
	for (uint16_t queue = 0; queue < QUEUES; queue++)
	{
		penny_sched_counts(s, queue, 1, &counts);
		ended += counts.ended;
		CHECK(counts.ready[PENNY_RUNNER_EXTERNAL] == 0 && counts.active + counts.ending == 0);
	}
	wrong = penny_sched_check(s);
	if (wrong != NULL)
		printf("# %s\n", wrong);
	CHECK(wrong == NULL);
	CHECK(ended == atomic_load(&committed));
	CHECK(atomic_load(&doubled) == 0);
	CHECK(count_free() == ENTRIES);
	CHECK(ended > 0 && atomic_load(&rolled_back) > 0 && atomic_load(&refused) > 0);
	printf("# %llu ended, %llu rolled back, %llu refused\n", (unsigned long long) ended,
		   (unsigned long long) atomic_load(&rolled_back),
		   (unsigned long long) atomic_load(&refused));
	free(s);
}

/* ---- one owner at a time --------------------------------------------------------------- */

#define OWNERS 4

static _Atomic uint8_t owned[ENTRIES + 1];

/*
 * Reserve, roll back, drain: the first takes long chains, and while it follows
 * one the others take its begin away and bring it back with other links.
 */
static void *
own_and_drop(void *arg)
{
	bool most = arg == NULL;
	uint64_t random = 5 + (uint64_t) (uintptr_t) arg;

	for (uint64_t i = 0; i < transactions * 10; i++)
	{
		uint32_t want = most ? ENTRIES / 3 : 1 + (uint32_t) (unit_random(&random) >> 63);
		PennyJobRef first;
		PennyJobRef last = 0;
		uint32_t got = penny_sched_reserve(s, (uint16_t) (uintptr_t) arg, want, &first);
		uint32_t count = 0;

		for (PennyJobRef ref = first; ref != 0; ref = penny_sched_next_of(s, ref))
		{
			if (atomic_exchange(&owned[ref], 1) != 0 || ++count > got)
			{
				atomic_fetch_add(&doubled, 1);
				return NULL;
			}
			last = ref;
		}
		for (PennyJobRef ref = first; ref != 0; ref = penny_sched_next_of(s, ref))
		{
			penny_sched_job(s, ref)->verb = PENNY_VERB_DROPPED;
			atomic_store(&owned[ref], 0);
		}
		if (got > 0)
			penny_sched_post(s, first, last);
		if (pthread_mutex_trylock(&lock) == 0)
		{
			penny_sched_drain(s, 1);
			pthread_mutex_unlock(&lock);
		}
		if (atomic_load(&doubled) != 0)
			return NULL;
	}
	return NULL;
}

TEST(one_owner_at_a_time)
{
	pthread_t thread[OWNERS];

	s = aligned_alloc(64, penny_sched_size(ENTRIES));
	penny_sched_init(s, ENTRIES, 1);
	for (uintptr_t i = 0; i < OWNERS; i++)
		pthread_create(&thread[i], NULL, own_and_drop, (void *) i);
	for (int i = 0; i < OWNERS; i++)
		pthread_join(thread[i], NULL);
	CHECK(atomic_load(&doubled) == 0);
	if (atomic_load(&doubled) == 0)
		penny_sched_drain(s, 1);
	CHECK(atomic_load(&doubled) != 0 || count_free() == ENTRIES);
	free(s);
}

/* ---- entries that were never used -------------------------------------------------------- */

#define ROUNDS 3000

static pthread_barrier_t barrier;

/* Reserve until there are none, all at the same time; each stays as its owner left it. */
static void *
take_new(void *arg)
{
	for (int round = 0; round < ROUNDS; round++)
	{
		PennyJobRef mine[ENTRIES];
		uint32_t n = 0;

		pthread_barrier_wait(&barrier);
		for (PennyJobRef first; penny_sched_reserve(s, (uint16_t) (uintptr_t) arg, 1, &first) > 0;)
			mine[n++] = first;
		pthread_barrier_wait(&barrier);
		while (n > 0)
			if (penny_sched_job(s, mine[--n])->state != PENNY_JOB_RESERVED)
				atomic_fetch_add(&doubled, 1);
		pthread_barrier_wait(&barrier);
		if (arg == NULL)
			penny_sched_init(s, ENTRIES, 1);
	}
	return NULL;
}

TEST(new_entries_stay_reserved)
{
	pthread_t thread[OWNERS];

	atomic_store(&doubled, 0);
	s = aligned_alloc(64, penny_sched_size(ENTRIES));
	penny_sched_init(s, ENTRIES, 1);
	pthread_barrier_init(&barrier, NULL, OWNERS);
	for (uintptr_t i = 0; i < OWNERS; i++)
		pthread_create(&thread[i], NULL, take_new, (void *) i);
	for (int i = 0; i < OWNERS; i++)
		pthread_join(thread[i], NULL);
	CHECK(atomic_load(&doubled) == 0);
	free(s);
}

int
main(int argc, char **argv)
{
	if (argc > 1)
		transactions = strtoull(argv[1], NULL, 10);
	RUN(all_end_once);
	RUN(one_owner_at_a_time);
	RUN(new_entries_stay_reserved);
	return unit_done();
}

/*-------------------------------------------------------------------------
 *
 * interest.c
 *		The bits of rooms that have members: counting, several edges, an edge
 *		that died, and the race between a join and a commit.
 *
 *-------------------------------------------------------------------------
 */
#include <pthread.h>
#include <sched.h>

#include "unit.h"

#include "plane/interest.h"

#define EDGES 2
#define ROUNDS 5000
#define SPIN 2000 /* then the processor goes to whom we wait for */

static const PennyPlaneConfig small = {.edges = EDGES,
									   .executors = 1,
									   .slots = 1,
									   .request_size = 1024,
									   .response_size = 1024,
									   .events = 16,
									   .event_bytes = 4096};

static PennyPlane pg;
static PennyPlane edge[EDGES]; /* views of the edges, over the same mapping */
static PennyInterest counts[EDGES];

static void
start(void)
{
	const char *failed = penny_plane_create(&pg, &small);

	if (failed != NULL)
	{
		printf("Bail out! %s\n", failed);
		exit(1);
	}
	memset(counts, 0, sizeof(counts));
	for (int i = 0; i < EDGES; i++)
	{
		edge[i] = pg;
		edge[i].self = i;
	}
}

TEST(counting)
{
	uint64_t room = penny_hash("conversation:1", 14, 0);
	uint64_t twin = room + 3 * PENNY_INTEREST_BITS; /* another room of the same bit */
	uint64_t other = room + 1;

	start();
	CHECK(!penny_interest_any(&pg, room));
	penny_interest_add(&edge[0], &counts[0], room);
	CHECK(penny_interest_any(&pg, room));
	CHECK(!penny_interest_any(&pg, other));
	penny_interest_add(&edge[0], &counts[0], twin);
	penny_interest_remove(&edge[0], &counts[0], room);
	CHECK(penny_interest_any(&pg, room));
	penny_interest_remove(&edge[0], &counts[0], twin);
	CHECK(!penny_interest_any(&pg, room));
	/* once too often is no underflow */
	penny_interest_remove(&edge[0], &counts[0], room);
	penny_interest_add(&edge[0], &counts[0], room);
	CHECK(penny_interest_any(&pg, room));
	penny_plane_destroy(&pg);
}

TEST(edges)
{
	start();
	for (uint64_t room = 0; room < PENNY_INTEREST_BITS; room++)
		penny_interest_add(&edge[room % EDGES], &counts[room % EDGES], room);
	for (uint64_t room = 0; room < PENNY_INTEREST_BITS; room++)
		CHECK(penny_interest_any(&pg, room));
	/* one of them dies: what it listened to is gone, the rest is there */
	penny_plane_sweep(&pg, 1);
	for (uint64_t room = 0; room < PENNY_INTEREST_BITS; room++)
		CHECK(penny_interest_any(&pg, room) == (room % EDGES == 0));
	for (uint64_t room = 0; room < PENNY_INTEREST_BITS; room += EDGES)
		penny_interest_remove(&edge[0], &counts[0], room);
	for (uint64_t room = 0; room < PENNY_INTEREST_BITS; room++)
		CHECK(!penny_interest_any(&pg, room));
	penny_plane_destroy(&pg);
}

/*
 * An edge that joins and a backend that commits at the same moment: at least
 * one of them sees the other.
 */
static _Atomic uint32_t committed;
static _Atomic uint32_t round_go;
static _Atomic uint32_t round_done;
static bool saw_bit[ROUNDS];

static void
wait_for(_Atomic uint32_t *word, uint32_t value)
{
	for (int i = 0; atomic_load(word) != value; i++)
		if (i % SPIN == SPIN - 1)
			sched_yield();
}

static void *
commit(void *arg)
{
	for (uint32_t i = 0; i < ROUNDS; i++)
	{
		wait_for(&round_go, i + 1);
		atomic_store_explicit(&committed, i + 1, memory_order_relaxed);
		penny_interest_fence();
		saw_bit[i] = penny_interest_any(&pg, i);
		atomic_store(&round_done, i + 1);
	}
	return arg;
}

TEST(race)
{
	int missed = 0;
	pthread_t thread;

	start();
	pthread_create(&thread, NULL, commit, NULL);
	for (uint32_t i = 0; i < ROUNDS; i++)
	{
		bool saw_commit;

		atomic_store(&round_go, i + 1);
		penny_interest_add(&edge[0], &counts[0], i);
		saw_commit = atomic_load_explicit(&committed, memory_order_relaxed) == i + 1;
		wait_for(&round_done, i + 1);
		missed += !saw_commit && !saw_bit[i];
	}
	pthread_join(thread, NULL);
	CHECK(missed == 0);
	penny_plane_destroy(&pg);
}

int
main(void)
{
	RUN(counting);
	RUN(edges);
	RUN(race);
	return unit_done();
}

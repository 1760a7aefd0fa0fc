/*-------------------------------------------------------------------------
 *
 * share.c
 *		What edges count together: limits, rates, entries of addresses that come
 *		and go, and several edges at it at the same time.
 *
 *-------------------------------------------------------------------------
 */
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit.h"

#include "plane/share.h"

#define SECOND UINT64_C(1000000)
#define EDGES 4
#define LIMIT 10

static const PennyPlaneConfig small = {.edges = EDGES,
									   .executors = 1,
									   .slots = 1,
									   .request_size = 1024,
									   .response_size = 1024,
									   .events = 16,
									   .event_bytes = 4096};

static PennyPlane pg;
static PennyPlane edge[EDGES]; /* views of the edges, over the same mapping */

static void
start(void)
{
	const char *failed = penny_plane_create(&pg, &small);

	if (failed != NULL)
	{
		printf("Bail out! %s\n", failed);
		exit(1);
	}
	for (int i = 0; i < EDGES; i++)
	{
		edge[i] = pg;
		edge[i].self = i;
	}
}

static int
hold(int number, uint64_t address, uint64_t now)
{
	return penny_shared_hold(&edge[number], &address, sizeof(address), now);
}

TEST(total)
{
	start();
	for (int i = 0; i < 6; i++)
		CHECK(penny_shared_connect(&edge[i % 3], 6));
	for (int i = 0; i < EDGES; i++)
		CHECK(!penny_shared_connect(&edge[i], 6));
	penny_shared_disconnect(&edge[2]);
	CHECK(penny_shared_connect(&edge[3], 6));
	CHECK(!penny_shared_connect(&edge[2], 6));
	penny_shared_sweep(&pg, 0);
	CHECK(penny_shared_connect(&edge[1], 6));
	CHECK(penny_shared_connect(&edge[1], 6));
	CHECK(!penny_shared_connect(&edge[1], 6));
	penny_plane_destroy(&pg);
}

TEST(ahead)
{
	start();
	for (int i = 0; i < 4; i++)
		penny_shared_connect(&edge[0], 100);
	CHECK(!penny_shared_ahead(&edge[0], 4));
	penny_shared_serving(&edge[1], true);
	CHECK(penny_shared_ahead(&edge[0], 4));
	CHECK(!penny_shared_ahead(&edge[1], 4));
	penny_shared_connect(&edge[1], 100);
	CHECK(!penny_shared_ahead(&edge[0], 4));
	penny_shared_disconnect(&edge[1]);
	penny_shared_sweep(&pg, 1);
	CHECK(!penny_shared_ahead(&edge[0], 4));
	penny_plane_destroy(&pg);
}

TEST(addresses)
{
	int a, b;

	start();
	a = hold(0, 1, 0);
	CHECK(a >= 0 && hold(1, 1, 0) == a && penny_shared_open(&edge[2], a) == 2);
	b = hold(1, 2, 0);
	CHECK(b >= 0 && b != a);
	penny_shared_hold_again(&edge[1], b);
	CHECK(penny_shared_open(&edge[0], b) == 2 && penny_shared_open(&edge[0], a) == 2);
	penny_shared_sweep(&pg, 1);
	CHECK(penny_shared_open(&edge[0], b) == 0 && penny_shared_open(&edge[0], a) == 1);
	penny_shared_release(&edge[0], a);
	CHECK(hold(3, 1, 0) == a && penny_shared_open(&edge[0], a) == 1);
	penny_shared_release(&edge[0], PENNY_SHARED_NOWHERE);
	CHECK(penny_shared_open(&edge[0], PENNY_SHARED_NOWHERE) == 0);
	penny_plane_destroy(&pg);
}

/* A hundred times as many addresses as there is room for, one after the other. */
TEST(addresses_come_and_go)
{
	start();
	for (uint64_t i = 1; i <= 100 * PENNY_SHARED_ADDRESSES; i++)
	{
		int at = hold((int) (i % EDGES), i, 0);

		if (!CHECK(at >= 0 && penny_shared_open(&pg, at) == 1))
			break;
		penny_shared_release(&edge[i % EDGES], at);
	}
	penny_plane_destroy(&pg);
}

/* Full: no entry is taken from anybody, and none is given twice. */
TEST(table_is_full)
{
	static int held[2 * PENNY_SHARED_ADDRESSES];
	uint64_t found = 0;
	uint64_t wrong = 0;
	uint64_t nowhere = 0;

	start();
	for (uint64_t i = 0; i < 2 * PENNY_SHARED_ADDRESSES; i++)
	{
		held[i] = hold(0, i + 1, 0);
		found += held[i] >= 0;
	}
	CHECK(found > PENNY_SHARED_ADDRESSES * 9 / 10 && found <= PENNY_SHARED_ADDRESSES);
	for (uint64_t i = 0; i < 2 * PENNY_SHARED_ADDRESSES; i++)
		wrong += held[i] >= 0 && penny_shared_open(&pg, held[i]) != 1;
	CHECK(wrong == 0);
	/* while it filled to a half, hardly any found no entry: the seed decides which */
	for (uint64_t i = 0; i < PENNY_SHARED_ADDRESSES / 2; i++)
	{
		nowhere += held[i] < 0;
		wrong += held[i] >= 0 && hold(1, i + 1, 0) != held[i];
	}
	CHECK(wrong == 0 && nowhere <= PENNY_SHARED_ADDRESSES / 1000);
	penny_plane_destroy(&pg);
}

TEST(rates)
{
	int at;
	int served = 0;
	uint64_t now = 5 * SECOND;

	start();
	at = hold(0, 1, now);
	for (int i = 0; i < 50; i++)
		served += penny_shared_take(&edge[i % EDGES], at, PENNY_RATE_CONNECTS, 10, now);
	CHECK(served == 10);
	CHECK(penny_shared_take(&edge[0], at, PENNY_RATE_REQUESTS, 10, now));
	CHECK(!penny_shared_take(&edge[0], at, PENNY_RATE_CONNECTS, 10, now + SECOND / 10 - 1));
	CHECK(penny_shared_take(&edge[0], at, PENNY_RATE_CONNECTS, 10, now + SECOND / 10));
	CHECK(!penny_shared_take(&edge[0], at, PENNY_RATE_CONNECTS, 10, now + SECOND / 10));
	CHECK(penny_shared_take(&edge[0], at, PENNY_RATE_CONNECTS, 0, now));
	CHECK(penny_shared_take(&edge[0], PENNY_SHARED_NOWHERE, PENNY_RATE_CONNECTS, 1, now));

	/* who hangs up and calls again has not a new bucket */
	penny_shared_release(&edge[0], at);
	CHECK(hold(1, 1, now) == at);
	CHECK(!penny_shared_take(&edge[1], at, PENNY_RATE_CONNECTS, 10, now));

	/* a time that an edge gone mad left there does not last */
	atomic_store(&pg.s->address[at].connects_at, UINT64_MAX);
	CHECK(!penny_shared_take(&edge[1], at, PENNY_RATE_CONNECTS, 1, now));
	atomic_store(&pg.s->address[at].connects_at, now + SECOND);
	CHECK(penny_shared_take(&edge[1], at, PENNY_RATE_CONNECTS, 10, now + SECOND));
	penny_plane_destroy(&pg);
}

/* An edge that died while it took an entry leaves it to others. */
TEST(dead_while_taking)
{
	uint64_t lost = 0;

	start();
	for (int i = 0; i < PENNY_SHARED_ADDRESSES; i++)
		atomic_store(&pg.s->address[i].key, 3);
	CHECK(hold(0, 7, 0) == PENNY_SHARED_NOWHERE);
	penny_shared_sweep(&pg, 1);
	CHECK(hold(0, 7, 0) == PENNY_SHARED_NOWHERE);
	penny_shared_sweep(&pg, 2);
	for (uint64_t i = 0; i < 1000; i++)
		lost += hold(0, i + 1, 0) < 0;
	CHECK(lost == 0);
	penny_plane_destroy(&pg);
}

/* One process of several that open and close as fast as they can. */
static int
compete(int self, _Atomic int *inside, _Atomic int *most)
{
	uint64_t random = 77 + (uint64_t) self;
	int held[3];
	int wrong = 0;

	for (int i = 0; i < 100000; i++)
	{
		bool in = penny_shared_connect(&edge[self], LIMIT);

		if (in)
		{
			int n = atomic_fetch_add(inside, 1) + 1;

			wrong += n > LIMIT;
			if (n > atomic_load(most))
				atomic_store(most, n);
		}
		for (int k = 0; k < 3; k++)
		{
			held[k] = hold(self, 1 + unit_random(&random) % 40, 0);
			wrong += held[k] < 0 || penny_shared_open(&pg, held[k]) < 1;
		}
		for (int k = 0; k < 3; k++)
			penny_shared_release(&edge[self], held[k]);
		if (in)
		{
			atomic_fetch_sub(inside, 1);
			penny_shared_disconnect(&edge[self]);
		}
	}
	return wrong > 0;
}

TEST(all_at_once)
{
	_Atomic int *shared =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint32_t left = 0;

	start();
	for (int i = 0; i < EDGES; i++)
	{
		if (fork() == 0)
			_exit(compete(i, &shared[0], &shared[1]));
	}
	for (int i = 0; i < EDGES; i++)
	{
		int status;

		wait(&status);
		CHECK(status == 0);
	}
	for (int i = 0; i < PENNY_SHARED_ADDRESSES; i++)
		left += penny_shared_open(&pg, i);
	CHECK(left == 0);
	for (int i = 0; i < EDGES; i++)
		CHECK(atomic_load(&pg.s->open[i]) == 0);
	CHECK(atomic_load(&shared[1]) >= 1);
	penny_plane_destroy(&pg);
}

int
main(void)
{
	RUN(total);
	RUN(ahead);
	RUN(addresses);
	RUN(addresses_come_and_go);
	RUN(table_is_full);
	RUN(rates);
	RUN(dead_while_taking);
	RUN(all_at_once);
	return unit_done();
}

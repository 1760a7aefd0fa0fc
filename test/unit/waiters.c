/*-------------------------------------------------------------------------
 *
 * waiters.c
 *		Who looks when an event comes: rules one by one, and a simulation of
 *		queues in which clients claim, wait and go, commits race with calls and
 *		events come late, none of which may leave a job to nobody.
 *
 *-------------------------------------------------------------------------
 */
#include "unit.h"

#include "edge/waiters.h"

#define ROOMS 3
#define QUESTIONS 2
#define CLIENTS 24
#define LOOKS 4
#define SCHEDULES 3000
#define STEPS 400

/* A client that claims from a queue. */
typedef struct Client
{
	PennyWaiter waiter; /* first */
	int room;
	int question;
	bool there;
	bool calls;    /* a call is under way */
	bool executed; /* and was carried out */
	bool found;    /* and found a job */
} Client;

typedef struct Queue
{
	int ready;  /* jobs that nobody has */
	int events; /* published, and not read by the edge yet */
	int bits;   /* as listen() says */
} Queue;

static PennyWaiters *waiters;
static Client client[CLIENTS];
static Queue queue[ROOMS];
static int calls;      /* that looks have made */
static bool no_calls;  /* they cannot be made now */
static uint64_t state; /* of the random generator */

static uint64_t
hash_of(int room)
{
	return 1000 + (uint64_t) room * 4096; /* all in one bucket */
}

static void
listen_to(void *arg, uint64_t room, bool on)
{
	Queue *of = &queue[(room - 1000) / 4096];

	(void) arg;
	of->bits += on ? 1 : -1;
	CHECK(of->bits == 0 || of->bits == 1);
}

static bool
look(void *arg, PennyWaiter *waiter)
{
	Client *of = (Client *) waiter;

	(void) arg;
	CHECK(of->there && !of->calls && !waiter->idle);
	if (no_calls)
		return false;
	of->calls = true;
	of->executed = of->found = false;
	calls++;
	return true;
}

static void
start(void)
{
	static const PennyWaitersCallbacks callbacks = {.listen = listen_to, .look = look};

	memset(client, 0, sizeof(client));
	memset(queue, 0, sizeof(queue));
	calls = 0;
	no_calls = false;
	waiters = penny_waiters_create(&callbacks, NULL, LOOKS);
}

/* A client comes; early: its room is known before its call. */
static void
come(Client *of, int room, int question, bool early)
{
	memset(of, 0, sizeof(*of));
	of->room = room;
	of->question = question;
	of->there = of->calls = true;
	if (early)
	{
		CHECK(penny_waiter_enter(waiters, &of->waiter, hash_of(room), (uint64_t) question));
		penny_waiter_asks(&of->waiter);
	}
}

/* An executor carries its call out. */
static void
execute(Client *of)
{
	of->executed = true;
	of->found = queue[of->room].ready > 0;
	queue[of->room].ready -= of->found;
}

/* The edge hears the answer. */
static void
answer(Client *of)
{
	of->calls = false;
	if (of->found)
	{
		penny_waiter_leaves(waiters, &of->waiter, true);
		of->there = false;
		return;
	}
	CHECK(penny_waiter_enter(waiters, &of->waiter, hash_of(of->room), (uint64_t) of->question));
	penny_waiter_rests(waiters, &of->waiter);
}

static void
run_call(Client *of)
{
	execute(of);
	answer(of);
}

/* A job is there when its transaction has committed; its event if anybody listens. */
static void
commit(int room, int jobs)
{
	queue[room].ready += jobs;
	queue[room].events += queue[room].bits;
}

static void
take_event(int room)
{
	queue[room].events--;
	penny_waiters_event(waiters, hash_of(room));
}

/* All calls, events and looks, until nothing moves. */
static void
settle(void)
{
	bool moved = true;

	no_calls = false;
	while (moved)
	{
		moved = false;
		for (int i = 0; i < ROOMS; i++)
		{
			for (; queue[i].events > 0; moved = true)
				take_event(i);
		}
		penny_waiters_turn(waiters);
		for (int i = 0; i < CLIENTS; i++)
		{
			if (!client[i].there || !client[i].calls)
				continue;
			if (!client[i].executed)
				execute(&client[i]);
			answer(&client[i]);
			moved = true;
		}
	}
}

static void
go(Client *of)
{
	/* What it had claimed is given back, and that is an event. */
	if (of->calls && of->executed && of->found)
	{
		penny_waiter_leaves(waiters, &of->waiter, false);
		commit(of->room, 1);
	}
	else
		penny_waiter_leaves(waiters, &of->waiter, false);
	of->there = false;
}

static void
finish(void)
{
	for (int i = 0; i < CLIENTS; i++)
	{
		if (client[i].there)
			go(&client[i]);
	}
	for (int i = 0; i < ROOMS; i++)
		CHECK(queue[i].bits == 0);
	penny_waiters_destroy(waiters);
}

/* ---- rules ----------------------------------------------------------------- */

TEST(one_event_one_look)
{
	start();
	for (int i = 0; i < 20; i++)
	{
		come(&client[i], 0, 0, true);
		run_call(&client[i]);
	}
	commit(0, 1);
	take_event(0);
	penny_waiters_turn(waiters);
	CHECK(calls == 1 && client[0].calls);
	settle();
	CHECK(!client[0].there && queue[0].ready == 0);
	CHECK(calls == 2); /* whether there is more */
	finish();
}

TEST(the_oldest_first)
{
	start();
	for (int i = 0; i < 5; i++)
	{
		come(&client[i], 0, 0, true);
		run_call(&client[i]);
	}
	/* one that looked for nothing keeps its place */
	penny_waiters_event(waiters, hash_of(0));
	settle();
	commit(0, 2);
	settle();
	CHECK(!client[0].there && !client[1].there && client[2].there);
	finish();
}

TEST(many_jobs_by_one_event)
{
	start();
	for (int i = 0; i < 20; i++)
	{
		come(&client[i], 0, 0, true);
		run_call(&client[i]);
	}
	commit(0, 15);
	settle();
	CHECK(queue[0].ready == 0);
	CHECK(calls >= 15 && calls <= 20);
	finish();
}

TEST(each_question_looks)
{
	start();
	for (int i = 0; i < 4; i++)
	{
		come(&client[i], 0, i % 2, true);
		run_call(&client[i]);
	}
	penny_waiters_event(waiters, hash_of(0));
	settle();
	CHECK(calls == 2);
	CHECK(!penny_waiters_wanted(waiters, hash_of(1)) && penny_waiters_wanted(waiters, hash_of(0)));
	finish();
}

TEST(an_event_during_a_look)
{
	start();
	come(&client[0], 0, 0, true);
	execute(&client[0]);
	commit(0, 1);
	take_event(0);
	answer(&client[0]); /* of before the commit */
	settle();
	CHECK(queue[0].ready == 0);
	finish();
}

TEST(a_room_that_is_known_late)
{
	start();
	come(&client[0], 0, 0, false);
	execute(&client[0]);
	commit(0, 1); /* nobody listens: no event */
	CHECK(queue[0].events == 0);
	answer(&client[0]);
	settle();
	CHECK(queue[0].ready == 0 && calls == 1);
	finish();
}

TEST(one_that_goes_while_it_looks)
{
	start();
	for (int i = 0; i < 2; i++)
	{
		come(&client[i], 0, 0, true);
		run_call(&client[i]);
	}
	commit(0, 1);
	take_event(0);
	penny_waiters_turn(waiters);
	CHECK(client[0].calls);
	go(&client[0]);
	settle();
	CHECK(queue[0].ready == 0 && !client[1].there);
	finish();
}

TEST(looks_are_bounded)
{
	start();
	for (int i = 0; i < CLIENTS; i++)
	{
		come(&client[i], i % ROOMS, i, true);
		run_call(&client[i]);
	}
	penny_waiters_lost(waiters);
	penny_waiters_turn(waiters);
	CHECK(calls == LOOKS);
	settle();
	CHECK(calls == CLIENTS);
	no_calls = true;
	penny_waiters_lost(waiters);
	penny_waiters_turn(waiters);
	CHECK(calls == CLIENTS);
	settle();
	CHECK(calls == 2 * CLIENTS);
	finish();
}

/* ---- any order ------------------------------------------------------------------ */

static uint64_t
below(uint64_t n)
{
	return (unit_random(&state) >> 16) % n;
}

static void
step(void)
{
	Client *of = &client[below(CLIENTS)];
	int room = (int) below(ROOMS);

	switch (below(10))
	{
		case 0:
			commit(room, (int) below(4));
			break;
		case 1:
		case 2:
			if (queue[room].events > 0)
				take_event(room);
			break;
		case 3:
			penny_waiters_turn(waiters);
			break;
		case 4:
			no_calls = below(4) == 0;
			break;
		case 5:
			if (of->there && below(3) == 0)
				go(of);
			break;
		case 6:
			if (below(20) == 0)
				penny_waiters_lost(waiters);
			break;
		default:
			if (!of->there)
				come(of, room, (int) below(QUESTIONS), below(2) == 0);
			else if (of->calls && !of->executed)
				execute(of);
			else if (of->calls)
				answer(of);
			break;
	}
}

TEST(no_job_is_left_to_nobody)
{
	for (uint64_t seed = 1; seed <= SCHEDULES && unit_failures == 0; seed++)
	{
		state = seed * UINT64_C(0x9E3779B97F4A7C15);
		start();
		for (int i = 0; i < STEPS; i++)
			step();
		settle();
		for (int i = 0; i < CLIENTS; i++)
		{
			if (client[i].there && queue[client[i].room].ready > 0)
				printf("# seed %lu: a job of queue %d waits, and so does client %d\n",
					   (unsigned long) seed, client[i].room, i);
			CHECK(!client[i].there || queue[client[i].room].ready == 0);
		}
		finish();
	}
}

int
main(void)
{
	RUN(one_event_one_look);
	RUN(the_oldest_first);
	RUN(many_jobs_by_one_event);
	RUN(each_question_looks);
	RUN(an_event_during_a_look);
	RUN(a_room_that_is_known_late);
	RUN(one_that_goes_while_it_looks);
	RUN(looks_are_bounded);
	RUN(no_job_is_left_to_nobody);
	return unit_done();
}

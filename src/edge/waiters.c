/*-------------------------------------------------------------------------
 *
 * waiters.c
 *		Who waits for an event of which room, and who looks.  See waiters.h.
 *
 * A table of rooms by hash; a room has its groups, a group its idle waiters
 * and the number of looks that it may begin (permits).  Groups with a permit
 * and an idle waiter are in a ring and take turns.
 *
 *	event			one permit more
 *	entered late	one permit more, if it rests: its answer may be too old
 *	found			one permit more, two when the one before it found something, too:
 *					many jobs that came by one event soon reach many workers
 *	nothing			no permits are left; or, after an event meanwhile, one
 *	gone			one permit more, if it was asking
 *
 *-------------------------------------------------------------------------
 */
#include "edge/waiters.h"

#include <stdlib.h>

#define BUCKETS 4096

typedef struct Room
{
	struct Room *next; /* in the bucket */
	uint64_t hash;
	PennyWaitGroup *groups;
} Room;

struct PennyWaitGroup
{
	PennyWaitGroup *next; /* of the room */
	PennyWaitGroup *ready_next;
	PennyWaitGroup *ready_prev; /* NULL: not in the ring */
	Room *room;
	uint64_t question;
	uint64_t events; /* that came, or may have */
	PennyWaiter *first;
	PennyWaiter *last;
	uint32_t members;
	uint32_t permits;
	uint32_t found; /* looks in a row that found something */
};

struct PennyWaiters
{
	PennyWaitersCallbacks call;
	void *arg;
	uint32_t looks;
	uint32_t looking;
	uint64_t numbers;
	PennyWaitGroup *ready; /* the group whose turn it is; a ring */
	Room *bucket[BUCKETS];
};

PennyWaiters *
penny_waiters_create(const PennyWaitersCallbacks *callbacks, void *arg, uint32_t looks)
{
	PennyWaiters *waiters = calloc(1, sizeof(*waiters));

	if (waiters == NULL)
		return NULL;
	waiters->call = *callbacks;
	waiters->arg = arg;
	waiters->looks = looks;
	return waiters;
}

void
penny_waiters_destroy(PennyWaiters *waiters)
{
	free(waiters);
}

/* ---- rooms and groups ------------------------------------------------------- */

static Room **
place_of(const PennyWaiters *waiters, uint64_t hash)
{
	Room *const *place = &waiters->bucket[hash % BUCKETS];

	while (*place != NULL && (*place)->hash != hash)
		place = &(*place)->next;
	return (Room **) place;
}

static PennyWaitGroup *
make_group(Room *room, uint64_t question)
{
	PennyWaitGroup *group = calloc(1, sizeof(*group));

	if (group == NULL)
		return NULL;
	group->room = room;
	group->question = question;
	group->next = room->groups;
	room->groups = group;
	return group;
}

static Room *
make_room(PennyWaiters *waiters, uint64_t hash)
{
	Room *room = calloc(1, sizeof(*room));

	if (room == NULL)
		return NULL;
	room->hash = hash;
	room->next = waiters->bucket[hash % BUCKETS];
	waiters->bucket[hash % BUCKETS] = room;
	waiters->call.listen(waiters->arg, hash, true);
	return room;
}

static void
free_room(PennyWaiters *waiters, Room *room)
{
	*place_of(waiters, room->hash) = room->next;
	waiters->call.listen(waiters->arg, room->hash, false);
	free(room);
}

/* The group of a room and a question, made if need be; NULL without memory. */
static PennyWaitGroup *
find_group(PennyWaiters *waiters, uint64_t hash, uint64_t question)
{
	Room *room = *place_of(waiters, hash);
	PennyWaitGroup *group;

	if (room == NULL && (room = make_room(waiters, hash)) == NULL)
		return NULL;
	group = room->groups;
	while (group != NULL && group->question != question)
		group = group->next;
	if (group == NULL)
		group = make_group(room, question);
	if (room->groups == NULL)
		free_room(waiters, room);
	return group;
}

/* ---- whose turn it is --------------------------------------------------------- */

static void
unready(PennyWaiters *waiters, PennyWaitGroup *group)
{
	if (group->ready_prev == NULL)
		return;
	if (group->ready_next == group)
		waiters->ready = NULL;
	else
	{
		group->ready_prev->ready_next = group->ready_next;
		group->ready_next->ready_prev = group->ready_prev;
		if (waiters->ready == group)
			waiters->ready = group->ready_next;
	}
	group->ready_next = group->ready_prev = NULL;
}

/* Is the group in the ring, behind the others, if it has something to do there? */
static void
mind_ready(PennyWaiters *waiters, PennyWaitGroup *group)
{
	PennyWaitGroup *head = waiters->ready;

	if (group->permits == 0 || group->first == NULL)
	{
		unready(waiters, group);
		return;
	}
	if (group->ready_prev != NULL)
		return;
	if (head == NULL)
	{
		waiters->ready = group->ready_next = group->ready_prev = group;
		return;
	}
	group->ready_next = head;
	group->ready_prev = head->ready_prev;
	head->ready_prev->ready_next = group;
	head->ready_prev = group;
}

/* More than members are of no use. */
static void
permit(PennyWaiters *waiters, PennyWaitGroup *group, uint32_t more)
{
	group->permits += more;
	if (group->permits > group->members)
		group->permits = group->members;
	mind_ready(waiters, group);
}

static void
free_group(PennyWaiters *waiters, PennyWaitGroup *group)
{
	PennyWaitGroup **place = &group->room->groups;

	unready(waiters, group);
	while (*place != group)
		place = &(*place)->next;
	*place = group->next;
	if (group->room->groups == NULL)
		free_room(waiters, group->room);
	free(group);
}

/* ---- waiters -------------------------------------------------------------------- */

/* Among the idle ones, by age: who looked for nothing stands in front again. */
static void
link_idle(PennyWaiter *waiter)
{
	PennyWaitGroup *group = waiter->group;
	PennyWaiter *after = group->last;

	if (group->first != NULL && waiter->number < group->first->number)
		after = NULL;
	while (after != NULL && after->number > waiter->number)
		after = after->prev;
	waiter->prev = after;
	waiter->next = after != NULL ? after->next : group->first;
	if (after != NULL)
		after->next = waiter;
	else
		group->first = waiter;
	if (waiter->next != NULL)
		waiter->next->prev = waiter;
	else
		group->last = waiter;
	waiter->idle = true;
}

static void
unlink_idle(PennyWaiter *waiter)
{
	PennyWaitGroup *group = waiter->group;

	if (waiter->prev != NULL)
		waiter->prev->next = waiter->next;
	else
		group->first = waiter->next;
	if (waiter->next != NULL)
		waiter->next->prev = waiter->prev;
	else
		group->last = waiter->prev;
	waiter->next = waiter->prev = NULL;
	waiter->idle = false;
}

static void
stop_looking(PennyWaiters *waiters, PennyWaiter *waiter)
{
	waiters->looking -= waiter->looking;
	waiter->looking = false;
}

bool
penny_waiter_enter(PennyWaiters *waiters, PennyWaiter *waiter, uint64_t room, uint64_t question)
{
	PennyWaitGroup *group;

	if (waiter->group != NULL && waiter->group->room->hash == room &&
		waiter->group->question == question)
		return true;
	if (waiter->group != NULL)
		penny_waiter_leaves(waiters, waiter, false);
	group = find_group(waiters, room, question);
	if (group == NULL)
		return false;
	group->members++;
	waiter->group = group;
	waiter->number = ++waiters->numbers;
	waiter->seen = group->events - 1;
	return true;
}

void
penny_waiter_asks(PennyWaiter *waiter)
{
	if (waiter->group != NULL)
		waiter->seen = waiter->group->events;
}

void
penny_waiter_rests(PennyWaiters *waiters, PennyWaiter *waiter)
{
	PennyWaitGroup *group = waiter->group;

	stop_looking(waiters, waiter);
	link_idle(waiter);
	group->found = 0;
	if (waiter->seen != group->events)
		permit(waiters, group, 1);
	else
	{
		group->permits = 0;
		mind_ready(waiters, group);
	}
}

void
penny_waiter_leaves(PennyWaiters *waiters, PennyWaiter *waiter, bool found)
{
	PennyWaitGroup *group = waiter->group;
	bool asked = !waiter->idle;

	stop_looking(waiters, waiter);
	if (group == NULL)
		return;
	if (waiter->idle)
		unlink_idle(waiter);
	waiter->group = NULL;
	if (--group->members == 0)
	{
		free_group(waiters, group);
		return;
	}
	if (found)
		group->found++;
	permit(waiters, group, !asked ? 0 : found && group->found > 1 ? 2 : 1);
}

/* ---- events ------------------------------------------------------------------------ */

bool
penny_waiters_wanted(const PennyWaiters *waiters, uint64_t room)
{
	return *place_of(waiters, room) != NULL;
}

static void
tell_room(PennyWaiters *waiters, const Room *room)
{
	for (PennyWaitGroup *group = room->groups; group != NULL; group = group->next)
	{
		group->events++;
		permit(waiters, group, 1);
	}
}

void
penny_waiters_event(PennyWaiters *waiters, uint64_t room)
{
	const Room *found = *place_of(waiters, room);

	if (found != NULL)
		tell_room(waiters, found);
}

void
penny_waiters_lost(PennyWaiters *waiters)
{
	for (int i = 0; i < BUCKETS; i++)
	{
		for (const Room *room = waiters->bucket[i]; room != NULL; room = room->next)
			tell_room(waiters, room);
	}
}

void
penny_waiters_turn(PennyWaiters *waiters)
{
	while (waiters->ready != NULL && waiters->looking < waiters->looks)
	{
		PennyWaitGroup *group = waiters->ready;
		PennyWaiter *waiter = group->first;

		unlink_idle(waiter);
		waiter->looking = true;
		waiters->looking++;
		penny_waiter_asks(waiter);
		if (!waiters->call.look(waiters->arg, waiter))
		{
			stop_looking(waiters, waiter);
			link_idle(waiter);
			return;
		}
		group->permits--;
		unready(waiters, group);
		mind_ready(waiters, group);
	}
}

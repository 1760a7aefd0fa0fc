/*-------------------------------------------------------------------------
 *
 * flight.c
 *		One builds, the others wait a moment.
 *
 * A table in shared memory says which keys are being built.  Who finds his key
 * there waits on its condition variable; who does not, enters it.  This spares
 * work and is never needed: a key whose place is taken by another, a wait that
 * lasts too long, a builder that dies, only make somebody build the same once
 * more.  Who has built for SLICE is no longer waited for: the next one takes
 * the flight over.  Two who build what the other waits for get out of it in
 * the same way.
 *
 * A flight ends with the collector of its builder, however that goes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/proc.h"

#include "base/clock.h"
#include "base/compat.h"
#include "cache/cache_private.h"

#define SLICE 10 /* ms for one who builds */

static void leave(int code, Datum arg);

/* In the postmaster. */
void
penny_flight_table_init(PennyCacheShared *shared)
{
	for (int i = 0; i < PENNY_CACHE_FLIGHTS; i++)
		ConditionVariableInit(&shared->flight[i].done);
}

static uint32
wait_event(void)
{
	static uint32 event = 0;

	if (event == 0)
		event = penny_wait_event_new("PennyCacheFlight");
	return event;
}

/*
 * Enter the key, or wait for who has it.  deadline: until when to wait at all.
 */
PennyFlightStart
penny_flight_start(const PennyCacheKey *key, int64 deadline, int *flight)
{
	static bool registered = false;
	int number = key->word[1] % PENNY_CACHE_FLIGHTS;
	PennyFlight *entry = &penny_cache_shared()->flight[number];
	LWLock *lock = penny_cache_lock(PENNY_FLIGHT_LOCK);
	int64 now = penny_clock_ms();
	PennyFlightStart answer = PENNY_FLIGHT_MINE;

	*flight = PENNY_FLIGHT_NONE;
	if (!registered)
	{
		before_shmem_exit(leave, (Datum) 0);
		registered = true;
	}

	ConditionVariablePrepareToSleep(&entry->done);
	LWLockAcquire(lock, LW_EXCLUSIVE);
	if (entry->owner != 0 && entry->owner != PENNY_MY_PROC_NUMBER + 1)
	{
		bool same = memcmp(&entry->key, key, sizeof(*key)) == 0;

		if (now < entry->since + SLICE)
			answer = same && now < deadline ? PENNY_FLIGHT_WAITED : PENNY_FLIGHT_ALONE;
	}
	else if (entry->owner != 0)
		answer = PENNY_FLIGHT_ALONE; /* our own, around this one */
	if (answer == PENNY_FLIGHT_MINE)
	{
		entry->key = *key;
		entry->owner = PENNY_MY_PROC_NUMBER + 1;
		entry->since = now;
		*flight = number;
	}
	LWLockRelease(lock);

	if (answer == PENNY_FLIGHT_WAITED)
	{
		penny_cache_count(waits);
		(void) ConditionVariableTimedSleep(&entry->done, SLICE, wait_event());
	}
	ConditionVariableCancelSleep();
	return answer;
}

/* The key has been built, or will not be. */
void
penny_flight_end(int flight)
{
	PennyFlight *entry;
	LWLock *lock;

	if (flight == PENNY_FLIGHT_NONE)
		return;
	entry = &penny_cache_shared()->flight[flight];
	lock = penny_cache_lock(PENNY_FLIGHT_LOCK);
	LWLockAcquire(lock, LW_EXCLUSIVE);
	if (entry->owner == PENNY_MY_PROC_NUMBER + 1)
		entry->owner = 0;
	LWLockRelease(lock);
	ConditionVariableBroadcast(&entry->done);
}

/* A process that ends has built what it will build. */
static void
leave(int code, Datum arg)
{
	(void) code;
	(void) arg;
	for (int i = 0; i < PENNY_CACHE_FLIGHTS; i++)
		if (penny_cache_shared()->flight[i].owner == PENNY_MY_PROC_NUMBER + 1)
			penny_flight_end(i);
}

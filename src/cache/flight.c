/*-------------------------------------------------------------------------
 *
 * flight.c
 *		One builds, the others wait a moment.
 *
 * A table in shared memory says which keys are being built.  Who finds his key
 * there waits on its condition variable; who does not, enters it.  This spares
 * work and is never needed: a key whose place is taken by another, a wait that
 * lasts too long, a builder that dies, only make somebody build the same once
 * more.
 *
 * A builder is waited for as long as he builds, PATIENCE at most: the more
 * there is to build, the more it spares.  But one who himself waits for a lock,
 * a client, another server or another flight may wait for us.  So after SLICE he is no longer
 * waited for, and the next one takes the flight over; two who build what the
 * other waits for get out of it in this way.  (His wait event is read without a
 * lock: what is read wrong costs a SLICE or a build.)
 *
 * A flight ends with the collector of its builder, however that goes.  When
 * what was built could not be kept, those who waited build for themselves: the
 * same would happen to each of them, and one after the other they would wait
 * for all.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/proc.h"
#include "utils/wait_event.h"

#include "base/clock.h"
#include "base/compat.h"
#include "cache/cache_private.h"

#define PATIENCE 5000 /* ms that a reader waits for others, in all */
#define SLICE 10      /* ms after which it is looked whether a builder waits himself */

#define WAIT_CLASS 0xFF000000U /* of a wait event */

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

/* Does a process wait for what may be waiting for us? */
static bool
waits_itself(int owner)
{
	uint32 what = GetPGProcByNumber(owner - 1)->wait_event_info & WAIT_CLASS;

	/* that of extensions: a flight of ours, or another server's answer */
	return what == PG_WAIT_LOCK || what == PG_WAIT_CLIENT || what == PG_WAIT_EXTENSION;
}

/* Somebody has entered this place of the table: wait, take it over, or build alone? */
static PennyFlightStart
meet(const PennyFlight *entry, const PennyCacheKey *key, const PennyFlightWait *wait, int64 now)
{
	if (entry->owner == PENNY_MY_PROC_NUMBER + 1)
		return PENNY_FLIGHT_ALONE; /* our own, around this one */
	if (now >= entry->since + SLICE && waits_itself(entry->owner))
		return PENNY_FLIGHT_MINE;
	if (memcmp(&entry->key, key, sizeof(*key)) != 0 || now >= wait->deadline)
		return PENNY_FLIGHT_ALONE;
	return PENNY_FLIGHT_WAITED;
}

/*
 * Enter the key, or wait for who has it.  *wait is all zero at the first call
 * for a read, and goes from one call to the next.
 */
PennyFlightStart
penny_flight_start(const PennyCacheKey *key, PennyFlightWait *wait, int *flight)
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
	if (wait->deadline == 0)
	{
		wait->deadline = now + PATIENCE;
		wait->failures = entry->failures;
	}
	if (entry->failures != wait->failures)
		answer = PENNY_FLIGHT_ALONE;
	else if (entry->owner != 0)
		answer = meet(entry, key, wait, now);
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

/* The key has been built and kept, or not. */
void
penny_flight_end(int flight, bool kept)
{
	PennyFlight *entry;
	LWLock *lock;

	if (flight == PENNY_FLIGHT_NONE)
		return;
	entry = &penny_cache_shared()->flight[flight];
	lock = penny_cache_lock(PENNY_FLIGHT_LOCK);
	LWLockAcquire(lock, LW_EXCLUSIVE);
	if (entry->owner == PENNY_MY_PROC_NUMBER + 1)
	{
		entry->owner = 0;
		entry->failures += !kept;
	}
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
			penny_flight_end(i, false);
}

/*-------------------------------------------------------------------------
 *
 * announce.c
 *		What a transaction has changed, for the relay to tell.
 *
 * The conversations are noted in TopTransactionContext as they change.  At
 * PRE_COMMIT room in the ring of changes is claimed; at COMMIT the ring is
 * filled, and the relay's latch set.  That cannot fail, allocate or wait, and
 * no socket is touched.  Without room, or with more than MAX_CHANGES of them,
 * the relay is told at COMMIT to sweep.  A change that another module makes at
 * its own PRE_COMMIT, after ours, claims its place when it is noted.
 *
 * What a rolled-back subtransaction changed is told all the same: a key less
 * in Redis does no harm.  Prepared transactions: see prepared.c.
 *
 * Conversations belong to penny.database; sessions of others note nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "commands/dbcommands.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "config/config.h"
#include "redis/redis.h"
#include "redis/shared.h"

#define FIRST_CHANGES 16
#define MAX_CHANGES 1024
#define LOOK_BACK 16 /* the same conversation is found again among so many */

/* Of the current transaction. */
static struct
{
	pg_uuid_t *id;
	int n;
	int space;
	int claimed;
	bool all;
	bool claiming; /* PRE_COMMIT is over: claim at once */
} mine;

static bool here(void);
static void claim(int n);
static void publish(void);
static void forget(void);
static void xact_callback(XactEvent event, void *arg);

void
penny_redis_announce_init(void)
{
	RegisterXactCallback(xact_callback, NULL);
}

/* Is there shared memory, and is this session in the database that it is for? */
static bool
here(void)
{
	static int known = -1;

	if (penny_redis_shared == NULL || !OidIsValid(MyDatabaseId) || !IsTransactionState())
		return false;
	if (known < 0)
	{
		char *name = get_database_name(MyDatabaseId);

		known = name != NULL && strcmp(name, penny_database) == 0;
	}
	return known == 1;
}

void
penny_redis_changed(const char *uuid)
{
	pg_uuid_t id;

	if (!here() || mine.all || !penny_redis_parse_uuid(uuid, &id))
		return;
	for (int i = mine.n - 1; i >= Max(0, mine.n - LOOK_BACK); i--)
		if (memcmp(&mine.id[i], &id, sizeof(id)) == 0)
			return;
	if (mine.n == MAX_CHANGES)
	{
		penny_redis_changed_all();
		return;
	}
	if (mine.n == mine.space)
	{
		int space = Max(mine.space * 2, FIRST_CHANGES);

		if (mine.id == NULL)
			mine.id = MemoryContextAlloc(TopTransactionContext, (Size) space * sizeof(id));
		else
			mine.id = repalloc(mine.id, (Size) space * sizeof(id));
		mine.space = space;
	}
	mine.id[mine.n++] = id;
	if (mine.claiming)
		claim(1);
}

void
penny_redis_changed_all(void)
{
	if (here())
		mine.all = true;
}

/* Room for n more; without it everything will be swept. */
static void
claim(int n)
{
	if (mine.all)
		return;
	if (penny_ring_claim(penny_redis_changes, (uint32) n))
		mine.claimed += n;
	else
		mine.all = true;
}

/* COMMIT: must not fail. */
static void
publish(void)
{
	if (!mine.claiming || (mine.n == 0 && !mine.all))
		return;
	if (mine.all)
	{
		penny_redis_count(PENNY_REDIS_CHANGES_LOST, Max(mine.n, 1));
		pg_atomic_write_u32(&penny_redis_shared->sweep, 1);
	}
	else
	{
		penny_ring_publish(penny_redis_changes, mine.id, (uint32) mine.n);
		mine.claimed -= mine.n;
	}
	penny_redis_wake_relay();
}

static void
forget(void)
{
	if (mine.claimed > 0)
		penny_ring_unclaim(penny_redis_changes, (uint32) mine.claimed);
	memset(&mine, 0, sizeof(mine));
}

static void
xact_callback(XactEvent event, void *arg)
{
	(void) arg;
	if (penny_redis_shared == NULL)
		return;
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			mine.claiming = pg_atomic_read_u32(&penny_redis_shared->on) != 0;
			if (mine.claiming && mine.n > 0)
				claim(mine.n);
			break;
		case XACT_EVENT_COMMIT:
			publish();
			forget();
			break;
		case XACT_EVENT_PRE_PREPARE:
			if ((mine.n > 0 || mine.all) && pg_atomic_read_u32(&penny_redis_shared->on) != 0)
				penny_redis_prepare(mine.id, mine.n, mine.all);
			break;
		case XACT_EVENT_PREPARE:
		case XACT_EVENT_ABORT:
			forget();
			break;
		default:
			break;
	}
}

/*-------------------------------------------------------------------------
 *
 * claim_upkeep.c
 *		External workers that are not sessions of this server, and claims of those
 *		that are gone.
 *
 * A request for jobs that waits at an edge is woken by the room queue:<name>.  The
 * transaction that brings an external job tells that room when it commits.  What
 * becomes ready by time, or comes back, is told by the worker that does the queue's
 * upkeep: at most once until a look has found nothing ready.  Where nobody waits,
 * nothing is told (realtime/publish.h).
 *
 * A lease that is over is an attempt that failed, recorded by the same worker.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "storage/proc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "queue/claim.h"
#include "queue/config.h"
#include "queue/queue.h"
#include "realtime/publish.h"

#define EXPIRE_AT_ONCE 100 /* leases in a transaction */

static void
room_of(char *room, Size size, const char *queue)
{
	snprintf(room, size, "queue:%s", queue);
}

/* Once for a queue in a subtransaction, as far as that is easily known. */
void
penny_claims_tell(uint16 queue)
{
	static LocalTransactionId last_lxid = InvalidLocalTransactionId;
	static SubTransactionId last_sub = InvalidSubTransactionId;
	static uint16 last_queue;
	char room[NAMEDATALEN + 16];
	PennyQueueConfig config;

	if (last_lxid == MyProc->lxid && last_sub == GetCurrentSubTransactionId() &&
		last_queue == queue)
		return;
	if (!penny_publish_active() || !penny_queue_by_id(queue, &config))
		return;
	room_of(room, sizeof(room), NameStr(config.name));
	penny_publish_hint(room, NULL, 0);
	last_lxid = MyProc->lxid;
	last_sub = GetCurrentSubTransactionId();
	last_queue = queue;
}

/* Is something ready of which the room was not told since it became so? */
static bool
is_news(uint16 queue)
{
	static bool told[PENNY_SCHED_QUEUES];
	bool ready;
	bool news;

	penny_queue_lock();
	ready = penny_sched_waits(penny_queue_sched(), PENNY_RUNNER_EXTERNAL, queue, penny_queue_now());
	penny_queue_unlock();
	news = ready && !told[queue];
	told[queue] = ready;
	return news;
}

static void
tell_all(void)
{
	PennyQueueConfig *queues;
	int n = penny_queue_read_all(&queues);

	for (int i = 0; i < n; i++)
	{
		char room[NAMEDATALEN + 16];

		room_of(room, sizeof(room), NameStr(queues[i].name));
		if (penny_publish_wanted(room, strlen(room)) && is_news(queues[i].id))
			penny_publish_hint(room, NULL, 0);
	}
}

int64
penny_claims_upkeep(void)
{
	int expired = penny_claim_expire(EXPIRE_AT_ONCE);
	int64 next;

	if (penny_publish_active())
		tell_all();
	penny_queue_lock();
	next = penny_sched_next(penny_queue_sched(), PENNY_RUNNER_EXTERNAL, penny_queue_now());
	penny_queue_unlock();
	return expired == EXPIRE_AT_ONCE ? 0 : next;
}

/*-------------------------------------------------------------------------
 *
 * penny.c
 *		Module magic and _PG_init: the table of contents of penny.
 *
 * The library is loaded in two ways.  Preloaded (shared_preload_libraries),
 * it has shared memory, settings and workers.  Loaded into a running session
 * (CREATE EXTENSION in a server that did not preload it), it has its SQL
 * functions and the identity behind them only; those that need the plane say
 * which line is missing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"

#include "auth/identity.h"
#include "auth/key.h"
#include "base/crash.h"
#include "base/epoch.h"
#include "base/planemap.h"
#include "base/registry.h"
#include "base/shmem.h"
#include "base/worker.h"
#include "cache/cache.h"
#include "cache/l2.h"
#include "config/config.h"
#include "executor/pool.h"
#include "gateway/shelf.h"
#include "gateway/watch.h"
#include "queue/enqueue.h"
#include "queue/queue.h"
#include "queue/worker.h"
#include "realtime/publish.h"
#include "redis/redis.h"
#include "store/access.h"
#include "store/change.h"
#include "store/room.h"

PG_MODULE_MAGIC;

extern PGDLLEXPORT void _PG_init(void);

static void register_workers(void);

void
_PG_init(void)
{
	/* What SQL functions and triggers need in any session. */
	penny_identity_init();
	penny_access_init();
	penny_enqueue_check_room = penny_room_check_write;

	if (!process_shared_preload_libraries_in_progress)
	{
		penny_change_init();
		return;
	}

	penny_redis_settings_init();
	penny_config_init();

	/* Shared parts, in the order in which they are made. */
	penny_epoch_init();
	penny_crash_init(); /* before those that ask who crashed */
	penny_planemap_init(penny_config_plane);
	penny_registry_init();
	penny_key_init();
	penny_shelf_init();
	penny_executor_init();
	penny_cache_init(); /* before those that write when a transaction commits */
	penny_publish_init();
	penny_redis_init();
	penny_l2_init();
	penny_change_init(); /* after publish: what it writes back is said, too */
	penny_queue_init();
	penny_job_worker_init();
	penny_shmem_init();

	/* Hooks. */
	penny_watch_init();

	/* Workers; a server that pg_upgrade works on gets none. */
	if (!IsBinaryUpgrade)
		register_workers();
}

/* The supervisor first: should slots be short, it is the one that says so. */
static void
register_workers(void)
{
	penny_worker_register(PENNY_SUPERVISOR, 0);
	for (int i = 0; i < penny_gateways; i++)
		penny_worker_register(PENNY_GATEWAY, i);
	for (int i = 0; i < penny_executors_min; i++)
		penny_worker_register(PENNY_EXECUTOR, i);
}

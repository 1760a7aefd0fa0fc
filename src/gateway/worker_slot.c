/*-------------------------------------------------------------------------
 *
 * worker_slot.c
 *		Starting a dynamic worker, for the supervisor.
 *
 * Slots are the server's (max_worker_processes), so a start may find none.  That
 * is told once, until a start succeeds; the supervisor tries again after
 * PENNY_SLOT_PAUSE, and what would have run waits meanwhile.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "config/config.h"
#include "gateway/worker_slot.h"

bool
penny_slot_start(PennyWorkerKind kind, int number, const char *name, BackgroundWorkerHandle **asked,
				 bool *told)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	bool started = penny_worker_start(kind, number, asked);

	MemoryContextSwitchTo(old);
	if (!started)
	{
		*asked = NULL;
		if (!*told)
			ereport(LOG, (errcode(ERRCODE_INSUFFICIENT_RESOURCES),
						  errmsg("no background worker slot is free for %s", name),
						  errhint("Set \"max_worker_processes\" to %d.",
								  Max(penny_config_worker_slots(), max_worker_processes + 1))));
	}
	*told = !started;
	return started;
}

/*-------------------------------------------------------------------------
 *
 * triggers.h
 *		The triggers of schema chat, and locking for the functions.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_TRIGGERS_H
#define PENNY_TRIGGERS_H

#include "postgres.h"

#include "commands/trigger.h"

/* BEFORE ROW: number the change, fill what the row leaves out. */
extern HeapTuple penny_trigger_order(TriggerData *trigger);
/* AFTER ROW: counters, tombstones, publication. */
extern void penny_trigger_publish(TriggerData *trigger);
/* AFTER STATEMENT: write the conversations back. */
extern void penny_trigger_flush(TriggerData *trigger);

#endif /* PENNY_TRIGGERS_H */

/*-------------------------------------------------------------------------
 *
 * invalidate.h
 *		penny.invalidate(): the trigger that raises the stamps of tags.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_INVALIDATE_H
#define PENNY_INVALIDATE_H

#include "postgres.h"

#include "commands/trigger.h"

/* The trigger: its arguments are pairs of a tag's name and a column. */
extern void penny_invalidate_by_trigger(const TriggerData *trigger);
/* Is this function penny.invalidate()? */
extern bool penny_invalidate_is(Oid function);
/* Names of triggers that do not fire always: what depends on them is not kept. */
extern int penny_tag_idle_count(void);

#endif /* PENNY_INVALIDATE_H */

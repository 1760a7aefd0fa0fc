/*-------------------------------------------------------------------------
 *
 * triggers_private.h
 *		What the triggers of schema chat share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_TRIGGERS_PRIVATE_H
#define PENNY_TRIGGERS_PRIVATE_H

#include "postgres.h"

#include "store/tables.h"
#include "store/triggers.h"

/* The table that a trigger fires on. */
extern PennyTable penny_trigger_table(TriggerData *trigger);
/* Does the row come with its numbers, from a publisher or a dump? */
extern bool penny_trigger_is_replicated(void);
/* The version at which a conversation of this identifier was deleted, or 0. */
extern int64 penny_trigger_deleted_version(const pg_uuid_t *conversation);
/* Have both rows the same UUID, or both none? */
extern bool penny_row_same_uuid(const PennyRow *a, const PennyRow *b, PennyColumn column);

#endif /* PENNY_TRIGGERS_PRIVATE_H */

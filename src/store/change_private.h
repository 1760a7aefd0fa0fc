/*-------------------------------------------------------------------------
 *
 * change_private.h
 *		What the files of change share: what is known, and what is written.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_CHANGE_PRIVATE_H
#define PENNY_CHANGE_PRIVATE_H

#include "postgres.h"

#include "store/change.h"

/* ---- change_known.c -------------------------------------------------------- */

extern PennyChange *penny_change_find(const pg_uuid_t *conversation);
extern PennyChange *penny_change_add(const pg_uuid_t *conversation);
extern PennyChange *penny_change_next_marked(void);

/* ---- change_direct.c ------------------------------------------------------ */

/* Without a statement; false: the table is not so plain that this would do. */
extern bool penny_change_write_counters(const PennyChange *change);
extern bool penny_change_move_participants(const PennyChange *change, TimestampTz active_at);

/* ---- change_write.c -------------------------------------------------------- */

/* Statements of penny's own at this level of the transaction, or deeper, ended. */
extern void penny_change_leave_level(int nest);
/* The user whose row was seen may have none any more. */
extern void penny_change_forget_user(void);

#endif /* PENNY_CHANGE_PRIVATE_H */

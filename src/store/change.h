/*-------------------------------------------------------------------------
 *
 * change.h
 *		Conversations that the current transaction changes: their lock, their
 *		counters, and who writes them back.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_CHANGE_H
#define PENNY_CHANGE_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "lib/ilist.h"
#include "utils/uuid.h"

#include "store/tables.h"

/* What this transaction knows about a conversation whose row it has locked. */
typedef struct PennyChange
{
	pg_uuid_t id;
	bool gone;           /* there is no such row (any more) */
	bool deleting;       /* a DELETE of the row has begun */
	bool created_here;   /* made by this transaction: nobody can be watching */
	bool pending;        /* counters differ from the row: to be written back */
	bool head_lost;      /* the newest message was deleted: find the one before */
	bool active_changed; /* last_message_at changed: participants follow */
	int64 version;       /* newest change */
	int64 last_seq;      /* newest seq ever given */
	int64 count;         /* messages */
	bool has_head;
	pg_uuid_t head; /* newest message */
	bool has_tail;
	pg_uuid_t tail; /* newest message that got a seq, written or not yet */
	bool has_last_message_at;
	TimestampTz last_message_at;
	TimestampTz created_at;
	int64 *open; /* versions given but not yet published, ascending */
	int nopen;
	int maxopen;
	int nest;                  /* transaction nesting level of the newest change */
	struct PennyChange *saved; /* state before that level changed it */
	bool dirty;                /* in the list of those to be written back */
	dlist_node nested;         /* in the list of those with nest > 1 */
} PennyChange;

/* Lock the conversation's row (once a transaction); gone if there is none. */
extern PennyChange *penny_change_open(const pg_uuid_t *conversation);
/* The same for a row that the executor holds already. */
extern PennyChange *penny_change_adopt(const PennyRow *conversation);
/* A row that was made by this transaction. */
extern PennyChange *penny_change_created(const PennyRow *conversation);
/* The next version, to be published later by penny_change_published(). */
extern int64 penny_change_next_version(PennyChange *change);
/* A version was published (or need not be). */
extern void penny_change_published(PennyChange *change, int64 version);
/* Mark for penny_change_flush(). */
extern void penny_change_mark(PennyChange *change);
/* About to change anything in it. */
extern void penny_change_touch(PennyChange *change);
/* Write all marked conversations back. */
extern void penny_change_flush(void);
/* Know nothing any more; all must have been written back. */
extern void penny_change_forget(void);
/* penny itself is writing: its triggers have nothing to do. */
extern bool penny_change_is_internal(void);
extern void penny_change_enter_internal(void);
extern void penny_change_leave_internal(void);
/* Make a user's row if there is none. */
extern void penny_change_ensure_user(const pg_uuid_t *user);

/* Install transaction callbacks; from _PG_init. */
extern void penny_change_init(void);

#endif /* PENNY_CHANGE_H */

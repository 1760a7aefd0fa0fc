/*-------------------------------------------------------------------------
 *
 * publish.h
 *		Transactional publication: what a transaction says here reaches the
 *		edges when, and only when, it commits.
 *
 * Any backend may call these, usually from a trigger.  The events are kept in
 * TopTransactionContext, those of a rolled-back subtransaction are dropped.
 * All that can fail happens here or at PRE_COMMIT; the COMMIT callback takes
 * a place in the ring (plane/event.h), copies, wakes, and cannot fail,
 * allocate or wait.  At PREPARE TRANSACTION the rooms are registered, and the
 * commit of the prepared transaction publishes them without frames.
 *
 * Without a plane (penny not preloaded) everything here does nothing.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_PUBLISH_H
#define PENNY_PUBLISH_H

#include "postgres.h"

#include "utils/uuid.h"

/*
 * A room changed to `version`: `frame` is the whole JSON text for the client
 * (one line, UTF-8), or NULL: the edge reads the change from the table.
 */
extern void penny_publish_change(const char *room, int64 version, const char *frame, int frame_len);
/* Broadcast without a version, in the order of the commits. */
extern void penny_publish_event(const char *room, const char *frame, int frame_len);
/* The same, but not for that member of that edge; see plane/event.h. */
extern void penny_publish_signal(const char *room, const char *frame, int frame_len, int edge,
								 uint64 member);
/* A user lost access to the room at `version`. */
extern void penny_publish_left(const char *room, int64 version, const pg_uuid_t *user_id);
/* The room's conversation is gone. */
extern void penny_publish_gone(const char *room, int64 version);
/* Anything may have changed (TRUNCATE): every room is read again. */
extern void penny_publish_resync(void);
/* penny.routes changed: executors and edges read it again after the commit. */
extern void penny_publish_routes(void);

/* Hooks and callbacks; from _PG_init. */
extern void penny_publish_init(void);

#endif /* PENNY_PUBLISH_H */

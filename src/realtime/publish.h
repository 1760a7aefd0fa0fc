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
 * allocate or wait.  Of rooms in which nobody is, it tells nothing
 * (plane/interest.h).  At PREPARE TRANSACTION the rooms are registered, and the
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

/* Is there a plane, and is this session in the database that it is for? */
extern bool penny_publish_active(void);
/*
 * Is it worth building a frame for this room: may anybody be in it now?  After
 * a no, say the change without one; the commit looks once more.
 */
extern bool penny_publish_wanted(const char *room, Size room_len);

/*
 * A room changed to `version`: `frame` is the whole JSON text for the client
 * (one line, UTF-8), or NULL: the edge reads the change from the table.
 */
extern void penny_publish_change(const char *room, int64 version, const char *frame, int frame_len);
/* Broadcast without a version, in the order of the commits. */
extern void penny_publish_event(const char *room, const char *frame, int frame_len);
/*
 * The same, but what it says can be read elsewhere, too: where it cannot be
 * told (too much in one transaction, or a prepared one), members are told that
 * they missed something.  Without a frame, likewise: for one who comes before
 * the commit.
 */
extern void penny_publish_hint(const char *room, const char *frame, int frame_len);
/*
 * The same, but at once, and so whatever becomes of the transaction, if there is
 * one.  For sessions of penny.database.  Cannot fail, allocate or wait: COMMIT
 * callbacks may call it, about what is visible to others already.
 */
extern void penny_publish_now(const char *room, const char *frame, int frame_len);
/* May anybody be in a room of this hash (penny_hash() of its name, seed 0)?  As cheap. */
extern bool penny_publish_wanted_now(uint64 room_hash);
/* The piece `index` of a message that grows; see plane/event.h. */
extern void penny_publish_stream(const char *room, int64 index, const char *frame, int frame_len);
/* The same as an event, but not for that member of that edge; see plane/event.h. */
extern void penny_publish_signal(const char *room, const char *frame, int frame_len, int edge,
								 uint64 member);
/* A user lost access to the room at `version`. */
extern void penny_publish_left(const char *room, int64 version, const pg_uuid_t *user_id);
/* The room's conversation is gone. */
extern void penny_publish_gone(const char *room, int64 version);
/* A session of the user ended or changed: its sockets are verified again. */
extern void penny_publish_session(const pg_uuid_t *user_id);
/* A message begins to grow: who looks after dead producers has work. */
extern void penny_publish_streaming(void);
/* A tool begins to run: who looks after those that never end has work. */
extern void penny_publish_executing(void);
/* Who may be in the room has changed: every member is asked again. */
extern void penny_publish_recheck(const char *room);
/* Anything may have changed (TRUNCATE): every room is read again. */
extern void penny_publish_resync(void);
/*
 * Rights of roles have changed, in whatever database, and the invalidations of
 * the change are sent (so not from a COMMIT callback): publishes at once that
 * everybody's token and rooms are asked again.
 */
extern void penny_publish_rights(void);
/* penny.routes changed: executors and edges read it again after the commit. */
extern void penny_publish_routes(void);

/* Hooks and callbacks; from _PG_init. */
extern void penny_publish_init(void);

#endif /* PENNY_PUBLISH_H */

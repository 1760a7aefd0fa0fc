/*-------------------------------------------------------------------------
 *
 * stream.h
 *		Messages that grow: pieces, text so far, checkpoints, dead producers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_STREAM_H
#define PENNY_STREAM_H

#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/snapshot.h"
#include "utils/uuid.h"

#include "store/tables.h"

#define PENNY_STREAM_CHUNK 16384 /* bytes of one piece */

/* Is a row of messages one that grows? */
extern bool penny_stream_is_open(const PennyRow *message);

/* Have a message for oneself: before its row, after its conversation. */
extern void penny_stream_lock(const pg_uuid_t *message);
/*
 * Add a piece as the caller; gives its index.  With `wanted` above 0 it must
 * be that one: a piece that is there already is not added again.
 */
extern int64 penny_stream_append(const pg_uuid_t *message, text *chunk, int64 wanted);
/* From _penny.stream_writable(), in a statement of penny_stream_append(). */
extern void penny_stream_note_writable(const pg_uuid_t *conversation);
/* Before content that replaces the text so far: put the pieces into the row. */
extern void penny_stream_save(const pg_uuid_t *message);
/* Give a row that grows its text so far, as the snapshot sees it; and the index. */
extern int64 penny_stream_complete(PennyRow *message, Snapshot snapshot);
/* The line with the state of a message that grows, for who joins its room. */
extern void penny_stream_state(StringInfo out, const PennyRow *message, Snapshot snapshot);

/*
 * A row that grows is being updated: true when `content` is what it must get,
 * pieces and all.  From the BEFORE trigger.
 */
extern bool penny_stream_fold(const PennyRow *old, const PennyRow *row, Datum *content);
/* The message is gone. */
extern void penny_stream_forget(const pg_uuid_t *message);

/* Drop pieces of messages that are gone, or do not grow any more. */
extern void penny_stream_drop_orphans(void);
/*
 * Close the messages whose producers are silent for penny.stream_timeout, or
 * lost their pieces with a crash; gives how many still grow.
 */
extern int penny_stream_sweep(void);

#endif /* PENNY_STREAM_H */

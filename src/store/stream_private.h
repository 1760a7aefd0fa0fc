/*-------------------------------------------------------------------------
 *
 * stream_private.h
 *		What the parts of stream.h share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_STREAM_PRIVATE_H
#define PENNY_STREAM_PRIVATE_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "lib/stringinfo.h"
#include "utils/snapshot.h"
#include "utils/uuid.h"

#include "store/tables.h"

/* Where the pieces of a message stand: their last row. */
typedef struct PennyStreamTail
{
	int64 index;            /* pieces so far */
	int32 pending;          /* bytes of text since the last checkpoint */
	TimestampTz saved_at;   /* the last checkpoint */
	TimestampTz written_at; /* the last piece */
} PennyStreamTail;

/* The table of pieces. */
extern Oid penny_stream_table(void);
/* Begin a frame of a stream, up to and with the index and a comma. */
extern void penny_stream_begin_frame(StringInfo out, const pg_uuid_t *conversation,
									 const pg_uuid_t *message, int64 index);
extern bool penny_stream_tail(const pg_uuid_t *message, Snapshot snapshot, PennyStreamTail *tail);
/* Like penny_stream_lock(), but false instead of waiting. */
extern bool penny_stream_try_lock(const pg_uuid_t *message);
/* Without a row of pieces: may it have lost some? */
extern bool penny_stream_is_lost(const PennyRow *message);

#endif /* PENNY_STREAM_PRIVATE_H */

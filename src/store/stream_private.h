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
#include "utils/snapshot.h"

#include "store/tables.h"

/* Where the pieces of a message stand: their last row. */
typedef struct PennyStreamTail
{
	int64 index;            /* pieces so far */
	int32 pending;          /* bytes of text since the last checkpoint */
	TimestampTz saved_at;   /* the last checkpoint */
	TimestampTz written_at; /* the last piece */
} PennyStreamTail;

extern bool penny_stream_tail(const pg_uuid_t *message, Snapshot snapshot, PennyStreamTail *tail);
/* Without a row of pieces: may it have lost some? */
extern bool penny_stream_is_lost(const PennyRow *message);

#endif /* PENNY_STREAM_PRIVATE_H */

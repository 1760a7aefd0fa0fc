/*-------------------------------------------------------------------------
 *
 * read.h
 *		Reading conversations as JSON, under the caller's policies.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_READ_H
#define PENNY_READ_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "lib/stringinfo.h"
#include "utils/uuid.h"

#include "store/shape.h"

/* How rows become JSON: penny_render_text or penny_render_jsonb. */
typedef void (*PennyWriter)(StringInfo out, PennyShape *shape, const PennyRow *row);

/* The eager fetch; false where the caller may not see the conversation. */
extern bool penny_read_conversation(StringInfo out, PennyWriter write, const pg_uuid_t *id,
									int messages);
/* A page of history; false where the caller may not see the conversation. */
extern bool penny_read_messages(StringInfo out, PennyWriter write, const pg_uuid_t *id,
								int64 before, int64 after, int limit);
/* One message with its user and tool executions; false if not to be seen. */
extern bool penny_read_message(StringInfo out, PennyWriter write, const pg_uuid_t *id);

/* The artifacts of a conversation; false where the caller may not see it. */
extern bool penny_read_artifacts(StringInfo out, PennyWriter write, const pg_uuid_t *id);
extern void penny_read_models(StringInfo out, PennyWriter write);
/* The sessions of a user, past policies: the caller's own. */
extern void penny_read_sessions(StringInfo out, PennyWriter write, const pg_uuid_t *user);

/* Where a page of a user's list begins. */
typedef struct PennyListCursor
{
	bool valid; /* false: at the newest */
	TimestampTz active_at;
	pg_uuid_t id;
} PennyListCursor;

/* Take a cursor as it came with the page before; false: it is none of ours. */
extern bool penny_read_cursor(PennyListCursor *cursor, const char *text);
extern void penny_read_list(StringInfo out, PennyWriter write, const pg_uuid_t *user, int limit,
							const PennyListCursor *cursor, bool archived);

/*
 * What a room's watcher has missed since a version (negative: nothing is
 * asked for), as lines of version and frame, up to *version; *more when that
 * is a page and not all.  False if not to be seen.
 */
extern bool penny_read_changes(StringInfo out, const pg_uuid_t *id, int64 since, int64 *version,
							   bool *more);

#endif /* PENNY_READ_H */

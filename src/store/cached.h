/*-------------------------------------------------------------------------
 *
 * cached.h
 *		Reads of the store through the cache.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_CACHED_H
#define PENNY_CACHED_H

#include "postgres.h"

#include "store/read.h"

typedef enum PennyStoreRead
{
	PENNY_READ_CONVERSATION,      /* as jsonb */
	PENNY_READ_CONVERSATION_TEXT, /* as text */
	PENNY_READ_MESSAGES,
	PENNY_READ_LIST, /* id: whose */
	PENNY_READ_ARTIFACTS,
	PENNY_READ_MODELS,
	PENNY_READ_SESSIONS /* id: whose */
} PennyStoreRead;

/* What is read; part of the key as it lies, so it begins with zeros. */
typedef struct PennyReadArgs
{
	pg_uuid_t id;
	int64 before; /* messages */
	int64 after;
	int64 limit; /* of messages or conversations */
	PennyListCursor cursor;
	int64 archived;
} PennyReadArgs;

/*
 * The value, of type jsonb or text, palloc'd; NULL where the caller may not see
 * what is asked for.
 */
extern struct varlena *penny_cached_read(PennyStoreRead what, const PennyReadArgs *args);

/* As penny_read_changes(), from memory for who has missed nothing. */
extern bool penny_cached_changes(StringInfo out, const pg_uuid_t *id, int64 since, int64 *version,
								 bool *more);

#endif /* PENNY_CACHED_H */

/*-------------------------------------------------------------------------
 *
 * lookup.h
 *		Rows of schema chat by index, past privileges and policies.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_LOOKUP_H
#define PENNY_LOOKUP_H

#include "postgres.h"

#include "access/genam.h"
#include "executor/tuptable.h"
#include "utils/rel.h"
#include "utils/snapshot.h"

/* Indexes that are looked up: by leading columns. */
typedef enum PennyKey
{
	PENNY_KEY_USER_ID,         /* users (id) */
	PENNY_KEY_CONVERSATION,    /* conversations (id) */
	PENNY_KEY_PARTICIPANT,     /* participants (conversation_id, user_id) */
	PENNY_KEY_PARTICIPATIONS,  /* participants (user_id) */
	PENNY_KEY_MESSAGE,         /* messages (id) */
	PENNY_KEY_MESSAGE_TOOLS,   /* tool_executions (message_id) */
	PENNY_KEY_ARTIFACT,        /* artifacts (id) */
	PENNY_KEY_ARTIFACT_NUMBER, /* artifact_versions (artifact_id) */
	PENNY_KEY_TOMBSTONES,      /* tombstones (conversation_id, version) */
	PENNY_KEY_SESSION,         /* sessions (token_hash) */
	PENNY_KEY_USER_SESSIONS,   /* sessions (user_id) */
	PENNY_KEYS
} PennyKey;

typedef struct PennyLookup
{
	Relation table;
	Relation index;
	IndexScanDesc scan;
	TupleTableSlot *slot;
} PennyLookup;

/*
 * Scan by an index, past privileges and policies: the caller decides what may
 * come of it.  The row of a true penny_lookup_next() is in the slot.
 */
extern void penny_lookup_begin(PennyLookup *lookup, PennyKey key, Snapshot snapshot,
							   LOCKMODE lockmode, int nvalues, const Datum *values);
extern bool penny_lookup_next(PennyLookup *lookup, ScanDirection direction);
extern void penny_lookup_end(PennyLookup *lookup);
/* The first row of a key, or false. */
extern bool penny_lookup_exists(PennyKey key, Snapshot snapshot, int nvalues, const Datum *values);
/* An index may be another one now; from the invalidation of tables. */
extern void penny_lookup_forget(void);

#endif /* PENNY_LOOKUP_H */

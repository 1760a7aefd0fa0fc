/*-------------------------------------------------------------------------
 *
 * answer.h
 *		The answer to a call, and its way into the plane.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_ANSWER_H
#define PENNY_ANSWER_H

#include "postgres.h"

#include "lib/stringinfo.h"
#include "storage/latch.h"

#include "plane/call.h"

/* All memory belongs to the call's context. */
typedef struct PennyAnswer
{
	MemoryContext context;
	uint32 status;
	StringInfoData head; /* header lines "name: value\n"; JSON for PENNY_OP_JOIN */
	const char *body;
	Size body_len;
	bool own; /* of a built-in route: may hold header lines for the edge, "penny-..." */
	PennyResponseExtra extra; /* told to the edge; the viewer outlives a reset */
} PennyAnswer;

extern void penny_answer_init(PennyAnswer *answer, MemoryContext context);
/* Forget what was answered so far: status, head, body and mark. */
extern void penny_answer_reset(PennyAnswer *answer);
/* Add a header line; the caller vouches for name and value. */
extern void penny_answer_header(PennyAnswer *answer, const char *name, const char *value);
/* Take a JSON text in the database's encoding as the body; copied when not UTF-8. */
extern void penny_answer_json(PennyAnswer *answer, char *json, Size len);

/*
 * Put the answer into the call's slot, in pieces if need be.  Outside a
 * transaction, since it waits for the edge; gives up when the edge is another
 * one, the client is gone, or nothing was taken for penny.write_timeout.
 */
extern void penny_answer_deliver(PennyPlane *plane, const PennyCall *call, int executor,
								 const PennyAnswer *answer, WaitEventSet *wait);

/* Lower-case hexadecimal hash of a text, in quotes: an entity tag. */
#define PENNY_ETAG_LEN 18
extern void penny_etag_of(const char *text, Size len, char out[PENNY_ETAG_LEN + 1]);

#endif /* PENNY_ANSWER_H */

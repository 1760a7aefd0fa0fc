/*-------------------------------------------------------------------------
 *
 * result.h
 *		From what a handler returned to an answer.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_RESULT_H
#define PENNY_RESULT_H

#include "postgres.h"

#include "executor/answer.h"
#include "plane/call.h"

/*
 * A json, jsonb or penny.response: fills in the answer, in
 * its context.  NULL is PY404; what cannot be sent is an error of the handler.
 * HEAD gets the answer of GET, from which the edge takes the length alone.  A
 * 200 to either gets an entity tag, unless the handler gave one.
 */
extern void penny_result_answer(PennyAnswer *answer, const PennyRequest *request, Datum value,
								bool isnull, Oid type);

/*
 * Make the answer a 304 where If-None-Match says that the client has it; raise
 * PY412 where a read is not of what If-Match says.
 */
extern void penny_result_condition(PennyAnswer *answer, const PennyRequest *request);

#endif /* PENNY_RESULT_H */

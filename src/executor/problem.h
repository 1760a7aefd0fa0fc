/*-------------------------------------------------------------------------
 *
 * problem.h
 *		From an error to a problem document (RFC 9457).
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_PROBLEM_H
#define PENNY_PROBLEM_H

#include "postgres.h"

#include "executor/answer.h"

/* What the error alone does not tell. */
typedef struct PennyProblemContext
{
	const char *request_id;
	bool token_given; /* a 401 is about a token that was there */
	bool timed_out;   /* a cancel was that of the statement timeout */
	int timeout;      /* ms, for the text */
	uint32 allowed;   /* methods of the path, as 1 << PennyMethod */
} PennyProblemContext;

/* HTTP status of an SQLSTATE. */
extern uint32 penny_problem_status(int sqlerrcode, bool timed_out);
/* Reason phrase of a status. */
extern const char *penny_problem_title(uint32 status);
/* Make the answer a problem document of this error. */
extern void penny_problem_answer(PennyAnswer *answer, const ErrorData *error,
								 const PennyProblemContext *context);
/* The whole document of an error that has no ErrorData; truncated to size. */
extern int penny_problem_print(char *out, size_t size, uint32 status, const char *request_id);

#endif /* PENNY_PROBLEM_H */

/*-------------------------------------------------------------------------
 *
 * error.h
 *		penny's own conditions, and the check of invariants.
 *
 * SQLSTATE class PY: 'PY' and the HTTP status.  A handler that raises one of
 * them is answered with that status; src/executor/problem.c has the table for
 * all other classes.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_ERROR_H
#define PENNY_ERROR_H

#include "postgres.h"

#define ERRCODE_PENNY_BAD_REQUEST MAKE_SQLSTATE('P', 'Y', '4', '0', '0')
#define ERRCODE_PENNY_UNAUTHORIZED MAKE_SQLSTATE('P', 'Y', '4', '0', '1')
#define ERRCODE_PENNY_FORBIDDEN MAKE_SQLSTATE('P', 'Y', '4', '0', '3')
#define ERRCODE_PENNY_NOT_FOUND MAKE_SQLSTATE('P', 'Y', '4', '0', '4')
#define ERRCODE_PENNY_CONFLICT MAKE_SQLSTATE('P', 'Y', '4', '0', '9')
#define ERRCODE_PENNY_PRECONDITION_FAILED MAKE_SQLSTATE('P', 'Y', '4', '1', '2')
#define ERRCODE_PENNY_TOO_LARGE MAKE_SQLSTATE('P', 'Y', '4', '1', '3')
#define ERRCODE_PENNY_UNSUPPORTED_MEDIA_TYPE MAKE_SQLSTATE('P', 'Y', '4', '1', '5')
#define ERRCODE_PENNY_UNPROCESSABLE MAKE_SQLSTATE('P', 'Y', '4', '2', '2')
#define ERRCODE_PENNY_TOO_MANY_REQUESTS MAKE_SQLSTATE('P', 'Y', '4', '2', '9')
#define ERRCODE_PENNY_QUARANTINED MAKE_SQLSTATE('P', 'Y', '5', '0', '0')
#define ERRCODE_PENNY_UNAVAILABLE MAKE_SQLSTATE('P', 'Y', '5', '0', '3')

/*
 * A broken invariant: stops an assert-enabled build, is an error elsewhere.
 * The expression is evaluated once.
 */
#define penny_ensure(condition)                           \
	do                                                    \
	{                                                     \
		if (unlikely(!(condition)))                       \
			penny_broken(#condition, __FILE__, __LINE__); \
	} while (0)

extern void penny_broken(const char *condition, const char *file, int line)
	__attribute__((noreturn, cold));

/* Raise 55000 with the missing line unless penny was preloaded. */
extern void penny_require_preload(void);

#endif /* PENNY_ERROR_H */

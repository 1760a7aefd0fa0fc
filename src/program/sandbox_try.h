/*-------------------------------------------------------------------------
 *
 * sandbox_try.h
 *		Tries of a sandbox: each forbidden thing in a process of its own that
 *		has entered the sandbox; results as TAP.
 *
 * A try passes when the kernel refused it (EPERM, EACCES) or ended the process
 * (SIGSYS, SIGSEGV), as the table says.  A program's own tables end with
 * things that must go on working.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_PROGRAM_SANDBOX_TRY_H
#define PENNY_PROGRAM_SANDBOX_TRY_H

#include <stdbool.h>
#include <stddef.h>

typedef enum PennyExpect
{
	PENNY_REFUSED, /* the call fails, the process goes on */
	PENNY_KILLED,  /* the process is ended by a signal */
	PENNY_WORKS
} PennyExpect;

typedef struct PennyTry
{
	const char *what;
	PennyExpect expect;
	bool (*run)(void); /* did it succeed? */
} PennyTry;

/*
 * Run what every program must be refused, then the program's own.  `enter`
 * goes into the sandbox; NULL, or what failed.  Returns an exit code.
 */
extern int penny_sandbox_tries(const PennyTry *own, size_t nown, const char *(*enter)(void) );

#endif /* PENNY_PROGRAM_SANDBOX_TRY_H */

/*-------------------------------------------------------------------------
 *
 * caller.h
 *		Who is calling: from a request's token to identity and role.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_CALLER_H
#define PENNY_CALLER_H

#include "postgres.h"

#include "executor/run.h"
#include "plane/route.h"

/*
 * Find out who is calling and note it in run->caller.  A token that is there
 * must be good, also where none is needed; PY401 tells what is wrong.  Without
 * a token the caller is nobody, or penny.dev_user for a loopback client.
 * Inside the transaction of the request, still as penny_authenticator.
 *
 * What the edge may remember of a token is noted in run->answer.extra.viewer.
 */
extern void penny_caller_find(PennyRun *run);

/* Raise PY401 or PY403 unless the caller may use a route of this access. */
extern void penny_caller_check(const PennyRun *run, PennyAccess access);

/* Take the caller's identity and role for the rest of the transaction. */
extern void penny_caller_become(PennyRun *run);

/* The role in which nobody acts, at a public route. */
extern Oid penny_caller_nobody(void);

#endif /* PENNY_CALLER_H */

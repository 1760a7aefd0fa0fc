/*-------------------------------------------------------------------------
 *
 * handler.h
 *		The function of an SQL handler, ready to be called.  See handler.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_QUEUE_HANDLER_H
#define PENNY_QUEUE_HANDLER_H

#include "postgres.h"

#include "fmgr.h"

#include "queue/queue.h"

typedef struct PennyJobFunction
{
	Oid role; /* in which it runs */
	FmgrInfo flinfo;
} PennyJobFunction;

/* Callbacks of the caches; once in a process, connected. */
extern void penny_job_function_init(void);
/*
 * The function and role of a handler; an error when one is not there any more, or the
 * role may not execute the function.  Valid until the next call.
 */
extern PennyJobFunction *penny_job_function(const PennyHandler *handler);
/* Call it: the result in the current memory context, NULL for null. */
extern Jsonb *penny_job_call(PennyJobFunction *function, const Jsonb *payload);

/* What a function must be: (jsonb) returning jsonb.  An error, or its OID. */
extern Oid penny_job_function_check(const char *signature, Oid role);

#endif /* PENNY_QUEUE_HANDLER_H */

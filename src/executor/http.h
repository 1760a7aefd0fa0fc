/*-------------------------------------------------------------------------
 *
 * http.h
 *		A call of kind HTTP: route, caller, handler, answer.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EXECUTOR_HTTP_H
#define PENNY_EXECUTOR_HTTP_H

#include "postgres.h"

#include "executor/run.h"

/* Inside the transaction of the call; see dispatch.h. */
extern void penny_http_run(PennyRun *run);

/* Methods of the path that was found, except those that only read. */
extern uint32 penny_http_writing_methods(const PennyRun *run);

/* Once the transaction is over: Server-Timing, if the client asked for it. */
extern void penny_http_timing(PennyRun *run);

#endif /* PENNY_EXECUTOR_HTTP_H */

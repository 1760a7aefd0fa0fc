/*-------------------------------------------------------------------------
 *
 * run.h
 *		One call: what is known of it while it runs.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_RUN_H
#define PENNY_RUN_H

#include "postgres.h"

#include "auth/identity.h"
#include "executor/answer.h"
#include "executor/problem.h"
#include "plane/call.h"

#define PENNY_REQUEST_ID_SIZE 80

/* Who is calling, as far as the answer needs it. */
typedef struct PennyCaller
{
	PennyIdentity identity;
	const char *role; /* name; NULL: nobody, a public route */
	int64 exp;        /* seconds since 1970 when the token ends, 0 = never */
} PennyCaller;

typedef struct PennyRun
{
	PennyPlane *plane;
	PennyCall call;
	PennyRequest request;  /* spans into the executor's copy */
	MemoryContext context; /* of the call: outlives its transactions */
	char request_id[PENNY_REQUEST_ID_SIZE];
	const char *activity; /* "GET /pattern", in the call's context */
	PennyAnswer answer;
	PennyProblemContext problem;
	PennyCaller caller;
	uint64 routes_stamp; /* of the plane, before the snapshot was taken */
	bool counted;        /* for the rate of its user */
	bool cached;         /* its route is one whose answers may be kept */
	int nest_level;      /* of the settings that the call makes */
	int64 started;       /* us, when the call was claimed */
	int64 authenticated; /* us, when the caller was known */
	int64 handled;       /* us, when the handler had returned */
} PennyRun;

/* Make contexts; once in a process. */
extern void penny_run_init(void);
/*
 * Run a claimed call to its answer, whatever happens in it: errors become
 * problem documents.  The answer is in the result, not yet delivered, and
 * lives until the next call.  No transaction is open afterwards.
 */
extern PennyRun *penny_run(PennyPlane *plane, const PennyCall *call);
/* Answer a claimed call without running it. */
extern PennyRun *penny_run_refuse(PennyPlane *plane, const PennyCall *call, int sqlerrcode,
								  const char *reason);

/* Id of the request that is running, for an answer from outside. */
extern const char *penny_run_request_id(void);

/* Set what the call is shown as: activity, statement of log lines. */
extern void penny_run_show(PennyRun *run, const char *activity);
/*
 * Limit the call to so many ms since it was claimed, all its attempts together,
 * instead of the limit it had; 0 leaves that.  An attempt begins with
 * penny.statement_timeout.
 */
extern void penny_run_limit(PennyRun *run, int timeout);

/* End the process when the call still runs after so many ms; for a signal handler. */
extern void penny_run_leave(int timeout);

/* Microseconds of the monotonic clock. */
extern int64 penny_run_clock(void);

#endif /* PENNY_RUN_H */

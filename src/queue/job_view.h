/*-------------------------------------------------------------------------
 *
 * job_view.h
 *		What becomes of a job, for who looks: from the scheduler's memory while it
 *		lives, from its receipts when it has ended.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_QUEUE_JOB_VIEW_H
#define PENNY_QUEUE_JOB_VIEW_H

#include "postgres.h"

#include "queue/queue.h"

/* What is known of a job whose row lies in a segment or with the deferred ones. */
typedef struct PennyJobView
{
	const char *state; /* waiting, delayed, active, completed, failed, cancelled; NULL: moved */
	int attempt;       /* attempts that have begun */
	TimestampTz due;   /* 0: as its row says; 0 below: not known */
	TimestampTz started;
	TimestampTz ended;
	TimestampTz until; /* end of its lease */
	const char *worker;
	Jsonb *result;
	const char *error;
} PennyJobView;

/* May the current user see it?  Agents may see all, users what they enqueued. */
extern bool penny_job_view_allowed(int64 id);
/*
 * `due` as its row says.  With `whole` false the state alone, as cheaply as that can
 * be had.
 */
extern void penny_job_view(int64 id, TimestampTz due, bool whole, PennyJobView *view);

#endif /* PENNY_QUEUE_JOB_VIEW_H */

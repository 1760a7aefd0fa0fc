/*-------------------------------------------------------------------------
 *
 * ending.h
 *		What follows from the end of a job, beside its receipt: all of it in the
 *		transaction that records the end.
 *
 * penny_ending_record() calls these when the outcome is final: COMPLETED, FAILED
 * (it is a dead letter) or CANCELLED, and has been written down; not for RETRY and
 * MOVED.  Each costs nothing for jobs that it does not concern.
 *
 * A parent in a flow fails by its child's end: it is deferred, in no entry, and its
 * row is locked.  Such an end is recorded with ref 0.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_QUEUE_ENDING_H
#define PENNY_QUEUE_ENDING_H

#include "queue/queue.h"

/* PENNY_JOB_KEYED: give the key back, let the job that waited for this one go on. */
extern void penny_ending_keys(const PennyEnding *ending);
/* PENNY_JOB_CHILD, and parents: count down, pass the result up, forget children. */
extern void penny_ending_flow(const PennyEnding *ending);
/* PENNY_JOB_REDRIVEN, and dead letters: what it was before. */
extern void penny_ending_lineage(const PennyEnding *ending);
/* PENNY_JOB_TOLD: job.completed, job.failed, job.cancelled. */
extern void penny_ending_events(const PennyEnding *ending);
/* job.progress, at once. */
extern void penny_progress_event(const PennyJobRow *row, Jsonb *progress);

#endif /* PENNY_QUEUE_ENDING_H */

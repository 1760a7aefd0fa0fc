/*-------------------------------------------------------------------------
 *
 * marks.h
 *		Jobs that crash the process that runs them.  See marks.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_QUEUE_MARKS_H
#define PENNY_QUEUE_MARKS_H

#include "postgres.h"

/* From _PG_init, after penny_crash_init(). */
extern void penny_job_marks_init(void);
/* Take the mark of a worker, and the signals that end it; once in a process. */
extern void penny_job_marks_attach(int worker);

/* This job is about to run, or to be read; instead of the one before. */
extern void penny_job_mark(int64 id, const char *kind);
/* Nothing runs any more, and the process lives. */
extern void penny_job_mark_end(void);

/* Is any job charged?  A load. */
extern bool penny_job_any_charged(void);
/* How often the job has crashed its process. */
extern int penny_job_crashes(int64 id);
/* Too often: what to say of it, in the current memory context; else NULL. */
extern char *penny_job_condemned(int64 id);
/* The job has been run to an end; a suspect is cleared, one that ended is forgotten. */
extern void penny_job_acquit(int64 id, bool ended);
/* The process ends since the job that is marked did not stop when told to. */
extern void penny_job_charge_marked(void);

#endif /* PENNY_QUEUE_MARKS_H */

/*-------------------------------------------------------------------------
 *
 * keys.h
 *		Keys of jobs: at most one waiting job of a key in a queue.
 *
 * _penny.job_keys has a row for each key that is held: by which job, and after
 * which running job that one waits (`after`).  A key is held until its job has
 * ended; the row is taken away in the transaction that says so.
 *
 *	keep		the job that holds the key stays, and nothing is enqueued
 *	replace		a holder that has not started is cancelled, and the new job takes
 *				its place; one that runs is left, and the new job waits for its end
 *	debounce	as replace; the new job needs a delay, which so begins again
 *
 * Keys are a queue's, not a user's.  Who is no agent is told of, and replaces, only
 * jobs that it could have enqueued itself: of the same user, and of a kind that is
 * open to it.  Else the key is refused (PY409).
 *
 * The row is locked before the job is looked at in memory, and whoever ends a job
 * makes it his own in memory before he comes for the row: so of two jobs with one
 * key never both are waiting, and never both run.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_QUEUE_KEYS_H
#define PENNY_QUEUE_KEYS_H

#include "postgres.h"

#include "queue/queue.h"

#define PENNY_JOB_KEY_MAX 512 /* bytes */

typedef enum PennyKeyMode
{
	PENNY_KEY_KEEP,
	PENNY_KEY_REPLACE,
	PENNY_KEY_DEBOUNCE
} PennyKeyMode;

/* 'keep', 'replace', 'debounce', or PY400. */
extern PennyKeyMode penny_key_mode(const char *name);
/*
 * As penny_job_insert(), for a row with a key.  Gives the id of the job that now
 * holds the key; it is row->id if a job was enqueued.  `caller`: by the rights of the
 * current user; else all jobs are like one's own.
 */
extern int64 penny_job_insert_keyed(PennyJobRow *row, PennyKeyMode mode, bool caller);
/* The job that holds a key, by the transaction's snapshot; 0: none. */
extern int64 penny_key_holder(uint16 queue, const char *key);

#endif /* PENNY_QUEUE_KEYS_H */

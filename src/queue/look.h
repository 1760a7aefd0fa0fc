/*-------------------------------------------------------------------------
 *
 * look.h
 *		What is known of a job, for who asks.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_QUEUE_LOOK_H
#define PENNY_QUEUE_LOOK_H

#include "postgres.h"

#include "access/htup.h"
#include "access/tupdesc.h"

#include "queue/queue.h"

typedef struct PennyJobLook
{
	/*
	 * waiting (may start), delayed (until due), blocked (by children), active,
	 * completed, failed (a dead letter), cancelled
	 */
	const char *state;
	bool has_row; /* false: what is kept of it (history, dead letters) says no more */
	PennyJobRow row;
	int attempt; /* of the end; before it: attempts that failed */
	TimestampTz due;
	TimestampTz started; /* 0: not known, as `ended` */
	TimestampTz ended;
	Jsonb *result;
	const char *error;
	const char *worker;
} PennyJobLook;

/* False: there is no such job, or nothing is kept of it any more.  By a snapshot of now. */
extern bool penny_job_look(int64 id, PennyJobLook *out);

/* ---- ending_rows.c ------------------------------------------------------------------- */

/* What a dead letter, a row of the history says. */
extern void penny_dead_read(HeapTuple tuple, TupleDesc desc, PennyJobLook *out);
extern void penny_history_read(HeapTuple tuple, TupleDesc desc, PennyJobLook *out);

#endif /* PENNY_QUEUE_LOOK_H */

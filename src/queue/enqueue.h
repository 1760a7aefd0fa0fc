/*-------------------------------------------------------------------------
 *
 * enqueue.h
 *		Enqueuing a job: what callers may say, checked.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_QUEUE_ENQUEUE_H
#define PENNY_QUEUE_ENQUEUE_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/jsonb.h"

#include "queue/queue.h"

#define PENNY_JOB_NAME_MAX 128 /* bytes of a kind */
#define PENNY_JOB_TEXT_MAX 512 /* bytes of a key or group key */
#define PENNY_JOB_PRIORITY_MAX 1000000000
#define PENNY_JOB_ATTEMPTS_MAX 1000

/* As the arguments of penny.enqueue(); NULL or has_* false: not given. */
typedef struct PennyEnqueue
{
	const char *kind;
	Jsonb *payload;
	const char *queue;
	int priority;
	bool has_run_at;
	TimestampTz run_at;
	const Interval *delay;
	bool has_attempts;
	int attempts;
	const Interval *backoff;
	const Interval *timeout;
	const char *key;
	const char *key_mode;
	const char *group_key;
	const char *room;
} PennyEnqueue;

/*
 * Check it, in the name of the current user and identity, and make a row of it; an
 * error says what is wrong.  What it points to must stay as long as the row is used.
 */
extern void penny_enqueue_row(const PennyEnqueue *what, PennyJobRow *row);
/* The same, and insert it; gives the id, with a key that of the job that has it. */
extern int64 penny_enqueue_one(const PennyEnqueue *what);
/* Has the current user the rights of penny_user (u), penny_agent (a), penny_admin (A)? */
extern bool penny_enqueue_has_role(char access);
/* May the current user enqueue jobs of this kind? */
extern bool penny_enqueue_may(const char *kind);
/* Errors in a transaction that must not write, or where the queue is not. */
extern void penny_enqueue_allowed(const char *function);
/* May the current user speak in a room?  Raises why not; from store/room.h. */
extern void (*penny_enqueue_check_room)(text *room);
/* One member of a JSON array as penny.enqueue_many(jsonb) has them. */
extern void penny_enqueue_from_json(JsonbContainer *object, PennyEnqueue *what);
/* Bytes of a jsonb as text are at most PENNY_JOB_PAYLOAD_MAX, or an error names `what`. */
extern void penny_job_check_size(Jsonb *value, const char *what);

#endif /* PENNY_QUEUE_ENQUEUE_H */

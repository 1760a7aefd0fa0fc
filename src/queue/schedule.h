/*-------------------------------------------------------------------------
 *
 * schedule.h
 *		Jobs that come by the clock.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_QUEUE_SCHEDULE_H
#define PENNY_QUEUE_SCHEDULE_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/jsonb.h"
#include "utils/uuid.h"

#define PENNY_SCHEDULE_NAME_MAX 128
#define PENNY_SCHEDULE_MISSED_MAX 1000                        /* runs made up for at once */
#define PENNY_SCHEDULE_GRACE (INT64CONST(60) * USECS_PER_SEC) /* late, but not missed */

/*
 * Fire what is due, each schedule in a transaction of its own; from one worker's
 * upkeep, outside a transaction.  True: something was fired.  `*next_at`: when to
 * call again, NEVER if nothing is scheduled.  Between calls nothing needs to be looked
 * at but the stamp of the table: any change of it moves the queue's configuration.
 */
extern bool penny_schedules_run(int64 now, int64 *next_at);

typedef struct PennySchedule
{
	const char *name;
	const char *cron;
	const char *timezone;
	const char *kind;
	Jsonb *payload;
	const char *queue; /* NULL: the kind's; or none, as the following */
	int32 priority;
	const char *group_key;
	const char *room;
	const char *key; /* held as by key_mode keep: no run while one before has not ended */
	const char *missed;
	const pg_uuid_t *user_id;
} PennySchedule;

/* Make or change; its next time. */
extern TimestampTz penny_schedule_put(const PennySchedule *schedule);
/* False: there is none of this name. */
extern bool penny_schedule_drop(const char *name);
extern bool penny_schedule_enable(const char *name, bool enabled);

/* The moment after `after` of a cron text in a zone; errors say what is wrong with them. */
extern TimestampTz penny_schedule_next(const char *cron, const char *timezone, TimestampTz after);

/* Shared memory and callbacks; from penny_queue_init(). */
extern void penny_schedules_init(void);
/* This transaction changes schedules: the worker learns of it when it commits. */
extern void penny_schedules_changed(void);

#endif /* PENNY_QUEUE_SCHEDULE_H */

/*-------------------------------------------------------------------------
 *
 * schedule_private.h
 *		Between the files about schedules.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_QUEUE_SCHEDULE_PRIVATE_H
#define PENNY_QUEUE_SCHEDULE_PRIVATE_H

#include "postgres.h"

#include "datatype/timestamp.h"

#include "queue/cron.h"
#include "queue/schedule.h"

/* Seconds since 1970 and back; NEVER is infinity. */
extern int64 penny_schedule_seconds(TimestampTz at);
extern TimestampTz penny_schedule_timestamp(int64 seconds);
/* A zone by name, a text; PY400 if there is none, if it is none. */
extern PennyCronZone penny_schedule_zone(const char *name);
extern void penny_schedule_parse(const char *text, PennyCron *cron);

/* ---- schedule_fire.c ------------------------------------------------------------ */

typedef struct PennyScheduleRun
{
	char name[PENNY_SCHEDULE_NAME_MAX + 1]; /* "": none yet */
	TimestampTz next_at;                    /* after this run */
} PennyScheduleRun;

/*
 * In a transaction: lock one schedule that is due, enqueue, move its next_at.  False:
 * none is due that is not locked.  `run` is filled before what may fail is done.
 */
extern bool penny_schedule_fire(TimestampTz now, PennyScheduleRun *run);
/* It failed, in a transaction that was rolled back: note why, go on with the next run. */
extern void penny_schedule_failed(const PennyScheduleRun *run, const char *error, TimestampTz now);
/* The earliest next_at of all; DT_NOEND: none. */
extern TimestampTz penny_schedule_earliest(void);

#endif /* PENNY_QUEUE_SCHEDULE_PRIVATE_H */

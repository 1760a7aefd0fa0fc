/*-------------------------------------------------------------------------
 *
 * sql_schedules.c
 *		SQL entry points of schedules.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "auth/identity.h"
#include "queue/schedule.h"

PG_FUNCTION_INFO_V1(penny_schedule_sql);
PG_FUNCTION_INFO_V1(penny_unschedule_sql);
PG_FUNCTION_INFO_V1(penny_enable_schedule_sql);
PG_FUNCTION_INFO_V1(penny_schedule_next_sql);
PG_FUNCTION_INFO_V1(penny_schedules_changed_sql);

static const char *
text_arg(FunctionCallInfo fcinfo, int n)
{
	return PG_ARGISNULL(n) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(n));
}

/*
 * penny.schedule(name text, cron text, kind text, payload jsonb, timezone text,
 * missed text, queue text, priority integer, key text, group_key text, room text)
 */
Datum
penny_schedule_sql(PG_FUNCTION_ARGS)
{
	const PennyIdentity *identity = penny_identity_get();
	PennySchedule schedule;

	for (int i = 0; i < 6; i++)
		if (PG_ARGISNULL(i))
			ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
							errmsg("name, cron, kind, payload, timezone and missed of a schedule "
								   "must not be null")));
	schedule.name = text_arg(fcinfo, 0);
	schedule.cron = text_arg(fcinfo, 1);
	schedule.kind = text_arg(fcinfo, 2);
	schedule.payload = PG_GETARG_JSONB_P(3);
	schedule.timezone = text_arg(fcinfo, 4);
	schedule.missed = text_arg(fcinfo, 5);
	schedule.queue = text_arg(fcinfo, 6);
	schedule.priority = PG_ARGISNULL(7) ? 0 : PG_GETARG_INT32(7);
	schedule.key = text_arg(fcinfo, 8);
	schedule.group_key = text_arg(fcinfo, 9);
	schedule.room = text_arg(fcinfo, 10);
	schedule.user_id = identity->has_user ? &identity->user_id : NULL;
	PG_RETURN_TIMESTAMPTZ(penny_schedule_put(&schedule));
}

/* penny.unschedule(name text) */
Datum
penny_unschedule_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(penny_schedule_drop(text_arg(fcinfo, 0)));
}

/* _penny.enable_schedule(name text, enabled boolean) */
Datum
penny_enable_schedule_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(penny_schedule_enable(text_arg(fcinfo, 0), PG_GETARG_BOOL(1)));
}

/* penny.schedule_next(cron text, timezone text, after timestamptz) */
Datum
penny_schedule_next_sql(PG_FUNCTION_ARGS)
{
	PG_RETURN_TIMESTAMPTZ(
		penny_schedule_next(text_arg(fcinfo, 0), text_arg(fcinfo, 1), PG_GETARG_TIMESTAMPTZ(2)));
}

/* _penny.schedules_changed(), trigger */
Datum
penny_schedules_changed_sql(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("function was not called by a trigger")));
	penny_schedules_changed();
	return PointerGetDatum(NULL);
}

-- Jobs by the clock (src/queue/schedule.c); what a cron text may be: src/queue/cron.h.

CREATE OR REPLACE FUNCTION penny.schedule(
	name text, cron text, kind text, payload jsonb DEFAULT '{}', timezone text DEFAULT 'UTC', missed text DEFAULT 'once',
	queue text DEFAULT NULL, priority integer DEFAULT 0, key text DEFAULT NULL, group_key text DEFAULT NULL, room text DEFAULT NULL) RETURNS timestamptz
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_schedule_sql';
COMMENT ON FUNCTION penny.schedule(text, text, text, jsonb, text, text, text, integer, text, text, text) IS 'Make or change a schedule: enqueue a job of this kind at the times of a cron text in a time zone; gives the next. Runs that were missed are made up for by one job (once), by one each (all, the last 1000) or not (skip). With a key, no run comes while the job of one before has not ended. 22023: no cron text, no time zone. Needs penny_agent';

CREATE OR REPLACE FUNCTION penny.unschedule(name text) RETURNS boolean
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_unschedule_sql';
COMMENT ON FUNCTION penny.unschedule(text) IS 'Take a schedule away; false when there is none. Jobs that it has enqueued stay';

CREATE OR REPLACE FUNCTION _penny.enable_schedule(name text, enabled boolean) RETURNS boolean
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_enable_schedule_sql';
COMMENT ON FUNCTION _penny.enable_schedule(text, boolean) IS 'Pause or resume a schedule';

CREATE OR REPLACE FUNCTION penny.pause_schedule(name text) RETURNS boolean
LANGUAGE sql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'SELECT _penny.enable_schedule(name, false)';
COMMENT ON FUNCTION penny.pause_schedule(text) IS 'Let a schedule not fire until it is resumed; false when there is none';

CREATE OR REPLACE FUNCTION penny.resume_schedule(name text) RETURNS boolean
LANGUAGE sql VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS 'SELECT _penny.enable_schedule(name, true)';
COMMENT ON FUNCTION penny.resume_schedule(text) IS 'Let a paused schedule fire from its next time on; what came to be due while it was paused is not made up for. False when there is none';

CREATE OR REPLACE FUNCTION penny.schedule_next(cron text, timezone text DEFAULT 'UTC', after timestamptz DEFAULT clock_timestamp()) RETURNS timestamptz
LANGUAGE c STABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'penny_schedule_next_sql';
COMMENT ON FUNCTION penny.schedule_next(text, text, timestamptz) IS 'The first time after a moment at which a cron text fires';

CREATE OR REPLACE FUNCTION _penny.schedules_changed() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_schedules_changed_sql';
COMMENT ON FUNCTION _penny.schedules_changed() IS 'Trigger of _penny.schedules: a worker learns of the change when it is committed';

CREATE OR REPLACE TRIGGER schedules_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON _penny.schedules
	FOR EACH STATEMENT EXECUTE FUNCTION _penny.schedules_changed();
ALTER TABLE _penny.schedules ENABLE ALWAYS TRIGGER schedules_changed;

REVOKE EXECUTE ON FUNCTION penny.schedule(text, text, text, jsonb, text, text, text, integer, text, text, text),
	penny.unschedule(text), _penny.enable_schedule(text, boolean), penny.pause_schedule(text), penny.resume_schedule(text),
	penny.schedule_next(text, text, timestamptz), _penny.schedules_changed() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION penny.schedule(text, text, text, jsonb, text, text, text, integer, text, text, text),
	penny.unschedule(text), _penny.enable_schedule(text, boolean), penny.pause_schedule(text), penny.resume_schedule(text) TO penny_agent;
GRANT EXECUTE ON FUNCTION penny.schedule_next(text, text, timestamptz) TO penny_user;

-- What the server says of itself: epoch, doctor, statistics.
-- epoch() may be called by every role of penny, the rest by penny_admin and
-- pg_monitor.

CREATE OR REPLACE FUNCTION penny.epoch() RETURNS text
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'penny_epoch';

COMMENT ON FUNCTION penny.epoch() IS
'Opaque; equal epochs mean one unbroken history, so that positions of clients are worth something';

CREATE OR REPLACE FUNCTION penny.stats() RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'penny_stats';

COMMENT ON FUNCTION penny.stats() IS
'Counters of executors, workers, jobs, gateways and edges since the server started, and whether webhooks are called';

-- All checks but that of the store.
CREATE OR REPLACE FUNCTION _penny.doctor(
	extension_version text, OUT "check" text, OUT ok boolean, OUT detail text, OUT remedy text)
RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_doctor';

COMMENT ON FUNCTION _penny.doctor(text) IS
'The checks of penny.doctor() that need C: settings, shared memory, files, roles';

-- Runs with the rights of its caller, since chat.store belongs to somebody else.
CREATE OR REPLACE FUNCTION _penny.doctor_store(
	OUT "check" text, OUT ok boolean, OUT detail text, OUT remedy text)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	recorded integer;
	newest integer;
	missing text;
	idle text;
BEGIN
	"check" := 'store';
	IF NOT EXISTS (SELECT FROM pg_tables WHERE schemaname = 'chat' AND tablename = 'store') THEN
		ok := false;
		detail := 'the tables of penny are not there';
		remedy := 'Execute SELECT penny.create_store() as the role that shall own them.';
		RETURN;
	END IF;
	EXECUTE 'SELECT max(version) FROM chat.store' INTO recorded;
	SELECT max(version) INTO newest FROM _penny.store_step;
	SELECT string_agg(kind || ' ' || name, ', ' ORDER BY number) INTO missing
		FROM _penny.store_step
		WHERE version <= recorded AND kind <> 'change' AND NOT _penny.store_stands(kind, name);
	SELECT string_agg(i."table" || ' ' || i.trigger, ', ') INTO idle FROM _penny.idle_triggers() i;
	ok := recorded IS NOT NULL AND recorded >= newest AND missing IS NULL AND idle IS NULL;
	detail := format('version %s of %s', recorded, newest) || coalesce('; missing: ' || missing, '')
		|| coalesce('; triggers that do not always fire: ' || idle, '');
	remedy := CASE
		WHEN recorded < newest THEN 'Execute SELECT penny.upgrade_store() as the owner of schema chat.'
		WHEN NOT ok THEN 'Execute SELECT penny.create_store() as the owner of schema chat.'
	END;
EXCEPTION WHEN insufficient_privilege THEN
	ok := NULL;
	detail := 'the calling role may not look into the store';
	remedy := 'Call as a member of penny_admin.';
END
$$;
COMMENT ON FUNCTION _penny.doctor_store() IS 'The check of penny.doctor() for schema chat';

CREATE OR REPLACE FUNCTION penny.doctor()
RETURNS TABLE ("check" text, ok boolean, detail text, remedy text)
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT d."check", d.ok, d.detail, d.remedy
	FROM pg_catalog.pg_extension e, _penny.doctor(e.extversion) d
	WHERE e.extname = 'penny'
	UNION ALL
	SELECT s."check", s.ok, s.detail, s.remedy FROM _penny.doctor_store() s
$$;
COMMENT ON FUNCTION penny.doctor() IS
'One row for each check of the installation, with the remedy where it is not ok';

CREATE OR REPLACE FUNCTION penny.quarantine(
	OUT id text, OUT kind text, OUT route text, OUT refused boolean, OUT crashes integer,
	OUT cause text, OUT request_id text, OUT latest timestamp with time zone, OUT refusals bigint)
RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 10
AS 'MODULE_PATHNAME', 'penny_quarantine';
COMMENT ON FUNCTION penny.quarantine() IS
'Requests and routes that were running when their process crashed; what has done so twice is refused until penny.quarantine_clear()';

CREATE OR REPLACE FUNCTION penny.quarantine_clear(id text DEFAULT NULL) RETURNS integer
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_quarantine_forget';
COMMENT ON FUNCTION penny.quarantine_clear(text) IS
'Forget one entry of penny.quarantine(), or all of them, so that it is run again; gives how many';

REVOKE EXECUTE ON FUNCTION penny.epoch(), penny.stats(), penny.doctor(),
	penny.quarantine(), penny.quarantine_clear(text),
	_penny.doctor(text), _penny.doctor_store() FROM PUBLIC;
GRANT USAGE ON SCHEMA penny, _penny TO pg_monitor, penny_admin;
GRANT EXECUTE ON FUNCTION penny.stats(), penny.doctor(),
	_penny.doctor(text), _penny.doctor_store(), _penny.idle_triggers() TO penny_admin, pg_monitor;
GRANT EXECUTE ON FUNCTION penny.quarantine() TO penny_admin, pg_monitor;
GRANT EXECUTE ON FUNCTION penny.quarantine_clear(text) TO penny_admin;
GRANT EXECUTE ON FUNCTION penny.epoch() TO penny_user, penny_authenticator, pg_monitor;

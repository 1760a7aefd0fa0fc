-- Library and SQL objects must be of one version: first of what is re-run, so
-- that an installation or an update which cannot work ends here, and whole.

CREATE OR REPLACE FUNCTION _penny.library_version() RETURNS text
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'penny_library_version';
COMMENT ON FUNCTION _penny.library_version() IS 'Version of the library that this session has loaded';
REVOKE EXECUTE ON FUNCTION _penny.library_version() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _penny.library_version() TO penny_admin, pg_monitor;

DO $$
DECLARE
	library text := _penny.library_version();
	wanted text := (SELECT e.extversion FROM pg_catalog.pg_extension e WHERE e.extname OPERATOR(pg_catalog.=) 'penny');
BEGIN
	IF library OPERATOR(pg_catalog.<>) wanted THEN
		RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = pg_catalog.format('the SQL objects are of version %s, the library penny is of version %s', wanted, library),
			HINT = 'Install the library of that version and restart the server first.';
	END IF;
END
$$;

-- Library and SQL objects must be of one version, and the database one in which
-- JSON can hold what clients send: first of what is re-run, so that an
-- installation or an update which cannot work ends here, and whole.

CREATE OR REPLACE FUNCTION _penny.loaded_version() RETURNS text
LANGUAGE c STABLE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'penny_loaded_version';
COMMENT ON FUNCTION _penny.loaded_version() IS 'Version of the library that this session has loaded';
REVOKE EXECUTE ON FUNCTION _penny.loaded_version() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _penny.loaded_version() TO penny_admin, pg_monitor;

DO $$
DECLARE
	library text := _penny.loaded_version();
	wanted text := (SELECT e.extversion FROM pg_catalog.pg_extension e WHERE e.extname OPERATOR(pg_catalog.=) 'penny');
BEGIN
	IF pg_catalog.getdatabaseencoding() OPERATOR(pg_catalog.<>) 'UTF8' THEN
		RAISE EXCEPTION USING ERRCODE = 'feature_not_supported',
			MESSAGE = pg_catalog.format('penny needs a database of encoding UTF8, this one is of %s', pg_catalog.getdatabaseencoding()),
			HINT = 'Create one with CREATE DATABASE ... ENCODING ''UTF8'' TEMPLATE template0.';
	END IF;
	IF library OPERATOR(pg_catalog.<>) wanted THEN
		RAISE EXCEPTION USING ERRCODE = 'object_not_in_prerequisite_state',
			MESSAGE = pg_catalog.format('the SQL objects are of version %s, the library penny is of version %s', wanted, library),
			HINT = 'Install the library of that version and restart the server first.';
	END IF;
END
$$;

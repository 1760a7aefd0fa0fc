-- A version that never was, for the test of updates: a part of penny, with what
-- an old version may have otherwise: objects that are gone since, columns that
-- are missing, other bodies, results, defaults, comments and grants.
\echo Use "CREATE EXTENSION penny" to load this file. \quit

DO $$
DECLARE
	name text;
BEGIN
	FOREACH name IN ARRAY '{penny_user,penny_agent,penny_admin}'::text[] LOOP
		IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) THEN
			EXECUTE format('CREATE ROLE %I', name);
		END IF;
	END LOOP;
	IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'penny_authenticator') THEN
		CREATE ROLE penny_authenticator LOGIN NOINHERIT CONNECTION LIMIT 0;
	END IF;
	GRANT penny_user TO penny_agent;
	GRANT penny_agent TO penny_admin;
	GRANT penny_user, penny_agent, penny_admin TO penny_authenticator;
END
$$;

CREATE SCHEMA _penny;
COMMENT ON SCHEMA penny IS 'penny, long ago';
GRANT USAGE ON SCHEMA penny, _penny TO PUBLIC;

CREATE TYPE penny.request AS (method text, path text, params jsonb, query jsonb, headers jsonb, body jsonb, user_id uuid, role text);
CREATE TYPE penny.response AS (status integer, headers jsonb, body jsonb);
CREATE TYPE penny.mood AS ENUM ('calm', 'merry');

CREATE TABLE penny.routes (
	method text NOT NULL,
	pattern text NOT NULL,
	handler text NOT NULL,
	access text NOT NULL DEFAULT 'public',
	cache_ttl interval,
	cache_scope text,
	statement_timeout interval
);
COMMENT ON TABLE penny.routes IS 'Routes';
SELECT pg_catalog.pg_extension_config_dump('penny.routes', '');
GRANT SELECT, INSERT ON penny.routes TO PUBLIC;
CREATE INDEX routes_handler ON penny.routes (handler);

CREATE TABLE _penny.memory (key text PRIMARY KEY, value jsonb);
SELECT pg_catalog.pg_extension_config_dump('_penny.memory', '');
CREATE TABLE _penny.store_step (
	number integer PRIMARY KEY,
	version integer NOT NULL,
	kind text NOT NULL,
	name text NOT NULL,
	body text NOT NULL
);
INSERT INTO _penny.store_step VALUES (1, 1, 'schema', 'chat', 'CREATE SCHEMA chat');

-- gone since
CREATE FUNCTION penny.gone(integer) RETURNS penny.mood LANGUAGE sql AS $$SELECT 'calm'::penny.mood$$;
CREATE VIEW penny.old_view AS SELECT pattern FROM penny.routes;
CREATE SEQUENCE _penny.counter;
-- other results, arguments and marks now
CREATE FUNCTION penny.epoch() RETURNS integer LANGUAGE sql AS $$SELECT 1$$;
CREATE FUNCTION penny.doctor(OUT "check" text, OUT ok boolean) RETURNS SETOF record LANGUAGE sql AS $$SELECT 'x', true$$;
CREATE FUNCTION penny.user_id() RETURNS uuid LANGUAGE sql SECURITY DEFINER AS $$SELECT NULL::uuid$$;
COMMENT ON FUNCTION penny.user_id() IS 'somebody';
CREATE FUNCTION penny.create_store(force boolean) RETURNS text LANGUAGE sql AS $$SELECT 'forced'$$;
CREATE FUNCTION penny.uuid_v7() RETURNS uuid LANGUAGE sql SET work_mem = '1MB' AS $$SELECT gen_random_uuid()$$;
GRANT EXECUTE ON FUNCTION penny.uuid_v7() TO PUBLIC;
CREATE FUNCTION _penny.check_route() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RETURN NEW; END$$;
CREATE TRIGGER check_route BEFORE INSERT ON penny.routes FOR EACH ROW EXECUTE FUNCTION _penny.check_route();
CREATE TRIGGER old_trigger AFTER INSERT ON penny.routes FOR EACH ROW EXECUTE FUNCTION _penny.check_route();
CREATE FUNCTION _penny.http_old(request penny.request) RETURNS jsonb LANGUAGE sql AS $$SELECT '{}'::jsonb$$;
INSERT INTO penny.routes (method, pattern, handler) VALUES ('GET', '/api/v0/old', '_penny.http_old');

-- The extension: what it makes, and who may use it.
CREATE EXTENSION penny;
-- nobody has made its objects beforehand
CREATE SCHEMA other;
SELECT count(*) AS roles FROM pg_roles WHERE rolname IN ('penny_user', 'penny_agent', 'penny_admin', 'penny_authenticator');
SELECT rolcanlogin, rolinherit, rolconnlimit, rolsuper FROM pg_roles WHERE rolname = 'penny_authenticator';
SELECT pg_has_role('penny_admin', 'penny_agent', 'USAGE') AS admin_is_agent,
	pg_has_role('penny_agent', 'penny_user', 'USAGE') AS agent_is_user,
	pg_has_role('penny_authenticator', 'penny_admin', 'MEMBER') AS may_become_admin,
	pg_has_role('penny_authenticator', 'penny_admin', 'USAGE') AS is_admin;
-- functions that PUBLIC may execute
SELECT p.oid::regprocedure FROM pg_proc p
WHERE p.pronamespace IN ('penny'::regnamespace, '_penny'::regnamespace)
  AND has_function_privilege('public', p.oid, 'EXECUTE')
  AND p.prorettype <> 'trigger'::regtype
ORDER BY 1;
-- functions in SQL and PL/pgSQL without a search_path of their own (a procedure
-- that commits may have none, and qualifies every name)
SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
WHERE p.pronamespace IN ('penny'::regnamespace, '_penny'::regnamespace) AND p.prokind <> 'p'
  AND l.lanname IN ('sql', 'plpgsql') AND p.prosqlbody IS NULL
  AND NOT coalesce(array_to_string(p.proconfig, ' ') LIKE '%search_path=pg_catalog, pg_temp%', false)
ORDER BY 1;
-- security definer functions
SELECT p.oid::regprocedure FROM pg_proc p
WHERE p.pronamespace IN ('penny'::regnamespace, '_penny'::regnamespace) AND p.prosecdef;
-- public objects without a comment
SELECT pg_describe_object(classid, objid, 0) FROM pg_depend d
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
  AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'penny')
  AND d.classid IN ('pg_proc'::regclass, 'pg_class'::regclass, 'pg_namespace'::regclass)
  AND coalesce(obj_description(d.objid, d.classid::regclass::name), '') = ''
  AND NOT (d.classid = 'pg_class'::regclass AND EXISTS (SELECT FROM pg_class c WHERE c.oid = d.objid AND c.relkind <> 'r'))
  AND pg_describe_object(classid, objid, 0) NOT LIKE '%_penny.doctor%'
ORDER BY 1;
-- routes: built in ones, and what is refused
SELECT method, pattern, handler, access FROM penny.routes ORDER BY pattern, method;
\set VERBOSITY terse
CREATE FUNCTION other.good(penny.request) RETURNS jsonb LANGUAGE sql AS 'SELECT NULL::jsonb';
CREATE FUNCTION other.bad(penny.request) RETURNS text LANGUAGE sql AS 'SELECT NULL::text';
INSERT INTO penny.routes (method, pattern, handler) VALUES ('GET', '/things/{id}/parts/{part}', 'other.good');
INSERT INTO penny.routes (method, pattern, handler) VALUES ('GET', '/a', 'other.missing');
INSERT INTO penny.routes (method, pattern, handler) VALUES ('GET', '/a', 'other.bad');
INSERT INTO penny.routes (method, pattern, handler) VALUES ('get', '/a', 'other.good');
INSERT INTO penny.routes (method, pattern, handler) VALUES ('GET', 'a', 'other.good');
INSERT INTO penny.routes (method, pattern, handler) VALUES ('GET', '/a/{', 'other.good');
INSERT INTO penny.routes (method, pattern, handler) VALUES ('GET', '/a/{b}c', 'other.good');
INSERT INTO penny.routes (method, pattern, handler) VALUES ('GET', '/a/{b}/{b}', 'other.good');
INSERT INTO penny.routes (method, pattern, handler, access) VALUES ('GET', '/a', 'other.good', 'all');
-- answers that are kept: one of ttl and scope brings the other, both are for GET
INSERT INTO penny.routes (method, pattern, handler, cache_ttl) VALUES ('GET', '/b', 'other.good', '1 h');
INSERT INTO penny.routes (method, pattern, handler, cache_scope) VALUES ('GET', '/c', 'other.good', 'role');
INSERT INTO penny.routes (method, pattern, handler, cache_ttl, cache_scope) VALUES ('GET', '/d', 'other.good', '0', 'public');
INSERT INTO penny.routes (method, pattern, handler, cache_ttl) VALUES ('POST', '/b', 'other.good', '1 h');
INSERT INTO penny.routes (method, pattern, handler, cache_scope) VALUES ('HEAD', '/b', 'other.good', 'user');
INSERT INTO penny.routes (method, pattern, handler, cache_ttl) VALUES ('GET', '/e', 'other.good', '-1 s');
INSERT INTO penny.routes (method, pattern, handler, cache_ttl) VALUES ('GET', '/e', 'other.good', '367 days');
INSERT INTO penny.routes (method, pattern, handler, cache_scope) VALUES ('GET', '/e', 'other.good', 'all');
UPDATE penny.routes SET cache_scope = NULL WHERE pattern = '/c';
UPDATE penny.routes SET cache_ttl = NULL WHERE pattern = '/d';
SELECT pattern, cache_ttl, cache_scope FROM penny.routes WHERE NOT builtin AND cache_ttl IS NOT NULL ORDER BY pattern;
DELETE FROM penny.routes WHERE NOT builtin;
DROP SCHEMA other CASCADE;
SELECT penny.uuid_v7() < penny.uuid_v7() AS ascending,
	substr(penny.uuid_v7()::text, 15, 1) AS version,
	substr(penny.uuid_v7()::text, 20, 1) IN ('8', '9', 'a', 'b') AS variant,
	abs(extract(epoch FROM now()) * 1000 - ('x' || left(replace(penny.uuid_v7()::text, '-', ''), 12))::bit(48)::bigint) < 60000 AS of_now;

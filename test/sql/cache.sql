-- What is cached, for whom, and what ends it: one session.
\set VERBOSITY terse
CREATE SCHEMA shop;
SET search_path = shop;
CREATE TABLE project (id int PRIMARY KEY, name text, owner text);
CREATE TABLE task (id int PRIMARY KEY, project_id int REFERENCES project ON DELETE CASCADE ON UPDATE CASCADE, title text) ;
CREATE TRIGGER invalidate AFTER INSERT OR UPDATE OR DELETE ON project FOR EACH ROW EXECUTE FUNCTION penny.invalidate('project', 'id');
CREATE TRIGGER invalidate AFTER INSERT OR UPDATE OR DELETE ON task FOR EACH ROW EXECUTE FUNCTION penny.invalidate('project', 'project_id', 'task', 'id');
CREATE TRIGGER emptied AFTER TRUNCATE ON task FOR EACH STATEMENT EXECUTE FUNCTION penny.invalidate();
ALTER TABLE project ENABLE ALWAYS TRIGGER invalidate;
ALTER TABLE task ENABLE ALWAYS TRIGGER invalidate;
ALTER TABLE task ENABLE ALWAYS TRIGGER emptied;
INSERT INTO project VALUES (1, 'one', 'ann'), (2, 'two', 'bob'), (3, 'three', 'cid');
INSERT INTO task VALUES (11, 1, 'a'), (12, 1, 'b'), (21, 2, 'c');
CREATE FUNCTION titles(j jsonb) RETURNS jsonb LANGUAGE plpgsql STABLE SET search_path = shop AS $$
	BEGIN
		PERFORM penny.cache_tag('project:' || (j->>'id'), 'shop.task');
		RETURN (SELECT jsonb_build_object('name', p.name, 'tasks', (SELECT jsonb_agg(title ORDER BY t.id) FROM task t WHERE project_id = p.id))
			FROM project p WHERE p.id = (j->>'id')::int);
	END $$;
CREATE FUNCTION hits() RETURNS bigint LANGUAGE sql AS $$ SELECT (penny.cache_stats() -> 'kinds' -> 'function' ->> 'hits')::bigint $$;
CREATE FUNCTION get(id int) RETURNS TABLE (value jsonb, hit boolean) LANGUAGE plpgsql AS $$
	DECLARE before bigint := shop.hits();
	BEGIN
		value := penny.cached('shop.titles(jsonb)', jsonb_build_object('id', id));
		hit := shop.hits() > before;
		RETURN NEXT;
	END $$;
CREATE FUNCTION pair() RETURNS TABLE (one jsonb, hit1 boolean, two jsonb, hit2 boolean) LANGUAGE sql AS $$ SELECT a.*, b.* FROM shop.get(1) a, shop.get(2) b $$;
SELECT * FROM pair();
SELECT * FROM pair();
-- each way to write a row, also for the project that it leaves
INSERT INTO task VALUES (13, 1, 'd');
SELECT * FROM pair();
UPDATE task SET title = 'b2' WHERE id = 12;
SELECT * FROM pair();
UPDATE task SET project_id = 2 WHERE id = 13;
SELECT * FROM pair();
DELETE FROM task WHERE id = 13;
SELECT * FROM pair();
INSERT INTO task VALUES (12, 1, 'x') ON CONFLICT (id) DO UPDATE SET title = 'b3';
SELECT * FROM pair();
MERGE INTO task USING (VALUES (12, 'b4'), (14, 'e')) n (id, title) ON task.id = n.id
	WHEN MATCHED THEN UPDATE SET title = n.title WHEN NOT MATCHED THEN INSERT VALUES (n.id, 1, n.title);
SELECT * FROM pair();
WITH gone AS (DELETE FROM task WHERE id = 14 RETURNING *) INSERT INTO task SELECT 22, 2, title FROM gone;
SELECT * FROM pair();
COPY task FROM stdin;
15	1	copied
\.
SELECT * FROM pair();
UPDATE project SET id = 4 WHERE id = 1;
SELECT * FROM pair(), get(4) AS four (four, hit4);
UPDATE project SET id = 1 WHERE id = 4;
SELECT * FROM pair();
DELETE FROM project WHERE id = 2;
SELECT * FROM pair();
INSERT INTO project VALUES (2, 'two', 'bob');
SET session_replication_role = replica;
INSERT INTO task VALUES (23, 2, 'replicated');
RESET session_replication_role;
SELECT * FROM pair();
TRUNCATE task;
SELECT * FROM pair();
SELECT * FROM pair();
BEGIN;
TRUNCATE task;
INSERT INTO task VALUES (16, 1, 'frozen');
COMMIT;
SELECT * FROM pair();
-- for each statement, with and without the rows
DROP TRIGGER invalidate ON task;
CREATE TRIGGER i AFTER INSERT ON task REFERENCING NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION penny.invalidate('project', 'project_id');
CREATE TRIGGER u AFTER UPDATE ON task REFERENCING OLD TABLE AS o NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION penny.invalidate('project', 'project_id');
CREATE TRIGGER d AFTER DELETE ON task FOR EACH STATEMENT EXECUTE FUNCTION penny.invalidate('project', 'project_id');
ALTER TABLE task ENABLE ALWAYS TRIGGER i, ENABLE ALWAYS TRIGGER u, ENABLE ALWAYS TRIGGER d;
SELECT * FROM pair();
INSERT INTO task SELECT n, 2, 'many' FROM generate_series(31, 32) n;
SELECT * FROM pair();
UPDATE task SET project_id = 1 WHERE id = 32;
SELECT * FROM pair();
UPDATE task SET title = 'only two' WHERE id = 31;
SELECT * FROM pair();
DELETE FROM task WHERE id = 31;
SELECT * FROM pair();
-- a trigger that does not fire always: its names are not kept
ALTER TABLE task ENABLE TRIGGER u;
SELECT * FROM pair();
SELECT * FROM pair();
SELECT penny.cache_stats() ->> 'idle_tag_names' AS idle;
ALTER TABLE task ENABLE ALWAYS TRIGGER u;
SELECT * FROM pair();
SELECT * FROM pair();
-- many rows of one transaction end everything
SELECT hit FROM get(3);
SELECT hit FROM get(3);
INSERT INTO project SELECT n, 'bulk', '' FROM generate_series(1000, 2100) n;
SELECT hit FROM get(3);
-- own changes, before any trigger has fired, too
CREATE FUNCTION peek() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'sees %', penny.cached('shop.titles(jsonb)', '{"id": 3}') ->> 'name'; RETURN NULL; END $$;
CREATE TRIGGER a_first AFTER UPDATE ON project FOR EACH ROW EXECUTE FUNCTION peek();
SELECT hit FROM get(3);
SELECT hit FROM get(3);
UPDATE project SET name = 'three, changed' WHERE id = 3;
SELECT * FROM get(3);
DROP TRIGGER a_first ON project;
-- what harmless commands leave, for who has temporary objects already
CREATE TEMP TABLE mine (id int);
SELECT hit FROM get(3);
SELECT hit FROM get(3);
CREATE TEMP TABLE t (id int);
BEGIN; LOCK TABLE project; DECLARE c CURSOR FOR SELECT 1; FETCH c; INSERT INTO t VALUES (1); COMMIT;
DO $$ BEGIN INSERT INTO t VALUES (2); END $$;
PREPARE p AS INSERT INTO t VALUES (3); EXECUTE p; DEALLOCATE p;
TRUNCATE t;
CREATE INDEX ON t (id);
ALTER TABLE t ADD COLUMN x int;
ANALYZE project;
VACUUM project;
DROP TABLE t;
SELECT hit FROM get(3);
-- and what others end
CREATE PROCEDURE ends(command text) LANGUAGE plpgsql AS $$
	DECLARE hit boolean;
	BEGIN
		PERFORM shop.get(3);
		COMMIT;
		PERFORM shop.get(3);
		COMMIT;
		EXECUTE command;
		COMMIT;
		SELECT g.hit INTO hit FROM shop.get(3) g;
		RAISE NOTICE '%: %', command, CASE WHEN hit THEN 'a hit' ELSE 'ended' END;
	END $$;
CREATE ROLE cache_other;
CALL ends('SELECT 1');
CALL ends('CREATE TABLE shop.another (id int)');
CALL ends('ALTER TABLE shop.another ADD COLUMN x int');
CALL ends('TRUNCATE shop.another');
CALL ends('DROP TABLE shop.another');
CALL ends('CREATE VIEW shop.v AS SELECT 1');
CALL ends('CREATE OR REPLACE VIEW shop.v AS SELECT 1');
CALL ends('DROP VIEW shop.v');
CALL ends('CREATE RULE r AS ON DELETE TO shop.project DO ALSO NOTHING');
CALL ends('DROP RULE r ON shop.project');
CALL ends('CREATE POLICY p ON shop.project USING (true)');
CALL ends('ALTER POLICY p ON shop.project USING (false)');
CALL ends('DROP POLICY p ON shop.project');
CALL ends('GRANT SELECT ON shop.project TO cache_other');
CALL ends('REVOKE SELECT ON shop.project FROM cache_other');
CALL ends('GRANT penny_user TO cache_other');
CALL ends('REVOKE penny_user FROM cache_other');
CALL ends('ALTER ROLE cache_other BYPASSRLS');
CALL ends('ALTER ROLE cache_other SET timezone = ''UTC''');
CALL ends('ALTER DEFAULT PRIVILEGES IN SCHEMA shop GRANT SELECT ON TABLES TO cache_other');
CALL ends('ALTER DEFAULT PRIVILEGES IN SCHEMA shop REVOKE SELECT ON TABLES FROM cache_other');
CALL ends('ALTER FUNCTION shop.titles(jsonb) COST 10');
CALL ends('COMMENT ON TABLE shop.project IS ''x''');
CALL ends('CREATE TYPE shop.mood AS ENUM (''good'')');
CALL ends('ALTER TYPE shop.mood ADD VALUE ''bad''');
CALL ends('ALTER TABLE shop.project DISABLE TRIGGER invalidate');
CALL ends('ALTER TABLE shop.project ENABLE ALWAYS TRIGGER invalidate');
CALL ends('CREATE MATERIALIZED VIEW shop.m AS SELECT 1');
-- who reads a view declares its name
CALL ends('REFRESH MATERIALIZED VIEW shop.m');
CALL ends('DROP MATERIALIZED VIEW shop.m');
DROP ROLE cache_other;
-- who reads, and in which form, is part of what is read
CREATE FUNCTION form() RETURNS jsonb LANGUAGE sql STABLE AS $$ SELECT to_jsonb(timestamptz '2024-02-29 12:00+00'::text || ' ' || current_setting('app.tenant', true)) $$;
SET timezone = 'UTC'; SET datestyle = 'ISO'; SET app.tenant = 'a';
SELECT penny.cached('form()');
SET timezone = 'Asia/Tokyo';
SELECT penny.cached('form()');
SET datestyle = 'SQL';
SELECT penny.cached('form()');
SET app.tenant = 'b';
SELECT penny.cached('form()');
RESET timezone; RESET datestyle;
ALTER TABLE project ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON project USING (owner = current_setting('app.tenant') OR owner = penny.claims() ->> 'team');
CREATE FUNCTION mine() RETURNS jsonb LANGUAGE sql STABLE AS $$ SELECT jsonb_agg(name) FROM shop.project $$;
GRANT USAGE ON SCHEMA shop TO penny_user;
GRANT SELECT ON project TO penny_user;
SELECT penny.act_as('00000000-0000-7000-8000-00000000000a');
SET app.tenant = 'ann'; SELECT penny.cached('shop.mine()');
SET app.tenant = 'bob'; SELECT penny.cached('shop.mine()');
SET app.tenant = 'ann'; SELECT penny.cached('shop.mine()');
SELECT penny.act_as(NULL);
-- one's own temporary table is not for others
CREATE FUNCTION plain() RETURNS jsonb LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN (SELECT jsonb_agg(x) FROM anything); END $$;
CREATE TEMP TABLE anything AS SELECT 'mine' AS x;
SELECT penny.cached('plain()');
DROP TABLE anything;
CREATE TABLE anything AS SELECT 'all' AS x;
SELECT penny.cached('plain()');
-- null, errors, subtransactions
CREATE FUNCTION nothing(j jsonb) RETURNS jsonb LANGUAGE sql STABLE AS $$ SELECT NULL::jsonb WHERE j IS NOT NULL $$;
SELECT penny.cached('nothing(jsonb)', '{}'), penny.cached('nothing(jsonb)', '{}'), penny.cached('nothing(jsonb)');
CREATE FUNCTION fails() RETURNS jsonb LANGUAGE plpgsql STABLE AS $$ BEGIN PERFORM penny.cache_tag('never:1'); RETURN to_jsonb(1 / 0); END $$;
CREATE FUNCTION catches() RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
	BEGIN
		PERFORM penny.cached('shop.fails()');
		RETURN '"not reached"';
	EXCEPTION WHEN division_by_zero THEN
		RETURN '"caught"';
	END $$;
SELECT penny.cached('catches()'), penny.cached('catches()');
SELECT penny.cached('fails()');
-- what depends on what depends on a tag
CREATE FUNCTION outer_one() RETURNS jsonb LANGUAGE sql STABLE AS $$ SELECT jsonb_build_object('inner', penny.cached('shop.titles(jsonb)', '{"id": 3}') -> 'name') $$;
SELECT hit FROM get(3);
SELECT penny.cached('outer_one()');
UPDATE project SET name = 'three again' WHERE id = 3;
SELECT penny.cached('outer_one()');
-- time
CREATE FUNCTION at() RETURNS jsonb LANGUAGE sql STABLE AS $$ SELECT to_jsonb(clock_timestamp()) $$;
SELECT penny.cached('at()', ttl => '1 hour') AS first \gset
SELECT penny.cached('at()', ttl => '1 hour') = :'first' AS kept;
SELECT pg_sleep(0.002);
SELECT penny.cached('at()', '{}');
SELECT penny.cached('plain()', ttl => '0');
SELECT penny.cached('plain()', ttl => NULL);
-- what cannot be cached
CREATE FUNCTION vol() RETURNS jsonb LANGUAGE sql AS $$ SELECT '1'::jsonb $$;
SELECT penny.cached('vol()');
SELECT penny.cached('lower(text)');
SELECT penny.cached('no_such(jsonb)');
SELECT penny.cached(0);
CREATE FUNCTION forbidden() RETURNS jsonb LANGUAGE sql STABLE AS $$ SELECT '1'::jsonb $$;
REVOKE EXECUTE ON FUNCTION forbidden() FROM PUBLIC;
SELECT penny.cached('forbidden()');
SELECT penny.act_as('00000000-0000-7000-8000-00000000000a');
SELECT penny.cached('shop.forbidden()');
SELECT penny.cache_clear();
SELECT count(*) FROM penny.cache_entries();
SELECT penny.act_as(NULL);
SELECT penny.cache_tag('outside:1'), penny.cache_tag(NULL, 'x');
-- triggers that are made wrong
CREATE TABLE wrong (id int, at timestamptz);
CREATE TRIGGER w AFTER INSERT ON wrong FOR EACH ROW EXECUTE FUNCTION penny.invalidate('one');
INSERT INTO wrong VALUES (1);
DROP TRIGGER w ON wrong;
CREATE TRIGGER w AFTER INSERT ON wrong FOR EACH ROW EXECUTE FUNCTION penny.invalidate('one', 'nothing');
INSERT INTO wrong VALUES (1);
DROP TRIGGER w ON wrong;
CREATE TRIGGER w AFTER INSERT ON wrong FOR EACH ROW EXECUTE FUNCTION penny.invalidate('one', 'at');
INSERT INTO wrong VALUES (1, now());
DROP TRIGGER w ON wrong;
CREATE TRIGGER w BEFORE INSERT ON wrong FOR EACH ROW EXECUTE FUNCTION penny.invalidate('one', 'id');
INSERT INTO wrong VALUES (1);
-- values of every type, as a reader writes them
CREATE DOMAIN short AS text;
CREATE TABLE typed (id int, u uuid, t short, c char(3), v varchar, s smallint, b bigint, y bytea, f boolean, e shop.mood, n name, o oid, x int);
CREATE TRIGGER w AFTER INSERT OR UPDATE ON typed FOR EACH ROW EXECUTE FUNCTION
	penny.invalidate('u', 'u', 't', 't', 'c', 'c', 'v', 'v', 's', 's', 'b', 'b', 'y', 'y', 'f', 'f', 'e', 'e', 'n', 'n', 'o', 'o');
ALTER TABLE typed ENABLE ALWAYS TRIGGER w;
INSERT INTO typed VALUES (1, '01890a5d-ac96-774b-bcce-b302099a8057', 'Text', 'ab', 'v', -7, 1234567890123, '\xdeadBEEF', true, 'good', 'Name', 42);
CREATE FUNCTION by_tag(j jsonb) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$ BEGIN PERFORM penny.cache_tag(j ->> 'tag'); RETURN (SELECT to_jsonb(x) FROM shop.typed); END $$;
CREATE FUNCTION by_tags() RETURNS TABLE (tag text, value jsonb) LANGUAGE sql AS $$
	SELECT tag, penny.cached('shop.by_tag(jsonb)', jsonb_build_object('tag', tag)) FROM unnest(ARRAY['u:01890a5d-ac96-774b-bcce-b302099a8057',
		't:Text', 'c:ab ', 'v:v', 's:-7', 'b:1234567890123', 'y:deadbeef', 'f:true', 'e:good', 'n:Name', 'o:42', 'other:1']) tag $$;
UPDATE typed SET x = 1;
SELECT * FROM by_tags();
SET bytea_output = escape; SET extra_float_digits = 0; SET datestyle = 'German';
UPDATE typed SET x = 2;
RESET bytea_output; RESET extra_float_digits; RESET datestyle;
SELECT * FROM by_tags();
-- partitions: one of them emptied, detached, attached
CREATE TABLE part (id int, v text) PARTITION BY RANGE (id);
CREATE TABLE part1 PARTITION OF part FOR VALUES FROM (0) TO (10);
CREATE TABLE part2 PARTITION OF part FOR VALUES FROM (10) TO (20);
CREATE TRIGGER w AFTER INSERT OR UPDATE OR DELETE ON part FOR EACH ROW EXECUTE FUNCTION penny.invalidate('part', 'v');
ALTER TABLE part ENABLE ALWAYS TRIGGER w;
SELECT tgrelid::regclass, tgenabled FROM pg_trigger WHERE tgname = 'w' AND tgrelid::regclass::text LIKE 'part%' ORDER BY 1;
INSERT INTO part VALUES (1, 'a'), (11, 'a');
CREATE FUNCTION parts() RETURNS jsonb LANGUAGE plpgsql STABLE AS $$ BEGIN PERFORM penny.cache_tag('part:a'); RETURN (SELECT jsonb_agg(id ORDER BY id) FROM shop.part); END $$;
SELECT penny.cached('parts()'), penny.cached('parts()');
INSERT INTO part2 VALUES (12, 'a');
SELECT penny.cached('parts()'), penny.cached('parts()');
UPDATE part SET id = id + 10 WHERE id = 1;
SELECT penny.cached('parts()'), penny.cached('parts()');
INSERT INTO part VALUES (2, 'a');
SELECT penny.cached('parts()');
TRUNCATE part1;
SELECT penny.cached('parts()'), penny.cached('parts()');
ALTER TABLE part DETACH PARTITION part2 CONCURRENTLY;
SELECT penny.cached('parts()'), penny.cached('parts()');
ALTER TABLE part ATTACH PARTITION part2 FOR VALUES FROM (10) TO (20);
SELECT penny.cached('parts()'), penny.cached('parts()');
-- more tags than an entry holds
CREATE FUNCTION many(j jsonb) RETURNS jsonb LANGUAGE sql STABLE AS $$ SELECT to_jsonb(count(penny.cache_tag('many:' || n))) FROM generate_series(1, (j ->> 'n')::int) n $$;
CREATE FUNCTION kept(n int) RETURNS boolean LANGUAGE plpgsql AS $$
	DECLARE before bigint;
	BEGIN
		PERFORM penny.cached('shop.many(jsonb)', jsonb_build_object('n', n));
		before := shop.hits();
		PERFORM penny.cached('shop.many(jsonb)', jsonb_build_object('n', n));
		RETURN shop.hits() > before;
	END $$;
SELECT n, kept(n) FROM unnest('{1,63,64,200}'::int[]) n;
SELECT kind, label, state, tags FROM penny.cache_entries() WHERE label = 'many' ORDER BY tags;
-- a value that is too large
CREATE FUNCTION large() RETURNS jsonb LANGUAGE sql STABLE AS $$ SELECT to_jsonb(repeat(md5('x'), 40000)) $$;
SELECT (penny.cache_stats() -> 'refused' ->> 'size')::int AS before \gset
SELECT length(penny.cached('large()') #>> '{}');
SELECT (penny.cache_stats() -> 'refused' ->> 'size')::int - :before AS refused;
-- all goes
SELECT penny.cache_clear() > 0 AS cleared;
SELECT count(*) FROM penny.cache_entries();
SET client_min_messages = warning;
DROP SCHEMA shop CASCADE;

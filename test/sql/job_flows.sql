-- Flows: children before their parent, what they gave, and what becomes of a parent when one fails.
SET client_min_messages = warning;
CREATE SCHEMA flows;
SET search_path = flows;
CREATE TABLE held (payload jsonb, id bigint, token bigint, children jsonb);
CREATE FUNCTION take(n integer DEFAULT 9) RETURNS SETOF jsonb LANGUAGE sql AS $$
	INSERT INTO flows.held SELECT c.payload, c.id, c.token, c.children FROM penny.claim('flows', n) c RETURNING payload $$;
CREATE FUNCTION finish(job jsonb, result jsonb DEFAULT NULL) RETURNS boolean LANGUAGE sql AS
	'DELETE FROM flows.held h WHERE h.payload = job RETURNING penny.complete(h.id, h.token, result)';
CREATE FUNCTION fail(job jsonb) RETURNS boolean LANGUAGE sql AS
	$$DELETE FROM flows.held h WHERE h.payload = job RETURNING penny.fail(h.id, h.token, 'of ' || h.payload::text, permanent => true)$$;
-- of what children gave, all but the ids
CREATE FUNCTION children(job jsonb) RETURNS jsonb LANGUAGE sql AS
	$$SELECT jsonb_agg(c - 'id' - 'kind' ORDER BY n) FROM flows.held h, jsonb_array_elements(h.children) WITH ORDINALITY AS a (c, n) WHERE h.payload = job$$;
CREATE VIEW jobs AS SELECT payload, state FROM penny.jobs WHERE queue = 'flows' ORDER BY id;
-- a job of that payload, with children of these
CREATE FUNCTION job(payload jsonb, children jsonb DEFAULT '[]', mode text DEFAULT NULL) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('kind', 'work', 'queue', 'flows', 'payload', payload, 'children', children, 'on_child_failure', mode) $$;
CREATE FUNCTION id_of(job jsonb) RETURNS bigint LANGUAGE sql AS 'SELECT max(id) FROM penny.jobs WHERE queue = ''flows'' AND payload = job';
SELECT penny.create_queue('flows', concurrency => NULL, rate_limit => NULL);
SELECT penny.enqueue('work', '"first"', queue => 'flows') > 0 AS enqueued;
CALL penny.claim_wait('flows', 1, '30 s') \gset first_
SELECT penny.complete((:'first_jobs'::jsonb -> 0 ->> 'id')::bigint, (:'first_jobs'::jsonb -> 0 ->> 'token')::bigint);

-- a tree
SELECT penny.enqueue_flow(job('"root"', jsonb_build_array(job('"a"', jsonb_build_array(job('"a1"'), job('"a2"'))), job('"b"')))) = id_of('"root"') AS root;
SELECT * FROM jobs WHERE payload <> '"first"';
SELECT take();
SELECT finish('"a1"', '{"n": 1}'), finish('"b"');
SELECT take();
SELECT finish('"a2"', 'null');
SELECT take();
SELECT children('"a"');
SELECT finish('"a"', '"of a"');
SELECT take();
SELECT children('"root"');
SELECT penny.job(id_of('"root"')) -> 'children' -> 0 ->> 'result' AS shown;
SELECT finish('"root"');
SELECT count(*) FROM _penny.job_edges;

-- an end that is rolled back counts nothing
SELECT penny.enqueue_flow(job('"p"', jsonb_build_array(job('"c"')))) > 0 AS enqueued;
SELECT take();
BEGIN;
SELECT penny.complete(id, token) FROM held WHERE payload = '"c"';
ROLLBACK;
SELECT state FROM jobs WHERE payload = '"p"';
SELECT finish('"c"');
SELECT take();
SELECT finish('"p"');

-- fail: the parent is a dead letter, and so is its own; others go on
SELECT penny.enqueue_flow(job('"g"', jsonb_build_array(job('"p"', jsonb_build_array(job('"x"'), job('"y"')), 'fail')))) > 0 AS enqueued;
SELECT take(1);
SELECT fail('"x"');
SELECT payload, reason, regexp_replace(error, '\d+', 'N', 'g') AS error FROM penny.dead_letters WHERE queue = 'flows' ORDER BY id DESC;
SELECT take();
SELECT finish('"y"', '"late"');
-- redriven, a parent takes its dead children along
SELECT penny.redrive(id_of('"g"')) > 0 AS redriven;
SELECT count(*) FROM penny.dead_letters WHERE queue = 'flows';
SELECT take();
SELECT finish('"x"', '"now"');
SELECT take();
SELECT children('"p"');
SELECT finish('"p"');
SELECT take();
SELECT finish('"g"');
SELECT count(*) FROM _penny.job_edges;
SELECT count(*) FROM _penny.job_lineage;

-- ignore: the parent finds the error among its children
SELECT penny.enqueue_flow(job('"p"', jsonb_build_array(job('"x"'), job('"y"')), 'ignore')) > 0 AS enqueued;
SELECT take();
SELECT fail('"x"'), finish('"y"', '1');
SELECT take();
SELECT children('"p"');
SELECT finish('"p"');
SELECT penny.purge_dead('flows');

-- wait: until the child is redriven and completes, ...
SELECT penny.enqueue_flow(job('"p"', jsonb_build_array(job('"x"')), 'wait')) > 0 AS enqueued;
SELECT take();
SELECT fail('"x"');
SELECT state FROM jobs WHERE payload = '"p"';
SELECT penny.redrive('flows');
SELECT take();
SELECT fail('"x"');
SELECT penny.redrive(id_of('"x"')) > 0 AS again;
SELECT take();
SELECT finish('"x"', '"third time"');
SELECT take();
SELECT children('"p"');
SELECT finish('"p"');
-- ... or is forgotten
SELECT penny.enqueue_flow(job('"p"', jsonb_build_array(job('"x"')), 'wait')) > 0 AS enqueued;
SELECT take();
SELECT fail('"x"');
SELECT take();
SELECT penny.purge_dead('flows');
SELECT take();
SELECT children('"p"');
SELECT finish('"p"');

-- cancelling a parent takes along what has not started
SELECT penny.enqueue_flow(job('"p"', jsonb_build_array(job('"x"'), job('"y"', jsonb_build_array(job('"z"')))))) > 0 AS enqueued;
SELECT take(1);
SELECT penny.cancel(id_of('"p"'));
SELECT payload, state FROM penny.jobs WHERE queue = 'flows' ORDER BY id DESC LIMIT 4;
SELECT finish('"x"');
SELECT take();
-- cancelling a child fails its parent
SELECT penny.enqueue_flow(job('"p"', jsonb_build_array(job('"x"')))) > 0 AS enqueued;
SELECT penny.cancel(id_of('"x"'));
SELECT payload, reason, regexp_replace(error, '\d+', 'N', 'g') AS error FROM penny.dead_letters WHERE queue = 'flows';
SELECT penny.purge_dead('flows');
SELECT count(*) FROM _penny.job_edges;

-- what is refused
\set VERBOSITY terse
SELECT penny.enqueue_flow('[]');
SELECT penny.enqueue_flow('{"kind": "work", "childs": []}');
SELECT penny.enqueue_flow('{"kind": "work", "children": {}}');
SELECT penny.enqueue_flow('{"kind": "work", "children": [1]}');
SELECT penny.enqueue_flow('{"kind": "work", "children": [{"kind": "work"}], "on_child_failure": "cry"}');
SELECT penny.enqueue_flow((repeat('{"kind": "work", "children": [', 40) || '{"kind": "work"}' || repeat(']}', 40))::jsonb);
SELECT penny.enqueue_flow(job('1', (SELECT jsonb_agg(job(to_jsonb(n))) FROM generate_series(1, 10000) n)));
SELECT count(*) FROM jobs WHERE state NOT IN ('completed', 'cancelled');
DROP SCHEMA flows CASCADE;

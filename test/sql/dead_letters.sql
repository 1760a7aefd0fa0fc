-- Dead letters: errors and lineage, redriving one, some, all, at a rate; who sees what.
SET client_min_messages = warning;
CREATE SCHEMA dead;
SET search_path = dead;
CREATE TABLE held (payload jsonb, id bigint, token bigint);
CREATE FUNCTION take(n integer DEFAULT 99) RETURNS bigint LANGUAGE sql AS $$
	WITH got AS (INSERT INTO dead.held SELECT c.payload, c.id, c.token FROM penny.claim('dead', n) c RETURNING 1) SELECT count(*) FROM got $$;
CREATE FUNCTION fail_all(error text, permanent boolean DEFAULT true) RETURNS bigint LANGUAGE sql AS $$
	WITH ended AS (DELETE FROM dead.held RETURNING penny.fail(id, token, error || ' ' || payload::text, permanent => permanent, retry_in => '0')) SELECT count(*) FROM ended $$;
SELECT penny.create_queue('dead', concurrency => NULL, rate_limit => NULL, attempts => 2, keep_failed => 3);
SELECT penny.enqueue('work', '"first"', queue => 'dead') > 0 AS enqueued;
CALL penny.claim_wait('dead', 1, '30 s') \gset first_
SELECT penny.complete((:'first_jobs'::jsonb -> 0 ->> 'id')::bigint, (:'first_jobs'::jsonb -> 0 ->> 'token')::bigint);

-- every error of every attempt, also of the lives before
SELECT penny.enqueue('work', '1', queue => 'dead', priority => 7, group_key => 'g') AS old \gset
SELECT take(), fail_all('one', false);
SELECT take(), fail_all('two', false);
SELECT take();
SELECT reason, attempts, error, (SELECT jsonb_agg(e -> 'error') FROM jsonb_array_elements(errors) e) AS errors, redriven_from FROM penny.dead_letters WHERE queue = 'dead';
SELECT penny.job(:old) ->> 'state' AS state, jsonb_array_length(penny.job(:old) -> 'errors') AS errors, penny.job(:old) ->> 'reason' AS reason;
SELECT penny.redrive(:old) AS new \gset
SELECT penny.redrive(:old);
SELECT state, attempt, priority, group_key FROM penny.jobs WHERE id = :new;
SELECT take(), fail_all('three');
SELECT reason, attempts, (SELECT jsonb_agg(e -> 'error') FROM jsonb_array_elements(errors) e) AS errors, redriven_from = ARRAY[:old::bigint] AS from_old
	FROM penny.dead_letters WHERE id = :new;
SELECT penny.redrive(:new) AS third \gset
SELECT penny.job(:new) IS NULL AS gone;
SELECT take(), fail_all('four');
SELECT jsonb_array_length(errors) AS errors, redriven_from = ARRAY[:old, :new]::bigint[] AS both FROM penny.dead_letters WHERE id = :third;
-- when it completes, nothing is left of it
SELECT penny.redrive(:third) AS fourth \gset
SELECT take();
SELECT penny.complete(id, token) FROM held;
DELETE FROM held;
SELECT penny.job(:fourth) ->> 'state' AS state, (SELECT count(*) FROM _penny.job_lineage) AS lineages;

-- some, at a rate, all; in the order in which they died
SELECT cardinality(penny.enqueue_many('work', ARRAY(SELECT to_jsonb(n) FROM generate_series(1, 10) n), queue => 'dead')) AS enqueued;
SELECT take(), fail_all('of');
SELECT penny.redrive('dead', 2);
SELECT take();
SELECT jsonb_agg(payload ORDER BY id) AS payloads FROM held;
SELECT fail_all('again');
SELECT penny.redrive('dead', 5, 2);
SELECT take(1);
SELECT array_agg(round(extract(epoch FROM run_at - first) * 2)) AS half_seconds
	FROM (SELECT run_at, min(run_at) OVER () AS first FROM penny.jobs WHERE queue = 'dead' AND state IN ('delayed', 'active') ORDER BY run_at) j;
SELECT count(penny.cancel(id)) FROM penny.jobs WHERE queue = 'dead' AND state IN ('delayed', 'active');
DELETE FROM held;
SELECT penny.redrive('dead');
SELECT penny.redrive('dead');
SELECT take(), fail_all('last');

-- a key is taken again, when nobody has it
SELECT penny.enqueue('work', '"keyed"', queue => 'dead', key => 'k') AS keyed \gset
SELECT take(), fail_all('of');
SELECT penny.enqueue('work', '"other"', queue => 'dead', key => 'k') AS other \gset
\set VERBOSITY sqlstate
SELECT penny.redrive(:keyed);
\set VERBOSITY terse
SELECT penny.redrive('dead') AS all_but_one;
SELECT penny.cancel(:other);
SELECT penny.redrive(:keyed) > 0 AS redriven, penny.enqueue('work', '"third"', queue => 'dead', key => 'k') > :keyed AS kept;
SELECT take(), fail_all('of');

-- what is kept of a queue
SELECT penny.purge_dead('dead', '1 hour');
SELECT count(*) > 3 AS too_many FROM penny.dead_letters WHERE queue = 'dead';
SELECT penny.purge_dead('dead') > 3 AS purged;
SELECT count(*) FROM penny.dead_letters WHERE queue = 'dead';

-- who sees what
SELECT penny.handle('mine', NULL, queue => 'dead', access => 'user');
SELECT penny.enqueue('work', '"of nobody"', queue => 'dead') AS nobodys \gset
SELECT penny.act_as('00000000-0000-4000-8000-00000000000a');
SELECT penny.enqueue('mine', '"of a"') AS mine \gset
SELECT payload, state FROM penny.jobs;
SELECT penny.job(:nobodys) IS NULL AS hidden, penny.job(:mine) ->> 'state' AS state, penny.cancel(:nobodys) AS cancelled;
SELECT _penny.job_state(:nobodys, now()), _penny.job_attempt(:nobodys), _penny.job_errors(:nobodys), _penny.job_children(:nobodys);
SELECT penny.enqueue('work', '"not allowed"');
SELECT penny.redrive('dead');
SELECT * FROM penny.queues;
SELECT penny.queue_stats();
SELECT penny.act_as('00000000-0000-4000-8000-00000000000b');
SELECT count(*) FROM penny.jobs;
SELECT count(*) FROM penny.dead_letters;
SELECT penny.act_as('00000000-0000-4000-8000-00000000000c', 'penny_agent');
SELECT payload FROM penny.jobs WHERE queue = 'dead' AND state = 'waiting' ORDER BY id;
SELECT name, waiting, failed FROM penny.queues WHERE name = 'dead';
SELECT penny.queue_stats() -> 'queues' -> 'dead' ->> 'waiting' AS waiting;
SELECT penny.act_as(NULL);
SELECT bool_and(penny.cancel(id)) FROM penny.jobs WHERE queue = 'dead' AND state = 'waiting';
-- conditions reach the tables, and what nobody asks for is not computed
CREATE FUNCTION plan_of(query text) RETURNS SETOF text LANGUAGE plpgsql SET enable_seqscan = off AS $$
BEGIN
	RETURN QUERY EXECUTE 'EXPLAIN (VERBOSE, COSTS off) ' || query;
END $$;
SELECT count(*) FILTER (WHERE line ~ 'Index Cond: .*id = 1\)') AS indexes, count(*) FILTER (WHERE line ~ 'job_attempt') AS computed,
	count(*) FILTER (WHERE line ~ 'Seq Scan on _penny.job') AS scans FROM plan_of('SELECT id, state FROM penny.jobs WHERE id = 1') line;
SELECT penny.unhandle('mine');
DROP SCHEMA dead CASCADE;

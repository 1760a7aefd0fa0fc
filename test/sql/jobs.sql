-- Enqueuing jobs: what is stored, what is refused, and who may.
SET timezone = 'UTC';
CREATE SCHEMA regress_jobs;
-- a job that nobody runs, as its row says it
CREATE VIEW regress_jobs.rows AS
	SELECT j.id, q.name AS queue, j.flags, j.priority, j.attempts, j.timeout_ms, j.backoff_ms, j.due - j.enqueued_at AS wait,
		j.kind, j.payload, j.user_id, j.parent, j.key, j.group_key, j.room
	FROM (SELECT id, queue, flags, priority, attempts, timeout_ms, backoff_ms, due, enqueued_at, kind, payload, user_id, parent, key, group_key, room FROM _penny.job_0
		UNION ALL SELECT id, queue, flags, priority, attempts, timeout_ms, backoff_ms, due, enqueued_at, kind, payload, user_id, parent, key, group_key, room FROM _penny.jobs_deferred) j
	JOIN _penny.queues q ON q.id = j.queue;
CREATE FUNCTION regress_jobs.stored(job bigint) RETURNS text LANGUAGE sql AS
	$$SELECT concat_ws(' ', queue, flags, priority, attempts, timeout_ms, backoff_ms, wait, kind, payload, user_id, key, group_key, room) FROM regress_jobs.rows WHERE id = job$$;

SELECT regress_jobs.stored(penny.enqueue('nobody'));
SELECT regress_jobs.stored(penny.enqueue('nobody.runs:this/one-2', '{"a": [1, null, "x"]}', 'high-priority', -5, delay => '2 min', attempts => 7,
	backoff => '1.5 s', timeout => '1 day', group_key => 'g', room => 'team:1'));
SELECT regress_jobs.stored(penny.enqueue('nobody', 'null', run_at => now() - interval '1 year'));
-- late ones lie elsewhere
SELECT penny.enqueue('nobody', delay => '6 min') AS late \gset
SELECT count(*) FROM _penny.jobs_deferred WHERE id = :late AND made = 0 AND errors = '[]' AND pending = 0;
SELECT regress_jobs.stored(:late);

-- what is wrong, and its code
SELECT penny.enqueue(NULL);
\echo :LAST_ERROR_SQLSTATE
SELECT penny.enqueue('');
SELECT penny.enqueue('-x');
SELECT penny.enqueue('a b');
\echo :LAST_ERROR_SQLSTATE
SELECT penny.enqueue(repeat('x', 129));
SELECT penny.enqueue('nobody', NULL);
SELECT penny.enqueue('nobody', to_jsonb(repeat('x', 1024 * 1024)));
\echo :LAST_ERROR_SQLSTATE
-- few bytes that are a long text
SELECT penny.enqueue('nobody', jsonb_agg('1e100000'::jsonb)) FROM generate_series(1, 11);
SELECT penny.enqueue('nobody', to_jsonb(repeat(E'\x01', 200000)));
SELECT penny.enqueue('nobody', to_jsonb(repeat('x', 1024 * 1024 - 2))) AS large \gset
SELECT length(payload::text) FROM regress_jobs.rows WHERE id = :large;
SELECT penny.enqueue('nobody', queue => 'nowhere');
\echo :LAST_ERROR_SQLSTATE
SELECT penny.enqueue('nobody', queue => repeat('x', 100));
SELECT penny.enqueue('nobody', priority => 1000000001);
SELECT penny.enqueue('nobody', attempts => 0);
SELECT penny.enqueue('nobody', attempts => 1001);
SELECT penny.enqueue('nobody', run_at => now(), delay => '1 s');
SELECT penny.enqueue('nobody', run_at => 'infinity');
SELECT penny.enqueue('nobody', backoff => '-1 s');
SELECT penny.enqueue('nobody', backoff => '2 days');
SELECT penny.enqueue('nobody', timeout => '0');
SELECT penny.enqueue('nobody', timeout => '8 days');
SELECT penny.enqueue('nobody', key => '');
SELECT penny.enqueue('nobody', group_key => repeat('x', 513));
SELECT penny.enqueue('nobody', room => repeat('x', 129));

-- transactions
BEGIN READ ONLY;
SELECT penny.enqueue('nobody');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK;
SELECT count(*) AS before FROM regress_jobs.rows \gset
BEGIN;
SELECT penny.enqueue('nobody') > 0;
SAVEPOINT a;
SELECT count(penny.enqueue('nobody')) FROM generate_series(1, 10);
ROLLBACK TO a;
DO $$
BEGIN
	FOR i IN 1 .. 3 LOOP
		BEGIN
			PERFORM penny.enqueue('nobody');
			IF i = 2 THEN
				RAISE EXCEPTION 'no';
			END IF;
		EXCEPTION WHEN raise_exception THEN
			NULL;
		END;
	END LOOP;
END
$$;
COMMIT;
SELECT count(*) - :before FROM regress_jobs.rows;
BEGIN;
SELECT penny.enqueue('nobody') > 0;
ROLLBACK;
SELECT count(*) - :before FROM regress_jobs.rows;

-- many
SELECT array_length(penny.enqueue_many('nobody', ARRAY['1', '{"a": 2}']::jsonb[], queue => 'high-priority', priority => 3, group_key => 'g'), 1);
SELECT penny.enqueue_many('nobody', '{}'), penny.enqueue_many('[]');
SELECT penny.enqueue_many('nobody', ARRAY['1', NULL]::jsonb[]);
SELECT penny.enqueue_many('nobody', NULL);
SELECT regress_jobs.stored(id) FROM unnest(penny.enqueue_many('[{"kind": "nobody"}, {"kind": "nobody", "payload": {"b": 1}, "queue": "high-priority", "priority": 2, "delay": "1 min", "attempts": 9, "backoff": "1 s", "timeout": "2 s", "group_key": "h", "room": "team:2"}]')) id;
SELECT penny.enqueue_many('{"kind": "nobody"}');
SELECT penny.enqueue_many('[1]');
SELECT penny.enqueue_many('[{"kind": "nobody", "dealy": "1 hour"}]');
SELECT penny.enqueue_many('[{"kind": "nobody", "priority": "high"}]');
SELECT penny.enqueue_many('[{"kind": "nobody", "priority": 1e30}]');
SELECT penny.enqueue_many('[{"payload": 1}]');

-- who: a kind without a handler is for agents
SET ROLE penny_user;
SELECT penny.enqueue('nobody');
\echo :LAST_ERROR_SQLSTATE
SELECT penny.load_jobs();
SELECT count(*) FROM _penny.job_0;
SET ROLE penny_agent;
SELECT penny.enqueue('nobody') > 0;
RESET ROLE;
SELECT penny.handle('for_users', access => 'user'), penny.handle('for_admins', access => 'admin');
SET ROLE penny_user;
SELECT penny.enqueue('for_users') > 0;
SET ROLE penny_agent;
SELECT penny.enqueue('for_admins');
RESET ROLE;
CREATE ROLE regress_stranger;
SET ROLE regress_stranger;
SELECT penny.enqueue('for_users');
RESET ROLE;
DROP ROLE regress_stranger;
SELECT penny.unhandle('for_users'), penny.unhandle('for_admins');
-- the user is the caller's
SELECT penny.act_as('00000000-0000-7000-8000-0000000000aa', 'penny_agent');
SELECT penny.enqueue('nobody') AS mine \gset
SELECT penny.act_as(NULL);
SELECT user_id, flags FROM regress_jobs.rows WHERE id = :mine;

-- receipts
SELECT _penny.receipt_ids(5, ''), _penny.receipt_ids(5, '\x0101');
SELECT array_agg(i) FROM _penny.receipt_ids(1000, '\x01ac0201') i;
SELECT array_agg(i) FROM _penny.receipt_ids(1, '\xffffffffffffffffffffff') i;
SELECT _penny.job_ended(0, 1 << 19), _penny.job_ended(9, 5), _penny.job_ended(1, 5);

SELECT count(penny.cancel(id)) > 0 FROM regress_jobs.rows;
DROP SCHEMA regress_jobs CASCADE;

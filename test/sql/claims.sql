-- External workers: what claims give, what ends them, which arguments are refused.
\set VERBOSITY terse
SET client_min_messages = warning;
-- jobs are given out when the server has read the tables
DO $$ BEGIN WHILE NOT coalesce((SELECT loaded FROM _penny.queue_facts()), false) LOOP PERFORM pg_sleep(0.02); END LOOP; END $$;
DO $$ BEGIN PERFORM penny.create_queue('claims', concurrency => NULL, rate_limit => NULL, backoff => '0 s', attempts => 3); END $$;
DO $$ BEGIN PERFORM penny.handle('dig', queue => 'claims'); END $$;
-- the queue is known to the scheduler when a job can be claimed
SELECT penny.enqueue('dig') > 0 AS enqueued;
CALL penny.claim_wait('claims', 1, '30 s') \gset first_
SELECT penny.complete((:'first_jobs'::jsonb -> 0 ->> 'id')::bigint, (:'first_jobs'::jsonb -> 0 ->> 'token')::bigint);

-- groups take turns, whatever the priority; a worker that gives no name is external
SELECT penny.enqueue('dig', '{"n": 1}') AS one \gset
SELECT penny.enqueue('dig', '{"n": 2}', priority => -1, group_key => 'g') AS two \gset
SELECT penny.enqueue('dig', '{"n": 3}', key => 'k') AS three \gset
SELECT payload, attempt, key, group_key, children, token > 0 AS token, lease_until > clock_timestamp() + '59 s' AS lease FROM penny.claim('claims', 2);
SELECT penny.job(:one) ->> 'worker' AS worker, penny.job(:one) ->> 'state' AS state;
SELECT id = :three AS third, token FROM penny.claim('claims', 10, '1 h', 'crane') \gset
SELECT penny.job(:three) ->> 'worker' AS worker, penny.job(:three) ->> 'attempt' AS attempt;

-- progress, extending, completing
SELECT penny.progress('{"percent": 10}', :three, :token), penny.job(:three) -> 'progress' AS progress;
SELECT penny.extend(ARRAY[:three, :three], ARRAY[:token, :token + 1]), penny.extend('{}', '{}'), penny.release('{}', '{}'), penny.complete('{}'::bigint[], '{}');
SELECT penny.complete(:three, :token, '[1, 2]');
SELECT j ->> 'state' AS state, j -> 'result' AS result, j ->> 'worker' AS worker, j -> 'progress' AS progress FROM penny.job(:three) j;
SELECT penny.cancel(:three) AS ended;

-- what is not held
SELECT penny.complete(1234567890, 5);
SELECT penny.fail(1234567890, 5, 'x');
SELECT penny.progress('1', 1234567890, 5);
SELECT penny.complete(ARRAY[1234567890], ARRAY[5]::bigint[]);
SELECT penny.extend(ARRAY[1234567890], ARRAY[5]::bigint[]), penny.release(ARRAY[1234567890], ARRAY[5]::bigint[]);

-- failing: again, never, when attempts are used up
SELECT penny.cancel(:one), penny.cancel(:two);
SELECT penny.enqueue('dig', attempts => 2) AS job \gset
SELECT token FROM penny.claim('claims') \gset
SELECT penny.fail(:job, :token, 'first');
SELECT id = :job AS again, attempt, token FROM penny.claim('claims') \gset
\echo :again :attempt
SELECT penny.fail(:job, :token, 'second');
SELECT j ->> 'state' AS state, j ->> 'error' AS error, jsonb_path_query_array(j, '$.errors[*].error') AS errors, j ->> 'reason' AS reason FROM penny.job(:job) j;
SELECT penny.enqueue('dig') AS job \gset
SELECT token FROM penny.claim('claims') \gset
SELECT penny.fail(:job, :token, 'never', permanent => true), penny.job(:job) ->> 'reason' AS reason;

-- a subtransaction that rolls back gives back what it claimed, and what it ended is held again
SELECT penny.enqueue('dig') AS job \gset
BEGIN;
SAVEPOINT a;
SELECT id = :job AS claimed FROM penny.claim('claims');
ROLLBACK TO a;
SELECT id = :job AS claimed, attempt, token FROM penny.claim('claims') \gset
\echo :claimed :attempt
SAVEPOINT b;
SELECT penny.complete(:job, :token);
\set VERBOSITY sqlstate
SELECT penny.complete(:job, :token);
\set VERBOSITY terse
ROLLBACK TO b;
SELECT penny.complete(:job, :token);
COMMIT;
SELECT penny.job(:job) ->> 'state' AS state;

-- PREPARE: a claim may be, an end not
SELECT penny.enqueue('dig') AS job \gset
SELECT token FROM penny.claim('claims') \gset
BEGIN;
SELECT penny.complete(:job, :token);
PREPARE TRANSACTION 'claims';
SELECT penny.job(:job) ->> 'state' AS state, penny.release(ARRAY[:job], ARRAY[:token]) AS released;
SELECT penny.cancel(:job);

-- arguments
SELECT * FROM penny.claim('no such queue');
SELECT * FROM penny.claim(NULL);
SELECT * FROM penny.claim('claims', 0);
SELECT * FROM penny.claim('claims', 1001);
SELECT * FROM penny.claim('claims', 1, '10 ms');
SELECT * FROM penny.claim('claims', 1, '25 h');
SELECT penny.complete(1, NULL);
SELECT penny.complete(ARRAY[1], ARRAY[]::bigint[]);
SELECT penny.complete(ARRAY[1, NULL], ARRAY[1, 2]::bigint[]);
SELECT penny.complete(ARRAY[1], ARRAY[1]::bigint[], ARRAY[]::jsonb[]);
SELECT penny.complete(1, 1, to_jsonb(repeat('x', 1100000)));
SELECT penny.fail(1, 1, NULL);
SELECT penny.fail(1, 1, 'x', retry_in => '-1 s');
SELECT penny.progress('1');
SELECT penny.progress('1', 1);
SELECT penny.progress(NULL, 1, 1);
CALL penny.claim_wait('claims', wait => '2 h');
CALL penny.claim_wait('claims', wait => NULL);
BEGIN;
CALL penny.claim_wait('claims');
ROLLBACK;
DO $$ DECLARE r jsonb; BEGIN CALL penny.enqueue_and_wait('dig', result => r); EXCEPTION WHEN no_data_found THEN NULL; END $$;
CALL penny.claim_wait('claims', wait => '0 s');

-- rights
SET ROLE penny_user;
SELECT * FROM penny.claim('claims');
SELECT penny.complete(1, 1);
SELECT penny.fail(1, 1, 'x');
SELECT penny.extend('{1}', '{1}');
SELECT penny.release('{1}', '{1}');
SELECT penny.progress('1', 1, 1);
CALL penny.claim_wait('claims');
SELECT penny.cancel(1);
RESET ROLE;
DO $$ BEGIN PERFORM penny.cancel(id) FROM penny.jobs WHERE queue = 'claims' AND state IN ('waiting', 'active', 'delayed'); PERFORM penny.unhandle('dig'); END $$;

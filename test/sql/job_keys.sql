-- Keys of jobs: at most one of a key waits, and none runs beside another.
SET client_min_messages = warning;
CREATE SCHEMA keys;
SET search_path = keys;
CREATE TABLE held (payload jsonb, id bigint, token bigint);
-- claim, by payload; what was got is kept to be ended
CREATE FUNCTION take(n integer DEFAULT 1) RETURNS SETOF jsonb LANGUAGE sql AS $$
	INSERT INTO keys.held SELECT c.payload, c.id, c.token FROM penny.claim('keys', n) c RETURNING payload $$;
CREATE FUNCTION finish(job jsonb) RETURNS boolean LANGUAGE sql AS
	'SELECT penny.complete(h.id, h.token) FROM keys.held h WHERE h.payload = job';
CREATE FUNCTION put(payload jsonb, mode text DEFAULT 'keep', key text DEFAULT 'k', delay interval DEFAULT NULL) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	holder bigint := penny.enqueue('work', payload, queue => 'keys', key => key, key_mode => mode, delay => delay);
BEGIN
	-- the payload of the job that has the key now
	RETURN (SELECT j.payload FROM penny.jobs j WHERE j.id = holder);
END $$;
CREATE VIEW jobs AS SELECT payload, state, key FROM penny.jobs WHERE queue = 'keys' ORDER BY id;
SELECT penny.create_queue('keys', concurrency => NULL, rate_limit => NULL);
-- the queue is known to the scheduler when a job can be claimed
SELECT penny.enqueue('work', '"first"', queue => 'keys') > 0 AS enqueued;
CALL penny.claim_wait('keys', 1, '30 s') \gset first_
SELECT penny.complete((:'first_jobs'::jsonb -> 0 ->> 'id')::bigint, (:'first_jobs'::jsonb -> 0 ->> 'token')::bigint);

-- keep: the one that is there stays, waiting or running, until it has ended
SELECT put('1'), put('2');
SELECT take(9);
SELECT put('3');
SELECT finish('1');
SELECT put('4');
-- of another queue, or another key, it is another
SELECT put('5', key => 'other');
SELECT take(9);
SELECT finish('4'), finish('5');
SELECT count(*) FROM _penny.job_keys;

-- replace: what waits is cancelled
SELECT put('10', 'replace');
SELECT put('11', 'replace');
SELECT put('12', 'replace', delay => '1 hour');
SELECT put('13', 'replace', delay => '1 hour');
SELECT put('14', 'replace');
SELECT payload, state FROM jobs WHERE payload BETWEEN '10' AND '19';
SELECT take(9);
-- what runs is left, and the new one comes after it, also the one that replaces that
SELECT put('15', 'replace');
SELECT put('16', 'replace');
SELECT put('17');
SELECT payload, state FROM jobs WHERE payload BETWEEN '14' AND '19';
SELECT take(9);
SELECT finish('14');
SELECT take(9);
SELECT finish('16');
SELECT count(*) FROM _penny.job_keys;
-- a failure that is to be tried again is no end
SELECT put('20');
SELECT take(9);
SELECT put('21', 'replace');
SELECT penny.fail(id, token, 'again', retry_in => '0') FROM held WHERE payload = '20';
SELECT payload, state FROM jobs WHERE payload BETWEEN '20' AND '29';
DELETE FROM held WHERE payload = '20';
SELECT take(9);
SELECT penny.fail(id, token, 'never', permanent => true) FROM held WHERE payload = '20';
SELECT take(9);
SELECT finish('21');

-- debounce: the time begins again
SELECT penny.enqueue('work', queue => 'keys', key => 'k', key_mode => 'debounce');
SELECT put('30', 'debounce', delay => '1 min');
SELECT put('30', 'debounce', delay => '1 min'), put('31', 'debounce', delay => '10 min');
SELECT payload, state FROM jobs WHERE payload BETWEEN '30' AND '39';
SELECT penny.cancel_key('keys', 'k'), penny.cancel_key('keys', 'k');

-- in one transaction, and what a rollback takes back
BEGIN;
SELECT put('40', 'replace'), put('41', 'replace');
SAVEPOINT s;
SELECT put('42', 'replace');
ROLLBACK TO s;
SELECT put('43');
COMMIT;
BEGIN;
SELECT put('44', 'replace');
ROLLBACK;
SELECT payload, state FROM jobs WHERE payload BETWEEN '40' AND '49';
SELECT take(9);
SELECT finish('41');
BEGIN;
SELECT put('45');
ROLLBACK;
SELECT put('46'), put('47', 'replace');
SELECT take(9);
SELECT finish('47');

-- many at once
SELECT count(DISTINCT i) FROM unnest(penny.enqueue_many('[{"kind": "work", "queue": "keys", "key": "m", "payload": 50},
	{"kind": "work", "queue": "keys", "key": "m", "payload": 51}, {"kind": "work", "queue": "keys", "payload": 52}]')) i;
SELECT take(9);
SELECT finish('50'), finish('52');

-- what is refused
\set VERBOSITY terse
SELECT put('60', 'keep', '');
SELECT put('60', 'other');
SELECT put('60', 'keep', repeat('x', 600));
SELECT count(*) FROM _penny.job_keys;
SELECT count(*) FROM jobs WHERE state NOT IN ('completed', 'cancelled', 'failed');
SELECT penny.purge_dead('keys');
DROP SCHEMA keys CASCADE;

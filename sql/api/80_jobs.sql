-- Jobs: enqueuing them.  What is written and how: src/queue/README.md.

CREATE OR REPLACE FUNCTION penny.enqueue(
	kind text, payload jsonb DEFAULT '{}', queue text DEFAULT NULL, priority integer DEFAULT 0,
	run_at timestamptz DEFAULT NULL, delay interval DEFAULT NULL, attempts integer DEFAULT NULL,
	backoff interval DEFAULT NULL, timeout interval DEFAULT NULL, key text DEFAULT NULL,
	key_mode text DEFAULT 'keep', group_key text DEFAULT NULL, room text DEFAULT NULL) RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_enqueue';
COMMENT ON FUNCTION penny.enqueue(text, jsonb, text, integer, timestamptz, interval, integer, interval, interval, text, text, text, text) IS
'Enqueue a job, which starts when this transaction has committed; gives its id. Smaller priority first; attempts, backoff and timeout default to those of its handler and queue. With key at most one job of that key waits in the queue: key_mode keep, replace or debounce';

CREATE OR REPLACE FUNCTION penny.enqueue_many(
	kind text, payloads jsonb[], queue text DEFAULT NULL, priority integer DEFAULT 0,
	run_at timestamptz DEFAULT NULL, delay interval DEFAULT NULL, group_key text DEFAULT NULL) RETURNS bigint[]
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_enqueue_payloads';
COMMENT ON FUNCTION penny.enqueue_many(text, jsonb[], text, integer, timestamptz, interval, text) IS
'Enqueue a job for each payload; gives their ids in the same order';

CREATE OR REPLACE FUNCTION penny.enqueue_many(jobs jsonb) RETURNS bigint[]
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_enqueue_jobs';
COMMENT ON FUNCTION penny.enqueue_many(jsonb) IS
'Enqueue an array of jobs, each an object with the names of the arguments of penny.enqueue(); gives their ids in the same order';

REVOKE EXECUTE ON FUNCTION
	penny.enqueue(text, jsonb, text, integer, timestamptz, interval, integer, interval, interval, text, text, text, text),
	penny.enqueue_many(text, jsonb[], text, integer, timestamptz, interval, text), penny.enqueue_many(jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
	penny.enqueue(text, jsonb, text, integer, timestamptz, interval, integer, interval, interval, text, text, text, text),
	penny.enqueue_many(text, jsonb[], text, integer, timestamptz, interval, text), penny.enqueue_many(jsonb) TO penny_user;

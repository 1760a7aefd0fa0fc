-- Jobs: enqueuing them.  What is written and how: src/queue/README.md.

CREATE OR REPLACE FUNCTION penny.enqueue(
	kind text, payload jsonb DEFAULT '{}', queue text DEFAULT NULL, priority integer DEFAULT 0,
	run_at timestamptz DEFAULT NULL, delay interval DEFAULT NULL, attempts integer DEFAULT NULL,
	backoff interval DEFAULT NULL, timeout interval DEFAULT NULL, key text DEFAULT NULL,
	key_mode text DEFAULT 'keep', group_key text DEFAULT NULL, room text DEFAULT NULL) RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_enqueue';
COMMENT ON FUNCTION penny.enqueue(text, jsonb, text, integer, timestamptz, interval, integer, interval, interval, text, text, text, text) IS
'Enqueue a job, which starts when this transaction has committed; gives its id. Smaller priority first; attempts, backoff and timeout default to those of its handler and queue. With key at most one job of that key waits in the queue: key_mode keep (gives the id of the one that is there), replace or debounce. The payload is 1 MB at most (PY413). PY404: no such queue; 42501: the kind is not the caller''s to enqueue';

CREATE OR REPLACE FUNCTION penny.enqueue_many(
	kind text, payloads jsonb[], queue text DEFAULT NULL, priority integer DEFAULT 0,
	run_at timestamptz DEFAULT NULL, delay interval DEFAULT NULL, group_key text DEFAULT NULL) RETURNS bigint[]
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_enqueue_payloads';
COMMENT ON FUNCTION penny.enqueue_many(text, jsonb[], text, integer, timestamptz, interval, text) IS
'Enqueue a job for each payload; gives their ids in the same order. Errors as of penny.enqueue(), and then there is none';

CREATE OR REPLACE FUNCTION penny.enqueue_many(jobs jsonb) RETURNS bigint[]
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_enqueue_jobs';
COMMENT ON FUNCTION penny.enqueue_many(jsonb) IS
'Enqueue an array of jobs, each an object with the names of the arguments of penny.enqueue(); gives their ids in the same order. Errors as of penny.enqueue(), and then there is none';

CREATE OR REPLACE FUNCTION _penny.reload_jobs() RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_reload_jobs';
COMMENT ON FUNCTION _penny.reload_jobs() IS 'Have the workers read the tables of jobs anew when this transaction has committed';

CREATE OR REPLACE FUNCTION _penny.rotate_jobs() RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_rotate_jobs';
COMMENT ON FUNCTION _penny.rotate_jobs() IS 'Have a worker empty now what segments can be emptied, the newest too, and move jobs that wait in them to the deferred ones';

CREATE OR REPLACE FUNCTION penny.load_jobs() RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	DELETE FROM _penny.jobs_restored;
	PERFORM _penny.reload_jobs();
END
$$;
COMMENT ON FUNCTION penny.load_jobs() IS
'Have the workers read the tables of jobs anew: after a restore, whose jobs and schedules wait until then. For superusers and the owner of the extension';

CREATE OR REPLACE FUNCTION _penny.job_ended(segment integer, id bigint) RETURNS boolean
LANGUAGE c STABLE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'penny_job_ended';
COMMENT ON FUNCTION _penny.job_ended(integer, bigint) IS
'Has this job of table job_<segment> ended, or moved to the deferred ones, by its receipts? What pg_dump leaves out';

CREATE OR REPLACE FUNCTION _penny.receipt_ids(id bigint, ids bytea) RETURNS SETOF bigint
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'penny_receipt_ids';
COMMENT ON FUNCTION _penny.receipt_ids(bigint, bytea) IS 'Ids of the jobs that a receipt of a batch tells of';

CREATE OR REPLACE FUNCTION _penny.jobs_in_memory(
	OUT id bigint, OUT queue smallint, OUT state text, OUT due timestamptz, OUT attempt integer,
	OUT started_at timestamptz, OUT lease_until timestamptz, OUT holder integer) RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'penny_jobs_in_memory_sql';
COMMENT ON FUNCTION _penny.jobs_in_memory() IS 'Jobs that wait or run, as far as they are in memory';

CREATE OR REPLACE FUNCTION _penny.queue_counters() RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'penny_queue_counters';
COMMENT ON FUNCTION _penny.queue_counters() IS 'Whether jobs are loaded, and counters since the server started';

REVOKE EXECUTE ON FUNCTION
	penny.enqueue(text, jsonb, text, integer, timestamptz, interval, integer, interval, interval, text, text, text, text),
	penny.enqueue_many(text, jsonb[], text, integer, timestamptz, interval, text), penny.enqueue_many(jsonb),
	penny.load_jobs(), _penny.reload_jobs(), _penny.rotate_jobs(), _penny.job_ended(integer, bigint), _penny.receipt_ids(bigint, bytea),
	_penny.jobs_in_memory(), _penny.queue_counters() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
	penny.enqueue(text, jsonb, text, integer, timestamptz, interval, integer, interval, interval, text, text, text, text),
	penny.enqueue_many(text, jsonb[], text, integer, timestamptz, interval, text), penny.enqueue_many(jsonb) TO penny_user;

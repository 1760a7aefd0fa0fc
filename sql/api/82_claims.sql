-- External workers: they claim jobs and say what became of them (src/queue/claim.c).

CREATE OR REPLACE FUNCTION penny.claim(queue text, n integer DEFAULT 1, lease interval DEFAULT '60 s', worker text DEFAULT NULL,
	OUT id bigint, OUT kind text, OUT payload jsonb, OUT attempt integer, OUT token bigint, OUT lease_until timestamptz,
	OUT key text, OUT group_key text, OUT children jsonb) RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 10
AS 'MODULE_PATHNAME', 'penny_claim_sql';
COMMENT ON FUNCTION penny.claim(text, integer, interval, text) IS 'Claim up to n (1 to 1000) ready jobs of external kinds, of 64 MB or little more in all, for the time of the lease; attempt counts from 1, children are the results of a flow''s. Ready again when the lease (100 ms to 1 day) ends, or when this transaction rolls back. PY404: no such queue';

CREATE OR REPLACE PROCEDURE penny.claim_wait(queue text, n integer DEFAULT 1, wait interval DEFAULT '30 s', lease interval DEFAULT '60 s', worker text DEFAULT NULL, INOUT jobs jsonb DEFAULT NULL)
LANGUAGE c
AS 'MODULE_PATHNAME', 'penny_claim_wait_sql';
COMMENT ON PROCEDURE penny.claim_wait(text, integer, interval, interval, text, jsonb) IS 'As penny.claim(), but wait up to an hour for jobs, without a snapshot; jobs is an array of {id, kind, payload, attempt, token, lease_ms, key, group, children}, empty when the time is over. Not inside a transaction block';

CREATE OR REPLACE FUNCTION penny.complete(id bigint, token bigint, result jsonb DEFAULT NULL) RETURNS boolean
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_complete_sql';
COMMENT ON FUNCTION penny.complete(bigint, bigint, jsonb) IS 'A claimed job is done, if this transaction commits; PY409 when it is not held with this token any more';

CREATE OR REPLACE FUNCTION penny.complete(ids bigint[], tokens bigint[], results jsonb[] DEFAULT NULL) RETURNS integer
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_complete_many_sql';
COMMENT ON FUNCTION penny.complete(bigint[], bigint[], jsonb[]) IS 'Several claimed jobs are done, all or, by PY409, none; gives how many';

CREATE OR REPLACE FUNCTION penny.fail(id bigint, token bigint, error text, retry_in interval DEFAULT NULL, permanent boolean DEFAULT false) RETURNS boolean
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_fail_sql';
COMMENT ON FUNCTION penny.fail(bigint, bigint, text, interval, boolean) IS 'The attempt failed: again after retry_in or the backoff while attempts are left, else, or when permanent, a dead letter; PY409 as penny.complete()';

CREATE OR REPLACE FUNCTION penny.extend(ids bigint[], tokens bigint[], lease interval DEFAULT '60 s') RETURNS boolean[]
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_extend_sql';
COMMENT ON FUNCTION penny.extend(bigint[], bigint[], interval) IS 'Let leases end later, counted from now, at once, by 100 ms to 1 day; false for a job that is not held any more: cancelled, or its lease ended';

CREATE OR REPLACE FUNCTION penny.release(ids bigint[], tokens bigint[]) RETURNS integer
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_release_sql';
COMMENT ON FUNCTION penny.release(bigint[], bigint[]) IS 'Give claimed jobs back unharmed: ready again at once, no attempt counted; gives how many were held';

CREATE OR REPLACE FUNCTION penny.cancel(id bigint) RETURNS boolean
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_cancel_sql';
COMMENT ON FUNCTION penny.cancel(bigint) IS 'Cancel a job, also one that runs: its handler is interrupted, its claim void. False when there is none of one''s own that has not ended';

CREATE OR REPLACE FUNCTION _penny.job_of_key(queue text, key text) RETURNS bigint
LANGUAGE c STABLE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_job_of_key_sql';
COMMENT ON FUNCTION _penny.job_of_key(text, text) IS 'The job that holds a key in a queue; null also when it is not the caller''s to see';

CREATE OR REPLACE FUNCTION penny.cancel_key(queue text, key text) RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
	RETURN coalesce(penny.cancel(_penny.job_of_key(queue, key)), false);
END
$$;
COMMENT ON FUNCTION penny.cancel_key(text, text) IS 'Cancel the job that has this key in the queue, as penny.cancel(); false when there is none. PY404: no such queue';

CREATE OR REPLACE FUNCTION penny.progress(progress jsonb, id bigint DEFAULT NULL, token bigint DEFAULT NULL) RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_progress_sql';
COMMENT ON FUNCTION penny.progress(jsonb, bigint, bigint) IS 'Say how far a job is, in up to 8 kB: in a handler of the job that runs, elsewhere of a claimed one by its id and token. Told at once, whatever becomes of the transaction, as job.progress in the job''s room, and shown by penny.job()';

CREATE OR REPLACE FUNCTION _penny.job_progress(id bigint) RETURNS jsonb
LANGUAGE c STABLE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'penny_job_progress_sql';
COMMENT ON FUNCTION _penny.job_progress(bigint) IS 'What was last said of how far a job is; null also of other users'' jobs';

CREATE OR REPLACE FUNCTION _penny.ask_job(id bigint) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_ask_job_sql';
COMMENT ON FUNCTION _penny.ask_job(bigint) IS 'A request will be told how a job is, and may wait for its end: whoever ends it tells the room job:<id>';

CREATE OR REPLACE FUNCTION _penny.has_queue(name text) RETURNS boolean
LANGUAGE c STABLE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'penny_has_queue_sql';
COMMENT ON FUNCTION _penny.has_queue(text) IS 'Is there a queue of this name';

CREATE OR REPLACE PROCEDURE _penny.check_alone(what text)
LANGUAGE c
AS 'MODULE_PATHNAME', 'penny_check_alone_sql';
COMMENT ON PROCEDURE _penny.check_alone(text) IS 'Refuse a transaction block, in the name of a procedure that is going to commit';

CREATE OR REPLACE PROCEDURE _penny.await_job(id bigint, wait interval, INOUT ended boolean)
LANGUAGE c
AS 'MODULE_PATHNAME', 'penny_await_job_sql';
COMMENT ON PROCEDURE _penny.await_job(bigint, interval, boolean) IS 'Commit, and wait up to an hour until the job has ended';

-- Without SET, which would forbid the COMMIT; so every name has its schema.
CREATE OR REPLACE PROCEDURE penny.enqueue_and_wait(kind text, payload jsonb DEFAULT '{}', wait interval DEFAULT '30 s', INOUT result jsonb DEFAULT NULL,
	queue text DEFAULT NULL, priority integer DEFAULT 0, attempts integer DEFAULT NULL, timeout interval DEFAULT NULL, key text DEFAULT NULL, group_key text DEFAULT NULL)
LANGUAGE plpgsql
AS $$
#variable_conflict use_variable
DECLARE
	job_id bigint;
	job jsonb;
	ended boolean;
BEGIN
	IF wait IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'null_value_not_allowed', MESSAGE = 'wait must not be null';
	END IF;
	CALL _penny.check_alone('penny.enqueue_and_wait()');
	job_id := penny.enqueue(kind, payload, queue => queue, priority => priority, attempts => attempts, timeout => timeout, key => key, group_key => group_key);
	COMMIT;
	CALL _penny.await_job(job_id, wait, ended);
	job := penny.job(job_id);
	CASE
		WHEN job IS NULL THEN
			RAISE EXCEPTION USING ERRCODE = 'no_data_found', MESSAGE = pg_catalog.format('nothing is kept of job %s', job_id),
				DETAIL = 'It has ended, and others that ended since took its place among those that its queue keeps.';
		WHEN NOT ended THEN
			RAISE EXCEPTION USING ERRCODE = 'PY504', MESSAGE = pg_catalog.format('job %s has not ended yet', job_id),
				DETAIL = pg_catalog.format('It is %s.', pg_catalog.jsonb_extract_path_text(job, 'state')),
				HINT = pg_catalog.format('It goes on; ask for its result with penny.job(%s).', job_id);
		WHEN pg_catalog.jsonb_extract_path_text(job, 'state') OPERATOR(pg_catalog.<>) 'completed' THEN
			RAISE EXCEPTION USING ERRCODE = 'external_routine_exception',
				MESSAGE = pg_catalog.format('job %s has %s', job_id,
					CASE WHEN pg_catalog.jsonb_extract_path_text(job, 'state') OPERATOR(pg_catalog.=) 'cancelled' THEN 'been cancelled' ELSE 'failed' END),
				DETAIL = coalesce(pg_catalog.jsonb_extract_path_text(job, 'error'), '');
		ELSE
			result := pg_catalog.jsonb_extract_path(job, 'result');
	END CASE;
END
$$;
COMMENT ON PROCEDURE penny.enqueue_and_wait(text, jsonb, interval, jsonb, text, integer, integer, interval, text, text) IS 'Enqueue a job, commit, and wait (up to an hour) for its result; an error when it fails, PY504 when the time is over. Not inside a transaction block';

REVOKE EXECUTE ON FUNCTION penny.claim(text, integer, interval, text), penny.complete(bigint, bigint, jsonb),
	penny.complete(bigint[], bigint[], jsonb[]), penny.fail(bigint, bigint, text, interval, boolean),
	penny.extend(bigint[], bigint[], interval), penny.release(bigint[], bigint[]),
	penny.cancel(bigint), penny.cancel_key(text, text), _penny.job_of_key(text, text), penny.progress(jsonb, bigint, bigint),
	_penny.job_progress(bigint), _penny.ask_job(bigint), _penny.has_queue(text) FROM PUBLIC;
REVOKE EXECUTE ON PROCEDURE penny.claim_wait(text, integer, interval, interval, text, jsonb),
	_penny.check_alone(text), _penny.await_job(bigint, interval, boolean),
	penny.enqueue_and_wait(text, jsonb, interval, jsonb, text, integer, integer, interval, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION penny.claim(text, integer, interval, text), penny.complete(bigint, bigint, jsonb),
	penny.complete(bigint[], bigint[], jsonb[]), penny.fail(bigint, bigint, text, interval, boolean),
	penny.extend(bigint[], bigint[], interval), penny.release(bigint[], bigint[]) TO penny_agent;
GRANT EXECUTE ON PROCEDURE penny.claim_wait(text, integer, interval, interval, text, jsonb) TO penny_agent;
GRANT EXECUTE ON FUNCTION penny.cancel(bigint), penny.cancel_key(text, text), _penny.job_of_key(text, text),
	penny.progress(jsonb, bigint, bigint), _penny.job_progress(bigint), _penny.ask_job(bigint), _penny.has_queue(text) TO penny_user;
GRANT EXECUTE ON PROCEDURE _penny.check_alone(text), _penny.await_job(bigint, interval, boolean),
	penny.enqueue_and_wait(text, jsonb, interval, jsonb, text, integer, integer, interval, text, text) TO penny_user;

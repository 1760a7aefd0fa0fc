-- Jobs over HTTP.  Ids and tokens are strings of digits: they do not fit a number
-- of JavaScript.  With ?wait= the edge keeps a request whose answer has the header
-- penny-wait, and asks again when that room is told something.

CREATE OR REPLACE FUNCTION _penny.wait_asked(query jsonb) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF query ->> 'wait' !~ '^[0-9]{1,2}(\.[0-9]{1,3})?$' OR (query ->> 'wait')::numeric > 60 THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = 'wait must be a number of seconds from 0 to 60', DETAIL = 'It is at ?wait.';
	END IF;
	RETURN coalesce((query ->> 'wait')::numeric > 0, false);
END
$$;
COMMENT ON FUNCTION _penny.wait_asked(jsonb) IS 'Does the query ask to wait; PY400 when it asks wrongly';

CREATE OR REPLACE FUNCTION _penny.json_integer(doc jsonb, name text, low bigint, high bigint, at text DEFAULT '$') RETURNS bigint
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	value text := doc ->> name;
BEGIN
	IF value IS NULL THEN
		RETURN NULL;
	END IF;
	IF value !~ '^-?[0-9]{1,18}$' OR value::bigint NOT BETWEEN low AND high THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400',
			MESSAGE = format('"%s" must be an integer between %s and %s', name, low, high), DETAIL = format('It is at %s.%s.', at, name);
	END IF;
	RETURN value::bigint;
END
$$;
COMMENT ON FUNCTION _penny.json_integer(jsonb, text, bigint, bigint, text) IS 'An integer of a JSON document, null where it is missing, or PY400';

CREATE OR REPLACE FUNCTION _penny.json_ms(doc jsonb, name text, high bigint, at text DEFAULT '$') RETURNS interval
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT _penny.json_integer(doc, name, 0, high, at) * interval '1 ms'
$$;
COMMENT ON FUNCTION _penny.json_ms(jsonb, text, bigint, text) IS 'Milliseconds of a JSON document as an interval';

CREATE OR REPLACE FUNCTION _penny.path_job(params jsonb) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF params ->> 'id' ~ '^[0-9]{1,18}$' THEN
		RETURN (params ->> 'id')::bigint;
	END IF;
	RAISE EXCEPTION USING ERRCODE = 'PY404', MESSAGE = 'job not found', DETAIL = 'The identifier of a job is a number.';
END
$$;
COMMENT ON FUNCTION _penny.path_job(jsonb) IS 'The id of a job in a path, or PY404';

CREATE OR REPLACE FUNCTION _penny.job_not_found(id bigint) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RAISE EXCEPTION USING ERRCODE = 'PY404', MESSAGE = 'job not found',
		DETAIL = format('There is no job %s that the caller may see, or it is no longer kept.', id);
END
$$;
COMMENT ON FUNCTION _penny.job_not_found(bigint) IS 'Raise PY404';

-- The headers by which the edge waits for the end of a job.
CREATE OR REPLACE FUNCTION _penny.job_headers(job jsonb, waits boolean) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN waits AND job ->> 'state' NOT IN ('completed', 'failed', 'cancelled') THEN
		jsonb_build_object('penny-wait', 'job:' || (job ->> 'id'), 'penny-wait-path', '/api/v1/jobs/' || (job ->> 'id'))
		ELSE '{}' END
$$;
COMMENT ON FUNCTION _penny.job_headers(jsonb, boolean) IS 'Headers with which the edge waits for the end of a job';

CREATE OR REPLACE FUNCTION _penny.http_create_job(request penny.request) RETURNS penny.response
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	doc jsonb := request.body;
	waits boolean := _penny.wait_asked(request.query);
	job_id bigint;
	job jsonb;
BEGIN
	PERFORM _penny.check_query(request.query, '{wait}');
	PERFORM _penny.check_object(doc, '{"kind": "string", "payload": "object array string number boolean null", "queue": "string null",
		"priority": "number", "run_at": "string null", "delay_ms": "number null", "attempts": "number null", "backoff_ms": "number null",
		"timeout_ms": "number null", "key": "string null", "key_mode": "string", "group": "string null", "room": "string null"}');
	IF NOT doc ? 'kind' THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = 'a job has a "kind"', DETAIL = 'It is at $.kind.';
	END IF;
	IF doc ->> 'run_at' !~ '^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d(:?\d\d)?)$' THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = '"run_at" must be a time with its zone', DETAIL = 'It is at $.run_at.',
			HINT = 'For example 2030-01-31T08:00:00Z.';
	END IF;
	IF NOT _penny.has_queue(doc ->> 'queue') THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = format('there is no queue "%s"', doc ->> 'queue'), DETAIL = 'It is at $.queue.';
	END IF;
	job_id := penny.enqueue(doc ->> 'kind', coalesce(doc -> 'payload', '{}'), queue => doc ->> 'queue',
		priority => coalesce(_penny.json_integer(doc, 'priority', -2147483648, 2147483647), 0)::integer,
		run_at => (doc ->> 'run_at')::timestamptz, delay => _penny.json_ms(doc, 'delay_ms', 31622400000),
		attempts => _penny.json_integer(doc, 'attempts', 1, 1000)::integer,
		backoff => _penny.json_ms(doc, 'backoff_ms', 86400000), timeout => _penny.json_ms(doc, 'timeout_ms', 604800000),
		key => doc ->> 'key', key_mode => coalesce(doc ->> 'key_mode', 'keep'),
		group_key => doc ->> 'group', room => doc ->> 'room');
	job := jsonb_build_object('id', job_id::text, 'state', 'waiting');
	RETURN (CASE WHEN waits THEN 202 ELSE 201 END,
		jsonb_build_object('Location', '/api/v1/jobs/' || job_id) || _penny.job_headers(job, waits), job)::penny.response;
END
$$;
COMMENT ON FUNCTION _penny.http_create_job(penny.request) IS 'POST /api/v1/jobs';

CREATE OR REPLACE FUNCTION _penny.http_get_job(request penny.request) RETURNS penny.response
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	waits boolean := _penny.wait_asked(request.query);
	job jsonb;
	headers jsonb;
BEGIN
	PERFORM _penny.check_query(request.query, '{wait}');
	IF waits THEN
		PERFORM _penny.ask_job(_penny.path_job(request.params));
	END IF;
	job := penny.job(_penny.path_job(request.params));
	IF job IS NULL THEN
		PERFORM _penny.job_not_found(_penny.path_job(request.params));
	END IF;
	headers := _penny.job_headers(job, waits);
	RETURN (CASE WHEN headers = '{}' THEN 200 ELSE 202 END, headers, job)::penny.response;
END
$$;
COMMENT ON FUNCTION _penny.http_get_job(penny.request) IS 'GET /api/v1/jobs/{id}: 202 when it was to wait, and the job has not ended';

CREATE OR REPLACE FUNCTION _penny.http_cancel_job(request penny.request) RETURNS penny.response
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	id bigint := _penny.path_job(request.params);
	job jsonb;
BEGIN
	PERFORM _penny.check_query(request.query, '{}');
	job := penny.job(id);
	IF job IS NULL THEN
		PERFORM _penny.job_not_found(id);
	END IF;
	IF NOT penny.cancel(id) THEN
		RAISE EXCEPTION USING ERRCODE = 'PY409', MESSAGE = format('job %s cannot be cancelled', id),
			DETAIL = format('It is %s.', job ->> 'state');
	END IF;
	RETURN (204, NULL, NULL)::penny.response;
END
$$;
COMMENT ON FUNCTION _penny.http_cancel_job(penny.request) IS 'DELETE /api/v1/jobs/{id}';

CREATE OR REPLACE FUNCTION _penny.http_jobs_claim(request penny.request) RETURNS penny.response
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	doc jsonb := coalesce(request.body, '{}');
	queue text := request.params ->> 'queue';
	waits boolean := _penny.wait_asked(request.query);
	jobs jsonb;
BEGIN
	PERFORM _penny.check_query(request.query, '{wait}');
	PERFORM _penny.check_object(doc, '{"n": "number", "lease_ms": "number", "worker": "string null"}');
	IF NOT _penny.has_queue(queue) THEN
		RAISE EXCEPTION USING ERRCODE = 'PY404', MESSAGE = 'queue not found', DETAIL = format('There is no queue "%s".', queue);
	END IF;
	jobs := (SELECT coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object('id', c.id::text, 'kind', c.kind, 'attempt', c.attempt,
			'token', c.token::text, 'lease_until', c.lease_until, 'key', c.key, 'group', c.group_key, 'children', c.children))
			|| jsonb_build_object('payload', c.payload)), '[]')
		FROM penny.claim(queue, coalesce(_penny.json_integer(doc, 'n', 1, 1000), 1)::integer,
			coalesce(_penny.json_ms(doc, 'lease_ms', 86400000), '60 s'), doc ->> 'worker') c);
	RETURN (200, CASE WHEN waits AND jobs = '[]' THEN jsonb_build_object('penny-wait', 'queue:' || queue) ELSE '{}' END,
		jsonb_build_object('data', jobs))::penny.response;
END
$$;
COMMENT ON FUNCTION _penny.http_jobs_claim(penny.request) IS 'POST /api/v1/queues/{queue}/claim';

-- {"jobs": [{"id", "token", ...}]}: each an object of these members, ids and tokens as strings of digits.
CREATE OR REPLACE FUNCTION _penny.check_claims(doc jsonb, members jsonb, further jsonb DEFAULT '{}') RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	jobs jsonb := doc -> 'jobs';
	name text;
BEGIN
	PERFORM _penny.check_object(doc, '{"jobs": "array"}' || further);
	IF jobs IS NULL OR jsonb_array_length(jobs) NOT BETWEEN 1 AND 1000 THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = '"jobs" must have from 1 to 1000 elements', DETAIL = 'It is at $.jobs.';
	END IF;
	FOR n IN 0 .. jsonb_array_length(jobs) - 1 LOOP
		PERFORM _penny.check_object(jobs -> n, '{"id": "string", "token": "string"}' || members, format('$.jobs[%s]', n));
		FOREACH name IN ARRAY '{id,token}'::text[] LOOP
			IF (jobs -> n ->> name ~ '^[0-9]{1,18}$') IS NOT TRUE THEN
				RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = format('"%s" must be a string of digits', name),
					DETAIL = format('It is at $.jobs[%s].%s.', n, name);
			END IF;
		END LOOP;
	END LOOP;
	RETURN jobs;
END
$$;
COMMENT ON FUNCTION _penny.check_claims(jsonb, jsonb, jsonb) IS 'The claims that a request names, or PY400';

CREATE OR REPLACE FUNCTION _penny.claims_of(jobs jsonb, OUT ids bigint[], OUT tokens bigint[]) RETURNS record
LANGUAGE sql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT array_agg((j ->> 'id')::bigint ORDER BY n), array_agg((j ->> 'token')::bigint ORDER BY n)
	FROM jsonb_array_elements(jobs) WITH ORDINALITY AS a (j, n)
$$;
COMMENT ON FUNCTION _penny.claims_of(jsonb) IS 'Ids and tokens of claims';

CREATE OR REPLACE FUNCTION _penny.http_jobs_complete(request penny.request) RETURNS jsonb
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	jobs jsonb;
	claims record;
	results jsonb[];
BEGIN
	PERFORM _penny.check_query(request.query, '{}');
	jobs := _penny.check_claims(request.body, '{"result": "object array string number boolean null"}');
	claims := _penny.claims_of(jobs);
	results := (SELECT array_agg(nullif(j -> 'result', 'null') ORDER BY n) FROM jsonb_array_elements(jobs) WITH ORDINALITY AS a (j, n));
	RETURN jsonb_build_object('completed', penny.complete(claims.ids, claims.tokens, results));
END
$$;
COMMENT ON FUNCTION _penny.http_jobs_complete(penny.request) IS 'POST /api/v1/jobs/complete';

CREATE OR REPLACE FUNCTION _penny.http_jobs_fail(request penny.request) RETURNS jsonb
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	jobs jsonb;
	job jsonb;
BEGIN
	PERFORM _penny.check_query(request.query, '{}');
	jobs := _penny.check_claims(request.body, '{"error": "string", "retry_in_ms": "number null", "permanent": "boolean"}');
	FOR n IN 0 .. jsonb_array_length(jobs) - 1 LOOP
		job := jobs -> n;
		IF NOT job ? 'error' THEN
			RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = 'a failure has an "error"', DETAIL = format('It is at $.jobs[%s].error.', n);
		END IF;
		PERFORM penny.fail((job ->> 'id')::bigint, (job ->> 'token')::bigint, job ->> 'error',
			_penny.json_ms(job, 'retry_in_ms', 31622400000, format('$.jobs[%s]', n)), coalesce((job -> 'permanent')::boolean, false));
	END LOOP;
	RETURN jsonb_build_object('failed', jsonb_array_length(jobs));
END
$$;
COMMENT ON FUNCTION _penny.http_jobs_fail(penny.request) IS 'POST /api/v1/jobs/fail';

CREATE OR REPLACE FUNCTION _penny.http_jobs_extend(request penny.request) RETURNS jsonb
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	claims record;
BEGIN
	PERFORM _penny.check_query(request.query, '{}');
	claims := _penny.claims_of(_penny.check_claims(request.body, '{}', '{"lease_ms": "number"}'));
	RETURN jsonb_build_object('held', to_jsonb(penny.extend(claims.ids, claims.tokens,
		coalesce(_penny.json_ms(request.body, 'lease_ms', 86400000), '60 s'))));
END
$$;
COMMENT ON FUNCTION _penny.http_jobs_extend(penny.request) IS 'POST /api/v1/jobs/extend';

CREATE OR REPLACE FUNCTION _penny.http_jobs_release(request penny.request) RETURNS jsonb
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	claims record;
BEGIN
	PERFORM _penny.check_query(request.query, '{}');
	claims := _penny.claims_of(_penny.check_claims(request.body, '{}'));
	RETURN jsonb_build_object('released', penny.release(claims.ids, claims.tokens));
END
$$;
COMMENT ON FUNCTION _penny.http_jobs_release(penny.request) IS 'POST /api/v1/jobs/release';

CREATE OR REPLACE FUNCTION _penny.http_jobs_progress(request penny.request) RETURNS jsonb
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	jobs jsonb;
BEGIN
	PERFORM _penny.check_query(request.query, '{}');
	jobs := _penny.check_claims(request.body, '{"progress": "object array string number boolean null"}');
	FOR n IN 0 .. jsonb_array_length(jobs) - 1 LOOP
		IF NOT (jobs -> n) ? 'progress' THEN
			RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = '"progress" is missing', DETAIL = format('It is at $.jobs[%s].progress.', n);
		END IF;
		PERFORM penny.progress(jobs -> n -> 'progress', (jobs -> n ->> 'id')::bigint, (jobs -> n ->> 'token')::bigint);
	END LOOP;
	RETURN jsonb_build_object('told', jsonb_array_length(jobs));
END
$$;
COMMENT ON FUNCTION _penny.http_jobs_progress(penny.request) IS 'POST /api/v1/jobs/progress';

-- After the routes of 50_http.sql, which have taken away those of another version.
INSERT INTO penny.routes (method, pattern, handler, access, builtin) VALUES
	('POST', '/api/v1/jobs', '_penny.http_create_job', 'user', true),
	('GET', '/api/v1/jobs/{id}', '_penny.http_get_job', 'user', true),
	('DELETE', '/api/v1/jobs/{id}', '_penny.http_cancel_job', 'user', true),
	('POST', '/api/v1/queues/{queue}/claim', '_penny.http_jobs_claim', 'agent', true),
	('POST', '/api/v1/jobs/complete', '_penny.http_jobs_complete', 'agent', true),
	('POST', '/api/v1/jobs/fail', '_penny.http_jobs_fail', 'agent', true),
	('POST', '/api/v1/jobs/extend', '_penny.http_jobs_extend', 'agent', true),
	('POST', '/api/v1/jobs/release', '_penny.http_jobs_release', 'agent', true),
	('POST', '/api/v1/jobs/progress', '_penny.http_jobs_progress', 'agent', true);

REVOKE EXECUTE ON FUNCTION
	_penny.wait_asked(jsonb), _penny.json_integer(jsonb, text, bigint, bigint, text), _penny.json_ms(jsonb, text, bigint, text),
	_penny.path_job(jsonb), _penny.job_not_found(bigint), _penny.job_headers(jsonb, boolean),
	_penny.http_create_job(penny.request), _penny.http_get_job(penny.request), _penny.http_cancel_job(penny.request),
	_penny.http_jobs_claim(penny.request), _penny.check_claims(jsonb, jsonb, jsonb), _penny.claims_of(jsonb),
	_penny.http_jobs_complete(penny.request), _penny.http_jobs_fail(penny.request),
	_penny.http_jobs_extend(penny.request), _penny.http_jobs_release(penny.request), _penny.http_jobs_progress(penny.request) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
	_penny.wait_asked(jsonb), _penny.json_integer(jsonb, text, bigint, bigint, text), _penny.json_ms(jsonb, text, bigint, text),
	_penny.path_job(jsonb), _penny.job_not_found(bigint), _penny.job_headers(jsonb, boolean),
	_penny.http_create_job(penny.request), _penny.http_get_job(penny.request), _penny.http_cancel_job(penny.request) TO penny_user;
GRANT EXECUTE ON FUNCTION
	_penny.http_jobs_claim(penny.request), _penny.check_claims(jsonb, jsonb, jsonb), _penny.claims_of(jsonb),
	_penny.http_jobs_complete(penny.request), _penny.http_jobs_fail(penny.request),
	_penny.http_jobs_extend(penny.request), _penny.http_jobs_release(penny.request), _penny.http_jobs_progress(penny.request) TO penny_agent;

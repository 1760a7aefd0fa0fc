-- What there is to see of jobs: views over memory and tables (src/queue/job_view.c).
-- A user sees what it enqueued, agents and admins see all.  What is read from memory
-- is as it is at that moment, and STABLE for the planner's sake: so conditions reach
-- the tables, and columns that nobody asks for are not computed.

CREATE OR REPLACE FUNCTION _penny.job_state(id bigint, due timestamptz) RETURNS text
LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 100
AS 'MODULE_PATHNAME', 'penny_job_state_sql';
COMMENT ON FUNCTION _penny.job_state(bigint, timestamptz) IS 'State of a job whose row lies in a segment or with the deferred ones; null where it is to be found elsewhere, or is not the caller''s to see';

CREATE OR REPLACE FUNCTION _penny.job_attempt(id bigint, OUT attempt integer, OUT due timestamptz, OUT started_at timestamptz,
	OUT ended_at timestamptz, OUT lease_until timestamptz, OUT worker text, OUT result jsonb, OUT error text)
LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 100
AS 'MODULE_PATHNAME', 'penny_job_attempt_sql';
COMMENT ON FUNCTION _penny.job_attempt(bigint) IS 'The last attempt at such a job';

CREATE OR REPLACE FUNCTION _penny.job_errors(id bigint) RETURNS jsonb
LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 100
AS 'MODULE_PATHNAME', 'penny_job_errors_sql';
COMMENT ON FUNCTION _penny.job_errors(bigint) IS 'Errors of such a job: [{attempt, at, error, worker}]';

CREATE OR REPLACE FUNCTION _penny.job_children(id bigint) RETURNS jsonb
LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 100
AS 'MODULE_PATHNAME', 'penny_job_children_sql';
COMMENT ON FUNCTION _penny.job_children(bigint) IS 'What the children of a parent in a flow gave';

CREATE OR REPLACE FUNCTION _penny.queue_counts(OUT queue smallint, OUT waiting bigint, OUT delayed bigint, OUT active bigint,
	OUT oldest_at timestamptz, OUT started bigint, OUT ended bigint, OUT limited bigint) RETURNS SETOF record
LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 256
AS 'MODULE_PATHNAME', 'penny_queue_counts_sql';
COMMENT ON FUNCTION _penny.queue_counts() IS 'Counts of every queue, from memory';

CREATE OR REPLACE FUNCTION _penny.queue_segments(OUT number integer, OUT segment bigint, OUT seen bigint, OUT done bigint) RETURNS SETOF record
LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 8
AS 'MODULE_PATHNAME', 'penny_queue_segments_sql';
COMMENT ON FUNCTION _penny.queue_segments() IS 'Which segments the tables job_N hold, and how many of their jobs were in memory and have ended';

CREATE OR REPLACE FUNCTION _penny.queue_facts(OUT loaded boolean, OUT jobs_in_memory integer, OUT missed boolean)
LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'penny_queue_facts_sql';
COMMENT ON FUNCTION _penny.queue_facts() IS 'Whether the tables have been read, how many jobs fit into memory, and whether some wait for room there';

DO $$
BEGIN
	EXECUTE 'CREATE OR REPLACE VIEW _penny.job_rows AS ' || (SELECT pg_catalog.string_agg(pg_catalog.format(
		'SELECT id, queue, priority, attempts, due, enqueued_at, kind, payload, user_id, parent, key, group_key, room FROM _penny.job_%s', n),
		' UNION ALL ') FROM pg_catalog.generate_series(0, 7) n);
END
$$;
COMMENT ON VIEW _penny.job_rows IS 'Jobs in segments, ended or not';

-- What PostgreSQL adds to the message of an error may show rows of tables that a
-- user cannot read; agents see all of it.
CREATE OR REPLACE FUNCTION _penny.error_told(error text) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN _penny.is_agent() THEN error ELSE split_part(error, E'\n', 1) END
$$;
COMMENT ON FUNCTION _penny.error_told(text) IS 'An error of a job as the caller is told it: users the message alone, without details';

CREATE OR REPLACE FUNCTION _penny.errors_told(errors jsonb) RETURNS jsonb
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN _penny.is_agent() THEN errors ELSE (
		SELECT coalesce(jsonb_agg(e || jsonb_build_object('error', _penny.error_told(e ->> 'error')) ORDER BY n), '[]')
		FROM jsonb_array_elements(errors) WITH ORDINALITY AS a (e, n)) END
$$;
COMMENT ON FUNCTION _penny.errors_told(jsonb) IS 'The errors of a job as the caller is told them';

CREATE OR REPLACE VIEW penny.jobs WITH (security_barrier) AS
SELECT j.id, q.name AS queue, j.kind, j.state, j.priority, j.attempt, j.attempts, j.payload, j.run_at, j.enqueued_at, j.started_at,
	j.ended_at, j.lease_until, j.worker, j.result, _penny.error_told(j.error) AS error, j.key, j.group_key, j.room, j.user_id, j.parent
FROM (
	SELECT r.id, r.queue, r.kind, _penny.job_state(r.id, r.due) AS state, r.priority,
		(_penny.job_attempt(r.id)).attempt, nullif(r.attempts, 0) AS attempts, r.payload,
		coalesce((_penny.job_attempt(r.id)).due, r.due) AS run_at, r.enqueued_at, (_penny.job_attempt(r.id)).started_at,
		(_penny.job_attempt(r.id)).ended_at, (_penny.job_attempt(r.id)).lease_until, (_penny.job_attempt(r.id)).worker,
		(_penny.job_attempt(r.id)).result, (_penny.job_attempt(r.id)).error, r.key, r.group_key, r.room, r.user_id, r.parent
	FROM _penny.job_rows r
	UNION ALL
	-- one whose row is here has not ended, though its segment may have
	SELECT d.id, d.queue, d.kind, CASE WHEN d.pending > 0 THEN 'blocked'
			ELSE coalesce(nullif(_penny.job_state(d.id, d.due), 'completed'), CASE WHEN d.due > clock_timestamp() THEN 'delayed' ELSE 'waiting' END) END, d.priority,
		CASE WHEN d.pending > 0 THEN d.made ELSE greatest((_penny.job_attempt(d.id)).attempt, d.made) END, nullif(d.attempts, 0), d.payload,
		coalesce((_penny.job_attempt(d.id)).due, d.due), d.enqueued_at, (_penny.job_attempt(d.id)).started_at,
		NULL, (_penny.job_attempt(d.id)).lease_until, (_penny.job_attempt(d.id)).worker,
		NULL, d.errors -> -1 ->> 'error', d.key, d.group_key, d.room, d.user_id, d.parent
	FROM _penny.jobs_deferred d
	UNION ALL
	SELECT e.id, e.queue, e.kind, 'failed', e.priority, e.made::integer, nullif(e.attempts, 0), e.payload, NULL, e.enqueued_at, NULL,
		e.died_at, NULL, e.errors -> -1 ->> 'worker', NULL, e.errors -> -1 ->> 'error', e.key, e.group_key, e.room, e.user_id, e.parent
	FROM _penny.jobs_dead e
	UNION ALL
	SELECT h.id, h.queue, h.kind, CASE h.outcome WHEN 4 THEN 'cancelled' ELSE 'completed' END, NULL, h.attempt::integer, NULL, h.payload, NULL,
		h.enqueued_at, h.started_at, h.ended_at, NULL, h.worker, h.result, NULL, h.key, h.group_key, NULL, h.user_id, NULL
	FROM _penny.jobs_history h
) j LEFT JOIN _penny.queues q ON q.id = j.queue
WHERE ((SELECT _penny.is_agent()) OR j.user_id = (SELECT penny.user_id())) AND j.state IS NOT NULL;
COMMENT ON VIEW penny.jobs IS 'Jobs: those that wait, are delayed, blocked by children or active, dead letters (failed), and of those that have ended at least the last that their queues keep. A user sees what it enqueued, agents see all';

CREATE OR REPLACE VIEW penny.dead_letters WITH (security_barrier) AS
SELECT d.id, q.name AS queue, d.kind, d.payload, d.reason, d.made AS attempts, _penny.error_told(d.errors -> -1 ->> 'error') AS error, _penny.errors_told(d.errors) AS errors,
	d.enqueued_at, d.died_at, d.key, d.group_key, d.room, d.user_id, d.parent, d.redriven_from
FROM _penny.jobs_dead d LEFT JOIN _penny.queues q ON q.id = d.queue
WHERE (SELECT _penny.is_agent()) OR d.user_id = (SELECT penny.user_id());
COMMENT ON VIEW penny.dead_letters IS 'Jobs that failed at last: failed (no attempt left), permanent, crashed (its process twice) or child (one of its flow); with every error, and the ids it had before it was redriven. A user sees what it enqueued, agents see all';

CREATE OR REPLACE VIEW penny.queues WITH (security_barrier) AS
SELECT q.name, q.urgent, q.paused, coalesce(c.waiting, 0) AS waiting, coalesce(c.delayed, 0) AS delayed, coalesce(c.active, 0) AS active,
	(SELECT count(*) FROM _penny.jobs_dead d WHERE d.queue = q.id) AS failed,
	greatest(clock_timestamp() - c.oldest_at, '0') AS oldest_waiting, coalesce(c.started, 0) AS started, coalesce(c.ended, 0) AS ended,
	coalesce(c.limited, 0) AS limited, q.concurrency, q.rate_limit, q.rate_window, q.group_concurrency, q.group_rate_limit,
	q.group_rate_window, q.attempts, q.backoff, q.backoff_type, q.jitter, q.timeout, q.keep_completed, q.keep_failed
FROM _penny.queues q LEFT JOIN _penny.queue_counts() c ON c.queue = q.id;
COMMENT ON VIEW penny.queues IS 'Queues: their settings, and what is in memory: jobs that wait, are delayed by minutes at most and are active, the age of the one that has been ready for longest, and since the server started how many starts, ends and waits at a limit';

CREATE OR REPLACE VIEW penny.schedules WITH (security_barrier) AS
SELECT s.name, s.cron, s.timezone, s.kind, s.payload, s.queue, s.priority, s.key, s.group_key, s.room, s.missed, s.enabled,
	s.next_at, s.last_at, s.fired_at - s.last_at AS last_lag,
	CASE WHEN s.enabled THEN greatest(clock_timestamp() - s.next_at, '0') END AS lag, s.last_job, s.last_error, s.user_id
FROM _penny.schedules s
WHERE (SELECT _penny.is_agent()) OR s.user_id = (SELECT penny.user_id());
COMMENT ON VIEW penny.schedules IS 'Schedules: when they fire next and fired last, how late that was, how late they are now (lag), the last job, and why the last run enqueued none';

CREATE OR REPLACE FUNCTION penny.job(id bigint) RETURNS jsonb
LANGUAGE plpgsql VOLATILE STRICT PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
#variable_conflict use_variable
DECLARE
	job penny.jobs;
	dead penny.dead_letters;
BEGIN
	SELECT * INTO job FROM penny.jobs j WHERE j.id = id;
	IF NOT FOUND THEN
		-- memory is newer than that statement's snapshot: one that was just moving is where the next one finds it
		SELECT * INTO job FROM penny.jobs j WHERE j.id = id;
	END IF;
	IF NOT FOUND THEN
		RETURN NULL;
	END IF;
	IF job.state = 'failed' THEN
		SELECT * INTO dead FROM penny.dead_letters d WHERE d.id = id;
	END IF;
	RETURN jsonb_strip_nulls(jsonb_build_object('id', id::text, 'kind', job.kind, 'queue', job.queue, 'state', job.state,
			'priority', job.priority, 'attempt', job.attempt, 'attempts', job.attempts, 'run_at', job.run_at, 'enqueued_at', job.enqueued_at,
			'started_at', job.started_at, 'ended_at', job.ended_at, 'lease_until', job.lease_until, 'worker', job.worker,
			'error', job.error, 'reason', dead.reason, 'key', job.key, 'group', job.group_key, 'room', job.room, 'user_id', job.user_id,
			'parent', job.parent::text, 'redriven_from', nullif(dead.redriven_from, '{}')))
		|| jsonb_build_object('payload', job.payload)
		|| coalesce((SELECT jsonb_build_object('progress', p) FROM _penny.job_progress(id) p WHERE p IS NOT NULL), '{}')
		|| CASE WHEN job.result IS NULL THEN '{}' ELSE jsonb_build_object('result', job.result) END
		|| CASE WHEN job.attempt = 0 THEN '{}' ELSE coalesce((SELECT jsonb_build_object('errors', e)
			FROM _penny.errors_told(coalesce(dead.errors, _penny.job_errors(id))) e WHERE e <> '[]'), '{}') END
		|| coalesce((SELECT jsonb_build_object('children', c) FROM _penny.job_children(id) c WHERE c IS NOT NULL), '{}');
END
$$;
COMMENT ON FUNCTION penny.job(bigint) IS 'A job with its state, result, errors, and what its children gave, ids as strings; null when there is none that the caller may see';

CREATE OR REPLACE VIEW _penny.deferred_counts AS
SELECT q.name, count(*) AS jobs, count(*) FILTER (WHERE d.pending > 0) AS blocked,
	count(*) FILTER (WHERE d.pending = 0 AND d.due > clock_timestamp() + interval '5 min') AS late
FROM _penny.jobs_deferred d JOIN _penny.queues q ON q.id = d.queue GROUP BY q.name;
COMMENT ON VIEW _penny.deferred_counts IS 'Of each queue its deferred jobs, those that wait for others, and those that are due in more than five minutes';

CREATE OR REPLACE FUNCTION penny.queue_stats() RETURNS jsonb
LANGUAGE sql VOLATILE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT jsonb_build_object(
		'loaded', f.loaded, 'jobs_in_memory', (SELECT sum(c.waiting + c.delayed + c.active) FROM _penny.queue_counts() c),
		'room_in_memory', f.jobs_in_memory, 'missed', f.missed,
		'queues', (SELECT jsonb_object_agg(q.name, jsonb_build_object('waiting', q.waiting, 'delayed', q.delayed + coalesce(d.late, 0),
				'blocked', coalesce(d.blocked, 0), 'active', q.active, 'failed', q.failed,
				'oldest_waiting_ms', (extract(epoch FROM q.oldest_waiting) * 1000)::bigint, 'started', q.started, 'ended', q.ended,
				'limited', q.limited, 'paused', q.paused))
			FROM penny.queues q LEFT JOIN _penny.deferred_counts d ON d.name = q.name),
		'segments', (SELECT coalesce(jsonb_agg(jsonb_build_object('table', 'job_' || s.number, 'segment', s.segment, 'jobs', s.seen, 'ended', s.done,
				'bytes', pg_total_relation_size(format('_penny.job_%s', s.number)), 'receipt_bytes',
				pg_total_relation_size(format('_penny.receipt_%s', s.number))) ORDER BY s.segment), '[]') FROM _penny.queue_segments() s),
		'deferred', (SELECT coalesce(sum(d.jobs), 0) FROM _penny.deferred_counts d), 'dead', (SELECT sum(q.failed) FROM penny.queues q))
	FROM (SELECT) one LEFT JOIN _penny.queue_facts() f ON true
$$;
COMMENT ON FUNCTION penny.queue_stats() IS 'Of each queue its jobs by state, the age in ms of the one that has been ready for longest, and counts since the server started; how full memory is and whether jobs wait for room there (missed); segments with their sizes; deferred jobs and dead letters. Needs penny_agent';

REVOKE EXECUTE ON FUNCTION _penny.error_told(text), _penny.errors_told(jsonb), _penny.job_state(bigint, timestamptz), _penny.job_attempt(bigint), _penny.job_errors(bigint),
	_penny.job_children(bigint), _penny.queue_counts(), _penny.queue_segments(), _penny.queue_facts(), penny.job(bigint),
	penny.queue_stats() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _penny.error_told(text), _penny.errors_told(jsonb), _penny.job_state(bigint, timestamptz), _penny.job_attempt(bigint), _penny.job_errors(bigint),
	_penny.job_children(bigint), penny.job(bigint) TO penny_user;
GRANT EXECUTE ON FUNCTION _penny.queue_counts(), _penny.queue_segments(), _penny.queue_facts(), penny.queue_stats() TO penny_agent;
REVOKE ALL ON _penny.job_rows, _penny.deferred_counts, penny.jobs, penny.dead_letters, penny.queues, penny.schedules FROM PUBLIC;
GRANT SELECT ON penny.jobs, penny.dead_letters TO penny_user;
GRANT SELECT ON penny.queues, penny.schedules, _penny.deferred_counts TO penny_agent;

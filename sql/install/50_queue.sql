-- The job queue's tables.  What is hot is only ever appended to and emptied by
-- TRUNCATE (src/queue/README.md); rows are written by C, never by a user's statement.

CREATE SEQUENCE _penny.job_id;
COMMENT ON SEQUENCE _penny.job_id IS 'Ids of jobs; an id also says in which segment the job lies';

DO $$
DECLARE
	n integer;
BEGIN
	FOR n IN 0..7 LOOP
		EXECUTE pg_catalog.format($f$
			CREATE TABLE _penny.job_%1$s (
				id bigint NOT NULL,
				queue smallint NOT NULL,
				flags smallint NOT NULL,
				priority integer NOT NULL,
				attempts smallint NOT NULL,
				timeout_ms integer NOT NULL,
				backoff_ms integer NOT NULL,
				due timestamptz NOT NULL,
				enqueued_at timestamptz NOT NULL,
				kind text NOT NULL,
				payload jsonb NOT NULL,
				user_id uuid,
				parent bigint,
				key text,
				group_key text,
				room text
			) WITH (autovacuum_vacuum_insert_threshold = -1);
			CREATE UNIQUE INDEX job_%1$s_id ON _penny.job_%1$s (id);
			COMMENT ON TABLE _penny.job_%1$s IS 'Segment of jobs, appended only: what was enqueued; 0 for attempts and timeout_ms, -1 for backoff_ms: as handler and queue say';
			CREATE TABLE _penny.receipt_%1$s (
				id bigint NOT NULL,
				last_id bigint NOT NULL,
				queue smallint NOT NULL,
				outcome smallint NOT NULL,
				attempt smallint NOT NULL,
				jobs integer NOT NULL,
				started_at timestamptz NOT NULL,
				ended_at timestamptz NOT NULL,
				due timestamptz,
				group_hash bigint,
				ids bytea,
				result jsonb,
				error text,
				worker text
			) WITH (autovacuum_vacuum_insert_threshold = -1);
			ALTER TABLE _penny.receipt_%1$s ALTER COLUMN ids SET STORAGE EXTERNAL;
			CREATE INDEX receipt_%1$s_id ON _penny.receipt_%1$s (id);
			COMMENT ON TABLE _penny.receipt_%1$s IS 'How attempts at the jobs of the segment ended, appended only; a row with ids tells of many that completed without a result';
			$f$, n);
	END LOOP;
END
$$;

CREATE TABLE _penny.queues (
	id smallint PRIMARY KEY CHECK (id BETWEEN 0 AND 255),
	name text NOT NULL UNIQUE CHECK (name ~ '^[a-z0-9][a-z0-9_.-]{0,62}$'),
	urgent boolean NOT NULL DEFAULT false,
	paused boolean NOT NULL DEFAULT false,
	concurrency integer DEFAULT 10 CHECK (concurrency > 0),
	rate_limit integer DEFAULT 100 CHECK (rate_limit > 0),
	rate_window interval NOT NULL DEFAULT '60 s' CHECK (rate_window BETWEEN '1 ms' AND '1 day'),
	group_concurrency integer CHECK (group_concurrency > 0),
	group_rate_limit integer CHECK (group_rate_limit > 0),
	group_rate_window interval NOT NULL DEFAULT '60 s' CHECK (group_rate_window BETWEEN '1 ms' AND '1 day'),
	attempts smallint NOT NULL DEFAULT 3 CHECK (attempts BETWEEN 1 AND 1000),
	backoff interval NOT NULL DEFAULT '2 s' CHECK (backoff BETWEEN '0' AND '1 day'),
	backoff_type text NOT NULL DEFAULT 'exponential' CHECK (backoff_type IN ('exponential', 'fixed')),
	jitter real NOT NULL DEFAULT 0 CHECK (jitter BETWEEN 0 AND 1),
	timeout interval NOT NULL DEFAULT '5 min' CHECK (timeout BETWEEN '1 ms' AND '7 days'),
	keep_completed integer NOT NULL DEFAULT 100 CHECK (keep_completed >= 0),
	keep_failed integer NOT NULL DEFAULT 1000 CHECK (keep_failed >= 0),
	builtin boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE _penny.queues IS 'Queues and their limits; null concurrency or rate_limit: without';
INSERT INTO _penny.queues (id, name, urgent, builtin) VALUES (0, 'normal', false, true), (1, 'high-priority', true, true);

CREATE TABLE _penny.handlers (
	kind text PRIMARY KEY CHECK (kind ~ '^[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,127}$'),
	runner text NOT NULL CHECK (runner IN ('sql', 'webhook', 'external')),
	function text,
	role text NOT NULL,
	url text,
	secret text,
	queue text NOT NULL,
	attempts smallint CHECK (attempts BETWEEN 1 AND 1000),
	backoff interval CHECK (backoff BETWEEN '0' AND '1 day'),
	timeout interval CHECK (timeout BETWEEN '1 ms' AND '7 days'),
	access text NOT NULL DEFAULT 'agent' CHECK (access IN ('user', 'agent', 'admin')),
	batch boolean NOT NULL DEFAULT true,
	CHECK ((runner = 'sql') = (function IS NOT NULL)),
	CHECK ((runner = 'webhook') = (url IS NOT NULL))
);
COMMENT ON TABLE _penny.handlers IS 'What runs the jobs of a kind, as which role; a kind without a row is for external workers';
COMMENT ON COLUMN _penny.handlers.function IS 'Signature of a function (jsonb) returning jsonb, looked up when it is registered and again before it runs';
COMMENT ON COLUMN _penny.handlers.access IS 'Who may enqueue this kind over HTTP and as which role of penny in SQL';

CREATE TABLE _penny.jobs_deferred (
	id bigint PRIMARY KEY,
	queue smallint NOT NULL,
	flags smallint NOT NULL,
	priority integer NOT NULL,
	attempts smallint NOT NULL,
	timeout_ms integer NOT NULL,
	backoff_ms integer NOT NULL,
	due timestamptz NOT NULL,
	enqueued_at timestamptz NOT NULL,
	kind text NOT NULL,
	payload jsonb NOT NULL,
	user_id uuid,
	parent bigint,
	key text,
	group_key text,
	room text,
	made smallint NOT NULL DEFAULT 0,
	errors jsonb NOT NULL DEFAULT '[]',
	pending integer NOT NULL DEFAULT 0,
	on_child_failure text
);
CREATE INDEX jobs_deferred_due ON _penny.jobs_deferred (due, id) WHERE pending = 0;
COMMENT ON TABLE _penny.jobs_deferred IS 'Jobs that wait for long: due in more than minutes, parents of flows, what was left in old segments';
COMMENT ON COLUMN _penny.jobs_deferred.pending IS 'Children that have not ended';

CREATE TABLE _penny.jobs_dead (
	id bigint PRIMARY KEY,
	queue smallint NOT NULL,
	flags smallint NOT NULL,
	priority integer NOT NULL,
	attempts smallint NOT NULL,
	timeout_ms integer NOT NULL,
	backoff_ms integer NOT NULL,
	enqueued_at timestamptz NOT NULL,
	kind text NOT NULL,
	payload jsonb NOT NULL,
	user_id uuid,
	parent bigint,
	key text,
	group_key text,
	room text,
	made smallint NOT NULL,
	reason text NOT NULL CHECK (reason IN ('failed', 'permanent', 'crashed', 'child')),
	errors jsonb NOT NULL,
	died_at timestamptz NOT NULL,
	redriven_from bigint[] NOT NULL DEFAULT '{}'
);
CREATE INDEX jobs_dead_queue ON _penny.jobs_dead (queue, died_at, id);
COMMENT ON TABLE _penny.jobs_dead IS 'Dead letters: jobs that failed at last, with every error';

CREATE TABLE _penny.jobs_history (
	id bigint PRIMARY KEY,
	queue smallint NOT NULL,
	kind text NOT NULL,
	payload jsonb NOT NULL,
	user_id uuid,
	key text,
	group_key text,
	outcome smallint NOT NULL,
	attempt smallint NOT NULL,
	enqueued_at timestamptz NOT NULL,
	started_at timestamptz NOT NULL,
	ended_at timestamptz NOT NULL,
	result jsonb,
	worker text
);
CREATE INDEX jobs_history_queue ON _penny.jobs_history (queue, ended_at, id);
COMMENT ON TABLE _penny.jobs_history IS 'The last completed jobs of segments that were emptied, and of deferred jobs';

CREATE TABLE _penny.job_keys (
	queue smallint NOT NULL,
	key text NOT NULL,
	job_id bigint NOT NULL,
	after bigint,
	PRIMARY KEY (queue, key)
);
COMMENT ON TABLE _penny.job_keys IS 'Keys of jobs that have not ended';
COMMENT ON COLUMN _penny.job_keys.after IS 'The job that had the key before and runs; job_id waits for its end';

CREATE TABLE _penny.job_edges (
	child bigint PRIMARY KEY,
	parent bigint NOT NULL,
	position integer NOT NULL,
	kind text NOT NULL,
	on_failure text NOT NULL CHECK (on_failure IN ('fail', 'ignore', 'wait')),
	ended boolean NOT NULL DEFAULT false,
	outcome text CHECK (outcome IN ('completed', 'failed', 'cancelled')),
	result jsonb,
	error text
);
CREATE INDEX job_edges_parent ON _penny.job_edges (parent);
COMMENT ON TABLE _penny.job_edges IS 'Flows: which job waits for which, and what those that ended gave';

CREATE TABLE _penny.job_lineage (
	id bigint PRIMARY KEY,
	redriven_from bigint[] NOT NULL,
	errors jsonb NOT NULL
);
COMMENT ON TABLE _penny.job_lineage IS 'Jobs that were dead letters before and have not ended: which, and their errors';

CREATE TABLE _penny.schedules (
	name text PRIMARY KEY,
	cron text NOT NULL,
	timezone text NOT NULL,
	kind text NOT NULL,
	payload jsonb NOT NULL DEFAULT '{}',
	queue text,
	priority integer NOT NULL DEFAULT 0,
	group_key text,
	room text,
	key text,
	missed text NOT NULL DEFAULT 'once' CHECK (missed IN ('skip', 'once', 'all')),
	enabled boolean NOT NULL DEFAULT true,
	user_id uuid,
	last_at timestamptz,
	next_at timestamptz,
	fired_at timestamptz,
	last_job bigint,
	last_error text
);
CREATE INDEX schedules_next ON _penny.schedules (next_at) WHERE enabled;
COMMENT ON TABLE _penny.schedules IS 'Jobs that come by the clock';
COMMENT ON COLUMN _penny.schedules.last_at IS 'The moment for which it fired last; fired_at: when it did';
COMMENT ON COLUMN _penny.schedules.last_error IS 'Why nothing was enqueued the last time';

-- Rows that did not come by penny.enqueue(), such as those of a restore, are noted: nothing
-- that waits in the tables is loaded, not even after a restart, until penny.load_jobs().
CREATE TABLE _penny.jobs_restored (
	at timestamptz NOT NULL
);
COMMENT ON TABLE _penny.jobs_restored IS 'A row: jobs came by a statement and wait for penny.load_jobs()';
CREATE FUNCTION _penny.note_restored() RETURNS trigger
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	INSERT INTO _penny.jobs_restored SELECT now() WHERE EXISTS (SELECT FROM fresh) AND NOT EXISTS (SELECT FROM _penny.jobs_restored);
	RETURN NULL;
END
$$;
COMMENT ON FUNCTION _penny.note_restored() IS 'Trigger: rows of jobs came by a statement';
REVOKE EXECUTE ON FUNCTION _penny.note_restored() FROM PUBLIC;
DO $$
DECLARE
	name text;
BEGIN
	FOREACH name IN ARRAY ARRAY['job_0', 'job_1', 'job_2', 'job_3', 'job_4', 'job_5', 'job_6', 'job_7', 'jobs_deferred'] LOOP
		EXECUTE pg_catalog.format('CREATE TRIGGER penny_restored AFTER INSERT ON _penny.%1$I REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION _penny.note_restored();
			ALTER TABLE _penny.%1$I ENABLE ALWAYS TRIGGER penny_restored;', name);
	END LOOP;
END
$$;

-- What is to be there again after pg_dump and pg_restore: of the segments, what has not ended.
DO $$
DECLARE
	n integer;
BEGIN
	PERFORM pg_catalog.pg_extension_config_dump('_penny.job_id', '');
	FOR n IN 0..7 LOOP
		PERFORM pg_catalog.pg_extension_config_dump(pg_catalog.format('_penny.job_%s', n)::pg_catalog.regclass,
			pg_catalog.format('WHERE NOT _penny.job_ended(%s, id)', n));
		PERFORM pg_catalog.pg_extension_config_dump(pg_catalog.format('_penny.receipt_%s', n)::pg_catalog.regclass,
			'WHERE outcome = 2');
	END LOOP;
	PERFORM pg_catalog.pg_extension_config_dump('_penny.queues', '');
	PERFORM pg_catalog.pg_extension_config_dump('_penny.handlers', '');
	PERFORM pg_catalog.pg_extension_config_dump('_penny.jobs_deferred', '');
	PERFORM pg_catalog.pg_extension_config_dump('_penny.jobs_dead', '');
	PERFORM pg_catalog.pg_extension_config_dump('_penny.jobs_history', '');
	PERFORM pg_catalog.pg_extension_config_dump('_penny.job_keys', '');
	PERFORM pg_catalog.pg_extension_config_dump('_penny.job_edges', '');
	PERFORM pg_catalog.pg_extension_config_dump('_penny.job_lineage', '');
	PERFORM pg_catalog.pg_extension_config_dump('_penny.schedules', '');
END
$$;

-- Queues and handlers: what limits jobs, and what runs them.  Changes reach the
-- scheduler after their commit (src/queue/config.c).

CREATE OR REPLACE FUNCTION _penny.queue_settings_changed() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_queue_settings_changed';
COMMENT ON FUNCTION _penny.queue_settings_changed() IS 'Trigger of _penny.queues and _penny.handlers: tell the workers when the change is committed';

-- A dump holds the queues of the extension, too, and CREATE EXTENSION has made them.
CREATE OR REPLACE FUNCTION _penny.restore_queue() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF NOT NEW.builtin THEN
		RETURN NEW;
	END IF;
	UPDATE _penny.queues SET (urgent, paused, concurrency, rate_limit, rate_window, group_concurrency, group_rate_limit,
			group_rate_window, attempts, backoff, backoff_type, jitter, timeout, keep_completed, keep_failed) =
		(NEW.urgent, NEW.paused, NEW.concurrency, NEW.rate_limit, NEW.rate_window, NEW.group_concurrency, NEW.group_rate_limit,
			NEW.group_rate_window, NEW.attempts, NEW.backoff, NEW.backoff_type, NEW.jitter, NEW.timeout, NEW.keep_completed, NEW.keep_failed)
		WHERE id = NEW.id AND builtin;
	RETURN CASE WHEN FOUND THEN NULL ELSE NEW END;
END
$$;
COMMENT ON FUNCTION _penny.restore_queue() IS 'Trigger of _penny.queues: a queue of the extension is there already when a dump is restored';

CREATE OR REPLACE TRIGGER restore_queue BEFORE INSERT ON _penny.queues
	FOR EACH ROW EXECUTE FUNCTION _penny.restore_queue();
ALTER TABLE _penny.queues ENABLE ALWAYS TRIGGER restore_queue;
-- Before the checks of the table, whose errors name a constraint.
CREATE OR REPLACE FUNCTION _penny.check_queue() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	wrong text := CASE
		WHEN (NEW.name ~ '^[a-z0-9][a-z0-9_.-]{0,62}$') IS NOT TRUE
			THEN 'name of a queue must have 1 to 63 small letters, digits and any of _ . - and begin with a letter or digit'
		WHEN NEW.concurrency < 1 THEN 'concurrency of a queue must be at least 1, or null for no limit'
		WHEN NEW.rate_limit < 1 THEN 'rate_limit of a queue must be at least 1, or null for no limit'
		WHEN (NEW.rate_window BETWEEN '1 ms' AND '1 day') IS NOT TRUE THEN 'rate_window of a queue must be from 1 ms to 1 day'
		WHEN NEW.group_concurrency < 1 THEN 'group_concurrency of a queue must be at least 1, or null for no limit'
		WHEN NEW.group_rate_limit < 1 THEN 'group_rate_limit of a queue must be at least 1, or null for no limit'
		WHEN (NEW.group_rate_window BETWEEN '1 ms' AND '1 day') IS NOT TRUE THEN 'group_rate_window of a queue must be from 1 ms to 1 day'
		WHEN (NEW.attempts BETWEEN 1 AND 1000) IS NOT TRUE THEN 'attempts of a queue must be from 1 to 1000'
		WHEN (NEW.backoff BETWEEN '0' AND '1 day') IS NOT TRUE THEN 'backoff of a queue must be from 0 to 1 day'
		WHEN (NEW.backoff_type IN ('exponential', 'fixed')) IS NOT TRUE THEN 'backoff_type of a queue must be exponential or fixed'
		WHEN (NEW.jitter BETWEEN 0 AND 1) IS NOT TRUE THEN 'jitter of a queue must be from 0 to 1'
		WHEN (NEW.timeout BETWEEN '1 ms' AND '7 days') IS NOT TRUE THEN 'timeout of a queue must be from 1 ms to 7 days'
		WHEN (NEW.keep_completed >= 0) IS NOT TRUE THEN 'keep_completed of a queue must be at least 0'
		WHEN (NEW.keep_failed >= 0) IS NOT TRUE THEN 'keep_failed of a queue must be at least 0'
		WHEN NEW.urgent IS NULL THEN 'urgent of a queue must not be null'
	END;
BEGIN
	IF wrong IS NOT NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = wrong;
	END IF;
	RETURN NEW;
END
$$;
COMMENT ON FUNCTION _penny.check_queue() IS 'Trigger of _penny.queues: PY400, in words, for a setting that cannot be';

CREATE OR REPLACE TRIGGER check_queue BEFORE INSERT OR UPDATE ON _penny.queues
	FOR EACH ROW EXECUTE FUNCTION _penny.check_queue();
CREATE OR REPLACE TRIGGER settings_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON _penny.queues
	FOR EACH STATEMENT EXECUTE FUNCTION _penny.queue_settings_changed();
ALTER TABLE _penny.queues ENABLE ALWAYS TRIGGER settings_changed;

-- ---- queues -------------------------------------------------------------------

CREATE OR REPLACE FUNCTION penny.create_queue(
	name text, concurrency integer DEFAULT 10, rate_limit integer DEFAULT 100, rate_window interval DEFAULT '60 s',
	group_concurrency integer DEFAULT NULL, group_rate_limit integer DEFAULT NULL, group_rate_window interval DEFAULT NULL,
	attempts integer DEFAULT 3, backoff interval DEFAULT '2 s', backoff_type text DEFAULT 'exponential', jitter real DEFAULT 0,
	timeout interval DEFAULT '5 min', keep_completed integer DEFAULT 100, keep_failed integer DEFAULT 1000,
	urgent boolean DEFAULT false) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	number integer;
BEGIN
	LOCK TABLE _penny.queues IN SHARE ROW EXCLUSIVE MODE;
	IF EXISTS (SELECT FROM _penny.queues q WHERE q.name = create_queue.name) THEN
		RAISE EXCEPTION USING ERRCODE = 'PY409', MESSAGE = format('queue "%s" exists already', name);
	END IF;
	-- a number that was never used before those of queues that were dropped
	SELECT n INTO number FROM generate_series(0, 255) n
		WHERE NOT EXISTS (SELECT FROM _penny.queues q WHERE q.id = n) AND NOT _penny.queue_in_use(n)
		-- not one of which dead letters or what has completed are remembered, while there is another
		ORDER BY EXISTS (SELECT FROM _penny.jobs_dead d WHERE d.queue = n) OR EXISTS (SELECT FROM _penny.jobs_history h WHERE h.queue = n),
			n < (SELECT max(q.id) FROM _penny.queues q), n LIMIT 1;
	IF number IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'program_limit_exceeded', MESSAGE = 'there are 256 queues already',
			HINT = 'Let queues be few: tenants or users are groups of a queue (group_key).';
	END IF;
	INSERT INTO _penny.queues (id, name, urgent, concurrency, rate_limit, rate_window, group_concurrency, group_rate_limit,
			group_rate_window, attempts, backoff, backoff_type, jitter, timeout, keep_completed, keep_failed)
		VALUES (number, name, urgent, concurrency, rate_limit, rate_window, group_concurrency, group_rate_limit,
			coalesce(group_rate_window, '60 s'), attempts, backoff, backoff_type, jitter, timeout, keep_completed, keep_failed);
END
$$;
COMMENT ON FUNCTION penny.create_queue(text, integer, integer, interval, integer, integer, interval, integer, interval, text, real, interval, integer, integer, boolean) IS
'Make a queue. concurrency, rate_limit in rate_window, and the same for each group; null is no limit. attempts, backoff, timeout are for jobs whose handler says nothing else; keep_completed and keep_failed are how many are remembered. PY400: a setting that cannot be; PY409: the name is taken; 54000: there are 256';

CREATE OR REPLACE FUNCTION penny.alter_queue(name text, settings jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	allowed CONSTANT text[] := '{concurrency,rate_limit,rate_window,group_concurrency,group_rate_limit,group_rate_window,attempts,backoff,backoff_type,jitter,timeout,keep_completed,keep_failed,urgent}';
	unknown text;
BEGIN
	IF jsonb_typeof(settings) <> 'object' THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = 'settings of a queue must be an object';
	END IF;
	SELECT k INTO unknown FROM jsonb_object_keys(settings) k WHERE k <> ALL (allowed) LIMIT 1;
	IF unknown IS NOT NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = format('a queue has no setting "%s"', unknown),
			HINT = 'Settings are those of penny.create_queue(): ' || array_to_string(allowed, ', ') || '.';
	END IF;
	UPDATE _penny.queues q SET (concurrency, rate_limit, rate_window, group_concurrency, group_rate_limit, group_rate_window,
			attempts, backoff, backoff_type, jitter, timeout, keep_completed, keep_failed, urgent) =
		(SELECT r.concurrency, r.rate_limit, r.rate_window, r.group_concurrency, r.group_rate_limit, r.group_rate_window,
			r.attempts, r.backoff, r.backoff_type, r.jitter, r.timeout, r.keep_completed, r.keep_failed, r.urgent
			FROM jsonb_populate_record(q, settings) r)
		WHERE q.name = alter_queue.name;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING ERRCODE = 'PY404', MESSAGE = format('queue "%s" does not exist', name);
	END IF;
END
$$;
COMMENT ON FUNCTION penny.alter_queue(text, jsonb) IS
'Change settings of a queue, named as the arguments of penny.create_queue(); null takes a limit off. Jobs that wait follow the new ones. PY404: there is none of this name; PY400: no such setting, or it cannot be';

CREATE OR REPLACE FUNCTION _penny.queue_in_use(queue integer) RETURNS boolean
LANGUAGE c VOLATILE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'penny_queue_in_use';
COMMENT ON FUNCTION _penny.queue_in_use(integer) IS 'Has the queue of this number jobs that have not ended?';

CREATE OR REPLACE FUNCTION penny.drop_queue(name text) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	queue _penny.queues;
	kind text;
BEGIN
	SELECT q.* INTO queue FROM _penny.queues q WHERE q.name = drop_queue.name FOR UPDATE;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING ERRCODE = 'PY404', MESSAGE = format('queue "%s" does not exist', name);
	ELSIF queue.builtin THEN
		RAISE EXCEPTION USING ERRCODE = 'PY409', MESSAGE = format('queue "%s" belongs to penny', name);
	END IF;
	SELECT h.kind INTO kind FROM _penny.handlers h WHERE h.queue = drop_queue.name LIMIT 1;
	IF kind IS NOT NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'PY409', MESSAGE = format('jobs of kind "%s" go to queue "%s"', kind, name),
			HINT = 'Let its handler name another queue.';
	END IF;
	IF _penny.queue_in_use(queue.id) THEN
		RAISE EXCEPTION USING ERRCODE = 'PY409', MESSAGE = format('queue "%s" has jobs that have not ended', name),
			HINT = 'Wait for them, or cancel them.';
	END IF;
	DELETE FROM _penny.queues q WHERE q.id = queue.id;
END
$$;
COMMENT ON FUNCTION penny.drop_queue(text) IS 'Drop a queue; what is remembered of its jobs stays. PY404: there is none; PY409: it has jobs that have not ended, kinds go to it, or it is penny''s own';

CREATE OR REPLACE FUNCTION _penny.set_paused(name text, paused boolean) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	UPDATE _penny.queues q SET paused = set_paused.paused WHERE q.name = set_paused.name;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING ERRCODE = 'PY404', MESSAGE = format('queue "%s" does not exist', name);
	END IF;
END
$$;
COMMENT ON FUNCTION _penny.set_paused(text, boolean) IS 'Let jobs of a queue start, or not';

CREATE OR REPLACE FUNCTION penny.pause_queue(name text) RETURNS void
LANGUAGE sql VOLATILE PARALLEL UNSAFE STRICT
SET search_path = pg_catalog, pg_temp
AS $$ SELECT _penny.set_paused(name, true) $$;
COMMENT ON FUNCTION penny.pause_queue(text) IS 'Start no more jobs of a queue; those that run come to their end. PY404: there is none';

CREATE OR REPLACE FUNCTION penny.resume_queue(name text) RETURNS void
LANGUAGE sql VOLATILE PARALLEL UNSAFE STRICT
SET search_path = pg_catalog, pg_temp
AS $$ SELECT _penny.set_paused(name, false) $$;
COMMENT ON FUNCTION penny.resume_queue(text) IS 'Start jobs of a queue again. PY404: there is none';

-- ---- handlers -------------------------------------------------------------------

-- The role in which jobs run is that of who says so: only a superuser can write another.
CREATE OR REPLACE FUNCTION _penny.check_handler() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF NOT (SELECT r.rolsuper FROM pg_roles r WHERE r.rolname = current_user) THEN
		NEW.role := current_user;
	END IF;
	IF TG_OP = 'INSERT' AND (SELECT count(*) FROM _penny.handlers) >= 1024 THEN
		RAISE EXCEPTION USING ERRCODE = 'program_limit_exceeded', MESSAGE = 'there are 1024 kinds of jobs with handlers already',
			HINT = 'What differs between jobs of one kind goes into their payload.';
	END IF;
	RETURN NEW;
END
$$;
COMMENT ON FUNCTION _penny.check_handler() IS 'Trigger of _penny.handlers: jobs run in the role of who wrote the row';

CREATE OR REPLACE TRIGGER check_handler BEFORE INSERT OR UPDATE ON _penny.handlers
	FOR EACH ROW EXECUTE FUNCTION _penny.check_handler();
ALTER TABLE _penny.handlers ENABLE ALWAYS TRIGGER check_handler;
CREATE OR REPLACE TRIGGER settings_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON _penny.handlers
	FOR EACH STATEMENT EXECUTE FUNCTION _penny.queue_settings_changed();
ALTER TABLE _penny.handlers ENABLE ALWAYS TRIGGER settings_changed;

CREATE OR REPLACE FUNCTION _penny.job_function(function text) RETURNS text
LANGUAGE c STABLE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'penny_job_function_signature';
COMMENT ON FUNCTION _penny.job_function(text) IS 'Signature with schema of a function (jsonb) returning jsonb that the caller may execute';

CREATE OR REPLACE FUNCTION _penny.handle(
	kind text, function text, url text, queue text, attempts integer, backoff interval, timeout interval, secret text,
	access text, batch boolean) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
BEGIN
	IF function IS NOT NULL AND url IS NOT NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = 'a handler has a function or a url, not both';
	ELSIF kind IS NULL OR kind !~ '^[A-Za-z0-9_][A-Za-z0-9_.:/-]{0,127}$' THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = format('"%s" is not the name of a kind', kind),
			HINT = 'A kind is named by 1 to 128 letters, digits and any of _ . : / -';
	ELSIF url IS NOT NULL AND secret IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = 'a webhook needs a secret to be signed with', HINT = 'penny.webhook_secret() makes one.';
	ELSIF NOT coalesce(_penny.has_queue(queue), false) THEN
		RAISE EXCEPTION USING ERRCODE = 'PY404', MESSAGE = format('queue "%s" does not exist', queue), HINT = 'Make it with penny.create_queue().';
	-- here, and not by the checks of the table, whose errors show the row with the secret
	ELSIF attempts NOT BETWEEN 1 AND 1000 THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = 'attempts of a handler must be from 1 to 1000';
	ELSIF backoff NOT BETWEEN '0' AND '1 day' THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = 'backoff of a handler must be from 0 to 1 day';
	ELSIF timeout NOT BETWEEN '1 ms' AND '7 days' THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = 'timeout of a handler must be from 1 ms to 7 days';
	ELSIF access IS NULL OR access NOT IN ('user', 'agent', 'admin') THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = 'access of a handler must be user, agent or admin';
	ELSIF batch IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = 'batch of a handler must not be null';
	END IF;
	PERFORM _penny.webhook_check(url, secret);
	DELETE FROM _penny.handlers h WHERE h.kind = kind;
	INSERT INTO _penny.handlers (kind, runner, function, role, url, secret, queue, attempts, backoff, timeout, access, batch)
		VALUES (kind, CASE WHEN function IS NOT NULL THEN 'sql' WHEN url IS NOT NULL THEN 'webhook' ELSE 'external' END,
			function, current_user, url, secret, queue, attempts, backoff, timeout, access, batch);
END
$$;
COMMENT ON FUNCTION _penny.handle(text, text, text, text, integer, interval, interval, text, text, boolean) IS 'penny.handle() with the function looked up';

-- Without a search_path of its own, and with a body that needs none: the job's function
-- is looked up in the caller's.
CREATE OR REPLACE FUNCTION penny.handle(
	kind text, function text DEFAULT NULL, url text DEFAULT NULL, queue text DEFAULT 'normal', attempts integer DEFAULT NULL,
	backoff interval DEFAULT NULL, timeout interval DEFAULT NULL, secret text DEFAULT NULL, access text DEFAULT 'agent',
	batch boolean DEFAULT true) RETURNS void
LANGUAGE sql VOLATILE PARALLEL UNSAFE
BEGIN ATOMIC
	SELECT _penny.handle(kind, _penny.job_function(function), url, queue, attempts, backoff, timeout, secret, access, batch);
END;
COMMENT ON FUNCTION penny.handle(text, text, text, text, integer, interval, interval, text, text, boolean) IS
'Say what runs jobs of a kind: a function (jsonb) returning jsonb, in the role that calls this; a url (a webhook); or, with neither, external workers. queue, attempts, backoff and timeout are for jobs that say nothing else, access is who may enqueue; batch false: each job has a transaction of its own. Replaces the handler that the kind has. PY400: what cannot be; PY404: no such queue; 42883, 42P13, 42501: the function is not there, has other arguments or result, or is not the caller''s to execute';

CREATE OR REPLACE FUNCTION penny.unhandle(kind text) RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE STRICT
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	DELETE FROM _penny.handlers h WHERE h.kind = unhandle.kind;
	RETURN FOUND;
END
$$;
COMMENT ON FUNCTION penny.unhandle(text) IS 'Take a handler away; its jobs wait for external workers, or for another handler. False: there was none';

-- ---- inside a handler -------------------------------------------------------------

CREATE OR REPLACE FUNCTION penny.job_id() RETURNS bigint
LANGUAGE c VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'penny_job_id';
COMMENT ON FUNCTION penny.job_id() IS 'In a handler: the id of its job; else null';

CREATE OR REPLACE FUNCTION penny.job_context() RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'penny_job_context';
COMMENT ON FUNCTION penny.job_context() IS
'In a handler: id, kind, queue, attempt, attempts, key, group, parent, user_id of who enqueued it, enqueued_at, and what the children of a flow gave; else null';

REVOKE EXECUTE ON FUNCTION _penny.queue_settings_changed(), _penny.restore_queue(), _penny.check_queue(),
	penny.create_queue(text, integer, integer, interval, integer, integer, interval, integer, interval, text, real, interval, integer, integer, boolean),
	penny.alter_queue(text, jsonb), _penny.queue_in_use(integer), penny.drop_queue(text), _penny.set_paused(text, boolean),
	penny.pause_queue(text), penny.resume_queue(text), _penny.check_handler(), _penny.job_function(text),
	_penny.handle(text, text, text, text, integer, interval, interval, text, text, boolean),
	penny.handle(text, text, text, text, integer, interval, interval, text, text, boolean), penny.unhandle(text),
	penny.job_id(), penny.job_context() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
	penny.create_queue(text, integer, integer, interval, integer, integer, interval, integer, interval, text, real, interval, integer, integer, boolean),
	penny.alter_queue(text, jsonb), penny.drop_queue(text), penny.pause_queue(text), penny.resume_queue(text),
	_penny.job_function(text), _penny.handle(text, text, text, text, integer, interval, interval, text, text, boolean),
	penny.handle(text, text, text, text, integer, interval, interval, text, text, boolean),
	penny.unhandle(text) TO penny_admin;
GRANT EXECUTE ON FUNCTION penny.job_id(), penny.job_context() TO penny_user;
GRANT EXECUTE ON FUNCTION _penny.set_paused(text, boolean), _penny.queue_in_use(integer), _penny.restore_queue(), _penny.check_queue(), _penny.check_handler(),
	_penny.queue_settings_changed() TO penny_admin;
GRANT SELECT, INSERT, UPDATE, DELETE ON _penny.queues TO penny_admin;
-- A new queue takes a number of which nothing is remembered.
GRANT SELECT (queue) ON _penny.jobs_dead, _penny.jobs_history TO penny_admin;
-- Not the secret: who wrote it has it.
GRANT INSERT, UPDATE, DELETE, SELECT (kind, runner, function, role, url, queue, attempts, backoff, timeout, access, batch)
	ON _penny.handlers TO penny_admin;

-- What workers know may be of tables that are gone.
UPDATE _penny.queues SET paused = paused WHERE builtin;

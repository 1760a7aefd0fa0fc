-- Queues and handlers: what may be said of them, and by whom.
\set VERBOSITY terse
SELECT id, name, urgent, paused, concurrency, rate_limit, rate_window, attempts, backoff, backoff_type, jitter, timeout, keep_completed, keep_failed, builtin FROM _penny.queues ORDER BY id;
-- make, alter, pause, drop
SELECT penny.create_queue('mail', concurrency => NULL, rate_limit => 5, rate_window => '1 s', group_concurrency => 1, jitter => 0.5, urgent => true);
SELECT penny.create_queue('mail');
SELECT penny.create_queue('Mail');
SELECT penny.create_queue(NULL);
SELECT penny.create_queue('x', concurrency => 0);
SELECT penny.create_queue('x', attempts => 0);
SELECT penny.create_queue('x', backoff => '-1 s');
SELECT penny.create_queue('x', backoff_type => 'linear');
SELECT penny.create_queue('x', jitter => 2);
SELECT penny.create_queue('x', timeout => '8 days');
SELECT penny.create_queue('x', rate_window => '0 s');
SELECT penny.alter_queue('mail', '{"concurrency": 3, "rate_limit": null, "timeout": "2 min", "urgent": false}');
SELECT penny.alter_queue('mail', '{"color": "red"}');
SELECT penny.alter_queue('mail', '{"id": 7}');
SELECT penny.alter_queue('mail', '[]');
SELECT penny.alter_queue('mail', '{"attempts": null}');
SELECT penny.alter_queue('mail', '{"backoff": "soon"}');
SELECT penny.alter_queue('none', '{}');
SELECT penny.pause_queue('mail');
SELECT id, name, urgent, paused, concurrency, rate_limit, rate_window, group_concurrency, group_rate_limit, group_rate_window, jitter, timeout FROM _penny.queues WHERE name = 'mail';
SELECT penny.resume_queue('mail');
SELECT penny.pause_queue('none');
SELECT penny.resume_queue('none');
SELECT penny.drop_queue('normal');
SELECT penny.drop_queue('none');
-- handlers
CREATE FUNCTION job_f(j jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT j';
CREATE FUNCTION job_text(j jsonb) RETURNS text LANGUAGE sql AS 'SELECT j::text';
CREATE FUNCTION job_set(j jsonb) RETURNS SETOF jsonb LANGUAGE sql AS 'SELECT j';
CREATE FUNCTION job_two(j jsonb, k jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT j';
CREATE PROCEDURE job_procedure(j jsonb) LANGUAGE sql AS 'SELECT j';
SELECT penny.handle('f', 'job_f', queue => 'mail');
SELECT penny.handle('f.2', 'job_f(jsonb)', attempts => 5, backoff => '1 s', timeout => '1 h', access => 'user', batch => false);
SELECT penny.handle('hook', url => 'https://example.com/jobs', secret => 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw');
SELECT penny.handle('outside', queue => 'high-priority');
SELECT kind, runner, function, role = current_user AS mine, url, queue, attempts, backoff, timeout, access, batch FROM _penny.handlers ORDER BY kind COLLATE "C";
SELECT penny.handle('f', 'job_none');
SELECT penny.handle('f', 'job_text');
SELECT penny.handle('f', 'job_set');
SELECT penny.handle('f', 'job_two(jsonb, jsonb)');
SELECT penny.handle('f', 'job_procedure');
SELECT penny.handle('f', 'job_f', url => 'https://example.com');
SELECT penny.handle('f', url => 'ftp://example.com', secret => 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw');
SELECT penny.handle('f', url => 'https://example.com');
SELECT penny.handle('f', url => 'https://example.net', secret => 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw');
SELECT penny.handle('no spaces', 'job_f');
SELECT penny.handle(NULL, 'job_f');
SELECT penny.handle('f', 'job_f', queue => 'none');
SELECT penny.handle('f', 'job_f', access => 'public');
SELECT penny.handle('f', 'job_f', attempts => 0);
SELECT penny.drop_queue('mail');
-- again: the other one's place
SELECT penny.handle('f', queue => 'normal');
SELECT runner, function, queue FROM _penny.handlers WHERE kind = 'f';
SELECT penny.drop_queue('mail');
SELECT penny.unhandle('f'), penny.unhandle('f');
-- a transaction sees its own
BEGIN;
SELECT penny.create_queue('own');
SELECT penny.handle('own', 'job_f', queue => 'own');
SAVEPOINT s;
SELECT penny.drop_queue('own');
ROLLBACK TO s;
SELECT penny.unhandle('own');
SELECT penny.drop_queue('own');
SELECT penny.handle('own', 'job_f', queue => 'own');
ROLLBACK;
BEGIN;
SELECT penny.create_queue('prepared');
PREPARE TRANSACTION 'queues';
SELECT _penny.has_queue('prepared');
COMMIT PREPARED 'queues';
SELECT _penny.has_queue('prepared');
SELECT penny.drop_queue('prepared');
-- numbers are not used again as long as there are others
SELECT penny.create_queue('a');
SELECT penny.create_queue('b');
SELECT penny.drop_queue('a');
SELECT penny.create_queue('c');
SELECT id, name FROM _penny.queues ORDER BY id;
SELECT penny.drop_queue('b'), penny.drop_queue('c');
-- a dump holds the built-in queues, too
BEGIN;
COPY _penny.queues (id, name, urgent, concurrency, rate_limit, builtin) FROM stdin;
0	normal	f	33	\N	t
7	seven	f	1	1	f
\.
SELECT id, name, concurrency, rate_limit, builtin FROM _penny.queues ORDER BY id;
ROLLBACK;
-- who may
CREATE ROLE queue_admin IN ROLE penny_admin;
CREATE ROLE queue_agent IN ROLE penny_agent;
GRANT CREATE ON SCHEMA public TO queue_admin;
SET ROLE queue_agent;
SELECT penny.create_queue('mine');
SELECT penny.handle('mine', 'job_f');
SELECT penny.unhandle('hook');
SELECT penny.pause_queue('normal');
SELECT penny.job_id() IS NULL, penny.job_context() IS NULL;
SELECT * FROM _penny.handlers;
SET ROLE queue_admin;
SELECT penny.create_queue('mine');
SELECT penny.handle('mine', 'job_f', queue => 'mine');
SELECT kind, role FROM _penny.handlers WHERE kind = 'mine';
-- in nobody else's role
UPDATE _penny.handlers SET role = 'postgres' WHERE kind = 'mine';
INSERT INTO _penny.handlers (kind, runner, role, queue) VALUES ('theirs', 'external', 'postgres', 'mine');
SELECT kind, role FROM _penny.handlers WHERE kind IN ('mine', 'theirs') ORDER BY kind;
-- another one's handler becomes one's own
UPDATE _penny.handlers SET attempts = 2 WHERE kind = 'outside';
SELECT role FROM _penny.handlers WHERE kind = 'outside';
SELECT secret FROM _penny.handlers;
RESET ROLE;
REVOKE EXECUTE ON FUNCTION job_f(jsonb) FROM PUBLIC;
SET ROLE queue_admin;
SELECT penny.handle('mine', 'job_f');
SELECT _penny.queue_in_use(0);
RESET ROLE;
SELECT penny.unhandle(kind) FROM (SELECT kind FROM _penny.handlers) h;
SELECT penny.drop_queue('mine');
DROP FUNCTION job_f, job_text, job_set, job_two;
DROP PROCEDURE job_procedure;
REVOKE CREATE ON SCHEMA public FROM queue_admin;
DROP ROLE queue_admin, queue_agent;

-- Reads of the store through the cache: what is served again, and what is not.
SET timezone = 'UTC';
INSERT INTO chat.users (id, name) VALUES ('00000000-0000-7000-8000-00000000000a', 'Ada'), ('00000000-0000-7000-8000-00000000000b', 'Bob');
INSERT INTO chat.conversations (id, owner_id, title) VALUES
	('00000000-0000-7000-9000-000000000001', '00000000-0000-7000-8000-00000000000a', 'one'),
	('00000000-0000-7000-9000-000000000002', '00000000-0000-7000-8000-00000000000b', 'two');
INSERT INTO chat.messages (conversation_id, role, user_id, content) SELECT id, 'user', owner_id, 'hello ' || title FROM chat.conversations;
INSERT INTO chat.artifacts (id, conversation_id, kind, title, created_at) VALUES
	('00000000-0000-7000-a000-000000000001', '00000000-0000-7000-9000-000000000001', 'code', 'program', '2026-01-01'),
	('00000000-0000-7000-a000-000000000002', '00000000-0000-7000-9000-000000000001', 'text', 'empty', '2026-01-01');
INSERT INTO chat.artifact_versions (artifact_id, content, data) VALUES
	('00000000-0000-7000-a000-000000000001', 'first', NULL), ('00000000-0000-7000-a000-000000000001', 'second', '{"a": 1}');
INSERT INTO chat.models (id, provider, name, context_tokens, created_at) VALUES ('zeta', 'p', 'Zeta', 1000, '2026-01-01'), ('alpha', NULL, NULL, NULL, '2026-01-01');
INSERT INTO chat.sessions (token_hash, user_id, role, created_at, expires_at) VALUES
	(sha256('a'), '00000000-0000-7000-8000-00000000000a', 'penny_user', '2026-01-01', '2026-01-02'),
	(sha256('b'), '00000000-0000-7000-8000-00000000000a', 'penny_agent', '2026-01-03', '2100-01-01'),
	(sha256('c'), '00000000-0000-7000-8000-00000000000b', 'penny_user', '2026-01-01', '2100-01-01');

-- every table that reads go to has its triggers, which always fire
SELECT c.relname, count(*) FILTER (WHERE t.tgenabled = 'A') AS always, count(*) AS triggers
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE NOT t.tgisinternal AND t.tgname LIKE 'penny\_invalidate%' AND c.relnamespace = 'chat'::regnamespace GROUP BY 1 ORDER BY 1;

-- whether a question was answered by the cache; the counters are the server's
CREATE SCHEMA regress_cached;
CREATE FUNCTION regress_cached.ask(kind text, question text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	before jsonb := penny.cache_stats() -> 'kinds' -> kind;
	after jsonb;
BEGIN
	EXECUTE question;
	after := penny.cache_stats() -> 'kinds' -> kind;
	RETURN CASE WHEN after -> 'hits' > before -> 'hits' THEN 'hit' WHEN after -> 'fills' > before -> 'fills' THEN 'kept'
		WHEN after -> 'misses' > before -> 'misses' THEN 'read' ELSE 'nothing' END;
END
$$;
CREATE FUNCTION regress_cached.ask_all(OUT question text, OUT first text, OUT again text) RETURNS SETOF record LANGUAGE plpgsql AS $$
DECLARE
	kind text;
BEGIN
	FOR kind, question IN VALUES
		('conversation', $q$SELECT penny.conversation('00000000-0000-7000-9000-000000000001')$q$),
		('conversation', $q$SELECT _penny.conversation_json('00000000-0000-7000-9000-000000000001', 50)$q$),
		('conversation', $q$SELECT penny.conversations_by_id(ARRAY['00000000-0000-7000-9000-000000000001']::uuid[], 7)$q$),
		('conversation', $q$SELECT penny.conversation('00000000-0000-7000-9000-000000000002')$q$),
		('list', 'SELECT penny.conversations()'), ('list', 'SELECT penny.conversations(archived => true)'),
		('messages', $q$SELECT penny.messages('00000000-0000-7000-9000-000000000001')$q$),
		('artifacts', $q$SELECT penny.artifacts('00000000-0000-7000-9000-000000000001')$q$),
		('models', 'SELECT penny.models()'), ('session', 'SELECT penny.sessions()')
	LOOP
		first := regress_cached.ask(kind, question);
		again := regress_cached.ask(kind, question);
		RETURN NEXT;
	END LOOP;
END
$$;
GRANT USAGE ON SCHEMA regress_cached TO penny_user;
GRANT EXECUTE ON FUNCTION penny.cache_stats() TO penny_user;
SELECT penny.act_as('00000000-0000-7000-8000-00000000000a');
SELECT * FROM regress_cached.ask_all();
SELECT * FROM regress_cached.ask_all() WHERE first <> 'hit';
SELECT jsonb_pretty(penny.artifacts('00000000-0000-7000-9000-000000000001') #- '{data,0,updated_at}' #- '{data,1,updated_at}');
SELECT penny.artifacts('00000000-0000-7000-9000-000000000002') IS NULL AS unseen;
SELECT penny.models();
SELECT jsonb_pretty(penny.sessions());
-- a change ends what shows it, for the next transaction
SELECT penny.add_message('00000000-0000-7000-9000-000000000001', 'user', 'more') ->> 'seq' AS seq;
SELECT * FROM regress_cached.ask_all() WHERE first <> 'hit';
-- who has changed something reads the tables
BEGIN;
SELECT penny.add_message('00000000-0000-7000-9000-000000000001', 'user', 'still more') ->> 'seq' AS seq;
SELECT regress_cached.ask('conversation', $q$SELECT penny.conversation('00000000-0000-7000-9000-000000000001')$q$);
SELECT penny.conversation('00000000-0000-7000-9000-000000000001', 1) -> 'messages' -> 0 ->> 'content' AS newest;
ROLLBACK;
SELECT penny.conversation('00000000-0000-7000-9000-000000000001', 1) -> 'messages' -> 0 ->> 'content' AS newest;
-- others see what they may see: nothing, until they take part
SELECT penny.act_as('00000000-0000-7000-8000-00000000000b');
SELECT penny.conversation('00000000-0000-7000-9000-000000000001') IS NULL AS unseen, penny.artifacts('00000000-0000-7000-9000-000000000001') IS NULL AS unseen,
	jsonb_array_length(penny.conversations() -> 'data') AS listed, jsonb_array_length(penny.sessions() -> 'data') AS sessions;
SELECT penny.act_as('00000000-0000-7000-8000-00000000000a');
SELECT penny.add_participant('00000000-0000-7000-9000-000000000001', '00000000-0000-7000-8000-00000000000b');
SELECT penny.act_as('00000000-0000-7000-8000-00000000000b');
SELECT penny.conversation('00000000-0000-7000-9000-000000000001') IS NULL AS unseen, jsonb_array_length(penny.conversations() -> 'data') AS listed;
SELECT penny.remove_participant('00000000-0000-7000-9000-000000000001', '00000000-0000-7000-8000-00000000000b');
SELECT penny.conversation('00000000-0000-7000-9000-000000000001') IS NULL AS unseen, jsonb_array_length(penny.conversations() -> 'data') AS listed;
SELECT penny.act_as(NULL);
SELECT penny.sessions();
-- a trigger that does not always fire, or is another: reads go to the tables
CREATE PROCEDURE regress_cached.tell(OUT past text) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM penny.act_as('00000000-0000-7000-8000-00000000000a');
	SELECT coalesce(string_agg(DISTINCT substring(question, 'penny\.(\w+)'), ', '), 'nothing') INTO past
		FROM regress_cached.ask_all() WHERE again <> 'hit' AND question NOT LIKE '%0002%';
	PERFORM penny.act_as(NULL);
END
$$;
ALTER TABLE chat.messages ENABLE TRIGGER penny_invalidate;
CALL regress_cached.tell(NULL);
SELECT penny.create_store();
CALL regress_cached.tell(NULL);
DROP TRIGGER penny_invalidate_all ON chat.models;
CREATE TRIGGER penny_invalidate_all AFTER TRUNCATE ON chat.models FOR EACH STATEMENT EXECUTE FUNCTION penny.invalidate('a', 'id');
ALTER TABLE chat.models ENABLE ALWAYS TRIGGER penny_invalidate_all;
CALL regress_cached.tell(NULL);
DROP TRIGGER penny_invalidate_all ON chat.models;
SELECT penny.create_store();
CREATE TABLE regress_cached.child () INHERITS (chat.artifacts);
CALL regress_cached.tell(NULL);
DROP TABLE regress_cached.child;
-- policies that go by what nobody tells of, for those who are under them
CREATE TABLE regress_cached.blocked (user_id uuid);
GRANT SELECT ON regress_cached.blocked TO penny_user;
CREATE PROCEDURE regress_cached.under(target text, policy text, OUT past text) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE POLICY own ON %s FOR SELECT USING (%s)', target, policy);
	COMMIT;
	CALL regress_cached.tell(past);
	EXECUTE format('DROP POLICY own ON %s', target);
	COMMIT;
END
$$;
CALL regress_cached.under('chat.messages', 'content <> ''x''', NULL);
CALL regress_cached.under('chat.messages', 'user_id = penny.user_id() AND current_user = ''penny_user'' AND penny.claims() ->> ''role'' = ''penny_user''', NULL);
CALL regress_cached.under('chat.messages', '(SELECT penny.claims()) -> ''tenant'' IS NULL', NULL);
CALL regress_cached.under('chat.messages', 'penny.claims() ->> ''exp'' IS NULL', NULL);
CALL regress_cached.under('chat.messages', 'penny.claims() IS NULL', NULL);
CALL regress_cached.under('chat.messages', 'now() > created_at', NULL);
CALL regress_cached.under('chat.messages', 'current_setting(''a.b'', true) IS NULL', NULL);
CALL regress_cached.under('chat.messages', 'ctid <> ''(0,0)''', NULL);
CALL regress_cached.under('chat.conversations', 'title <> ''x''', NULL);
CALL regress_cached.under('chat.conversations', 'owner_id = penny.user_id()', NULL);
CALL regress_cached.under('chat.models', 'provider IS NULL OR random() > 0', NULL);
CALL regress_cached.under('chat.messages', 'NOT EXISTS (SELECT FROM regress_cached.blocked b WHERE b.user_id = messages.user_id)', NULL);
CREATE TRIGGER told AFTER INSERT OR UPDATE OR DELETE ON regress_cached.blocked FOR EACH ROW EXECUTE FUNCTION penny.invalidate();
CREATE TRIGGER emptied AFTER TRUNCATE ON regress_cached.blocked FOR EACH STATEMENT EXECUTE FUNCTION penny.invalidate();
ALTER TABLE regress_cached.blocked ENABLE ALWAYS TRIGGER told, ENABLE ALWAYS TRIGGER emptied;
CALL regress_cached.under('chat.messages', 'NOT EXISTS (SELECT FROM regress_cached.blocked b WHERE b.user_id = messages.user_id)', NULL);
REVOKE EXECUTE ON FUNCTION penny.cache_stats() FROM penny_user;
SET client_min_messages = warning;
DROP SCHEMA regress_cached CASCADE;
TRUNCATE chat.sessions, chat.models;
DELETE FROM chat.conversations;
DELETE FROM chat.users;
DELETE FROM chat.tombstones;

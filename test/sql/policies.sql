-- Who sees and changes what: every caller against every table.
\set ada 00000000-0000-7000-8000-00000000000a
\set bob 00000000-0000-7000-8000-00000000000b
\set eve 00000000-0000-7000-8000-00000000000e
\set talk 00000000-0000-7000-8000-0000000000c1
\set other 00000000-0000-7000-8000-0000000000c2
INSERT INTO chat.users (id, name) VALUES (:'ada', 'Ada'), (:'bob', 'Bob'), (:'eve', 'Eve');
INSERT INTO chat.tools (id) VALUES ('t');
INSERT INTO chat.models (id) VALUES ('m');
INSERT INTO chat.conversations (id, owner_id) VALUES (:'talk', :'ada'), (:'other', :'eve');
INSERT INTO chat.participants (conversation_id, user_id) VALUES (:'talk', :'bob');
INSERT INTO chat.messages (conversation_id, role, user_id, content)
	SELECT c.id, 'user', c.owner_id, 'x' FROM chat.conversations c, generate_series(1, 2);
INSERT INTO chat.messages (conversation_id, role, content) SELECT id, 'assistant', 'y' FROM chat.conversations;
INSERT INTO chat.tool_executions (message_id, tool_id) SELECT id, 't' FROM chat.messages WHERE role = 'assistant';
INSERT INTO chat.artifacts (id, conversation_id, kind) SELECT id, id, 'k' FROM chat.conversations;
INSERT INTO chat.artifact_versions (artifact_id, content) SELECT id, 'v' FROM chat.artifacts;
INSERT INTO chat.files (id, user_id, conversation_id, name, media_type, size, sha256)
	SELECT id, owner_id, id, 'f', 'text/plain', 1, sha256('f') FROM chat.conversations;
INSERT INTO chat.sessions (token_hash, user_id, role, expires_at) SELECT sha256(id::text::bytea), id, 'penny_user', now() FROM chat.users;
DELETE FROM chat.messages WHERE seq = 2;
-- run a statement as a caller and undo it: rows, or why not
CREATE FUNCTION try(who uuid, how text, statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	n bigint;
	outcome text;
BEGIN
	BEGIN
		IF who IS NOT NULL THEN
			PERFORM penny.act_as(who, how);
		ELSE
			EXECUTE 'SET ROLE ' || how;
		END IF;
		EXECUTE statement;
		GET DIAGNOSTICS n = ROW_COUNT;
		RAISE EXCEPTION USING ERRCODE = 'P9999';
	EXCEPTION
		WHEN SQLSTATE 'P9999' THEN outcome := n;
		WHEN insufficient_privilege THEN outcome := 'denied';
		WHEN OTHERS THEN outcome := SQLSTATE;
	END;
	RETURN outcome;
END $$;
CREATE VIEW callers AS SELECT * FROM (VALUES
	(1, 'owner', '00000000-0000-7000-8000-00000000000a'::uuid, 'penny_user'),
	(2, 'member', '00000000-0000-7000-8000-00000000000b', 'penny_user'),
	(3, 'other', '00000000-0000-7000-8000-00000000000e', 'penny_user'),
	(4, 'agent_in', '00000000-0000-7000-8000-00000000000b', 'penny_agent'),
	(5, 'agent_out', '00000000-0000-7000-8000-0000000000aa', 'penny_agent'),
	(6, 'admin', '00000000-0000-7000-8000-0000000000ad', 'penny_admin'),
	(7, 'nobody', NULL, 'penny_user'),
	(8, 'login', NULL, 'penny_authenticator')) c (n, name, who, how);
CREATE FUNCTION all_callers(statement text) RETURNS TABLE (owner text, member text, other text, agent_in text, agent_out text, admin text, nobody text, login text) LANGUAGE sql AS $$
	SELECT max(r) FILTER (WHERE n = 1), max(r) FILTER (WHERE n = 2), max(r) FILTER (WHERE n = 3), max(r) FILTER (WHERE n = 4),
		max(r) FILTER (WHERE n = 5), max(r) FILTER (WHERE n = 6), max(r) FILTER (WHERE n = 7), max(r) FILTER (WHERE n = 8)
	FROM (SELECT n, try(who, how, statement) r FROM callers) x $$;
-- SELECT
SELECT t AS "SELECT", a.* FROM unnest('{users,models,tools,conversations,participants,messages,tool_executions,artifacts,artifact_versions,tombstones,files,sessions,store}'::text[]) WITH ORDINALITY u (t, n),
	all_callers(format('SELECT FROM chat.%I', t)) a ORDER BY u.n;
-- writes about the conversation of the owner
SELECT what, a.* FROM (VALUES
	(1, 'title', 'UPDATE chat.conversations SET title = ''x'' WHERE id = ''00000000-0000-7000-8000-0000000000c1'''),
	(2, 'owner', 'UPDATE chat.conversations SET owner_id = penny.user_id() WHERE id = ''00000000-0000-7000-8000-0000000000c1'''),
	(3, 'counters', 'UPDATE chat.conversations SET version = 1 WHERE id = ''00000000-0000-7000-8000-0000000000c1'''),
	(4, 'delete', 'DELETE FROM chat.conversations WHERE id = ''00000000-0000-7000-8000-0000000000c1'''),
	(5, 'own new one', 'INSERT INTO chat.conversations (owner_id) VALUES (penny.user_id())'),
	(6, 'for another', 'INSERT INTO chat.conversations (owner_id) VALUES (''00000000-0000-7000-8000-00000000000e'')'),
	(7, 'invite', 'INSERT INTO chat.participants (conversation_id, user_id) VALUES (''00000000-0000-7000-8000-0000000000c1'', ''00000000-0000-7000-8000-00000000000e'')'),
	(8, 'invite oneself', 'INSERT INTO chat.participants (conversation_id, user_id) VALUES (''00000000-0000-7000-8000-0000000000c1'', penny.user_id()) ON CONFLICT DO NOTHING'),
	(9, 'expel', 'DELETE FROM chat.participants WHERE conversation_id = ''00000000-0000-7000-8000-0000000000c1'' AND user_id = ''00000000-0000-7000-8000-00000000000b'''),
	(10, 'list order', 'UPDATE chat.participants SET active_at = now()'),
	(11, 'write', 'INSERT INTO chat.messages (conversation_id, role, user_id, content) VALUES (''00000000-0000-7000-8000-0000000000c1'', ''user'', penny.user_id(), ''x'')'),
	(12, 'in another name', 'INSERT INTO chat.messages (conversation_id, role, user_id, content) VALUES (''00000000-0000-7000-8000-0000000000c1'', ''user'', ''00000000-0000-7000-8000-00000000000e'', ''x'')'),
	(13, 'as assistant', 'INSERT INTO chat.messages (conversation_id, role, content) VALUES (''00000000-0000-7000-8000-0000000000c1'', ''assistant'', ''x'')'),
	(14, 'backdated', 'INSERT INTO chat.messages (conversation_id, role, user_id, content, created_at) VALUES (''00000000-0000-7000-8000-0000000000c1'', ''user'', penny.user_id(), ''x'', ''2000-01-01'')'),
	(15, 'edit all', 'UPDATE chat.messages SET content = ''x'' WHERE conversation_id = ''00000000-0000-7000-8000-0000000000c1'''),
	(16, 'become assistant', 'UPDATE chat.messages SET role = ''assistant'' WHERE conversation_id = ''00000000-0000-7000-8000-0000000000c1'' AND role = ''user'''),
	(17, 'delete all', 'DELETE FROM chat.messages WHERE conversation_id = ''00000000-0000-7000-8000-0000000000c1'''),
	(18, 'tool', 'INSERT INTO chat.tool_executions (conversation_id, tool_id) VALUES (''00000000-0000-7000-8000-0000000000c1'', ''t'')'),
	(19, 'tool result', 'UPDATE chat.tool_executions SET status = ''completed'' WHERE conversation_id = ''00000000-0000-7000-8000-0000000000c1'''),
	(20, 'artifact', 'INSERT INTO chat.artifacts (conversation_id, kind) VALUES (''00000000-0000-7000-8000-0000000000c1'', ''k'')'),
	(21, 'tombstone', 'DELETE FROM chat.tombstones'),
	(22, 'own profile', 'UPDATE chat.users SET name = ''x'''),
	(23, 'session', 'INSERT INTO chat.sessions (token_hash, user_id, role, expires_at) SELECT sha256(''x''), ''00000000-0000-7000-8000-00000000000e'', ''penny_admin'', now()'),
	(24, 'store', 'UPDATE chat.store SET version = 9'),
	(25, 'routes', 'DELETE FROM penny.routes WHERE false'),
	(26, 'truncate', 'TRUNCATE chat.messages'),
	(27, 'store_step', 'SELECT FROM _penny.store_step LIMIT 1'),
	(28, 'session of', 'SELECT FROM _penny.session(sha256(''x''))')) w (n, what, statement),
	all_callers(statement) a ORDER BY n;
-- the API says "not found" for what is there but not to be seen
SELECT what, a.* FROM (VALUES
	(1, 'conversation', 'SELECT FROM penny.conversation(''00000000-0000-7000-8000-0000000000c1'') c WHERE c IS NOT NULL'),
	(2, 'messages', 'SELECT FROM penny.messages(''00000000-0000-7000-8000-0000000000c1'') c WHERE c IS NOT NULL'),
	(3, 'join', 'SELECT FROM _penny.join_room(''conversation:00000000-0000-7000-8000-0000000000c1'', 0)'),
	(4, 'add_message', 'SELECT penny.add_message(''00000000-0000-7000-8000-0000000000c1'', ''user'', ''x'')'),
	(5, 'update', 'SELECT penny.update_conversation(''00000000-0000-7000-8000-0000000000c1'', ''{"title": "x"}'')'),
	(6, 'delete', 'SELECT penny.delete_conversation(''00000000-0000-7000-8000-0000000000c1'')'),
	(7, 'invite', 'SELECT penny.add_participant(''00000000-0000-7000-8000-0000000000c1'', ''00000000-0000-7000-8000-00000000000e'')'),
	(8, 'leave', 'SELECT penny.remove_participant(''00000000-0000-7000-8000-0000000000c1'', ''00000000-0000-7000-8000-00000000000b'')'),
	(9, 'publish', 'SELECT penny.publish(''conversation:00000000-0000-7000-8000-0000000000c1'', ''{}'')'),
	(10, 'publish lobby', 'SELECT penny.publish(''lobby'', ''{}'')'),
	(11, 'list', 'SELECT penny.conversations()'),
	(12, 'import', 'SELECT penny.import_chat(''{"messages": []}'')'),
	(13, 'import for Eve', 'SELECT penny.import_chat(''{"messages": []}'', ''00000000-0000-7000-8000-00000000000e'')'),
	(14, 'session', 'SELECT penny.create_session(''00000000-0000-7000-8000-00000000000e'')'),
	(15, 'create_store', 'SELECT penny.create_store()')) w (n, what, statement),
	all_callers(statement) a ORDER BY n;
-- an answer is remembered for one snapshot only
SELECT penny.act_as(:'eve') \g /dev/null
BEGIN;
SELECT count(*) FROM chat.messages WHERE conversation_id = :'talk';
RESET ROLE;
SAVEPOINT s;
INSERT INTO chat.participants (conversation_id, user_id) VALUES (:'talk', :'eve');
SET ROLE penny_user;
SELECT count(*) FROM chat.messages WHERE conversation_id = :'talk';
ROLLBACK TO s;
SET ROLE penny_user;
SELECT count(*) FROM chat.messages WHERE conversation_id = :'talk';
COMMIT;
SELECT penny.act_as(NULL) \g /dev/null
-- names of users: of those with whom one shares a conversation
SELECT string_agg(name, ' ' ORDER BY name) FROM chat.users;
SELECT penny.act_as(:'ada') \g /dev/null
SELECT string_agg(name, ' ' ORDER BY name) FROM chat.users;
SELECT penny.act_as(:'eve') \g /dev/null
SELECT string_agg(name, ' ' ORDER BY name) FROM chat.users;
SELECT penny.act_as(NULL) \g /dev/null
DROP VIEW callers;
DROP FUNCTION all_callers, try;
DELETE FROM chat.conversations; DELETE FROM chat.users; DELETE FROM chat.tools; DELETE FROM chat.models; DELETE FROM chat.tombstones;

-- Versions, seq and counters, whatever way a change takes.
\set ada 00000000-0000-7000-8000-00000000000a
\set bob 00000000-0000-7000-8000-00000000000b
INSERT INTO chat.users (id, name) VALUES (:'ada', 'Ada'), (:'bob', 'Bob');
\set talk 00000000-0000-7000-8000-0000000000c1
INSERT INTO chat.conversations (id, owner_id, version, last_seq, message_count) VALUES (:'talk', :'ada', 77, 88, 99)
	RETURNING version, state_version, last_seq, message_count;
CREATE FUNCTION state() RETURNS TABLE (version bigint, last_seq bigint, count bigint, head text, at text) LANGUAGE sql AS $$
	SELECT c.version, c.last_seq, c.message_count, m.content, c.last_message_at = m.created_at
	FROM chat.conversations c LEFT JOIN chat.messages m ON m.id = c.head_message_id
	WHERE c.id = '00000000-0000-7000-8000-0000000000c1' $$;
-- does the row of the conversation agree with the rows that belong to it?
CREATE FUNCTION agrees() RETURNS boolean LANGUAGE sql AS $$
	SELECT c.message_count = (SELECT count(*) FROM chat.messages m WHERE m.conversation_id = c.id)
		AND c.head_message_id IS NOT DISTINCT FROM (SELECT id FROM chat.messages m WHERE m.conversation_id = c.id ORDER BY seq DESC LIMIT 1)
		AND c.last_message_at IS NOT DISTINCT FROM (SELECT created_at FROM chat.messages m WHERE m.conversation_id = c.id ORDER BY seq DESC LIMIT 1)
		AND NOT EXISTS (SELECT FROM chat.participants p WHERE p.conversation_id = c.id AND p.active_at <> coalesce(c.last_message_at, c.created_at))
		AND NOT EXISTS (SELECT FROM (
			SELECT m.version FROM chat.messages m WHERE m.conversation_id = c.id
			UNION ALL SELECT m.version FROM chat.participants m WHERE m.conversation_id = c.id
			UNION ALL SELECT m.version FROM chat.tool_executions m WHERE m.conversation_id = c.id
			UNION ALL SELECT m.version FROM chat.tombstones m WHERE m.conversation_id = c.id
			UNION ALL SELECT c.state_version) v (version) GROUP BY v.version HAVING count(*) > 1 OR v.version > c.version)
	FROM chat.conversations c WHERE c.id = '00000000-0000-7000-8000-0000000000c1' $$;
-- several rows in one statement
INSERT INTO chat.messages (conversation_id, role, user_id, content, seq, version)
	SELECT :'talk', 'user', :'ada', 'm' || n, 1000, 1000 FROM generate_series(1, 3) n RETURNING seq, version, created_version, content;
SELECT * FROM state();
SELECT m.seq, p.seq AS parent FROM chat.messages m LEFT JOIN chat.messages p ON p.id = m.parent_id ORDER BY 1;
COPY chat.messages (conversation_id, role, content) FROM stdin;
00000000-0000-7000-8000-0000000000c1	assistant	c4
00000000-0000-7000-8000-0000000000c1	assistant	c5
\.
SELECT *, agrees() FROM state();
-- changes
UPDATE chat.messages SET content = content || '!', seq = 5, created_version = 1 WHERE seq IN (1, 2) RETURNING seq, version, created_version, updated_at IS NOT NULL AS updated;
SELECT *, agrees() FROM state();
\set VERBOSITY terse
UPDATE chat.messages SET id = '00000000-0000-7000-8000-0000000000d1' WHERE seq = 1;
INSERT INTO chat.conversations (id, owner_id) VALUES ('00000000-0000-7000-8000-0000000000c2', :'ada');
UPDATE chat.messages SET conversation_id = '00000000-0000-7000-8000-0000000000c2' WHERE seq = 1;
UPDATE chat.participants SET user_id = :'bob' WHERE conversation_id = :'talk';
UPDATE chat.conversations SET id = '00000000-0000-7000-8000-0000000000c3' WHERE id = :'talk';
INSERT INTO chat.messages (conversation_id, role, content) VALUES ('00000000-0000-7000-8000-0000000000c9', 'assistant', 'x');
INSERT INTO chat.messages (role, content) VALUES ('assistant', 'x');
SELECT *, agrees() FROM state();
-- deletions: the number is not used again, the head goes back
DELETE FROM chat.messages WHERE seq IN (4, 5);
SELECT *, agrees() FROM state();
SELECT version, kind FROM chat.tombstones ORDER BY version;
INSERT INTO chat.messages (conversation_id, role, content) VALUES (:'talk', 'assistant', 'after') RETURNING seq, version;
-- a title keeps the counters
UPDATE chat.conversations SET title = 'x', version = 0, last_seq = 0, message_count = 0, head_message_id = NULL, last_message_at = NULL WHERE id = :'talk'
	RETURNING version, state_version = version AS own, last_seq, message_count;
SELECT *, agrees() FROM state();
-- rolled-back work leaves nothing; what came before it in the transaction stays
BEGIN;
INSERT INTO chat.messages (conversation_id, role, content) VALUES (:'talk', 'assistant', 'kept') RETURNING seq, version;
SAVEPOINT a;
INSERT INTO chat.messages (conversation_id, role, content) VALUES (:'talk', 'assistant', 'dropped') RETURNING seq, version;
DELETE FROM chat.messages WHERE content = 'kept';
UPDATE chat.conversations SET title = 'dropped' WHERE id = :'talk';
SAVEPOINT b;
INSERT INTO chat.messages (conversation_id, role, content) VALUES (:'talk', 'assistant', 'dropped too') RETURNING seq, version;
RELEASE b;
ROLLBACK TO a;
SELECT *, agrees() FROM state();
INSERT INTO chat.messages (conversation_id, role, content) VALUES (:'talk', 'assistant', 'kept, too') RETURNING seq, version;
SAVEPOINT c;
INSERT INTO chat.messages (conversation_id, role, content) VALUES (:'talk', 'assistant', 'inner') RETURNING seq, version;
RELEASE c;
COMMIT;
SELECT *, agrees() FROM state();
-- the first touch within a rolled-back level
BEGIN;
SAVEPOINT a;
INSERT INTO chat.messages (conversation_id, role, content) VALUES (:'talk', 'assistant', 'dropped') RETURNING seq, version;
ROLLBACK TO a;
INSERT INTO chat.messages (conversation_id, role, content) VALUES (:'talk', 'assistant', 'first') RETURNING seq, version;
COMMIT;
SELECT *, agrees() FROM state();
-- an error in the middle of a statement
DO $$
BEGIN
	INSERT INTO chat.messages (conversation_id, role, content) VALUES ('00000000-0000-7000-8000-0000000000c1', 'assistant', 'before');
	BEGIN
		INSERT INTO chat.messages (conversation_id, role, content)
			SELECT '00000000-0000-7000-8000-0000000000c1', CASE n WHEN 3 THEN 'wizard' ELSE 'assistant' END, 'n' || n FROM generate_series(1, 3) n;
	EXCEPTION WHEN check_violation THEN NULL;
	END;
	INSERT INTO chat.messages (conversation_id, role, content) VALUES ('00000000-0000-7000-8000-0000000000c1', 'assistant', 'after');
END $$;
SELECT *, agrees() FROM state();
-- rows that are never written: conflicts, and triggers of the owner
SELECT id AS known FROM chat.messages WHERE content = 'first' \gset
INSERT INTO chat.messages (id, conversation_id, role, content) VALUES (:'known', :'talk', 'assistant', 'again') ON CONFLICT DO NOTHING;
SELECT count, head, agrees() FROM state();
INSERT INTO chat.messages AS m (id, conversation_id, role, content) VALUES (:'known', :'talk', 'assistant', 'upserted')
	ON CONFLICT (id) DO UPDATE SET content = EXCLUDED.content RETURNING seq, content;
SELECT count, head, agrees() FROM state();
CREATE FUNCTION mask() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.content = 'secret' THEN RETURN NULL; END IF; RETURN NEW; END $$;
CREATE TRIGGER z_mask BEFORE INSERT ON chat.messages FOR EACH ROW EXECUTE FUNCTION mask();
INSERT INTO chat.messages (conversation_id, role, content) VALUES (:'talk', 'assistant', 'open'), (:'talk', 'assistant', 'secret'), (:'talk', 'assistant', 'open too') RETURNING content;
SELECT count, head, agrees() FROM state();
DROP FUNCTION mask CASCADE;
-- a trigger of the owner writes to the same conversation in the middle
CREATE FUNCTION echo() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.role = 'user' THEN
		INSERT INTO chat.messages (conversation_id, role, content) VALUES (NEW.conversation_id, 'system', 'noted ' || NEW.content);
		UPDATE chat.conversations SET title = NEW.content WHERE id = NEW.conversation_id;
	END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER z_echo BEFORE INSERT ON chat.messages FOR EACH ROW EXECUTE FUNCTION echo();
INSERT INTO chat.messages (conversation_id, role, user_id, content) VALUES (:'talk', 'user', :'ada', 'e1'), (:'talk', 'user', :'ada', 'e2');
SELECT count, head, agrees() FROM state();
DROP FUNCTION echo CASCADE;
-- replicated rows come with their numbers, the owner's participation and the tombstones among them
SET session_replication_role = replica;
INSERT INTO chat.conversations (id, owner_id, version, state_version, last_seq, message_count, head_message_id)
	VALUES ('00000000-0000-7000-8000-0000000000cf', :'ada', 9, 1, 4, 1, '00000000-0000-7000-8000-00000000e004');
INSERT INTO chat.participants (conversation_id, user_id, version, active_at) VALUES ('00000000-0000-7000-8000-0000000000cf', :'ada', 2, 'epoch');
INSERT INTO chat.messages (id, conversation_id, seq, version, created_version, role, content)
	VALUES ('00000000-0000-7000-8000-00000000e004', '00000000-0000-7000-8000-0000000000cf', 4, 9, 9, 'assistant', 'replicated');
UPDATE chat.conversations SET version = 10, last_seq = 5 WHERE id = '00000000-0000-7000-8000-0000000000cf';
RESET session_replication_role;
SELECT version, last_seq, message_count, (SELECT count(*) FROM chat.participants WHERE conversation_id = c.id) AS participants
	FROM chat.conversations c WHERE id = '00000000-0000-7000-8000-0000000000cf';
-- and the order goes on from there
INSERT INTO chat.messages (conversation_id, role, content) VALUES ('00000000-0000-7000-8000-0000000000cf', 'assistant', 'local') RETURNING seq, version;
SET session_replication_role = replica;
DELETE FROM chat.conversations WHERE id = '00000000-0000-7000-8000-0000000000cf';
RESET session_replication_role;
SELECT count(*) FROM chat.tombstones WHERE conversation_id = '00000000-0000-7000-8000-0000000000cf';
-- participants
INSERT INTO chat.participants (conversation_id, user_id) VALUES (:'talk', :'bob');
SELECT agrees() FROM state();
DELETE FROM chat.participants WHERE user_id = :'bob';
SELECT kind, id FROM chat.tombstones WHERE kind = 'participant';
UPDATE chat.conversations SET owner_id = :'bob' WHERE id = :'talk';
SELECT user_id FROM chat.participants WHERE conversation_id = :'talk' ORDER BY 1;
SELECT agrees();
-- a deleted user leaves the messages
DELETE FROM chat.users WHERE id = :'bob';
UPDATE chat.conversations SET owner_id = :'ada' WHERE id = :'talk';
DELETE FROM chat.users WHERE id = :'bob';
SELECT agrees();
-- a message takes its tool executions with it
INSERT INTO chat.tools (id) VALUES ('t');
INSERT INTO chat.tool_executions (message_id, tool_id) SELECT :'known', 't' FROM generate_series(1, 2);
DELETE FROM chat.messages WHERE id = :'known';
SELECT kind, count(*) FROM chat.tombstones GROUP BY 1 ORDER BY 1;
SELECT agrees();
-- a statement that makes a conversation and its messages
WITH c AS (INSERT INTO chat.conversations (owner_id, title) VALUES (:'ada', 'both') RETURNING id)
	INSERT INTO chat.messages (conversation_id, role, content) SELECT id, 'assistant', 'x' FROM c;
-- many conversations in one statement
INSERT INTO chat.conversations (owner_id, title) SELECT :'ada', 'many' FROM generate_series(1, 30);
INSERT INTO chat.messages (conversation_id, role, content) SELECT id, 'assistant', 'n' || n FROM generate_series(1, 2) n, chat.conversations WHERE title = 'many' ORDER BY n;
SELECT version, last_seq, message_count, count(*) FROM chat.conversations WHERE title = 'many' GROUP BY 1, 2, 3;
-- prepared transactions
BEGIN;
INSERT INTO chat.messages (conversation_id, role, content) VALUES (:'talk', 'assistant', 'prepared');
PREPARE TRANSACTION 'regress_penny_order';
COMMIT PREPARED 'regress_penny_order';
SELECT head, agrees() FROM state();
-- the order of a disabled trigger is kept before the commit
ALTER TABLE chat.messages DISABLE TRIGGER penny_flush;
BEGIN;
INSERT INTO chat.messages (conversation_id, role, content) VALUES (:'talk', 'assistant', 'not flushed');
SELECT head FROM state();
COMMIT;
ALTER TABLE chat.messages ENABLE ALWAYS TRIGGER penny_flush;
SELECT head, agrees() FROM state();
-- deleting a conversation in the transaction that changed it
BEGIN;
INSERT INTO chat.messages (conversation_id, role, content) VALUES (:'talk', 'assistant', 'last');
SAVEPOINT a;
DELETE FROM chat.conversations WHERE id = :'talk';
INSERT INTO chat.messages (conversation_id, role, content) VALUES (:'talk', 'assistant', 'too late');
ROLLBACK TO a;
SELECT head, agrees() FROM state();
DELETE FROM chat.conversations WHERE id = :'talk';
COMMIT;
SELECT count(*) FROM chat.messages WHERE conversation_id = :'talk';
SELECT kind, id FROM chat.tombstones WHERE conversation_id = :'talk';
-- TRUNCATE
TRUNCATE chat.messages CASCADE;
SELECT message_count, head_message_id, count(*) FROM chat.conversations GROUP BY 1, 2;
DELETE FROM chat.conversations;
DELETE FROM chat.users; DELETE FROM chat.tools; DELETE FROM chat.tombstones;
DROP FUNCTION state, agrees;

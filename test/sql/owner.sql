-- What the owner of the tables may do to them, and others who would like to.
\set VERBOSITY terse
\set ada 00000000-0000-7000-8000-00000000000a
\set eve 00000000-0000-7000-8000-00000000000e
\set talk 00000000-0000-7000-8000-0000000000d1
INSERT INTO chat.users (id) VALUES (:'ada'), (:'eve');
INSERT INTO chat.conversations (id, owner_id) VALUES (:'talk', :'ada');
INSERT INTO chat.tools (id) VALUES ('f');
-- a column that is no longer what it was is named; nothing crashes
BEGIN;
ALTER TABLE chat.tool_executions ALTER input TYPE text;
INSERT INTO chat.tool_executions (conversation_id, tool_id, input) VALUES (:'talk', 'f', repeat('A', 4000));
ROLLBACK;
BEGIN;
ALTER TABLE chat.messages ALTER seq TYPE integer;
INSERT INTO chat.messages (conversation_id, role, content) VALUES (:'talk', 'system', 'x');
ROLLBACK;
BEGIN;
ALTER TABLE chat.messages DISABLE TRIGGER USER;
ALTER TABLE chat.messages ALTER conversation_id DROP NOT NULL;
INSERT INTO chat.messages (id, seq, version, created_version, role, content) VALUES ('00000000-0000-7000-8000-0000000000e1', 1, 1, 1, 'user', 'x');
ALTER TABLE chat.messages ENABLE TRIGGER USER;
UPDATE chat.messages SET content = 'y';
ROLLBACK;
BEGIN;
ALTER TABLE chat.tombstones ALTER kind DROP NOT NULL;
SELECT * FROM _penny.join_room('conversation:' || :'talk', 0);
ROLLBACK;
-- strings of variable length and domains are all right
BEGIN;
CREATE DOMAIN short AS varchar(50);
ALTER TABLE chat.messages ALTER model TYPE short, ALTER content TYPE varchar;
INSERT INTO chat.messages (conversation_id, role, content, model) VALUES (:'talk', 'system', 'x', 'm') RETURNING seq, version;
SELECT penny.conversation(:'talk') -> 'messages' -> 0 -> 'model';
ROLLBACK;
-- a trigger of the owner that writes when penny writes the conversation's row
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.message_count = 2 THEN
		INSERT INTO chat.messages (conversation_id, role, content) VALUES (NEW.id, 'system', 'note');
	ELSIF NEW.message_count = 4 THEN
		BEGIN
			INSERT INTO chat.messages (conversation_id, role, content) VALUES (NEW.id, 'system', 'undone');
			RAISE EXCEPTION USING ERRCODE = 'PY999';
		EXCEPTION WHEN SQLSTATE 'PY999' THEN
			UPDATE chat.conversations SET title = 'four' WHERE id = NEW.id AND title IS NULL;
		END;
	END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER note AFTER UPDATE ON chat.conversations FOR EACH ROW EXECUTE FUNCTION note();
DO $$ BEGIN
	FOR n IN 1 .. 5 LOOP
		INSERT INTO chat.messages (conversation_id, role, content) VALUES ('00000000-0000-7000-8000-0000000000d1', 'system', 'm' || n);
	END LOOP;
END $$;
SELECT seq, version, content FROM chat.messages ORDER BY seq;
SELECT version, state_version, last_seq, message_count, title FROM chat.conversations;
DROP FUNCTION note CASCADE;
-- to those who may not see a conversation it is as if it were not there
INSERT INTO chat.messages (id, conversation_id, role, content) VALUES ('00000000-0000-7000-8000-0000000000e1', :'talk', 'system', 'theirs');
SELECT penny.act_as(:'eve', 'penny_agent');
INSERT INTO chat.messages (conversation_id, role, content) VALUES (:'talk', 'assistant', 'x');
INSERT INTO chat.messages (conversation_id, role, content) VALUES ('00000000-0000-7000-8000-0000000000dd', 'assistant', 'x');
INSERT INTO chat.participants (conversation_id, user_id) VALUES (:'talk', :'eve');
INSERT INTO chat.participants (conversation_id, user_id) VALUES ('00000000-0000-7000-8000-0000000000dd', :'eve');
SELECT penny.create_conversation(id => '00000000-0000-7000-8000-0000000000d2') -> 'version' AS version;
INSERT INTO chat.tool_executions (message_id, tool_id) VALUES ('00000000-0000-7000-8000-0000000000e1', 'f');
INSERT INTO chat.tool_executions (conversation_id, message_id, tool_id) VALUES ('00000000-0000-7000-8000-0000000000d2', '00000000-0000-7000-8000-0000000000e1', 'f');
INSERT INTO chat.artifacts (conversation_id, message_id, kind) VALUES ('00000000-0000-7000-8000-0000000000d2', '00000000-0000-7000-8000-0000000000e1', 'x');
INSERT INTO chat.artifacts (conversation_id, message_id, kind) VALUES ('00000000-0000-7000-8000-0000000000d2', '00000000-0000-7000-8000-0000000000e9', 'x');
-- where a file's bytes are is not for users to say
INSERT INTO chat.files (id, user_id, name, media_type, size, sha256, location) VALUES (:'eve', :'eve', 'x', 'x', 1, sha256('x'), '/etc/passwd');
SELECT penny.act_as(NULL);
DELETE FROM chat.conversations;
DELETE FROM chat.tombstones;
DELETE FROM chat.tools;
DELETE FROM chat.users;
-- nobody is made to run what others have put into a schema of that name
BEGIN;
SET LOCAL client_min_messages = warning;
SELECT current_user AS me \gset
CREATE ROLE mallory;
DROP SCHEMA chat CASCADE;
CREATE SCHEMA chat AUTHORIZATION mallory;
SET ROLE mallory;
CREATE FUNCTION chat.evil() RETURNS integer LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'evil runs as % of %', current_user = 'mallory', current_setting('role'); RETURN NULL; END $$;
CREATE VIEW chat.store AS SELECT chat.evil() AS version;
RESET ROLE;
SAVEPOINT s;
SELECT penny.create_store();
ROLLBACK TO s;
SELECT penny.upgrade_store();
ROLLBACK TO s;
ALTER SCHEMA chat OWNER TO :"me";
SELECT penny.create_store();
ROLLBACK;
-- nor to share a schema with functions of theirs
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE ROLE mallory;
DROP EXTENSION penny CASCADE;
ALTER SCHEMA penny OWNER TO mallory;
CREATE EXTENSION penny;
ROLLBACK;

-- Laying the store, taking the extension away, laying it again.
SELECT penny.upgrade_store();
SELECT penny.create_store();
SELECT penny.create_store();
SELECT penny.upgrade_store();
-- the tables belong to the caller, not to the extension
SELECT count(*) AS members FROM pg_depend d
WHERE d.deptype = 'e' AND d.classid = 'pg_class'::regclass
  AND d.objid IN (SELECT oid FROM pg_class WHERE relnamespace = 'chat'::regnamespace);
-- no default, check or generated column uses the extension
SELECT pg_describe_object(d.classid, d.objid, d.objsubid)
FROM pg_depend d JOIN pg_depend e ON e.classid = d.refclassid AND e.objid = d.refobjid AND e.deptype = 'e'
WHERE e.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'penny')
  AND d.classid NOT IN ('pg_trigger'::regclass, 'pg_policy'::regclass, 'pg_proc'::regclass, 'pg_rewrite'::regclass, 'pg_type'::regclass, 'pg_class'::regclass, 'pg_constraint'::regclass)
  AND d.deptype = 'n';
SELECT relname, relrowsecurity, relforcerowsecurity FROM pg_class
WHERE relnamespace = 'chat'::regnamespace AND relkind = 'r' ORDER BY 1;
SELECT tgrelid::regclass, tgname, tgenabled FROM pg_trigger WHERE NOT tgisinternal ORDER BY tgrelid::regclass::text, 2;

INSERT INTO chat.users (id, name) VALUES ('00000000-0000-7000-8000-00000000000a', 'Ada');
INSERT INTO chat.conversations (owner_id, title) VALUES ('00000000-0000-7000-8000-00000000000a', 'stays');
INSERT INTO chat.messages (conversation_id, role, user_id, content)
	SELECT id, 'user', owner_id, 'hello' FROM chat.conversations;
-- what the owner adds stays as well
ALTER TABLE chat.messages ADD COLUMN mood text DEFAULT 'fine';
CREATE INDEX messages_mood ON chat.messages (mood);
CREATE POLICY own_policy ON chat.messages FOR SELECT TO penny_admin USING (mood = 'fine');
\set VERBOSITY terse
DROP EXTENSION penny;
SET client_min_messages = warning;
DROP EXTENSION penny CASCADE;
RESET client_min_messages;
SELECT c.title, m.seq, m.version, m.content, m.mood FROM chat.conversations c JOIN chat.messages m ON m.conversation_id = c.id;
SELECT count(*) AS triggers FROM pg_trigger WHERE NOT tgisinternal;
SELECT tablename, policyname FROM pg_policies WHERE schemaname = 'chat' ORDER BY 1, 2;
-- access is deny-all now
SET ROLE penny_user;
SELECT count(*) FROM chat.messages;
RESET ROLE;

CREATE EXTENSION penny;
SELECT penny.create_store();
SELECT policyname FROM pg_policies WHERE tablename = 'messages' ORDER BY 1;
INSERT INTO chat.messages (conversation_id, role, user_id, content)
	SELECT id, 'user', owner_id, 'again' FROM chat.conversations RETURNING seq, version, mood;
-- one piece is missing: one piece is laid
DROP TRIGGER penny_flush ON chat.messages;
DROP INDEX chat.messages_user;
DROP POLICY penny_select ON chat.users;
SELECT penny.create_store();
-- triggers that do not always fire (pg_restore --disable-triggers leaves them so)
ALTER TABLE chat.messages ENABLE TRIGGER penny_order;
ALTER TABLE chat.artifacts DISABLE TRIGGER penny_publish;
SELECT ok, detail FROM penny.doctor() WHERE "check" = 'store';
SELECT penny.create_store();
SELECT ok, detail FROM penny.doctor() WHERE "check" = 'store';
-- a newer version of the store: numbered steps, once
BEGIN;
INSERT INTO _penny.store_step VALUES (10001, 2, 'change', 'a new column', 'ALTER TABLE chat.messages ADD COLUMN later integer');
INSERT INTO _penny.store_step VALUES (10002, 2, 'index', 'chat.messages_later', 'CREATE INDEX messages_later ON chat.messages (later)');
SELECT penny.create_store();
SELECT penny.upgrade_store();
SELECT penny.upgrade_store();
SELECT version FROM chat.store;
ROLLBACK;
-- somebody who is no superuser may own the store
CREATE ROLE regress_penny_owner;
GRANT penny_admin TO regress_penny_owner;
DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO regress_penny_owner', current_database()); END $$;
BEGIN;
DROP SCHEMA chat CASCADE;
SET LOCAL ROLE regress_penny_owner;
SELECT penny.create_store() LIKE 'store of version 1 in schema chat: laid %' AS laid;
SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'chat';
INSERT INTO chat.users (id) VALUES ('00000000-0000-7000-8000-00000000000a');
INSERT INTO chat.conversations (owner_id) VALUES ('00000000-0000-7000-8000-00000000000a') RETURNING version;
INSERT INTO chat.messages (conversation_id, role, content) SELECT id, 'assistant', 'x' FROM chat.conversations RETURNING seq, version;
SELECT version, message_count FROM chat.conversations;
ROLLBACK;
DO $$ BEGIN EXECUTE format('REVOKE ALL ON DATABASE %I FROM regress_penny_owner', current_database()); END $$;
DROP ROLE regress_penny_owner;
ALTER TABLE chat.messages DROP COLUMN mood CASCADE;
DELETE FROM chat.conversations;
DELETE FROM chat.users;
DELETE FROM chat.tombstones;

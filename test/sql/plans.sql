-- The reads of the API on a store with enough rows: no table is scanned, no
-- more than a page is read, and the number of scans does not grow with what is
-- shown.  Counted by the scans and tuples of this transaction.
\set ada 00000000-0000-7000-8000-00000000000a
INSERT INTO chat.users (id, name) SELECT ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'user ' || n FROM generate_series(1, 3000) n;
INSERT INTO chat.conversations (owner_id, title) SELECT id, 'talk' FROM chat.users;
INSERT INTO chat.conversations (owner_id, title) SELECT :'ada', 'more ' || n FROM generate_series(1, 200) n;
INSERT INTO chat.messages (conversation_id, role, user_id, content) SELECT c.id, 'user', c.owner_id, 'm' || n FROM generate_series(1, 3) n, chat.conversations c;
\set talk 00000000-0000-7000-8000-0000000000c1
INSERT INTO chat.conversations (id, owner_id, title) VALUES (:'talk', :'ada', 'long');
INSERT INTO chat.participants (conversation_id, user_id) SELECT :'talk', u.id FROM (SELECT id FROM chat.users WHERE id <> :'ada' ORDER BY id LIMIT 40) u;
INSERT INTO chat.tools (id) VALUES ('t');
INSERT INTO chat.messages (conversation_id, role, user_id, content) SELECT :'talk', 'user', p.user_id, 'm' || n FROM generate_series(1, 50) n, chat.participants p WHERE p.conversation_id = :'talk' ORDER BY n;
INSERT INTO chat.tool_executions (message_id, tool_id) SELECT id, 't' FROM chat.messages WHERE conversation_id = :'talk' AND seq % 2 = 0;
INSERT INTO chat.artifacts (conversation_id, kind) SELECT :'talk', 'k' FROM generate_series(1, 20);
INSERT INTO chat.artifact_versions (artifact_id) SELECT id FROM chat.artifacts, generate_series(1, 5);
INSERT INTO chat.artifacts (id, conversation_id, kind) SELECT id, id, 'k' FROM chat.conversations;
INSERT INTO chat.artifact_versions (artifact_id) SELECT id FROM chat.conversations;
DELETE FROM chat.messages WHERE conversation_id = :'talk' AND seq % 10 = 1;
VACUUM ANALYZE chat.users, chat.conversations, chat.participants, chat.messages, chat.tool_executions, chat.artifacts, chat.artifact_versions, chat.tombstones;
SELECT count(*) > 9000 AS enough FROM chat.messages;
CREATE VIEW counted AS SELECT relname, seq_scan, coalesce(idx_scan, 0) AS idx_scan, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) AS tuples
	FROM pg_stat_xact_user_tables WHERE schemaname = 'chat';
GRANT SELECT ON counted TO PUBLIC;
-- what a call scans and reads, in all tables together
CREATE FUNCTION cost(call text, who text DEFAULT 'penny_user', OUT scanned text, OUT scans bigint, OUT tuples bigint) LANGUAGE plpgsql AS $$
DECLARE
	before counted[];
BEGIN
	PERFORM penny.act_as('00000000-0000-7000-8000-00000000000a', who);
	EXECUTE 'SELECT ' || call;	-- plans and caches
	before := ARRAY(SELECT c FROM counted c);
	EXECUTE 'SELECT ' || call;
	SELECT string_agg(a.relname, ' ' ORDER BY a.relname) FILTER (WHERE a.seq_scan > coalesce(b.seq_scan, 0)),
		sum(a.idx_scan - coalesce(b.idx_scan, 0)) FILTER (WHERE a.relname NOT IN ('users', 'participants')), sum(a.tuples - coalesce(b.tuples, 0))
		INTO scanned, scans, tuples FROM counted a LEFT JOIN unnest(before) b USING (relname);
	PERFORM penny.act_as(NULL);
END $$;
-- one statement: as many scans for 200 messages of 41 users as for 10 (each user
-- of a page is looked up, and asked about by the policy of users)
SELECT n, scanned, scans = max(scans) OVER () AS as_many_scans, tuples <= 4 * n + 200 AS a_page
FROM unnest('{10,50,200}'::int[]) n, cost(format('penny.conversation(''00000000-0000-7000-8000-0000000000c1'', %s)', n)) ORDER BY n;
SELECT call, scanned, tuples <= 500 AS a_page FROM unnest(ARRAY[
	'penny.messages(''00000000-0000-7000-8000-0000000000c1'')',
	'penny.messages(''00000000-0000-7000-8000-0000000000c1'', before => 1000)',
	'penny.messages(''00000000-0000-7000-8000-0000000000c1'', after => 1000)',
	'penny.conversations()',
	'penny.conversations(20, (penny.conversations(100) ->> ''next_cursor''))',
	'(SELECT frames FROM _penny.join_room(''conversation:00000000-0000-7000-8000-0000000000c1'', 3250))',
	'(SELECT version FROM _penny.join_room(''conversation:00000000-0000-7000-8000-0000000000c1'', NULL))',
	'_penny.message((SELECT head_message_id FROM chat.conversations WHERE id = ''00000000-0000-7000-8000-0000000000c1''))',
	'penny.add_message(''00000000-0000-7000-8000-0000000000c1'', ''user'', ''x'')',
	'penny.update_conversation(''00000000-0000-7000-8000-0000000000c1'', ''{"title": "x"}'')',
	'penny.create_conversation(''x'')']) call, cost(call);
SELECT call, scanned, tuples <= 500 AS a_page FROM unnest(ARRAY[
	'penny.conversation(''00000000-0000-7000-8000-0000000000c1'')',
	'penny.conversations()']) call, cost(call, 'penny_admin');
-- one who takes part in everything, where most take part in four: the list is not sorted
INSERT INTO chat.participants (conversation_id, user_id)
	SELECT c.id, u.id FROM (SELECT id, row_number() OVER () AS r FROM chat.conversations) c, generate_series(1, 3) k,
		LATERAL (SELECT ('00000000-0000-7000-8000-' || lpad(to_hex(1 + (c.r * 7 + k * 501) % 3000), 12, '0'))::uuid AS id) u ON CONFLICT DO NOTHING;
ANALYZE chat.participants;
INSERT INTO chat.participants (conversation_id, user_id) SELECT id, :'ada' FROM chat.conversations ON CONFLICT DO NOTHING;
SELECT scanned, tuples <= 500 AS a_page FROM cost('penny.conversations()');
-- the indexes that the mission names
SELECT indexdef FROM pg_indexes WHERE schemaname = 'chat' AND indexname IN
	('messages_conversation_created', 'tool_executions_user_status_started', 'tool_executions_tool_status', 'messages_conversation_seq', 'messages_conversation_version') ORDER BY indexname;
EXPLAIN (COSTS OFF) SELECT * FROM chat.messages WHERE conversation_id = :'talk' ORDER BY created_at DESC LIMIT 10;
EXPLAIN (COSTS OFF) SELECT * FROM chat.messages WHERE conversation_id = :'talk' ORDER BY seq DESC LIMIT 10;
DROP FUNCTION cost;
DROP VIEW counted;
DROP FUNCTION attempt;
SET client_min_messages = warning;
TRUNCATE chat.conversations, chat.users, chat.tools, chat.tombstones CASCADE;

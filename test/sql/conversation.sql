-- Reading and writing conversations through the API.
\set ada 00000000-0000-7000-8000-00000000000a
\set bob 00000000-0000-7000-8000-00000000000b
\set eve 00000000-0000-7000-8000-00000000000e
\set agent 00000000-0000-7000-8000-0000000000aa
-- the outcome of a statement that may be refused, as "SQLSTATE message"
CREATE FUNCTION attempt(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	result text;
	found text;
BEGIN
	EXECUTE statement INTO result;
	RETURN coalesce(result, '(null)');
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS found = PG_EXCEPTION_DETAIL;
	RETURN SQLSTATE || ' ' || SQLERRM || CASE WHEN found LIKE 'at %' THEN ' ' || found ELSE '' END;
END $$;
INSERT INTO chat.users (id, name) VALUES (:'ada', 'Ada'), (:'bob', 'Bob');
SELECT penny.act_as(:'ada') \g /dev/null
SELECT penny.create_conversation('Dinner', '{"place": "harbour"}') AS c \gset
SELECT :'c'::jsonb ->> 'id' AS talk \gset
SELECT array_agg(k ORDER BY k) FROM jsonb_object_keys(:'c') k;
SELECT :'c'::jsonb - '{id,created_at,updated_at,position}'::text[];
SELECT penny.add_message(:'talk', 'user', 'Where?') AS m \gset
SELECT array_agg(k ORDER BY k) FROM jsonb_object_keys(:'m') k;
SELECT :'m'::jsonb - '{id,created_at}'::text[];
SELECT penny.add_message(:'talk', 'user', E'quote " backslash \\ tab \t newline \n control \x01 umlaut ü 你好 😀') ->> 'content';
SELECT penny.add_message(:'talk', 'user', parts => '[{"type": "text", "text": "p"}]') -> 'parts';
SELECT attempt(format('SELECT penny.add_message(%L, ''user'')', :'talk'));
SELECT attempt(format('SELECT penny.add_message(%L, ''assistant'', ''x'')', :'talk'));
SELECT attempt(format('SELECT penny.add_message(%L, ''wizard'', ''x'')', :'talk'));
SELECT attempt('SELECT penny.add_message(''00000000-0000-7000-8000-000000000000'', ''user'', ''x'')');
-- newest first, with position
SELECT m ->> 'seq' AS seq, m -> 'user' ->> 'name' AS name, m -> 'tool_executions' AS tools
FROM penny.conversation(:'talk') c, jsonb_array_elements(c -> 'messages') WITH ORDINALITY AS x (m, n) ORDER BY n;
SELECT jsonb_array_length(penny.conversation(:'talk', 2) -> 'messages') AS two,
	jsonb_array_length(penny.conversation(:'talk', 0) -> 'messages') AS none,
	penny.conversation(:'talk') -> 'position' ->> 'version' AS version,
	penny.conversation(:'talk') -> 'position' ->> 'epoch' = penny.epoch() AS epoch;
SELECT attempt(format('SELECT penny.conversation(%L, -1)', :'talk')), attempt(format('SELECT penny.conversation(%L, 201)', :'talk'));
SELECT penny.conversation('00000000-0000-7000-8000-000000000000') IS NULL AS unknown;
SELECT penny.conversation(:'talk')::text = _penny.conversation_json(:'talk', 50)::jsonb::text AS one_and_the_same;
-- idempotency
SELECT penny.add_message(:'talk', 'user', 'once', client_id => 'c1') ->> 'seq' AS seq;
SELECT penny.add_message(:'talk', 'user', 'once', client_id => 'c1') ->> 'seq' AS seq;
SELECT attempt(format('SELECT penny.add_message(%L, ''user'', ''twice'', client_id => ''c1'')', :'talk')) ~ '^PY409 client_id "c1"' AS conflict;
SELECT version, last_seq, message_count FROM chat.conversations WHERE id = :'talk';
-- a stale head
SELECT head_message_id AS head FROM chat.conversations WHERE id = :'talk' \gset
SELECT penny.add_message(:'talk', 'user', 'on top', head => :'head') ->> 'parent_id' = :'head' AS on_top;
SELECT attempt(format('SELECT penny.add_message(%L, ''user'', ''late'', head => %L)', :'talk', :'head'));
-- history
SELECT array(SELECT (m ->> 'seq')::int FROM jsonb_array_elements(penny.messages(:'talk', after => 1, "limit" => 2) -> 'data') m) AS after1,
	array(SELECT (m ->> 'seq')::int FROM jsonb_array_elements(penny.messages(:'talk', before => 5, "limit" => 2) -> 'data') m) AS before5,
	array(SELECT (m ->> 'seq')::int FROM jsonb_array_elements(penny.messages(:'talk', 5, 2) -> 'data') m) AS between,
	penny.messages(:'talk', "limit" => 5) -> 'has_more' AS all_5,
	penny.messages(:'talk', "limit" => 4) -> 'has_more' AS only_4;
-- other members
SELECT penny.add_participant(:'talk', :'bob');
SELECT penny.add_participant(:'talk', :'bob');
SELECT penny.act_as(:'bob') \g /dev/null
SELECT penny.add_message(:'talk', 'user', 'from Bob') ->> 'id' AS bobs \gset
SELECT penny.update_message(:'talk', :'bobs', 'changed') ->> 'content';
SELECT id AS adas FROM chat.messages WHERE conversation_id = :'talk' AND seq = 1 \gset
SELECT attempt(format('SELECT penny.update_message(%L, %L, ''mine'')', :'talk', :'adas')) ~ '^PY404' AS not_mine;
SELECT attempt(format('SELECT penny.delete_message(%L, %L)', :'talk', :'adas')) ~ '^PY404' AS not_mine;
SELECT attempt(format('SELECT penny.update_conversation(%L, ''{"title":"mine"}'')', :'talk'));
SELECT attempt(format('SELECT penny.delete_conversation(%L)', :'talk'));
SELECT attempt(format('SELECT penny.add_participant(%L, %L)', :'talk', :'eve'));
SELECT attempt(format('SELECT penny.remove_participant(%L, %L)', :'talk', :'ada'));
-- what the owner may
SELECT penny.act_as(:'ada') \g /dev/null
SELECT penny.delete_message(:'talk', :'bobs');
SELECT c ->> 'title' AS title, c ->> 'archived_at' IS NOT NULL AS archived, c ->> 'pinned_at' IS NOT NULL AS pinned, c -> 'metadata' AS metadata
FROM penny.update_conversation(:'talk', '{"title": "Supper", "archived": true, "pinned": true, "metadata": {"a": 1}}') c;
SELECT c ->> 'archived_at' AS archived, c ->> 'title' AS title FROM penny.update_conversation(:'talk', '{"archived": false, "title": null}') c;
SELECT attempt(format('SELECT penny.update_conversation(%L, ''{"colour": 1}'')', :'talk'));
SELECT attempt(format('SELECT penny.update_conversation(%L, ''{"title": 1}'')', :'talk'));
SELECT attempt(format('SELECT penny.update_conversation(%L, ''[]'')', :'talk'));
-- the list: newest activity first, pages without gaps
SELECT penny.create_conversation('talk ' || n) ->> 'title' FROM generate_series(1, 3) n;
SELECT penny.add_message(id, 'user', 'ping') ->> 'seq' AS seq FROM chat.conversations WHERE title = 'talk 1';
SELECT p1 #>> '{data,0,title}' AS first, p1 #>> '{data,0,last_message,content}' AS last_message, p1 -> 'has_more' AS more,
	p2 #>> '{data,0,title}' AS third, p2 -> 'has_more' AS more, p2 ->> 'next_cursor' AS next
FROM penny.conversations(2) p1, penny.conversations(2, p1 ->> 'next_cursor') p2;
SELECT jsonb_array_length(penny.conversations(100) -> 'data') AS mine, jsonb_array_length(penny.conversations(100, archived => true) -> 'data') AS archived;
SELECT attempt('SELECT penny.conversations(0)'), attempt('SELECT penny.conversations(101)'), attempt('SELECT penny.conversations(1, ''x'')');
-- several at once, in order
SELECT c ->> 'title' AS title FROM penny.conversations_by_id(ARRAY(SELECT id FROM chat.conversations WHERE title LIKE 'talk %' ORDER BY title DESC) || '00000000-0000-7000-8000-000000000000'::uuid, 0) WITH ORDINALITY AS x (c, n) ORDER BY n;
-- agents: tool executions and artifacts
SELECT penny.add_participant(:'talk', :'agent');
SELECT penny.act_as(:'agent', 'penny_agent') \g /dev/null
SELECT penny.add_message(:'talk', 'assistant', 'calling', model => 'm-1', input_tokens => 10, output_tokens => 20) AS m \gset
SELECT :'m'::jsonb -> 'usage' AS usage, :'m'::jsonb ->> 'model' AS model, :'m'::jsonb -> 'user' AS user;
INSERT INTO chat.tools (id) VALUES ('search');
INSERT INTO chat.tool_executions (message_id, tool_id, tool_call_id, status, input)
	VALUES ((:'m'::jsonb ->> 'id')::uuid, 'search', 'call_1', 'running', '{"q": 1}') RETURNING message_seq, conversation_id = :'talk' AS here;
UPDATE chat.tool_executions SET status = 'completed', output = '[1]' RETURNING version;
INSERT INTO chat.artifacts (conversation_id, kind, title) VALUES (:'talk', 'text', 'Menu') RETURNING id AS artifact \gset
INSERT INTO chat.artifact_versions (artifact_id, content) VALUES (:'artifact', 'one') RETURNING number, version;
INSERT INTO chat.artifact_versions (artifact_id, content) VALUES (:'artifact', 'two') RETURNING number, version;
SELECT t -> 'tool_id' AS tool, t -> 'status' AS status, t -> 'output' AS output, c -> 'artifacts' -> 0 ->> 'number' AS number, c -> 'artifacts' -> 0 ->> 'title' AS title
FROM penny.conversation(:'talk') c, jsonb_array_elements(c -> 'messages' -> 0 -> 'tool_executions') t;
-- what changed since, as a watcher reads it
SELECT split_part(line, ' ', 1) AS version, (substr(line, strpos(line, ' ') + 1))::jsonb ->> 'type' AS type,
	(substr(line, strpos(line, ' ') + 1))::jsonb #>> '{event,type}' AS event
FROM _penny.join_room('conversation:' || :'talk', 6) j, regexp_split_to_table(rtrim(j.frames, E'\n'), E'\n') line;
SELECT version, frames FROM _penny.join_room('conversation:' || :'talk', NULL);
SELECT count(*) FROM _penny.join_room('conversation:' || upper(:'talk'), NULL);
SELECT count(*) FROM _penny.join_room('conversation:00000000-0000-7000-8000-000000000000', 0);
SELECT _penny.websocket_message('conversation:' || :'talk', '{"type": "message", "ref": 1, "room": "r", "content": "by socket", "client_id": "w"}') - 'id';
SELECT _penny.websocket_message('conversation:' || :'talk', '{"content": "by socket", "client_id": "w"}') - 'id';
SELECT attempt($$SELECT _penny.websocket_message('lobby', '{"content": "x"}')$$);
SELECT attempt(format('SELECT _penny.websocket_message(%L, ''{"content": 1}'')', 'conversation:' || :'talk'));
-- sessions
SELECT attempt(format('SELECT penny.create_session(%L)', :'ada'));
SELECT penny.act_as(:'ada', 'penny_admin') \g /dev/null
SELECT penny.create_session(:'ada', 'penny_agent', '1 hour') AS token \gset
SELECT length(:'token') AS length, :'token' ~ '^pns_[A-Za-z0-9_-]{43}$' AS form;
SELECT attempt(format('SELECT penny.create_session(%L, ''postgres'')', :'ada'));
SELECT penny.act_as(NULL) \g /dev/null
SELECT user_id, role, expires_at > now() AS holds FROM _penny.session(sha256(:'token'::bytea));
SELECT count(*) FROM _penny.session(sha256('pns_another'));
UPDATE chat.sessions SET expires_at = now() - interval '1 s';
SELECT count(*) FROM _penny.session(sha256(:'token'::bytea));
-- the end: rows gone, one tombstone
SELECT penny.act_as(:'ada') \g /dev/null
SELECT penny.delete_conversation(:'talk');
SELECT penny.conversation(:'talk') IS NULL AS gone;
SELECT penny.act_as(NULL) \g /dev/null
SELECT (SELECT count(*) FROM chat.messages WHERE conversation_id = :'talk') AS messages,
	(SELECT count(*) FROM chat.tool_executions) AS tools, (SELECT count(*) FROM chat.artifact_versions) AS versions,
	(SELECT array_agg(kind) FROM chat.tombstones WHERE conversation_id = :'talk') AS tombstones;
DELETE FROM chat.conversations; DELETE FROM chat.tools; DELETE FROM chat.users; DELETE FROM chat.tombstones;

-- Corners of the order and of the API: what one statement, one identifier or
-- one document can hold.
\set VERBOSITY terse
\set ada 00000000-0000-7000-8000-00000000000a
\set bob 00000000-0000-7000-8000-00000000000b
INSERT INTO chat.users (id, name) VALUES (:'ada', 'Ada'), (:'bob', 'Bob');
-- a conversation and its messages by one statement
WITH c AS (INSERT INTO chat.conversations (id, owner_id) VALUES ('00000000-0000-7000-8000-0000000000d1', :'ada') RETURNING id)
	INSERT INTO chat.messages (conversation_id, role, content) SELECT id, 'system', n::text FROM c, generate_series(1, 2) n;
SELECT version, last_seq, message_count FROM chat.conversations WHERE id = '00000000-0000-7000-8000-0000000000d1';
INSERT INTO chat.messages (conversation_id, role, content) VALUES ('00000000-0000-7000-8000-0000000000d1', 'system', 'after') RETURNING seq, version;
SELECT seq, version FROM chat.messages WHERE conversation_id = '00000000-0000-7000-8000-0000000000d1' ORDER BY seq;
-- the identifier of a deleted conversation: versions go on, so that an old position stays old
SELECT penny.act_as(:'ada');
SELECT penny.create_conversation(id => '00000000-0000-7000-8000-0000000000d2') -> 'version' AS version;
SELECT penny.add_message('00000000-0000-7000-8000-0000000000d2', 'user', 'x') -> 'version' AS version;
SELECT penny.delete_conversation('00000000-0000-7000-8000-0000000000d2');
SELECT penny.create_conversation(id => '00000000-0000-7000-8000-0000000000d2') -> 'version' AS version;
SELECT penny.add_message('00000000-0000-7000-8000-0000000000d2', 'user', 'y') ->> 'id' AS id \gset
SELECT penny.delete_message('00000000-0000-7000-8000-0000000000d2', :'id');
SELECT version, regexp_replace(frames, '"(id|created_at|updated_at)":"[^"]*"', '', 'g') FROM _penny.join_room('conversation:00000000-0000-7000-8000-0000000000d2', 6);
-- history from its beginning
SELECT penny.create_conversation(id => '00000000-0000-7000-8000-0000000000d3') -> 'version' AS version;
SELECT count(penny.add_message('00000000-0000-7000-8000-0000000000d3', 'user', n::text)) FROM generate_series(1, 5) n;
SELECT jsonb_path_query_array(penny.messages('00000000-0000-7000-8000-0000000000d3', after => a, "limit" => 2), '$.data[*].seq')
	FROM unnest('{NULL,-1,0,1,4,5}'::int[]) a;
-- a change of nothing is none
SELECT m ->> 'seq' AS seq, penny.update_message('00000000-0000-7000-8000-0000000000d3', (m ->> 'id')::uuid) = m AS same
	FROM jsonb_array_elements(penny.messages('00000000-0000-7000-8000-0000000000d3', "limit" => 1) -> 'data') m;
SELECT penny.update_message('00000000-0000-7000-8000-0000000000d3', '00000000-0000-7000-8000-0000000000d3');
-- whose a message is stays known to those who see it, as its frame told it
SELECT penny.add_participant('00000000-0000-7000-8000-0000000000d3', :'bob');
SELECT penny.act_as(:'bob');
SELECT penny.add_message('00000000-0000-7000-8000-0000000000d3', 'user', 'bye') -> 'user' ->> 'name' AS name;
SELECT penny.remove_participant('00000000-0000-7000-8000-0000000000d3', :'bob');
SELECT penny.act_as(:'ada');
SELECT penny.conversation('00000000-0000-7000-8000-0000000000d3', 1) -> 'messages' -> 0 -> 'user' ->> 'name' AS eager,
	penny.messages('00000000-0000-7000-8000-0000000000d3', "limit" => 1) -> 'data' -> 0 -> 'user' ->> 'name' AS history,
	penny.conversations(1) -> 'data' -> 0 -> 'last_message' -> 'user' ->> 'name' AS listed,
	(SELECT frames ~ '"name":"Bob"' FROM _penny.join_room('conversation:00000000-0000-7000-8000-0000000000d3', 8)) AS joined,
	(SELECT count(*) FROM chat.users WHERE id = :'bob') AS row_itself;
-- who was away for long is told in pages, each row once, in the order of versions
SELECT penny.act_as(NULL);
CREATE FUNCTION pg_temp.walk(room text, since bigint, OUT pages integer, OUT told bigint, OUT missing bigint, OUT twice bigint, OUT ordered boolean, OUT last bigint)
LANGUAGE plpgsql AS $$
DECLARE
	page record;
	seen bigint[] := '{}';
BEGIN
	pages := 0;
	ordered := true;
	last := since;
	LOOP
		SELECT * INTO page FROM _penny.join_room(room, last);
		pages := pages + 1;
		SELECT seen || coalesce(array_agg(v ORDER BY n), '{}'), ordered AND coalesce(bool_and(v > last AND v <= page.version), true) INTO seen, ordered
			FROM (SELECT split_part(line, ' ', 1)::bigint v, n FROM regexp_split_to_table(rtrim(page.frames, E'\n'), E'\n') WITH ORDINALITY t (line, n)
				WHERE line <> '' AND line !~ '^0 ') x;
		last := page.version;
		EXIT WHEN NOT page.more;
	END LOOP;
	ordered := ordered AND seen = ARRAY(SELECT v FROM unnest(seen) v ORDER BY v);
	told := cardinality(seen);
	twice := told - (SELECT count(DISTINCT v) FROM unnest(seen) v);
	SELECT count(*) INTO missing FROM (
		SELECT version FROM chat.messages WHERE conversation_id = split_part(room, ':', 2)::uuid
		UNION ALL SELECT version FROM chat.participants WHERE conversation_id = split_part(room, ':', 2)::uuid
		UNION ALL SELECT version FROM chat.tool_executions WHERE conversation_id = split_part(room, ':', 2)::uuid
		UNION ALL SELECT version FROM chat.artifacts WHERE conversation_id = split_part(room, ':', 2)::uuid
		UNION ALL SELECT version FROM chat.artifact_versions WHERE conversation_id = split_part(room, ':', 2)::uuid
		UNION ALL SELECT version FROM chat.tombstones WHERE conversation_id = split_part(room, ':', 2)::uuid
		UNION ALL SELECT state_version FROM chat.conversations WHERE id = split_part(room, ':', 2)::uuid) v
		WHERE v.version > since AND v.version <> ALL (seen);
END
$$;
INSERT INTO chat.messages (conversation_id, role, content) SELECT '00000000-0000-7000-8000-0000000000d1', 'system', repeat('x', 300) FROM generate_series(1, 5000);
INSERT INTO chat.messages (conversation_id, role, content) SELECT '00000000-0000-7000-8000-0000000000d1', 'system', 'short' FROM generate_series(1, 7000);
SELECT since, w.* FROM unnest('{0,7004,11000,11005,12005,12006}'::bigint[]) since,
	pg_temp.walk('conversation:00000000-0000-7000-8000-0000000000d1', since) w;
-- changed again and deleted: what is over leaves holes, and pages are of rows, not of versions
INSERT INTO chat.artifacts (conversation_id, kind, title) SELECT '00000000-0000-7000-8000-0000000000d1', 'text', i FROM generate_series(1, 700) i;
INSERT INTO chat.artifact_versions (artifact_id, content) SELECT id, 'one' FROM chat.artifacts WHERE conversation_id = '00000000-0000-7000-8000-0000000000d1';
INSERT INTO chat.tools (id) VALUES ('paging');
INSERT INTO chat.tool_executions (message_id, tool_id) SELECT id, 'paging' FROM chat.messages WHERE conversation_id = '00000000-0000-7000-8000-0000000000d1' AND seq % 20 = 0;
UPDATE chat.messages SET content = 'changed' WHERE conversation_id = '00000000-0000-7000-8000-0000000000d1' AND seq % 5 = 0;
DELETE FROM chat.messages WHERE conversation_id = '00000000-0000-7000-8000-0000000000d1' AND seq % 7 = 0;
UPDATE chat.conversations SET title = 'paged' WHERE id = '00000000-0000-7000-8000-0000000000d1';
SELECT since, w.missing, w.twice, w.ordered, w.last = c.version AS whole FROM chat.conversations c, unnest('{0,1,6000,11999,13000,14500,16000}'::bigint[]) since,
	pg_temp.walk('conversation:00000000-0000-7000-8000-0000000000d1', since) w WHERE c.id = '00000000-0000-7000-8000-0000000000d1';
-- large frames make small pages
UPDATE chat.messages SET content = repeat('x', 100000) WHERE conversation_id = '00000000-0000-7000-8000-0000000000d1' AND seq > 11980;
SELECT w.pages, w.missing FROM chat.conversations c, pg_temp.walk('conversation:00000000-0000-7000-8000-0000000000d1', c.version - 18) w
	WHERE c.id = '00000000-0000-7000-8000-0000000000d1';
SELECT penny.act_as(:'ada');
-- the messages of a new conversation are kept whole
SELECT m - '{id,created_at,user,tool_executions,version}'::text[] FROM jsonb_array_elements((_penny.http_create_conversation(ROW('POST', '/', '{}', '{}', '{}',
	'{"messages": [{"role": "user", "content": "a", "model": "m", "status": "failed", "parent_id": "00000000-0000-7000-8000-0000000000ff", "client_id": "c", "metadata": {"k": 1}},
		{"role": "user", "parts": [{"type": "text"}]}]}', NULL, NULL, NULL)::penny.request)).body -> 'messages') m WHERE m ->> 'seq' = '1';
SELECT _penny.http_create_conversation(ROW('POST', '/', '{}', '{}', '{}',
	'{"messages": [{"role": "user", "content": "a", "head": "00000000-0000-7000-8000-0000000000ff"}]}', NULL, NULL, NULL)::penny.request);
-- what jsonb cannot keep of arguments is kept as a string, byte for byte
SELECT penny.act_as(:'ada', 'penny_agent');
SELECT penny.import_chat(jsonb_build_object('id', 'numbers', 'messages', jsonb_build_array(jsonb_build_object('role', 'assistant', 'tool_calls',
	(SELECT jsonb_agg(jsonb_build_object('function', jsonb_build_object('name', 'f', 'arguments', a)) ORDER BY n)
	 FROM unnest(ARRAY['{"a": 1e400000}', '[1e-99999]', '[1.50, 2e3]', '{"a": "\u0000"}', '["\ud800"]', '[1, 2', ' {"b": 1}']) WITH ORDINALITY x (a, n)))))) AS id \gset
SELECT jsonb_typeof(input), input FROM chat.tool_executions WHERE conversation_id = :'id' ORDER BY version;
SELECT penny.import_chat('{"messages": [{"role": "user", "content": "x", "created_at": "infinity"}]}');
SELECT penny.import_chat('{"created_at": "-infinity", "messages": []}');
SELECT penny.act_as(NULL);
DELETE FROM chat.conversations;
DELETE FROM chat.tombstones;
DELETE FROM chat.tools;
DELETE FROM chat.users;
-- what an owner puts on the tables sees the counters as they are written back
SELECT penny.act_as(NULL);
CREATE TABLE public.seen (n bigint, of text);
CREATE FUNCTION public.see() RETURNS trigger LANGUAGE plpgsql AS
	$$ BEGIN INSERT INTO public.seen SELECT CASE WHEN TG_RELNAME = 'conversations' THEN (to_jsonb(NEW) ->> 'message_count')::bigint END, TG_RELNAME; RETURN NULL; END $$;
INSERT INTO chat.users (id) VALUES ('00000000-0000-7000-8000-0000000000f9');
INSERT INTO chat.conversations (id, owner_id) VALUES ('00000000-0000-7000-8000-0000000000d9', '00000000-0000-7000-8000-0000000000f9');
INSERT INTO chat.messages (conversation_id, role, content) VALUES ('00000000-0000-7000-8000-0000000000d9', 'system', 'one');
CREATE TRIGGER see AFTER UPDATE ON chat.conversations FOR EACH ROW EXECUTE FUNCTION public.see();
CREATE TRIGGER see AFTER UPDATE ON chat.participants FOR EACH ROW EXECUTE FUNCTION public.see();
INSERT INTO chat.messages (conversation_id, role, content) VALUES ('00000000-0000-7000-8000-0000000000d9', 'system', 'two');
DROP TRIGGER see ON chat.conversations;
DROP TRIGGER see ON chat.participants;
INSERT INTO chat.messages (conversation_id, role, content) VALUES ('00000000-0000-7000-8000-0000000000d9', 'system', 'three');
SELECT * FROM public.seen ORDER BY 2, 1;
ALTER TABLE chat.conversations ADD CONSTRAINT few CHECK (message_count < 4 OR id <> '00000000-0000-7000-8000-0000000000d9');
INSERT INTO chat.messages (conversation_id, role, content) VALUES ('00000000-0000-7000-8000-0000000000d9', 'system', 'four');
ALTER TABLE chat.conversations DROP CONSTRAINT few;
CREATE INDEX counts ON chat.conversations (message_count);
INSERT INTO chat.messages (conversation_id, role, content) VALUES ('00000000-0000-7000-8000-0000000000d9', 'system', 'five');
SET enable_seqscan = off;
SELECT message_count, last_seq, version FROM chat.conversations WHERE message_count = 4 AND id = '00000000-0000-7000-8000-0000000000d9';
RESET enable_seqscan;
SELECT c.last_message_at = p.active_at AS moved FROM chat.conversations c JOIN chat.participants p ON p.conversation_id = c.id WHERE c.id = '00000000-0000-7000-8000-0000000000d9';
DROP INDEX chat.counts;
-- a function of an index is the owner's, as in a statement
CREATE FUNCTION public.hidden(timestamptz) RETURNS bigint LANGUAGE sql IMMUTABLE AS 'SELECT extract(epoch FROM $1)::bigint';
REVOKE EXECUTE ON FUNCTION public.hidden(timestamptz) FROM PUBLIC;
CREATE INDEX hidden ON chat.participants (public.hidden(active_at));
BEGIN;
SELECT penny.act_as('00000000-0000-7000-8000-0000000000f9', 'penny_user');
SELECT penny.add_message('00000000-0000-7000-8000-0000000000d9', 'user', 'six') ->> 'seq' AS seq;
COMMIT;
SELECT penny.act_as(NULL);
DROP INDEX chat.hidden;
DROP FUNCTION public.hidden(timestamptz);
DROP TABLE public.seen;
DROP FUNCTION public.see();
DELETE FROM chat.conversations WHERE id = '00000000-0000-7000-8000-0000000000d9';
DELETE FROM chat.users WHERE id = '00000000-0000-7000-8000-0000000000f9';

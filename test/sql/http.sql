-- The built-in handlers, called as an executor calls them.
\set ada 00000000-0000-7000-8000-00000000000a
INSERT INTO chat.users (id, name) VALUES (:'ada', 'Ada');
-- call the handler of a route: status, headers, body; or why not
CREATE FUNCTION call(method text, pattern text, params jsonb DEFAULT '{}', query jsonb DEFAULT '{}', body jsonb DEFAULT NULL, headers jsonb DEFAULT '{}', OUT status int, OUT answer jsonb, OUT more jsonb)
LANGUAGE plpgsql AS $$
DECLARE
	handler text := (SELECT r.handler FROM penny.routes r WHERE r.method = call.method AND r.pattern = '/api/v1/conversations' || call.pattern);
	request penny.request := (method, pattern, params, query, headers, body, NULL, NULL, 'r1');
	result text;
	detail text;
BEGIN
	PERFORM penny.act_as('00000000-0000-7000-8000-00000000000a');
	BEGIN
		EXECUTE format('SELECT to_jsonb(%s($1))', handler) INTO answer USING request;
		IF handler ~ '(create|delete)' THEN
			status := answer ->> 'status';
			more := answer -> 'headers';
			answer := answer -> 'body';
		ELSE
			status := CASE WHEN answer IS NULL THEN 404 ELSE 200 END;
		END IF;
	EXCEPTION WHEN OTHERS THEN
		GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL;
		status := CASE WHEN SQLSTATE ~ '^PY' THEN substr(SQLSTATE, 3)::int END;
		answer := to_jsonb(SQLERRM || CASE WHEN detail LIKE 'It is at %' THEN ': ' || detail ELSE '' END);
	END;
	PERFORM penny.act_as(NULL);
END $$;
SELECT status, more ->> 'Location' = '/api/v1/conversations/' || (answer ->> 'id') AS located, answer ->> 'title' AS title, answer ->> 'id' AS talk
FROM call('POST', '', body => '{"title": "Dinner", "messages": [{"role": "user", "content": "one"}, {"role": "user", "content": "two"}]}') \gset
\echo :status :located :title
SELECT jsonb_build_object('id', :'talk') AS id \gset
SELECT status, jsonb_array_length(answer -> 'messages') AS messages FROM call('GET', '/{id}', :'id');
SELECT status, jsonb_array_length(answer -> 'messages') AS messages FROM call('GET', '/{id}', :'id', '{"messages": "1"}');
SELECT query, c.* FROM unnest('{"{\"messages\": \"201\"}","{\"messages\": \"-1\"}","{\"messages\": \"x\"}","{\"messages\": \"\"}","{\"messages\": \"99999999999999999999\"}","{\"other\": \"1\"}"}'::jsonb[]) query, call('GET', '/{id}', :'id', query) c;
SELECT status, answer FROM call('GET', '/{id}', '{"id": "x"}');
SELECT status, answer FROM call('GET', '/{id}', '{"id": "00000000-0000-7000-8000-000000000000"}');
-- messages
SELECT status, answer ->> 'seq' AS seq, more FROM call('POST', '/{id}/messages', :'id', body => '{"role": "user", "content": "three", "client_id": "c"}') \gset
\echo :status :seq
SELECT status, answer ->> 'seq' AS seq FROM call('POST', '/{id}/messages', :'id', body => '{"role": "user", "content": "three", "client_id": "c"}');
SELECT body, c.status, c.answer FROM (VALUES (1, NULL::jsonb), (2, '[]'), (3, '"x"'), (4, '{}'), (5, '{"role": "user"}'), (6, '{"role": "user", "content": null}'), (7, '{"role": "wizard", "content": "x"}'),
	(8, '{"role": 1, "content": "x"}'), (9, '{"role": "user", "content": 1}'), (10, '{"role": "user", "parts": {}}'), (11, '{"role": "user", "content": "x", "head": "y"}'),
	(12, '{"role": "user", "content": "x", "client_id": ""}'), (13, '{"role": "user", "content": "x", "client_id": []}'), (14, '{"role": "user", "content": "x", "colour": 1}'),
	(15, '{"role": "user", "content": "x", "status": "gone"}'), (16, '{"role": "assistant", "content": "x"}'), (17, '{"role": "user", "content": "other", "client_id": "c"}')) b (n, body),
	call('POST', '/{id}/messages', :'id', body => body) c ORDER BY n;
SELECT status, jsonb_path_query_array(answer, '$.data[*].seq') AS seqs, answer -> 'has_more' AS more FROM call('GET', '/{id}/messages', :'id', '{"after": "1"}');
SELECT status, jsonb_path_query_array(answer, '$.data[*].seq') AS seqs, answer -> 'has_more' AS more FROM call('GET', '/{id}/messages', :'id', '{"limit": "2"}');
SELECT status, answer FROM call('GET', '/{id}/messages', :'id', '{"limit": "0"}');
SELECT status, answer FROM call('GET', '/{id}/messages', :'id', '{"before": "x"}');
SELECT status FROM call('GET', '/{id}/messages', '{"id": "00000000-0000-7000-8000-000000000000"}');
SELECT jsonb_build_object('id', :'talk', 'message_id', id) AS message FROM chat.messages WHERE seq = 1 \gset
SELECT status, answer ->> 'content' AS content, answer ->> 'updated_at' IS NOT NULL AS updated FROM call('PATCH', '/{id}/messages/{message_id}', :'message', body => '{"content": "edited"}');
SELECT status, answer FROM call('PATCH', '/{id}/messages/{message_id}', :'message', body => '{"role": "assistant"}');
SELECT status, answer FROM call('PATCH', '/{id}/messages/{message_id}', '{"id": "00000000-0000-7000-8000-000000000000", "message_id": "00000000-0000-7000-8000-000000000000"}', body => '{"content": "edited"}');
SELECT status, answer FROM call('DELETE', '/{id}/messages/{message_id}', :'message');
SELECT status, answer FROM call('DELETE', '/{id}/messages/{message_id}', :'message');
-- the conversation
SELECT status, answer ->> 'title' AS title FROM call('PATCH', '/{id}', :'id', body => '{"title": "Supper"}');
SELECT status, answer FROM call('PATCH', '/{id}', :'id', body => '{"title": "x"}', headers => '{"if-match": "\"other\""}');
SELECT status, answer ->> 'title' AS title FROM call('PATCH', '/{id}', :'id', body => '{"title": "y"}', headers => '{"if-match": "*"}');
SELECT jsonb_build_object('if-match', '"a", ' || _penny.etag(_penny.conversation_json(:'talk', 50)::text)) AS match \gset
SELECT status, answer ->> 'title' AS title FROM call('PATCH', '/{id}', :'id', body => '{"title": "z"}', headers => :'match');
SELECT status, answer ->> 'title' AS title FROM call('PATCH', '/{id}', :'id', body => '{"title": "again"}', headers => :'match');
SELECT status, answer FROM call('POST', '', body => '{"title": []}');
SELECT status, answer FROM call('POST', '', body => '{"messages": [{"role": "user", "content": "ok"}, {"role": "user"}]}');
SELECT status, answer -> 'has_more' AS more, jsonb_array_length(answer -> 'data') AS n, answer #>> '{data,0,last_message,content}' AS last FROM call('GET', '');
SELECT query, c.status, c.answer FROM unnest('{"{\"limit\": \"0\"}","{\"limit\": \"101\"}","{\"cursor\": \"x\"}","{\"archived\": \"maybe\"}"}'::jsonb[]) query, call('GET', '', query => query) c;
SELECT status, answer FROM call('DELETE', '/{id}', :'id');
SELECT status FROM call('DELETE', '/{id}', :'id');
DROP FUNCTION call;
DELETE FROM chat.conversations; DELETE FROM chat.users; DELETE FROM chat.tombstones;
-- an administrator adds routes, but none that pass for the extension's own
SET ROLE penny_admin;
INSERT INTO penny.routes (method, pattern, handler, access) VALUES ('GET', '/own', '_penny.http_list_conversations', 'user');
INSERT INTO penny.routes (method, pattern, handler, access, builtin) VALUES ('GET', '/mine', '_penny.http_list_conversations', 'user', true);
UPDATE penny.routes SET builtin = true WHERE pattern = '/own';
DELETE FROM penny.routes WHERE pattern = '/own';
RESET ROLE;

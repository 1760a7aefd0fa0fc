-- jsonb is written without a detour by text: it is, to the byte, what parsing
-- the text gives.
CREATE FUNCTION same_bytes(a jsonb, b jsonb) RETURNS boolean LANGUAGE sql RETURN record_image_eq(ROW(a), ROW(b));
\set ada 00000000-0000-7000-8000-00000000000a
\set talk 00000000-0000-7000-8000-0000000000e1
INSERT INTO chat.users (id, name) VALUES (:'ada', E'A "da" \\ \n\t\x01 ünïcödé 😀');
INSERT INTO chat.conversations (id, owner_id, title, pinned_at, metadata) VALUES (:'talk', :'ada', E'quote " backslash \\ \b\f\r\x1f', '0044-03-15 12:00:00.5 BC',
	'{"numbers": [1, 1.0, 1.00, -0, 0, 1e10, 1e-10, 123456789012345678901234567890.1234567890, -5, 9223372036854775807, 1e300],
	"objects": {}, "arrays": [], "deep": [[[[[[{"x": [{"y": null}]}]]]]]], "": "empty key", "yes": true, "no": false}');
INSERT INTO chat.tools (id) VALUES ('search');
-- more members and elements than one stride of offsets, containers of more than 100 kB, everything null and not
INSERT INTO chat.messages (conversation_id, user_id, role, content, parts, model, client_id, metadata, input_tokens, output_tokens)
	SELECT :'talk', CASE WHEN n % 3 = 0 THEN :'ada'::uuid END, (ARRAY['user', 'assistant', 'system'])[1 + n % 3],
		CASE WHEN n % 7 > 0 THEN repeat(chr(64 + n) || E'"\n', n % 37) END,
		CASE WHEN n % 5 = 0 THEN (SELECT jsonb_agg(jsonb_build_object('type', 'text', 'text', repeat('ü', k), 'k' || k, k * 1.5)) FROM generate_series(1, n) k) END,
		CASE WHEN n % 4 = 0 THEN 'model ' || n END, CASE WHEN n % 6 = 0 THEN 'client ' || n END,
		CASE n % 7 WHEN 0 THEN '{}' WHEN 1 THEN (SELECT jsonb_object_agg(repeat('k', 1 + k % 5) || k, k / 3.0) FROM generate_series(1, 100) k)
			WHEN 2 THEN jsonb_build_object('many', (SELECT jsonb_agg(k) FROM generate_series(1, 5000) k)) WHEN 3 THEN '{"a": {"b": {"c": [1, {"d": []}]}}}'
			WHEN 4 THEN jsonb_build_object('long', repeat('z', 200000), 'number', 1.50) END,
		CASE WHEN n % 8 = 0 THEN n END, CASE WHEN n % 10 = 0 THEN 9223372036854775807 END
	FROM generate_series(1, 90) n;
INSERT INTO chat.tool_executions (conversation_id, message_id, user_id, tool_id, tool_call_id, status, input, output, error, started_at, finished_at)
	SELECT :'talk', m.id, :'ada', 'search', CASE WHEN seq % 8 = 0 THEN 'call' END, 'completed', v, v, CASE WHEN v IS NULL THEN 'error "x"' END,
		CASE WHEN v = '[1]' THEN '12345-01-01 00:00:00.25'::timestamptz ELSE 'infinity' END, '-infinity'
	FROM chat.messages m, (VALUES ('"string"'::jsonb), ('12.500'), ('true'), ('false'), ('null'), ('{}'), ('[]'), ('[1]'), ('{"x": 1}'), ('0'), ('-1e-7'), ('""'), (NULL)) x (v)
	WHERE m.conversation_id = :'talk' AND seq % 4 = 0;
INSERT INTO chat.artifacts (conversation_id, user_id, kind, title, metadata)
	SELECT :'talk', :'ada', 'code', 'artifact ' || n, CASE WHEN n % 2 = 0 THEN '{"z": 1.0}' ELSE '{}' END::jsonb FROM generate_series(1, 70) n;
SELECT penny.act_as(:'ada') \g /dev/null
SELECT n AS messages, same_bytes(penny.conversation(:'talk', n), _penny.conversation_json(:'talk', n)::text::jsonb) AS same,
	jsonb_array_length(penny.conversation(:'talk', n) -> 'messages') AS length
	FROM unnest('{0,1,31,32,33,64,65,90}'::int[]) n;
SELECT pg_column_size(penny.conversation(:'talk', 200)) > 1000000 AS large;
-- what has no twin in text is the same after output and input
SELECT count(*), bool_and(same_bytes(p, p::text::jsonb)) AS same FROM (SELECT penny.messages(:'talk', b, a, l) AS p FROM (VALUES (NULL::bigint, NULL::bigint, 50), (10, NULL, 3), (NULL, 5, 200), (NULL, 0, 1), (40, 2, 33), (1, NULL, 5)) x (b, a, l)) s;
SELECT count(*), bool_and(same_bytes(p, p::text::jsonb)) AS same FROM (SELECT _penny.message((m ->> 'id')::uuid) AS p FROM jsonb_array_elements(penny.conversation(:'talk', 90) -> 'messages') m) s;
SELECT same_bytes(p, p::text::jsonb) AS same, jsonb_array_length(p -> 'data') AS length FROM penny.conversations(1) p;
SELECT count(*) FROM (SELECT penny.create_conversation() FROM generate_series(1, 3)) s;
SELECT same_bytes(p, p::text::jsonb) AS same, jsonb_array_length(p -> 'data') AS length, p ->> 'has_more' AS more FROM penny.conversations(2) p;
SELECT penny.act_as(NULL) \g /dev/null
DELETE FROM chat.conversations WHERE owner_id = :'ada';
DELETE FROM chat.users WHERE id = :'ada';
DELETE FROM chat.tools;
DROP FUNCTION same_bytes;

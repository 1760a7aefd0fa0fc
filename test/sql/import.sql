-- Conversations in OpenAI chat form.
\set ada 00000000-0000-7000-8000-00000000000a
\set doc '{"id": "x-1", "title": "A table", "metadata": {"source": "test"}, "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Find a table"}, {"role": "assistant", "content": null, "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "find", "arguments": "{\\"n\\": 2}"}}, {"id": "c2", "type": "function", "function": {"name": "rate", "arguments": "not JSON"}}, {"id": "c3", "type": "function", "function": {"name": "find", "arguments": {"n": 3}}}]}, {"role": "tool", "tool_call_id": "c1", "content": "[{\\"name\\": \\"Sino\\"}]"}, {"role": "tool", "tool_call_id": "c2", "content": "4.0"}, {"role": "assistant", "content": [{"type": "text", "text": "Sino"}], "model": "m-1", "name": "waiter", "created_at": 1700000000}]}'
SELECT penny.import_chat(:'doc', :'ada') AS talk \gset
SELECT penny.import_chat(:'doc', :'ada') = :'talk' AS same;
SELECT u.name, title, c.metadata, external_id, version, last_seq, message_count FROM chat.conversations c JOIN chat.users u ON u.id = owner_id;
SELECT seq, version, role, content, parts, model, metadata, user_id IS NOT NULL AS "user", created_at AT TIME ZONE 'UTC' = '2023-11-14 22:13:20' AS dated FROM chat.messages ORDER BY seq;
SELECT version, message_seq, tool_id, tool_call_id, status, input, output, finished_at IS NOT NULL AS finished FROM chat.tool_executions ORDER BY version;
SELECT m.seq - 1 = p.seq AS chained, count(*) FROM chat.messages m LEFT JOIN chat.messages p ON p.id = m.parent_id GROUP BY 1 ORDER BY 1;
-- without an id the content decides
SELECT penny.import_chat('{"messages": []}', :'ada') = penny.import_chat('{"messages": []}', :'ada') AS same;
SELECT external_id ~ '^sha256:[0-9a-f]{64}$' AS form FROM chat.conversations WHERE message_count = 0;
-- the same id of another owner is another conversation
SELECT penny.import_chat(:'doc', '00000000-0000-7000-8000-00000000000b') <> :'talk' AS another;
SELECT count(*) FROM chat.tools;
-- what is refused, with what and where
SELECT doc, attempt(format('SELECT penny.import_chat(%L, ''00000000-0000-7000-8000-00000000000a'')', doc)) FROM (VALUES
	(1, '[]'), (2, '{}'), (3, '{"messages": {}}'), (4, '{"id": {}, "messages": []}'), (5, '{"id": "", "messages": []}'),
	(6, '{"title": 1, "messages": []}'), (7, '{"metadata": [], "messages": []}'), (8, '{"messages": [1]}'),
	(9, '{"messages": [{"role": "user", "content": "ok"}, {"role": "wizard"}]}'), (10, '{"messages": [{"content": "x"}]}'),
	(11, '{"messages": [{"role": "user", "content": 1}]}'), (12, '{"messages": [{"role": "user", "tool_calls": {}}]}'),
	(13, '{"messages": [{"role": "user", "tool_calls": [1]}]}'), (14, '{"messages": [{"role": "user", "tool_calls": [{"function": {}}]}]}'),
	(15, '{"messages": [{"role": "tool", "tool_call_id": 1}]}'), (16, '{"messages": [{"role": "user", "created_at": []}]}'),
	(17, '{"messages": [{"role": "user", "created_at": "when?"}]}'), (18, '{"messages": [{"role": "user", "content": "a\u0000b"}]}')) d (n, doc) ORDER BY n;
SELECT count(*) FROM chat.conversations;
SELECT penny.import_chat(:'doc');
SELECT penny.import_chat(NULL, :'ada') IS NULL AS nothing;
DELETE FROM chat.conversations; DELETE FROM chat.users; DELETE FROM chat.tools; DELETE FROM chat.tombstones;

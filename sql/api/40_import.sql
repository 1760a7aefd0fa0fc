-- Import of conversations in OpenAI chat form.

-- A tool's arguments or result as JSON if it is JSON, else as a JSON string.
CREATE OR REPLACE FUNCTION _penny.json_or_string(value text) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	-- only objects and arrays: the result "12" of a tool is text, not a number
	IF value ~ '^\s*[\[{]' THEN
		RETURN value::jsonb;
	END IF;
	RETURN to_jsonb(value);
EXCEPTION WHEN data_exception THEN
	RETURN to_jsonb(value);
END
$$;
COMMENT ON FUNCTION _penny.json_or_string(text) IS 'JSON if the text is an object or array, else a JSON string';

CREATE OR REPLACE FUNCTION _penny.check_import(doc jsonb) RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	message record;
	at text;
BEGIN
	IF doc IS NULL OR jsonb_typeof(doc) <> 'object' THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = 'a conversation must be a JSON object', DETAIL = 'at $';
	END IF;
	IF jsonb_typeof(doc -> 'messages') IS DISTINCT FROM 'array' THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = '"messages" must be an array', DETAIL = 'at $.messages';
	END IF;
	IF jsonb_typeof(doc -> 'id') NOT IN ('string', 'number', 'null')
		OR octet_length(doc ->> 'id') NOT BETWEEN 1 AND 500 THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = '"id" must be a string of 1 to 500 bytes', DETAIL = 'at $.id';
	END IF;
	IF jsonb_typeof(doc -> 'title') NOT IN ('string', 'null') THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = '"title" must be a string', DETAIL = 'at $.title';
	END IF;
	IF jsonb_typeof(doc -> 'metadata') NOT IN ('object', 'null') THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = '"metadata" must be an object', DETAIL = 'at $.metadata';
	END IF;
	-- one look for what is wrong; the common case is that nothing is
	SELECT m.doc, m.n - 1 AS n INTO message FROM jsonb_array_elements(doc -> 'messages') WITH ORDINALITY m (doc, n)
		WHERE jsonb_typeof(m.doc) <> 'object'
		   OR coalesce(m.doc ->> 'role', '') NOT IN ('user', 'assistant', 'system', 'developer', 'tool', 'function')
		   OR coalesce(jsonb_typeof(m.doc -> 'content'), 'null') NOT IN ('string', 'array', 'null')
		   OR coalesce(jsonb_typeof(m.doc -> 'tool_calls'), 'null') NOT IN ('array', 'null')
		   OR coalesce(jsonb_typeof(m.doc -> 'tool_call_id'), 'null') NOT IN ('string', 'null')
		ORDER BY m.n LIMIT 1;
	IF FOUND THEN
		at := format('at $.messages[%s]', message.n);
		IF jsonb_typeof(message.doc) <> 'object' THEN
			RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = 'a message must be an object', DETAIL = at;
		ELSIF coalesce(message.doc ->> 'role', '') NOT IN ('user', 'assistant', 'system', 'developer', 'tool', 'function') THEN
			RAISE EXCEPTION USING ERRCODE = 'PY400', DETAIL = at || '.role',
				MESSAGE = format('there is no role "%s"', coalesce(message.doc ->> 'role', 'null'));
		ELSE
			RAISE EXCEPTION USING ERRCODE = 'PY400', DETAIL = at,
				MESSAGE = '"content" must be a string or an array, "tool_calls" an array, "tool_call_id" a string';
		END IF;
	END IF;
	SELECT m.n - 1 AS n, c.n - 1 AS call INTO message
		FROM jsonb_array_elements(doc -> 'messages') WITH ORDINALITY m (doc, n),
			jsonb_array_elements(CASE WHEN jsonb_typeof(m.doc -> 'tool_calls') = 'array' THEN m.doc -> 'tool_calls' END) WITH ORDINALITY c (doc, n)
		WHERE coalesce(c.doc #>> '{function,name}', '') = ''
		ORDER BY m.n, c.n LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = 'a tool call needs a function with a name',
			DETAIL = format('at $.messages[%s].tool_calls[%s]', message.n, message.call);
	END IF;
END
$$;
COMMENT ON FUNCTION _penny.check_import(jsonb) IS 'Raise PY400, saying what and where, unless the document is a conversation in OpenAI chat form';

-- When a message was written, if the document says so: seconds since 1970, or
-- a timestamp as text.
CREATE OR REPLACE FUNCTION _penny.import_time(value jsonb, otherwise timestamp with time zone) RETURNS timestamp with time zone
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
	SELECT CASE pg_catalog.jsonb_typeof(value)
		WHEN 'number' THEN pg_catalog.to_timestamp(value::pg_catalog.float8)
		WHEN 'string' THEN (value OPERATOR(pg_catalog.#>>) '{}')::pg_catalog.timestamptz
		ELSE otherwise END
$$;
COMMENT ON FUNCTION _penny.import_time(jsonb, timestamp with time zone) IS 'When a message of an imported document was written';

CREATE OR REPLACE FUNCTION penny.import_chat(doc jsonb, owner uuid DEFAULT NULL) RETURNS uuid
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	holder uuid := coalesce(owner, penny.user_id());
	key text := coalesce(doc ->> 'id', 'sha256:' || encode(sha256(convert_to(doc::text, 'UTF8')), 'hex'));
	conversation uuid;
BEGIN
	PERFORM _penny.check_import(doc);
	IF holder IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'PY401', MESSAGE = 'an imported conversation needs an owner',
			HINT = 'Pass one, or sign in.';
	END IF;
	IF row_security_active('chat.conversations') AND NOT _penny.is_agent() THEN
		RAISE EXCEPTION USING ERRCODE = 'PY403', MESSAGE = 'importing conversations needs penny_agent';
	END IF;
	PERFORM _penny.ensure_user(holder);
	INSERT INTO chat.conversations (id, owner_id, title, metadata, external_id, created_at)
		VALUES (penny.uuid_v7(), holder, doc ->> 'title', CASE WHEN doc -> 'metadata' <> 'null' THEN doc -> 'metadata' ELSE '{}' END,
			key, _penny.import_time(coalesce(doc -> 'created_at', doc -> 'create_time'), now()))
		ON CONFLICT (owner_id, external_id) DO NOTHING
		RETURNING id INTO conversation;
	IF conversation IS NULL THEN
		SELECT c.id INTO conversation FROM chat.conversations c WHERE c.owner_id = holder AND c.external_id = key;
		RETURN conversation;
	END IF;
	INSERT INTO chat.messages (id, conversation_id, user_id, role, content, parts, model, metadata, created_at)
		SELECT penny.uuid_v7(), conversation,
			CASE WHEN m.doc ->> 'role' = 'user' THEN holder END,
			CASE m.doc ->> 'role' WHEN 'function' THEN 'tool' ELSE m.doc ->> 'role' END,
			CASE WHEN jsonb_typeof(m.doc -> 'content') = 'string' THEN m.doc ->> 'content' END,
			CASE WHEN jsonb_typeof(m.doc -> 'content') = 'array' THEN m.doc -> 'content'
				WHEN m.doc ? 'tool_call_id' THEN jsonb_build_array(jsonb_build_object(
					'type', 'tool_result', 'tool_call_id', m.doc -> 'tool_call_id')) END,
			m.doc ->> 'model',
			-- what has no column of its own is kept
			nullif(m.doc - '{role,content,tool_calls,tool_call_id,model,created_at,create_time}'::text[], '{}'),
			_penny.import_time(coalesce(m.doc -> 'created_at', m.doc -> 'create_time'), now())
		FROM jsonb_array_elements(doc -> 'messages') WITH ORDINALITY AS m (doc, n)
		ORDER BY m.n;
	IF doc @? '$.messages[*].tool_calls[*]' THEN
		PERFORM _penny.import_tool_calls(conversation, doc -> 'messages', holder);
	END IF;
	RETURN conversation;
END
$$;
COMMENT ON FUNCTION penny.import_chat(jsonb, uuid) IS 'Import one conversation in OpenAI chat form {"id", "title"?, "metadata"?, "messages": [{"role", "content", "tool_calls"?, "tool_call_id"?}]} for an owner (the caller by default): messages in order, tool calls with arguments and results as tool executions. A conversation is known by owner and id (without an id by its content): importing it again gives the same id and changes nothing. Needs penny_agent; another owner than oneself penny_admin';

-- Tool calls of an assistant become tool executions; a message of role tool
-- that answers a call gives its result.
CREATE OR REPLACE FUNCTION _penny.import_tool_calls(conversation uuid, messages jsonb, holder uuid) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	INSERT INTO chat.tools (id)
		SELECT DISTINCT t.name #>> '{}' FROM jsonb_path_query(messages, '$[*].tool_calls[*].function.name') t (name)
		WHERE NOT EXISTS (SELECT FROM chat.tools known WHERE known.id = t.name #>> '{}')
		ORDER BY 1
		ON CONFLICT DO NOTHING;
	INSERT INTO chat.tool_executions (id, conversation_id, message_id, user_id, tool_id, tool_call_id, status, input, output, created_at, started_at, finished_at)
		SELECT penny.uuid_v7(), conversation, w.id, holder, c.doc #>> '{function,name}', c.doc ->> 'id',
			CASE WHEN r.content IS NULL THEN 'pending' ELSE 'completed' END,
			CASE WHEN jsonb_typeof(c.doc #> '{function,arguments}') = 'string'
				THEN _penny.json_or_string(c.doc #>> '{function,arguments}')
				ELSE c.doc #> '{function,arguments}' END,
			CASE WHEN jsonb_typeof(r.content) = 'string' THEN _penny.json_or_string(r.content #>> '{}') ELSE r.content END,
			w.created_at, w.created_at, CASE WHEN r.content IS NOT NULL THEN w.created_at END
		FROM jsonb_array_elements(messages) WITH ORDINALITY AS m (doc, n)
			CROSS JOIN LATERAL jsonb_array_elements(
				CASE WHEN jsonb_typeof(m.doc -> 'tool_calls') = 'array' THEN m.doc -> 'tool_calls' END) WITH ORDINALITY AS c (doc, k)
			JOIN chat.messages w ON w.conversation_id = conversation AND w.seq = m.n
			-- the first answer after the call
			LEFT JOIN LATERAL (
				SELECT a.doc -> 'content' FROM jsonb_array_elements(messages) WITH ORDINALITY AS a (doc, n)
				WHERE a.n > m.n AND a.doc ->> 'role' = 'tool' AND a.doc ->> 'tool_call_id' = c.doc ->> 'id'
				ORDER BY a.n LIMIT 1) AS r (content) ON true
		ORDER BY m.n, c.k;
END
$$;
COMMENT ON FUNCTION _penny.import_tool_calls(uuid, jsonb, uuid) IS 'The tool calls of an imported conversation as tool executions';

REVOKE EXECUTE ON FUNCTION
	_penny.json_or_string(text), _penny.check_import(jsonb), _penny.import_time(jsonb, timestamp with time zone),
	penny.import_chat(jsonb, uuid), _penny.import_tool_calls(uuid, jsonb, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
	_penny.json_or_string(text), _penny.check_import(jsonb), _penny.import_time(jsonb, timestamp with time zone),
	penny.import_chat(jsonb, uuid), _penny.import_tool_calls(uuid, jsonb, uuid) TO penny_agent;

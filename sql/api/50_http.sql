-- Built-in HTTP handlers: functions over penny.request, and their routes.
--
-- If-Match of a PATCH is compared with the entity tag that GET of the same
-- conversation has now: the hash of the eager fetch with 50 messages, or with
-- as many as ?messages= of the PATCH says.  The comparison is made after the
-- conversation is locked, so that nothing changes between it and the write.  The
-- tag of a compressed answer has the coding behind the hash, "<hash>-gzip", and
-- stands for the same content.

CREATE OR REPLACE FUNCTION _penny.query_integer(query jsonb, name text, low bigint, high bigint, otherwise bigint) RETURNS bigint
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	value text := query ->> name;
BEGIN
	IF value IS NULL THEN
		RETURN otherwise;
	END IF;
	IF value !~ '^[0-9]{1,18}$' OR value::bigint NOT BETWEEN low AND high THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400',
			MESSAGE = format('%s must be an integer between %s and %s', name, low, high),
			DETAIL = format('It is at ?%s.', name);
	END IF;
	RETURN value::bigint;
END
$$;
COMMENT ON FUNCTION _penny.query_integer(jsonb, text, bigint, bigint, bigint) IS 'An integer of a query string, or PY400';

CREATE OR REPLACE FUNCTION _penny.check_query(query jsonb, names text[]) RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	name text;
BEGIN
	IF query IS NULL OR query = '{}' THEN
		RETURN;
	END IF;
	FOR name IN SELECT jsonb_object_keys(query) LOOP
		-- a token may stand there for clients that cannot send headers
		IF name <> ALL (names) AND name <> 'access_token' THEN
			RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = format('unknown parameter "%s"', name),
				DETAIL = format('It is at ?%s.', name),
				HINT = CASE WHEN names = '{}' THEN 'This route knows none.' ELSE 'Known are ' || array_to_string(names, ', ') || '.' END;
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION _penny.check_query(jsonb, text[]) IS 'Raise PY400 when a query string has an unknown parameter';

-- An id in a path that is no UUID names nothing: 404.
CREATE OR REPLACE FUNCTION _penny.path_uuid(params jsonb, name text, what text) RETURNS uuid
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF params ->> name ~ '^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$' THEN
		RETURN (params ->> name)::uuid;
	END IF;
	RAISE EXCEPTION USING ERRCODE = 'PY404', MESSAGE = format('%s not found', what),
		DETAIL = format('The identifier of a %s is a UUID.', what);
END
$$;
COMMENT ON FUNCTION _penny.path_uuid(jsonb, text, text) IS 'A UUID of a path, or PY404';

CREATE OR REPLACE FUNCTION _penny.etag(body text) RETURNS text
LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'penny_etag';
COMMENT ON FUNCTION _penny.etag(text) IS 'The entity tag that the HTTP server gives a body';

CREATE OR REPLACE FUNCTION _penny.http_list_conversations(request penny.request) RETURNS jsonb
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	archived text := request.query ->> 'archived';
BEGIN
	PERFORM _penny.check_query(request.query, '{limit,cursor,archived}');
	IF archived NOT IN ('true', 'false') THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = 'archived must be true or false', DETAIL = 'It is at ?archived.';
	END IF;
	RETURN penny.conversations(_penny.query_integer(request.query, 'limit', 1, 100, 20)::integer,
		nullif(request.query ->> 'cursor', ''), coalesce(archived, 'false')::boolean);
END
$$;
COMMENT ON FUNCTION _penny.http_list_conversations(penny.request) IS 'GET /api/v1/conversations';

CREATE OR REPLACE FUNCTION _penny.http_create_conversation(request penny.request) RETURNS penny.response
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	messages jsonb := request.body -> 'messages';
	made jsonb;
BEGIN
	PERFORM _penny.check_query(request.query, '{}');
	PERFORM _penny.check_object(request.body, '{"title": "string null", "metadata": "object", "messages": "array"}');
	IF jsonb_array_length(messages) > 200 THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = 'a conversation may begin with up to 200 messages', DETAIL = 'It is at $.messages.';
	END IF;
	FOR n IN 0 .. coalesce(jsonb_array_length(messages), 0) - 1 LOOP
		PERFORM _penny.check_message(messages -> n, format('$.messages[%s]', n));
		IF messages -> n ? 'head' THEN
			RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = '"head" has no meaning in a new conversation',
				DETAIL = format('at $.messages[%s].head', n);
		END IF;
	END LOOP;
	made := penny.create_conversation(request.body ->> 'title', coalesce(request.body -> 'metadata', '{}'), NULL, messages);
	RETURN (201, jsonb_build_object('Location', '/api/v1/conversations/' || (made ->> 'id')), made)::penny.response;
END
$$;
COMMENT ON FUNCTION _penny.http_create_conversation(penny.request) IS 'POST /api/v1/conversations';

CREATE OR REPLACE FUNCTION _penny.http_get_conversation(request penny.request) RETURNS json
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM _penny.check_query(request.query, '{messages}');
	RETURN _penny.conversation_json(_penny.path_uuid(request.params, 'id', 'conversation'),
		_penny.query_integer(request.query, 'messages', 0, 200, 50)::integer);
END
$$;
COMMENT ON FUNCTION _penny.http_get_conversation(penny.request) IS 'GET /api/v1/conversations/{id}';

CREATE OR REPLACE FUNCTION _penny.http_update_conversation(request penny.request) RETURNS jsonb
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	id uuid := _penny.path_uuid(request.params, 'id', 'conversation');
	wanted text := request.headers ->> 'if-match';
	messages integer := _penny.query_integer(request.query, 'messages', 0, 200, 50)::integer;
BEGIN
	PERFORM _penny.check_query(request.query, '{messages}');
	IF wanted IS NOT NULL AND wanted <> '*' THEN
		IF NOT coalesce(_penny.lock_conversation(id), false) THEN
			PERFORM _penny.not_found('conversation', id);
		END IF;
		IF _penny.etag(_penny.conversation_json(id, messages)::text) <> ALL (regexp_split_to_array(
				regexp_replace(trim(wanted), '-(gzip|br|deflate)"', '"', 'g'), '\s*,\s*')) THEN
			RAISE EXCEPTION USING ERRCODE = 'PY412', MESSAGE = 'the conversation has changed',
				DETAIL = 'Its entity tag is not the one of If-Match.', HINT = 'Fetch it again.';
		END IF;
	END IF;
	RETURN penny.update_conversation(id, request.body);
END
$$;
COMMENT ON FUNCTION _penny.http_update_conversation(penny.request) IS 'PATCH /api/v1/conversations/{id}';

CREATE OR REPLACE FUNCTION _penny.http_delete_conversation(request penny.request) RETURNS penny.response
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM _penny.check_query(request.query, '{}');
	PERFORM penny.delete_conversation(_penny.path_uuid(request.params, 'id', 'conversation'));
	RETURN (204, NULL, NULL)::penny.response;
END
$$;
COMMENT ON FUNCTION _penny.http_delete_conversation(penny.request) IS 'DELETE /api/v1/conversations/{id}';

CREATE OR REPLACE FUNCTION _penny.http_list_messages(request penny.request) RETURNS jsonb
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM _penny.check_query(request.query, '{before,after,limit}');
	RETURN penny.messages(_penny.path_uuid(request.params, 'id', 'conversation'),
		_penny.query_integer(request.query, 'before', 0, 999999999999999999, NULL),
		_penny.query_integer(request.query, 'after', 0, 999999999999999999, NULL),
		_penny.query_integer(request.query, 'limit', 1, 100, 50)::integer);
END
$$;
COMMENT ON FUNCTION _penny.http_list_messages(penny.request) IS 'GET /api/v1/conversations/{id}/messages';

CREATE OR REPLACE FUNCTION _penny.http_create_message(request penny.request) RETURNS penny.response
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	conversation uuid := _penny.path_uuid(request.params, 'id', 'conversation');
	doc jsonb := request.body;
	written record;
BEGIN
	PERFORM _penny.check_query(request.query, '{}');
	PERFORM _penny.check_message(doc);
	written := _penny.write_message(conversation, doc ->> 'role', doc ->> 'content',
		CASE WHEN doc -> 'parts' <> 'null' THEN doc -> 'parts' END, doc ->> 'client_id', (doc ->> 'head')::uuid,
		doc ->> 'model', CASE WHEN doc -> 'metadata' <> 'null' THEN doc -> 'metadata' END,
		(doc ->> 'parent_id')::uuid, doc ->> 'status', NULL, NULL);
	RETURN (CASE WHEN written.created THEN 201 ELSE 200 END,
		jsonb_build_object('Location', format('/api/v1/conversations/%s/messages/%s', conversation, written.id)),
		_penny.message(written.id))::penny.response;
END
$$;
COMMENT ON FUNCTION _penny.http_create_message(penny.request) IS 'POST /api/v1/conversations/{id}/messages';

CREATE OR REPLACE FUNCTION _penny.http_update_message(request penny.request) RETURNS jsonb
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	doc jsonb := request.body;
BEGIN
	PERFORM _penny.check_query(request.query, '{}');
	PERFORM _penny.check_object(doc, '{"content": "string", "parts": "array", "status": "string", "metadata": "object"}');
	PERFORM _penny.check_status(doc, '$');
	RETURN penny.update_message(_penny.path_uuid(request.params, 'id', 'conversation'),
		_penny.path_uuid(request.params, 'message_id', 'message'),
		doc ->> 'content', doc -> 'parts', doc ->> 'status', doc -> 'metadata');
END
$$;
COMMENT ON FUNCTION _penny.http_update_message(penny.request) IS 'PATCH /api/v1/conversations/{id}/messages/{message_id}';

CREATE OR REPLACE FUNCTION _penny.http_delete_message(request penny.request) RETURNS penny.response
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM _penny.check_query(request.query, '{}');
	PERFORM penny.delete_message(_penny.path_uuid(request.params, 'id', 'conversation'),
		_penny.path_uuid(request.params, 'message_id', 'message'));
	RETURN (204, NULL, NULL)::penny.response;
END
$$;
COMMENT ON FUNCTION _penny.http_delete_message(penny.request) IS 'DELETE /api/v1/conversations/{id}/messages/{message_id}';

CREATE OR REPLACE FUNCTION _penny.http_stream_chunk(request penny.request) RETURNS jsonb
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	conversation uuid := _penny.path_uuid(request.params, 'id', 'conversation');
	message uuid := _penny.path_uuid(request.params, 'message_id', 'message');
	doc jsonb := request.body;
	place bigint;
BEGIN
	PERFORM _penny.check_query(request.query, '{}');
	PERFORM _penny.check_object(doc, '{"delta": "string", "index": "number", "finish": "string", "error": "string",
		"content": "string", "parts": "array", "metadata": "object", "input_tokens": "number", "output_tokens": "number"}');
	IF num_nonnulls(doc -> 'delta', doc -> 'finish', doc -> 'error') = 0 OR (doc ? 'finish' AND doc ? 'error') THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = 'a piece has "delta", and the last one "finish" or "error"',
			DETAIL = 'It is at $.';
	END IF;
	IF NOT doc ? 'finish' AND doc ?| '{content,parts,metadata,input_tokens,output_tokens}' THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = 'only "finish" brings other members of the message', DETAIL = 'It is at $.';
	END IF;
	IF doc ? 'index' AND (NOT doc ? 'delta' OR doc ->> 'index' !~ '^[1-9][0-9]{0,17}$') THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = '"index" must be the number of the piece, from 1 on', DETAIL = 'It is at $.index.';
	END IF;
	IF doc ->> 'input_tokens' !~ '^[0-9]{1,18}$' OR doc ->> 'output_tokens' !~ '^[0-9]{1,18}$' THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = 'numbers of tokens must be integers from 0 on', DETAIL = 'It is at $.';
	END IF;
	IF NOT EXISTS (SELECT FROM chat.messages m WHERE m.id = message AND m.conversation_id = conversation) THEN
		PERFORM _penny.not_found('message', message);
	END IF;
	IF doc ? 'finish' OR doc ? 'error' THEN
		PERFORM _penny.lock_conversation(conversation);
	END IF;
	IF doc ? 'delta' THEN
		place := penny.stream_append(message, doc ->> 'delta', (doc ->> 'index')::bigint);
	END IF;
	IF doc ? 'finish' THEN
		RETURN penny.stream_finish(message, doc ->> 'finish', doc ->> 'content', doc -> 'parts', doc -> 'metadata',
			(doc ->> 'input_tokens')::bigint, (doc ->> 'output_tokens')::bigint);
	ELSIF doc ? 'error' THEN
		RETURN penny.stream_fail(message, doc ->> 'error');
	END IF;
	RETURN jsonb_build_object('message_id', message, 'index', place);
END
$$;
COMMENT ON FUNCTION _penny.http_stream_chunk(penny.request) IS 'POST /api/v1/conversations/{id}/messages/{message_id}/chunks';

-- A route must be one: the pattern is a path, and the handler is there.  One of
-- ttl and scope brings the other along; the ttl taken away takes the scope, too.
CREATE OR REPLACE FUNCTION _penny.check_route() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	names text[];
	handler regprocedure;
	result regtype;
BEGIN
	IF NEW.pattern !~ '^(/[A-Za-z0-9._~!$&''()*+,;=:@%-]+|/\{[a-z_][a-z0-9_]*\})*/?$' OR NEW.pattern !~ '^/' THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = format('"%s" is not a pattern of paths', NEW.pattern),
			HINT = 'A pattern is like /things/{id}: segments, or {name} for any one segment.';
	END IF;
	names := ARRAY(SELECT m[1] FROM regexp_matches(NEW.pattern, '\{([a-z0-9_]+)\}', 'g') m);
	IF cardinality(names) <> (SELECT count(DISTINCT n) FROM unnest(names) n) THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = format('pattern "%s" has a name twice', NEW.pattern);
	END IF;
	handler := to_regprocedure(NEW.handler || '(penny.request)');
	IF handler IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'undefined_function',
			MESSAGE = format('function %s(penny.request) does not exist', NEW.handler),
			HINT = 'Give the name with its schema, without arguments.';
	END IF;
	SELECT prorettype INTO result FROM pg_proc WHERE oid = handler AND prokind = 'f' AND NOT proretset;
	IF result IS NULL OR result NOT IN ('json'::regtype, 'jsonb'::regtype, 'penny.response'::regtype) THEN
		RAISE EXCEPTION USING ERRCODE = 'wrong_object_type',
			MESSAGE = format('%s must be a function that returns json, jsonb or penny.response', handler);
	END IF;
	IF TG_OP = 'UPDATE' AND NEW.cache_ttl IS NULL AND OLD.cache_ttl IS NOT NULL AND NEW.cache_scope IS NOT DISTINCT FROM OLD.cache_scope THEN
		NEW.cache_scope := NULL;
	END IF;
	IF NEW.cache_ttl IS NOT NULL OR NEW.cache_scope IS NOT NULL THEN
		IF NEW.method <> 'GET' THEN
			RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = format('answers to %s cannot be kept', NEW.method),
				HINT = 'cache_ttl and cache_scope are for routes of GET; HEAD uses them, too.';
		END IF;
		IF NEW.cache_ttl > '366 days' THEN
			RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = 'cache_ttl must be at most a year';
		END IF;
		NEW.cache_ttl := coalesce(NEW.cache_ttl, '300 s');
		NEW.cache_scope := coalesce(NEW.cache_scope, 'user');
	END IF;
	RETURN NEW;
END
$$;
COMMENT ON FUNCTION _penny.check_route() IS 'Trigger of penny.routes: refuse what could not be served';

CREATE OR REPLACE FUNCTION _penny.routes_changed() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_routes_changed';
COMMENT ON FUNCTION _penny.routes_changed() IS 'Trigger of penny.routes: tell executors and edges when the change is committed';

CREATE OR REPLACE TRIGGER check_route BEFORE INSERT OR UPDATE ON penny.routes
	FOR EACH ROW EXECUTE FUNCTION _penny.check_route();
CREATE OR REPLACE TRIGGER routes_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON penny.routes
	FOR EACH STATEMENT EXECUTE FUNCTION _penny.routes_changed();

-- The built-in routes of this version in place of those of another.
DELETE FROM penny.routes WHERE builtin;
INSERT INTO penny.routes (method, pattern, handler, access, cache_ttl, cache_scope, builtin) VALUES
	('GET', '/api/v1/conversations', '_penny.http_list_conversations', 'user', '1 h', 'user', true),
	('POST', '/api/v1/conversations', '_penny.http_create_conversation', 'user', NULL, NULL, true),
	('GET', '/api/v1/conversations/{id}', '_penny.http_get_conversation', 'user', '1 h', 'user', true),
	('PATCH', '/api/v1/conversations/{id}', '_penny.http_update_conversation', 'user', NULL, NULL, true),
	('DELETE', '/api/v1/conversations/{id}', '_penny.http_delete_conversation', 'user', NULL, NULL, true),
	('GET', '/api/v1/conversations/{id}/messages', '_penny.http_list_messages', 'user', '1 h', 'user', true),
	('POST', '/api/v1/conversations/{id}/messages', '_penny.http_create_message', 'user', NULL, NULL, true),
	('PATCH', '/api/v1/conversations/{id}/messages/{message_id}', '_penny.http_update_message', 'user', NULL, NULL, true),
	('DELETE', '/api/v1/conversations/{id}/messages/{message_id}', '_penny.http_delete_message', 'user', NULL, NULL, true),
	('POST', '/api/v1/conversations/{id}/messages/{message_id}/chunks', '_penny.http_stream_chunk', 'agent', NULL, NULL, true);

REVOKE EXECUTE ON FUNCTION
	_penny.query_integer(jsonb, text, bigint, bigint, bigint), _penny.check_query(jsonb, text[]),
	_penny.path_uuid(jsonb, text, text), _penny.etag(text),
	_penny.http_list_conversations(penny.request), _penny.http_create_conversation(penny.request),
	_penny.http_get_conversation(penny.request), _penny.http_update_conversation(penny.request),
	_penny.http_delete_conversation(penny.request), _penny.http_list_messages(penny.request),
	_penny.http_create_message(penny.request), _penny.http_update_message(penny.request),
	_penny.http_delete_message(penny.request), _penny.check_route(), _penny.routes_changed() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
	_penny.query_integer(jsonb, text, bigint, bigint, bigint), _penny.check_query(jsonb, text[]),
	_penny.path_uuid(jsonb, text, text), _penny.etag(text),
	_penny.http_list_conversations(penny.request), _penny.http_create_conversation(penny.request),
	_penny.http_get_conversation(penny.request), _penny.http_update_conversation(penny.request),
	_penny.http_delete_conversation(penny.request), _penny.http_list_messages(penny.request),
	_penny.http_create_message(penny.request), _penny.http_update_message(penny.request),
	_penny.http_delete_message(penny.request) TO penny_user;
REVOKE EXECUTE ON FUNCTION _penny.http_stream_chunk(penny.request) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _penny.http_stream_chunk(penny.request) TO penny_agent;

-- Artifacts, models and sessions: what else of the store is read as a whole,
-- by SQL and by HTTP.  All of it comes from the cache when nothing has changed.

CREATE OR REPLACE FUNCTION penny.artifacts(conversation_id uuid) RETURNS jsonb
LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 1000
AS 'MODULE_PATHNAME', 'penny_artifacts';
COMMENT ON FUNCTION penny.artifacts(uuid) IS 'The artifacts of a conversation in the order of their changes, each with number, content, data and file_id of its newest version: {"data"}. Null where the caller may not see the conversation';

CREATE OR REPLACE FUNCTION penny.models() RETURNS jsonb
LANGUAGE c STABLE PARALLEL RESTRICTED COST 100
AS 'MODULE_PATHNAME', 'penny_models';
COMMENT ON FUNCTION penny.models() IS 'The language models of chat.models by id: {"data"}';

CREATE OR REPLACE FUNCTION penny.sessions() RETURNS jsonb
LANGUAGE c STABLE PARALLEL RESTRICTED COST 100
AS 'MODULE_PATHNAME', 'penny_sessions';
COMMENT ON FUNCTION penny.sessions() IS 'The caller''s own sessions, newest first, those that have ended as long as their rows are there: {"data"}. The id is the first half of the token''s hash in hex digits; nothing of the token itself is shown';

CREATE OR REPLACE FUNCTION _penny.http_list_artifacts(request penny.request) RETURNS jsonb
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM _penny.check_query(request.query, '{}');
	RETURN penny.artifacts(_penny.path_uuid(request.params, 'id', 'conversation'));
END
$$;
COMMENT ON FUNCTION _penny.http_list_artifacts(penny.request) IS 'GET /api/v1/conversations/{id}/artifacts';

CREATE OR REPLACE FUNCTION _penny.http_list_models(request penny.request) RETURNS jsonb
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM _penny.check_query(request.query, '{}');
	RETURN penny.models();
END
$$;
COMMENT ON FUNCTION _penny.http_list_models(penny.request) IS 'GET /api/v1/models';

CREATE OR REPLACE FUNCTION _penny.http_list_sessions(request penny.request) RETURNS jsonb
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM _penny.check_query(request.query, '{}');
	RETURN penny.sessions();
END
$$;
COMMENT ON FUNCTION _penny.http_list_sessions(penny.request) IS 'GET /api/v1/sessions';

-- Beside the built-in routes of 50_http.sql, which has taken the old ones away.
INSERT INTO penny.routes (method, pattern, handler, access, cache_ttl, cache_scope, builtin) VALUES
	('GET', '/api/v1/conversations/{id}/artifacts', '_penny.http_list_artifacts', 'user', '1 h', 'user', true),
	('GET', '/api/v1/models', '_penny.http_list_models', 'user', '1 h', 'user', true),
	('GET', '/api/v1/sessions', '_penny.http_list_sessions', 'user', '1 h', 'user', true);

REVOKE EXECUTE ON FUNCTION
	penny.artifacts(uuid), penny.models(), penny.sessions(),
	_penny.http_list_artifacts(penny.request), _penny.http_list_models(penny.request),
	_penny.http_list_sessions(penny.request) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
	penny.artifacts(uuid), penny.models(), penny.sessions(),
	_penny.http_list_artifacts(penny.request), _penny.http_list_models(penny.request),
	_penny.http_list_sessions(penny.request) TO penny_user;

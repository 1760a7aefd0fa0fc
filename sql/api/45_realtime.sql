-- What executors ask for rooms and sessions.

CREATE OR REPLACE FUNCTION _penny.session(token_hash bytea, OUT user_id uuid, OUT role text, OUT expires_at timestamp with time zone)
RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 1
AS 'MODULE_PATHNAME', 'penny_session';
COMMENT ON FUNCTION _penny.session(bytea) IS 'Whose session a token is, by its SHA-256; no row when it has ended. Past privileges and policies, so for penny_authenticator alone';

CREATE OR REPLACE FUNCTION _penny.join_room(room text, since bigint, OUT version bigint, OUT frames text)
RETURNS SETOF record
LANGUAGE c STABLE PARALLEL RESTRICTED ROWS 1
AS 'MODULE_PATHNAME', 'penny_join_room';
COMMENT ON FUNCTION _penny.join_room(text, bigint) IS 'The version of a room, and what changed in it after `since` as lines of version and frame, under the caller''s policies, in one statement; frames are null where that is too much (5,000 changes, 6 MB), no row where the caller may not see it';

CREATE OR REPLACE FUNCTION _penny.websocket_message(room text, frame jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	doc jsonb := frame - '{type,room,ref}'::text[];
	written record;
BEGIN
	IF jsonb_typeof(frame) IS DISTINCT FROM 'object' THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = 'a message must be an object', DETAIL = 'It is at $.';
	END IF;
	IF NOT doc ? 'role' THEN
		doc := doc || '{"role": "user"}';
	END IF;
	PERFORM _penny.check_message(doc);
	IF room !~ '^conversation:[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$' THEN
		RAISE EXCEPTION USING ERRCODE = 'PY404', MESSAGE = 'room not found';
	END IF;
	written := _penny.write_message(split_part(room, ':', 2)::uuid, doc ->> 'role', doc ->> 'content',
		CASE WHEN doc -> 'parts' <> 'null' THEN doc -> 'parts' END, doc ->> 'client_id', (doc ->> 'head')::uuid,
		doc ->> 'model', CASE WHEN doc -> 'metadata' <> 'null' THEN doc -> 'metadata' END,
		(doc ->> 'parent_id')::uuid, doc ->> 'status', NULL, NULL);
	RETURN jsonb_build_object('id', written.id, 'seq', written.seq, 'version', written.version, 'created', written.created);
END
$$;
COMMENT ON FUNCTION _penny.websocket_message(text, jsonb) IS 'A message that came by WebSocket; gives {"id", "seq", "version", "created"}';

REVOKE EXECUTE ON FUNCTION _penny.session(bytea), _penny.join_room(text, bigint), _penny.websocket_message(text, jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _penny.session(bytea) TO penny_authenticator;
GRANT EXECUTE ON FUNCTION _penny.join_room(text, bigint), _penny.websocket_message(text, jsonb) TO penny_user;

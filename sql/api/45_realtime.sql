-- What executors ask for rooms and sessions.

CREATE OR REPLACE FUNCTION _penny.session(token_hash bytea, OUT user_id uuid, OUT role text, OUT expires_at timestamp with time zone)
RETURNS SETOF record
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 1
AS 'MODULE_PATHNAME', 'penny_session';
COMMENT ON FUNCTION _penny.session(bytea) IS 'Whose session a token is, by its SHA-256; no row when it has ended. Past privileges and policies, so for penny_authenticator alone';

CREATE OR REPLACE FUNCTION _penny.join_room(room text, since bigint, OUT version bigint, OUT frames text, OUT more boolean, OUT writable boolean)
RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL RESTRICTED ROWS 1
AS 'MODULE_PATHNAME', 'penny_join_room';
COMMENT ON FUNCTION _penny.join_room(text, bigint) IS 'The version of a room and what changed in it after `since`, as lines of version and frame, under the caller''s policies, in one statement; with more, a page of it, up to that version. writable: may the caller publish there. No row where the caller may not see it';

-- Free rooms: a prefix and the function that says who may come in.
CREATE OR REPLACE FUNCTION _penny.check_room_policy() RETURNS trigger
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	handler regprocedure;
BEGIN
	IF NEW.prefix !~ '^[a-z][a-z0-9_.-]{0,62}$' OR NEW.prefix IN ('conversation', 'user', 'role', 'job', 'queue') THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = format('"%s" cannot be the prefix of free rooms', NEW.prefix),
			HINT = 'A prefix is up to 63 lower case letters, digits, "_", "." and "-"; conversation, user, role, job and queue are penny''s own.';
	END IF;
	handler := to_regprocedure(NEW.handler || '(text)');
	IF handler IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'undefined_function',
			MESSAGE = format('function %s(text) does not exist', NEW.handler),
			HINT = 'Give the name with its schema, without arguments.';
	END IF;
	IF NOT EXISTS (SELECT FROM pg_proc WHERE oid = handler AND prokind = 'f' AND NOT proretset
				   AND prorettype IN ('boolean'::regtype, 'jsonb'::regtype)) THEN
		RAISE EXCEPTION USING ERRCODE = 'wrong_object_type',
			MESSAGE = format('%s must be a function that returns boolean or jsonb', handler);
	END IF;
	RETURN NEW;
END
$$;
COMMENT ON FUNCTION _penny.check_room_policy() IS 'Trigger of penny.room_policies: refuse what could not be asked';

CREATE OR REPLACE FUNCTION _penny.room_policies_changed() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_room_policies_changed';
COMMENT ON FUNCTION _penny.room_policies_changed() IS 'Trigger of penny.room_policies: ask for every member again when the change is committed';

CREATE OR REPLACE TRIGGER check_room_policy BEFORE INSERT OR UPDATE ON penny.room_policies
	FOR EACH ROW EXECUTE FUNCTION _penny.check_room_policy();
CREATE OR REPLACE TRIGGER room_policies_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON penny.room_policies
	FOR EACH STATEMENT EXECUTE FUNCTION _penny.room_policies_changed();

-- The handler runs as the caller: its own rights and policies decide.
CREATE OR REPLACE FUNCTION _penny.room_right(room text, OUT readable boolean, OUT writable boolean)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	handler regprocedure;
	name text;
	says jsonb;
BEGIN
	readable := false;
	writable := false;
	SELECT to_regprocedure(p.handler || '(text)'), p.handler INTO handler, name FROM penny.room_policies p
		WHERE p.prefix = split_part(room, ':', 1) AND strpos(room, ':') > 0;
	IF NOT FOUND OR strpos(room, ':') = length(room) THEN
		RETURN;
	END IF;
	IF handler IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'undefined_function', MESSAGE = format('function %s(text) does not exist', name),
			HINT = 'It is the handler of a row of penny.room_policies.';
	END IF;
	EXECUTE format('SELECT to_jsonb(%s($1))', handler::oid::regproc) INTO says USING room;
	IF jsonb_typeof(says) = 'object' THEN
		readable := says -> 'read' IS NOT DISTINCT FROM 'true';
		writable := readable AND says -> 'write' IS NOT DISTINCT FROM 'true';
	ELSE
		readable := says IS NOT DISTINCT FROM 'true';
		writable := readable;
	END IF;
END
$$;
COMMENT ON FUNCTION _penny.room_right(text) IS 'What the handler of a free room says for the caller';

CREATE OR REPLACE FUNCTION penny.room_recheck(room text) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_room_recheck';
COMMENT ON FUNCTION penny.room_recheck(text) IS 'Who may be in a room has changed: when the transaction commits, every member is asked for again with its own token, and who may not see the room any more is out';

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

REVOKE EXECUTE ON FUNCTION _penny.session(bytea), _penny.join_room(text, bigint), _penny.websocket_message(text, jsonb),
	_penny.check_room_policy(), _penny.room_policies_changed(), _penny.room_right(text), penny.room_recheck(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _penny.session(bytea) TO penny_authenticator;
GRANT EXECUTE ON FUNCTION _penny.join_room(text, bigint), _penny.websocket_message(text, jsonb),
	_penny.room_right(text), penny.room_recheck(text) TO penny_user;

-- Messages that grow (src/store/stream.c): written with status streaming,
-- appended to in pieces, then finished, failed, or closed as interrupted.

CREATE OR REPLACE FUNCTION penny.stream_append(message uuid, chunk text, index bigint DEFAULT NULL) RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_stream_append_sql';
COMMENT ON FUNCTION penny.stream_append(uuid, text, bigint) IS 'Add a piece (1 to 16,384 bytes) to a message of status streaming and tell it to its room; gives the number of the piece. With index the piece must be that one: a repeated call adds nothing, PY409 where pieces before it are missing. Needs penny_agent';

CREATE OR REPLACE FUNCTION _penny.stream_lock(message uuid) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_stream_lock_sql';
COMMENT ON FUNCTION _penny.stream_lock(uuid) IS 'Keep producers off a message until the end of the transaction; after its conversation, before its row';

CREATE OR REPLACE FUNCTION _penny.stream_save(message uuid) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_stream_save_sql';
COMMENT ON FUNCTION _penny.stream_save(uuid) IS 'Put the pieces of a message that grows into its content, which is about to be replaced; under the locks of stream_lock()';

CREATE OR REPLACE FUNCTION _penny.stream_writable(conversation uuid) RETURNS boolean
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_stream_writable_sql';
COMMENT ON FUNCTION _penny.stream_writable(uuid) IS 'Within penny.stream_append() alone: note that the policies let the caller change a message of the conversation; always false';

CREATE OR REPLACE FUNCTION _penny.stream_sweep() RETURNS integer
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_stream_sweep_sql';
COMMENT ON FUNCTION _penny.stream_sweep() IS 'Close messages whose producers are silent for penny.stream_timeout; gives how many still grow. Past privileges and policies, so for penny_authenticator alone';

CREATE OR REPLACE FUNCTION _penny.execution_sweep(at timestamptz) RETURNS integer
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_execution_sweep_sql';
COMMENT ON FUNCTION _penny.execution_sweep(timestamptz) IS 'Fail executions of tools that have been open for longer than penny.execution_timeout at this time; 0 when none is open any more. Past privileges and policies, so for penny_authenticator alone';

-- Ends a stream under its locks; a repeated call gives the same message.
CREATE OR REPLACE FUNCTION _penny.stream_end(message uuid, status text, content text, parts jsonb, metadata jsonb, input_tokens bigint, output_tokens bigint) RETURNS jsonb
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
#variable_conflict use_variable
DECLARE
	conversation uuid;
	known text;
BEGIN
	SELECT m.conversation_id INTO conversation FROM chat.messages m WHERE m.id = message;
	IF NOT FOUND OR NOT coalesce(_penny.lock_conversation(conversation), false) THEN
		PERFORM _penny.not_found('message', message);
	END IF;
	IF NOT _penny.is_agent() AND row_security_active('chat.messages') THEN
		RAISE EXCEPTION USING ERRCODE = 'PY403', MESSAGE = 'streaming a message needs penny_agent';
	END IF;
	PERFORM _penny.stream_lock(message);
	SELECT m.status INTO known FROM chat.messages m WHERE m.id = message;
	IF NOT FOUND THEN
		PERFORM _penny.not_found('message', message);
	END IF;
	IF known = 'streaming' THEN
		IF content IS NOT NULL THEN
			PERFORM _penny.stream_save(message);
		END IF;
		UPDATE chat.messages m SET
			status = stream_end.status,
			content = coalesce(stream_end.content, m.content),
			parts = coalesce(stream_end.parts, m.parts),
			metadata = CASE WHEN stream_end.metadata IS NULL THEN m.metadata
				ELSE coalesce(m.metadata, '{}') || stream_end.metadata END,
			input_tokens = coalesce(stream_end.input_tokens, m.input_tokens),
			output_tokens = coalesce(stream_end.output_tokens, m.output_tokens)
			WHERE m.id = message;
	ELSIF known <> status THEN
		RAISE EXCEPTION USING ERRCODE = 'PY409', MESSAGE = 'the message does not grow any more',
			DETAIL = format('Its status is %s.', known);
	END IF;
	RETURN _penny.message(message);
END
$$;
COMMENT ON FUNCTION _penny.stream_end(uuid, text, text, jsonb, jsonb, bigint, bigint) IS 'End a message that grows';

CREATE OR REPLACE FUNCTION penny.stream_finish(
	message uuid, status text DEFAULT 'completed', content text DEFAULT NULL, parts jsonb DEFAULT NULL,
	metadata jsonb DEFAULT NULL, input_tokens bigint DEFAULT NULL, output_tokens bigint DEFAULT NULL) RETURNS jsonb
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF status IS NULL OR status NOT IN ('completed', 'failed', 'cancelled', 'interrupted') THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = format('a stream cannot end as "%s"', status),
			HINT = 'It ends as completed, failed, cancelled or interrupted.';
	END IF;
	RETURN _penny.stream_end(message, status, content, parts, metadata, input_tokens, output_tokens);
END
$$;
COMMENT ON FUNCTION penny.stream_finish(uuid, text, text, jsonb, jsonb, bigint, bigint) IS 'End a message that grows and give it: all its pieces are then its content (or what is given as content), metadata is merged. Repeated, it gives the same message. Needs penny_agent';

CREATE OR REPLACE FUNCTION penny.stream_fail(message uuid, error text DEFAULT NULL) RETURNS jsonb
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN _penny.stream_end(message, 'failed', NULL, NULL,
		CASE WHEN error IS NOT NULL THEN jsonb_build_object('error', error) END, NULL, NULL);
END
$$;
COMMENT ON FUNCTION penny.stream_fail(uuid, text) IS 'End a message that grows as failed, with the text so far and {"error"} in its metadata, and give it. Needs penny_agent';

REVOKE EXECUTE ON FUNCTION penny.stream_append(uuid, text, bigint), _penny.stream_lock(uuid), _penny.stream_save(uuid),
	_penny.stream_writable(uuid), _penny.stream_sweep(), _penny.execution_sweep(timestamptz),
	_penny.stream_end(uuid, text, text, jsonb, jsonb, bigint, bigint),
	penny.stream_finish(uuid, text, text, jsonb, jsonb, bigint, bigint), penny.stream_fail(uuid, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _penny.stream_lock(uuid), _penny.stream_save(uuid), _penny.stream_writable(uuid) TO penny_user;
GRANT EXECUTE ON FUNCTION penny.stream_append(uuid, text, bigint),
	_penny.stream_end(uuid, text, text, jsonb, jsonb, bigint, bigint),
	penny.stream_finish(uuid, text, text, jsonb, jsonb, bigint, bigint), penny.stream_fail(uuid, text) TO penny_agent;
GRANT EXECUTE ON FUNCTION _penny.stream_sweep(), _penny.execution_sweep(timestamptz) TO penny_authenticator;

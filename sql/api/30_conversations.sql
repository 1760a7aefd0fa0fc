-- Conversations and messages: the API.  Everything here runs with the rights
-- and policies of its caller (SECURITY INVOKER).  What a caller may not see
-- does not exist for it (PY404, or null where the result can say so).
--
-- Members write messages of role user in their own name; every other message
-- needs penny_agent.  An author may change an own message; the owner of the
-- conversation may delete any.  Title, marks, participants and the deletion of
-- a conversation belong to its owner, to agents that are members, and to
-- penny_admin.
--
-- Functions that write plan without sequential scans: a plan made while a table
-- has one page would scan it still when it has grown.

CREATE OR REPLACE FUNCTION penny.conversation(id uuid, messages integer DEFAULT 50) RETURNS jsonb
LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 1000
AS 'MODULE_PATHNAME', 'penny_conversation';
COMMENT ON FUNCTION penny.conversation(uuid, integer) IS 'A conversation with its newest messages (0 to 200, newest first), each with its user and tool executions, its artifacts, and the position {epoch, version} they stand at: one statement, one snapshot. Null where the caller may not see it. parts, model, client_id, usage, metadata, updated_at of a message and error of a tool execution are left out when they have no value';

CREATE OR REPLACE FUNCTION _penny.conversation_json(id uuid, messages integer) RETURNS json
LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 1000
AS 'MODULE_PATHNAME', 'penny_conversation_json';
COMMENT ON FUNCTION _penny.conversation_json(uuid, integer) IS 'penny.conversation() as text, for answers that are text: a jsonb would have to be written out again';

CREATE OR REPLACE FUNCTION penny.conversations_by_id(ids uuid[], messages integer DEFAULT 50) RETURNS SETOF jsonb
LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 5000 ROWS 10
AS 'MODULE_PATHNAME', 'penny_conversations_by_id';
COMMENT ON FUNCTION penny.conversations_by_id(uuid[], integer) IS 'penny.conversation() for several, a row each in the order given; null for those that the caller may not see';

CREATE OR REPLACE FUNCTION penny.conversations("limit" integer DEFAULT 20, cursor text DEFAULT NULL, archived boolean DEFAULT false) RETURNS jsonb
LANGUAGE c STABLE PARALLEL RESTRICTED COST 1000
AS 'MODULE_PATHNAME', 'penny_conversations';
COMMENT ON FUNCTION penny.conversations(integer, text, boolean) IS 'A page of the caller''s own conversations (1 to 100, those that penny.user_id() takes part in, whoever calls), newest activity first, each with its last_message: {"data", "has_more", "next_cursor"}. The cursor holds the place, not a row: deleting a conversation does not break it';

CREATE OR REPLACE FUNCTION penny.messages(conversation_id uuid, before bigint DEFAULT NULL, after bigint DEFAULT NULL, "limit" integer DEFAULT 50) RETURNS jsonb
LANGUAGE c STABLE PARALLEL RESTRICTED COST 1000
AS 'MODULE_PATHNAME', 'penny_messages';
COMMENT ON FUNCTION penny.messages(uuid, bigint, bigint, integer) IS 'History by seq, ascending, both bounds exclusive: {"data", "has_more"}. With after alone the oldest after it, else the newest before the bound (1 to 200). Null where the caller may not see the conversation';

CREATE OR REPLACE FUNCTION _penny.message(id uuid) RETURNS jsonb
LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 500
AS 'MODULE_PATHNAME', 'penny_message';
COMMENT ON FUNCTION _penny.message(uuid) IS 'One message with its user and tool executions; null where the caller may not see it';

CREATE OR REPLACE FUNCTION _penny.not_found(what text, id uuid) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RAISE EXCEPTION USING ERRCODE = 'PY404', MESSAGE = format('%s not found', what),
		DETAIL = format('There is no %s %s that the caller may see or change.', what, coalesce(id::text, 'null'));
END
$$;
COMMENT ON FUNCTION _penny.not_found(text, uuid) IS 'Raise PY404';

CREATE OR REPLACE FUNCTION _penny.caller() RETURNS uuid
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	caller uuid := penny.user_id();
BEGIN
	IF caller IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'PY401', MESSAGE = 'nobody is calling',
			HINT = 'Sign in, or in a superuser''s session SELECT penny.act_as(user_id).';
	END IF;
	RETURN caller;
END
$$;
COMMENT ON FUNCTION _penny.caller() IS 'penny.user_id(), or PY401';

CREATE OR REPLACE FUNCTION penny.create_conversation(
	title text DEFAULT NULL, metadata jsonb DEFAULT '{}', id uuid DEFAULT NULL, messages jsonb DEFAULT NULL)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
DECLARE
	new_id uuid := coalesce(id, penny.uuid_v7());
BEGIN
	INSERT INTO chat.conversations (id, owner_id, title, metadata)
		VALUES (new_id, _penny.caller(), title, coalesce(metadata, '{}'));
	IF messages IS NOT NULL THEN
		PERFORM _penny.write_messages(new_id, messages);
	END IF;
	RETURN penny.conversation(new_id, CASE WHEN messages IS NULL THEN 0 ELSE least(200, jsonb_array_length(messages)) END);
END
$$;
COMMENT ON FUNCTION penny.create_conversation(text, jsonb, uuid, jsonb) IS 'Make a conversation that the caller owns, with messages [{"role", "content" or "parts", ...}] if given; gives what penny.conversation() gives';

CREATE OR REPLACE FUNCTION _penny.write_messages(conversation_id uuid, messages jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
BEGIN
	IF jsonb_typeof(messages) <> 'array' THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = 'messages must be an array', DETAIL = 'It is at $.messages.';
	END IF;
	IF NOT _penny.is_agent() AND messages @? '$[*] ? (@.role != "user")' THEN
		RAISE EXCEPTION USING ERRCODE = 'PY403', MESSAGE = 'messages of another role than user need penny_agent',
			DETAIL = 'It is at $.messages[*].role.';
	END IF;
	INSERT INTO chat.messages (conversation_id, user_id, role, status, content, parts, client_id, model, parent_id, metadata)
		SELECT write_messages.conversation_id,
			CASE WHEN m.doc ->> 'role' = 'user' THEN penny.user_id() END,
			m.doc ->> 'role', coalesce(m.doc ->> 'status', 'completed'), m.doc ->> 'content',
			CASE WHEN m.doc -> 'parts' <> 'null' THEN m.doc -> 'parts' END,
			m.doc ->> 'client_id', m.doc ->> 'model', (m.doc ->> 'parent_id')::uuid,
			CASE WHEN m.doc -> 'metadata' <> 'null' THEN m.doc -> 'metadata' END
		FROM jsonb_array_elements(messages) WITH ORDINALITY AS m (doc, n)
		ORDER BY m.n;
END
$$;
COMMENT ON FUNCTION _penny.write_messages(uuid, jsonb) IS 'Write the messages of a new conversation in one statement';

-- Write a message, or find the one that the client_id stands for.
CREATE OR REPLACE FUNCTION _penny.write_message(
	conversation_id uuid, role text, content text, parts jsonb, client_id text, head uuid,
	model text, metadata jsonb, parent_id uuid, status text, input_tokens bigint, output_tokens bigint,
	OUT id uuid, OUT seq bigint, OUT version bigint, OUT created boolean)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
#variable_conflict use_variable
DECLARE
	author uuid := CASE WHEN role = 'user' THEN penny.user_id() END;
	newest uuid;
	known chat.messages;
BEGIN
	IF NOT coalesce(_penny.lock_conversation(conversation_id), false) THEN
		PERFORM _penny.not_found('conversation', conversation_id);
	END IF;
	IF content IS NULL AND parts IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = 'a message needs content or parts', DETAIL = 'It is at $.';
	END IF;
	IF role <> 'user' AND NOT _penny.is_agent() THEN
		RAISE EXCEPTION USING ERRCODE = 'PY403',
			MESSAGE = format('a message of role "%s" needs penny_agent', role), DETAIL = 'It is at $.role.';
	END IF;
	IF client_id IS NOT NULL THEN
		SELECT * INTO known FROM chat.messages m
			WHERE m.conversation_id = write_message.conversation_id
			  AND m.client_id = write_message.client_id
			  AND (m.user_id = author OR (m.user_id IS NULL AND author IS NULL));
		IF FOUND THEN
			IF (known.role, known.content, known.parts, known.model, known.metadata)
				IS DISTINCT FROM (role, content, parts, model, metadata) THEN
				RAISE EXCEPTION USING ERRCODE = 'PY409',
					MESSAGE = format('client_id "%s" stands for another message', client_id),
					DETAIL = format('It is message %s; a retry must carry the same content.', known.id);
			END IF;
			id := known.id;
			seq := known.seq;
			version := known.version;
			created := false;
			RETURN;
		END IF;
	END IF;
	IF head IS NOT NULL THEN
		SELECT c.head_message_id INTO newest FROM chat.conversations c
			WHERE c.id = write_message.conversation_id;
		IF newest IS NULL OR newest <> head THEN
			RAISE EXCEPTION USING ERRCODE = 'PY409',
				MESSAGE = 'the conversation has gone on',
				DETAIL = format('Its newest message is %s, not %s.', coalesce(newest::text, 'none'), head);
		END IF;
	END IF;
	-- users may not set the numbers of tokens
	IF input_tokens IS NULL AND output_tokens IS NULL THEN
		INSERT INTO chat.messages AS m (conversation_id, user_id, role, status, content, parts, client_id, model, metadata, parent_id)
			VALUES (write_message.conversation_id, author, write_message.role, coalesce(write_message.status, 'completed'),
				write_message.content, write_message.parts, write_message.client_id, write_message.model,
				write_message.metadata, write_message.parent_id)
			RETURNING m.id, m.seq, m.version INTO id, seq, version;
	ELSE
		INSERT INTO chat.messages AS m (conversation_id, user_id, role, status, content, parts, client_id, model, metadata, parent_id, input_tokens, output_tokens)
			VALUES (write_message.conversation_id, author, write_message.role, coalesce(write_message.status, 'completed'),
				write_message.content, write_message.parts, write_message.client_id, write_message.model,
				write_message.metadata, write_message.parent_id, write_message.input_tokens, write_message.output_tokens)
			RETURNING m.id, m.seq, m.version INTO id, seq, version;
	END IF;
	created := true;
END
$$;
COMMENT ON FUNCTION _penny.write_message(uuid, text, text, jsonb, text, uuid, text, jsonb, uuid, text, bigint, bigint) IS 'Write a message, or find the one that its client_id stands for';

CREATE OR REPLACE FUNCTION penny.add_message(
	conversation_id uuid, role text, content text DEFAULT NULL, parts jsonb DEFAULT NULL,
	client_id text DEFAULT NULL, head uuid DEFAULT NULL, model text DEFAULT NULL,
	metadata jsonb DEFAULT NULL, parent_id uuid DEFAULT NULL, status text DEFAULT NULL,
	input_tokens bigint DEFAULT NULL, output_tokens bigint DEFAULT NULL)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	written record;
BEGIN
	written := _penny.write_message(conversation_id, role, content, parts, client_id, head, model,
		metadata, parent_id, status, input_tokens, output_tokens);
	RETURN _penny.message(written.id);
END
$$;
COMMENT ON FUNCTION penny.add_message(uuid, text, text, jsonb, text, uuid, text, jsonb, uuid, text, bigint, bigint) IS 'Write a message and give it as penny.conversation() shows it. A client_id makes a retry give the same message (PY409 when it carries another content); head is the newest message that the writer knows (PY409 naming the newer one when the conversation has gone on)';

CREATE OR REPLACE FUNCTION penny.update_message(
	conversation_id uuid, id uuid, content text DEFAULT NULL, parts jsonb DEFAULT NULL,
	status text DEFAULT NULL, metadata jsonb DEFAULT NULL)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
BEGIN
	IF NOT coalesce(_penny.lock_conversation(conversation_id), false) THEN
		PERFORM _penny.not_found('conversation', conversation_id);
	END IF;
	IF EXISTS (SELECT FROM chat.messages m WHERE m.id = update_message.id AND m.status = 'streaming') THEN
		PERFORM _penny.stream_lock(id);
		IF content IS NOT NULL THEN
			PERFORM _penny.stream_save(id);
		END IF;
	END IF;
	-- nothing to change is no change: no new version, no event
	UPDATE chat.messages m SET
		content = coalesce(update_message.content, m.content),
		parts = coalesce(update_message.parts, m.parts),
		status = coalesce(update_message.status, m.status),
		metadata = coalesce(update_message.metadata, m.metadata)
		WHERE m.id = update_message.id AND m.conversation_id = update_message.conversation_id
		  AND num_nonnulls(update_message.content, update_message.parts, update_message.status, update_message.metadata) > 0;
	IF NOT FOUND AND NOT (num_nonnulls(content, parts, status, metadata) = 0 AND EXISTS (
		SELECT FROM chat.messages m WHERE m.id = update_message.id AND m.conversation_id = update_message.conversation_id)) THEN
		PERFORM _penny.not_found('message', id);
	END IF;
	RETURN _penny.message(id);
END
$$;
COMMENT ON FUNCTION penny.update_message(uuid, uuid, text, jsonb, text, jsonb) IS 'Change what is given of a message and give its new state; users change their own messages, penny_agent any';

CREATE OR REPLACE FUNCTION penny.delete_message(conversation_id uuid, id uuid) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
BEGIN
	IF NOT coalesce(_penny.lock_conversation(conversation_id), false) THEN
		PERFORM _penny.not_found('conversation', conversation_id);
	END IF;
	IF EXISTS (SELECT FROM chat.messages m WHERE m.id = delete_message.id AND m.status = 'streaming') THEN
		PERFORM _penny.stream_lock(id);
	END IF;
	DELETE FROM chat.messages m
		WHERE m.id = delete_message.id AND m.conversation_id = delete_message.conversation_id;
	IF NOT FOUND THEN
		PERFORM _penny.not_found('message', id);
	END IF;
END
$$;
COMMENT ON FUNCTION penny.delete_message(uuid, uuid) IS 'Delete a message with its tool executions; a tombstone is left. Users delete their own messages, the owner of the conversation any';

-- What may be changed of a conversation, for SQL and HTTP.
CREATE OR REPLACE FUNCTION penny.update_conversation(id uuid, changes jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
BEGIN
	PERFORM _penny.check_object(changes, '{"title": "string null", "metadata": "object", "archived": "boolean", "pinned": "boolean"}');
	IF NOT coalesce(_penny.lock_conversation(id), false) THEN
		PERFORM _penny.not_found('conversation', id);
	END IF;
	IF changes <> '{}' THEN
		UPDATE chat.conversations c SET
			title = CASE WHEN changes ? 'title' THEN changes ->> 'title' ELSE c.title END,
			metadata = CASE WHEN changes ? 'metadata' THEN changes -> 'metadata' ELSE c.metadata END,
			archived_at = CASE WHEN changes -> 'archived' = 'true' THEN coalesce(c.archived_at, now())
				WHEN changes ? 'archived' THEN NULL ELSE c.archived_at END,
			pinned_at = CASE WHEN changes -> 'pinned' = 'true' THEN coalesce(c.pinned_at, now())
				WHEN changes ? 'pinned' THEN NULL ELSE c.pinned_at END
			WHERE c.id = update_conversation.id;
		IF NOT FOUND THEN
			RAISE EXCEPTION USING ERRCODE = 'PY403', MESSAGE = 'the conversation belongs to another user',
				DETAIL = 'Its owner, agents that take part, and admins may change it.';
		END IF;
	END IF;
	RETURN penny.conversation(id, 0) - 'messages' - 'artifacts';
END
$$;
COMMENT ON FUNCTION penny.update_conversation(uuid, jsonb) IS 'Change {"title"?, "metadata"?, "archived"?, "pinned"?} and give the new state';

CREATE OR REPLACE FUNCTION penny.delete_conversation(id uuid) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
BEGIN
	IF NOT coalesce(_penny.lock_conversation(id), false) THEN
		PERFORM _penny.not_found('conversation', id);
	END IF;
	DELETE FROM chat.conversations c WHERE c.id = delete_conversation.id;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING ERRCODE = 'PY403', MESSAGE = 'the conversation belongs to another user',
			DETAIL = 'Its owner, agents that take part, and admins may delete it.';
	END IF;
END
$$;
COMMENT ON FUNCTION penny.delete_conversation(uuid) IS 'Delete a conversation with all that belongs to it; one tombstone is left';

CREATE OR REPLACE FUNCTION penny.add_participant(conversation_id uuid, user_id uuid) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
BEGIN
	IF NOT coalesce(_penny.lock_conversation(conversation_id), false) THEN
		PERFORM _penny.not_found('conversation', conversation_id);
	END IF;
	IF user_id IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = 'user_id is missing';
	END IF;
	IF EXISTS (SELECT FROM chat.participants p
			   WHERE p.conversation_id = add_participant.conversation_id AND p.user_id = add_participant.user_id) THEN
		RETURN;
	END IF;
	IF row_security_active('chat.participants') AND NOT _penny.can_manage(conversation_id) THEN
		RAISE EXCEPTION USING ERRCODE = 'PY403', MESSAGE = 'the conversation belongs to another user',
			DETAIL = 'Its owner, agents that take part, and admins may add participants.';
	END IF;
	PERFORM _penny.ensure_user(user_id);
	INSERT INTO chat.participants (conversation_id, user_id)
		VALUES (add_participant.conversation_id, add_participant.user_id);
END
$$;
COMMENT ON FUNCTION penny.add_participant(uuid, uuid) IS 'Let a user see and write to a conversation; does nothing if the user does already';

CREATE OR REPLACE FUNCTION penny.remove_participant(conversation_id uuid, user_id uuid) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
BEGIN
	IF NOT coalesce(_penny.lock_conversation(conversation_id), false) THEN
		PERFORM _penny.not_found('conversation', conversation_id);
	END IF;
	IF EXISTS (SELECT FROM chat.conversations c
			   WHERE c.id = remove_participant.conversation_id AND c.owner_id = remove_participant.user_id) THEN
		RAISE EXCEPTION USING ERRCODE = 'PY409', MESSAGE = 'the owner cannot be removed from the conversation',
			HINT = 'Delete the conversation, or give it to another owner first.';
	END IF;
	IF NOT EXISTS (SELECT FROM chat.participants p
				   WHERE p.conversation_id = remove_participant.conversation_id AND p.user_id = remove_participant.user_id) THEN
		PERFORM _penny.not_found('participant', user_id);
	END IF;
	DELETE FROM chat.participants p
		WHERE p.conversation_id = remove_participant.conversation_id AND p.user_id = remove_participant.user_id;
	IF NOT FOUND THEN
		RAISE EXCEPTION USING ERRCODE = 'PY403', MESSAGE = 'the conversation belongs to another user',
			DETAIL = 'Users may leave; its owner, agents that take part, and admins may remove others.';
	END IF;
END
$$;
COMMENT ON FUNCTION penny.remove_participant(uuid, uuid) IS 'Take a user''s access to a conversation away; users may remove themselves, the owner everybody but the owner';

CREATE OR REPLACE FUNCTION penny.create_session(user_id uuid, role text DEFAULT 'penny_user', ttl interval DEFAULT '1 day') RETURNS text
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
DECLARE
	-- 256 random bits: two UUIDs have 122 each, so hash three of them
	token text := 'pns_' || rtrim(translate(encode(sha256(
		uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())),
		'base64'), E'+/\n', '-_'), '=');
BEGIN
	IF role NOT IN ('penny_user', 'penny_agent', 'penny_admin') THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = format('role "%s" cannot have sessions', role);
	END IF;
	IF ttl <= '0' THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = 'ttl must be longer than nothing';
	END IF;
	PERFORM _penny.ensure_user(user_id);
	INSERT INTO chat.sessions (token_hash, user_id, role, expires_at)
		VALUES (sha256(convert_to(token, 'UTF8')), create_session.user_id, create_session.role, now() + ttl);
	RETURN token;
END
$$;
COMMENT ON FUNCTION penny.create_session(uuid, text, interval) IS 'Make a session token (pns_...) for a user; only its SHA-256 is stored, so it is shown once. Needs penny_admin';

CREATE OR REPLACE FUNCTION penny.publish(room text, event jsonb) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_publish_sql';
COMMENT ON FUNCTION penny.publish(text, jsonb) IS 'Send {"type":"event","room","event"} to all who are in the room when, and only when, the transaction commits; not stored. Needs access to the conversation of the room, penny_agent for other rooms';

-- What a caller sent: an object of known members, each of a type that fits.
-- `members` maps a name to the types it may have, parted by spaces.
CREATE OR REPLACE FUNCTION _penny.check_object(doc jsonb, members jsonb, at text DEFAULT '$') RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	name text;
	types text[];
	found text;
BEGIN
	IF doc IS NULL THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = 'a JSON object is missing', DETAIL = format('It is at %s.', at);
	END IF;
	IF jsonb_typeof(doc) <> 'object' THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400',
			MESSAGE = format('expected an object, not a value of type %s', jsonb_typeof(doc)), DETAIL = format('It is at %s.', at);
	END IF;
	FOR name IN SELECT jsonb_object_keys(doc) LOOP
		types := string_to_array(members ->> name, ' ');
		IF types IS NULL THEN
			RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = format('unknown member "%s"', name),
				DETAIL = format('It is at %s.%s.', at, name),
				HINT = 'Known are ' || (SELECT string_agg(k, ', ' ORDER BY k) FROM jsonb_object_keys(members) k) || '.';
		END IF;
		found := jsonb_typeof(doc -> name);
		IF found <> ALL (types) THEN
			RAISE EXCEPTION USING ERRCODE = 'PY400',
				MESSAGE = format('"%s" must be of type %s, not %s', name, array_to_string(types, ' or '), found),
				DETAIL = format('It is at %s.%s.', at, name);
		END IF;
	END LOOP;
END
$$;
COMMENT ON FUNCTION _penny.check_object(jsonb, jsonb, text) IS 'Raise PY400, saying what and where, unless the document is an object of known members of the right types';

CREATE OR REPLACE FUNCTION _penny.check_message(doc jsonb, at text DEFAULT '$') RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM _penny.check_object(doc, '{"role": "string", "content": "string null", "parts": "array null",
		"client_id": "string null", "head": "string null", "model": "string null", "metadata": "object null",
		"parent_id": "string null", "status": "string null"}', at);
	IF NOT doc ? 'role' THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = '"role" is missing', DETAIL = format('It is at %s.role.', at);
	END IF;
	IF doc ->> 'role' NOT IN ('user', 'assistant', 'system', 'developer', 'tool') THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = format('there is no role "%s"', doc ->> 'role'),
			DETAIL = format('It is at %s.role.', at), HINT = 'Roles are user, assistant, system, developer, tool.';
	END IF;
	IF doc ->> 'content' IS NULL AND coalesce(doc -> 'parts', 'null') = 'null' THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = 'a message needs "content" or "parts"', DETAIL = format('It is at %s.', at);
	END IF;
	IF octet_length(doc ->> 'client_id') NOT BETWEEN 1 AND 200 THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = '"client_id" must have 1 to 200 bytes',
			DETAIL = format('It is at %s.client_id.', at);
	END IF;
	PERFORM _penny.check_status(doc, at);
	PERFORM _penny.to_uuid(doc ->> 'head', at || '.head');
	PERFORM _penny.to_uuid(doc ->> 'parent_id', at || '.parent_id');
END
$$;
COMMENT ON FUNCTION _penny.check_message(jsonb, text) IS 'Raise PY400 unless the document is a message that can be written';

CREATE OR REPLACE FUNCTION _penny.check_status(doc jsonb, at text) RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF doc ->> 'status' NOT IN ('pending', 'streaming', 'completed', 'failed', 'cancelled', 'interrupted') THEN
		RAISE EXCEPTION USING ERRCODE = 'PY400', MESSAGE = format('there is no status "%s"', doc ->> 'status'),
			DETAIL = format('It is at %s.status.', at), HINT = 'A message is pending, streaming, completed, failed, cancelled or interrupted.';
	END IF;
END
$$;
COMMENT ON FUNCTION _penny.check_status(jsonb, text) IS 'Raise PY400 unless the status of a message is one';

CREATE OR REPLACE FUNCTION _penny.to_uuid(value text, at text, code text DEFAULT 'PY400') RETURNS uuid
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF value !~ '^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$' THEN
		RAISE EXCEPTION USING ERRCODE = code, MESSAGE = format('%s is not a UUID', regexp_replace(at, '^.*\.', '')),
			DETAIL = format('It is at %s.', at);
	END IF;
	RETURN value::uuid;
END
$$;
COMMENT ON FUNCTION _penny.to_uuid(text, text, text) IS 'Text to UUID, or an error that says where';

REVOKE EXECUTE ON FUNCTION
	penny.conversation(uuid, integer), _penny.conversation_json(uuid, integer),
	penny.conversations_by_id(uuid[], integer),
	penny.conversations(integer, text, boolean), penny.messages(uuid, bigint, bigint, integer),
	_penny.message(uuid), _penny.not_found(text, uuid), _penny.caller(),
	penny.create_conversation(text, jsonb, uuid, jsonb), _penny.write_messages(uuid, jsonb),
	_penny.write_message(uuid, text, text, jsonb, text, uuid, text, jsonb, uuid, text, bigint, bigint),
	penny.add_message(uuid, text, text, jsonb, text, uuid, text, jsonb, uuid, text, bigint, bigint),
	penny.update_message(uuid, uuid, text, jsonb, text, jsonb), penny.delete_message(uuid, uuid),
	penny.update_conversation(uuid, jsonb), penny.delete_conversation(uuid),
	penny.add_participant(uuid, uuid), penny.remove_participant(uuid, uuid),
	penny.create_session(uuid, text, interval), penny.publish(text, jsonb),
	_penny.check_object(jsonb, jsonb, text), _penny.check_message(jsonb, text),
	_penny.check_status(jsonb, text), _penny.to_uuid(text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
	penny.conversation(uuid, integer), _penny.conversation_json(uuid, integer),
	penny.conversations_by_id(uuid[], integer),
	penny.conversations(integer, text, boolean), penny.messages(uuid, bigint, bigint, integer),
	_penny.message(uuid), _penny.not_found(text, uuid), _penny.caller(),
	penny.create_conversation(text, jsonb, uuid, jsonb), _penny.write_messages(uuid, jsonb),
	_penny.write_message(uuid, text, text, jsonb, text, uuid, text, jsonb, uuid, text, bigint, bigint),
	penny.add_message(uuid, text, text, jsonb, text, uuid, text, jsonb, uuid, text, bigint, bigint),
	penny.update_message(uuid, uuid, text, jsonb, text, jsonb), penny.delete_message(uuid, uuid),
	penny.update_conversation(uuid, jsonb), penny.delete_conversation(uuid),
	penny.add_participant(uuid, uuid), penny.remove_participant(uuid, uuid),
	penny.publish(text, jsonb),
	_penny.check_object(jsonb, jsonb, text), _penny.check_message(jsonb, text),
	_penny.check_status(jsonb, text), _penny.to_uuid(text, text, text) TO penny_user;
GRANT EXECUTE ON FUNCTION penny.create_session(uuid, text, interval) TO penny_admin;

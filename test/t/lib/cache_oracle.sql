-- What the oracle test of the cache runs inside the server (115_cache_oracle.pl):
-- callers, questions, changes, and a procedure that asks each question twice,
-- as everybody asks, and in a SERIALIZABLE transaction, which goes around the
-- cache, and compares what came to the byte.
CREATE SCHEMA oracle;
CREATE EXTENSION dblink SCHEMA oracle;
GRANT USAGE ON SCHEMA oracle TO PUBLIC;

-- A role of one's own, of few rights at first; and one that owns the tables,
-- whom policies do not concern.
CREATE ROLE oracle_reader;
CREATE ROLE oracle_owner;
GRANT penny_user TO oracle_reader;
GRANT penny_admin TO oracle_owner;
DO $$
DECLARE
	name text;
BEGIN
	EXECUTE format('GRANT CREATE ON DATABASE %I TO oracle_owner', current_database());
	FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'chat' LOOP
		EXECUTE format('ALTER TABLE chat.%I OWNER TO oracle_owner', name);
	END LOOP;
	ALTER SCHEMA chat OWNER TO oracle_owner;
END
$$;

CREATE FUNCTION oracle.uid(n integer) RETURNS uuid LANGUAGE sql IMMUTABLE
RETURN ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid;
CREATE FUNCTION oracle.cid(n integer) RETURNS uuid LANGUAGE sql IMMUTABLE
RETURN ('00000000-0000-7000-9000-' || lpad(n::text, 12, '0'))::uuid;

-- Low numbers more often than high ones.
CREATE FUNCTION oracle.skewed(n integer) RETURNS integer LANGUAGE sql VOLATILE
RETURN 1 + floor(n * power(random(), 3))::integer;
CREATE FUNCTION oracle.one_of(VARIADIC choices text[]) RETURNS text LANGUAGE sql VOLATILE
RETURN choices[1 + floor(random() * cardinality(choices))::integer];

-- What policies of one's own ask.
CREATE TABLE oracle.told (user_id uuid PRIMARY KEY);
CREATE TABLE oracle.untold (user_id uuid PRIMARY KEY);
GRANT SELECT ON oracle.told, oracle.untold TO PUBLIC;
CREATE TRIGGER told AFTER INSERT OR UPDATE OR DELETE ON oracle.told FOR EACH ROW EXECUTE FUNCTION penny.invalidate();
CREATE TRIGGER emptied AFTER TRUNCATE ON oracle.told FOR EACH STATEMENT EXECUTE FUNCTION penny.invalidate();
ALTER TABLE oracle.told ENABLE ALWAYS TRIGGER told, ENABLE ALWAYS TRIGGER emptied;
CREATE FUNCTION oracle.judge(content text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$BEGIN RETURN content LIKE '%1%'; END$$;

-- Users 1 to 10; conversations 1 to 24 of random owners, members and messages.
INSERT INTO chat.users (id, name, avatar_url) SELECT oracle.uid(n), 'user ' || n, 'http://a/' || n FROM generate_series(1, 10) n;
INSERT INTO chat.conversations (id, owner_id, title)
	SELECT oracle.cid(n), oracle.uid(oracle.skewed(10)), 'talk ' || n FROM generate_series(1, 24) n;
INSERT INTO chat.participants (conversation_id, user_id)
	SELECT oracle.cid(n), oracle.uid(u) FROM generate_series(1, 24) n, generate_series(1, 10) u WHERE random() < 1.2 / u + 0.3 ON CONFLICT DO NOTHING;
INSERT INTO chat.messages (conversation_id, role, user_id, content, metadata)
	SELECT oracle.cid(n), 'user', oracle.uid(oracle.skewed(10)), 'm' || m || ' of ' || n, '{"k": 1}'
	FROM generate_series(1, 24) n, generate_series(1, 8) m WHERE random() < 0.8;
INSERT INTO chat.tools (id) VALUES ('tool');
INSERT INTO chat.models (id, name, context_tokens) SELECT 'model-' || n, 'Model ' || n, n * 1000 FROM generate_series(1, 5) n;
INSERT INTO chat.artifacts (id, conversation_id, kind, title)
	SELECT gen_random_uuid(), oracle.cid(oracle.skewed(24)), 'code', 'a' || n FROM generate_series(1, 20) n;
INSERT INTO chat.artifact_versions (artifact_id, conversation_id, content) SELECT id, conversation_id, title FROM chat.artifacts;
INSERT INTO chat.sessions (token_hash, user_id, role, expires_at)
	SELECT sha256(n::text::bytea), oracle.uid(oracle.skewed(10)), 'penny_user', now() + '1 day' FROM generate_series(1, 20) n;

-- ---- questions ----------------------------------------------------------------

CREATE TYPE oracle.question AS (kind integer, conversation uuid, n integer, place text);

CREATE FUNCTION oracle.ask(q oracle.question) RETURNS text
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	v jsonb;
	many jsonb[];
BEGIN
	CASE q.kind
		WHEN 0, 1, 2 THEN v := penny.conversation(q.conversation, (ARRAY[0, 4, 50])[q.n]);
		WHEN 3 THEN RETURN _penny.conversation_json(q.conversation, (ARRAY[0, 4, 50])[q.n])::text;
		WHEN 4, 5 THEN v := penny.conversations((ARRAY[2, 5, 20])[q.n], q.place, false);
		WHEN 6 THEN v := penny.conversations((ARRAY[2, 5, 20])[q.n], NULL, true);
		WHEN 7 THEN v := penny.messages(q.conversation, NULL, NULL, (ARRAY[2, 4, 50])[q.n]);
		WHEN 8 THEN v := penny.messages(q.conversation, (ARRAY[3, 6, NULL])[q.n], (ARRAY[NULL, 1, 2])[q.n], 3);
		WHEN 9 THEN v := penny.artifacts(q.conversation);
		WHEN 10 THEN v := penny.models();
		WHEN 11 THEN v := penny.sessions();
		WHEN 12 THEN
			SELECT array_agg(c) INTO many FROM penny.conversations_by_id(ARRAY[q.conversation, oracle.cid(q.n), oracle.cid(q.n + 1)], 4) c;
			RETURN pg_column_size(many) || many::text;
	END CASE;
	RETURN coalesce(pg_column_size(v) || ' ' || v::text, 'nothing');
EXCEPTION WHEN OTHERS THEN
	RETURN 'error ' || SQLSTATE || ' ' || SQLERRM;
END
$$;

-- ---- changes -----------------------------------------------------------------

-- A change of rows.
CREATE FUNCTION oracle.change_of_rows() RETURNS text
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	u uuid := oracle.uid(1 + floor(random() * 10)::integer);
	other uuid := oracle.uid(1 + floor(random() * 10)::integer);
	c uuid := oracle.cid(1 + floor(random() * 24)::integer);
	m record;
	word text := floor(random() * 1000)::text;
BEGIN
	SELECT * INTO m FROM chat.messages WHERE conversation_id = c ORDER BY random() LIMIT 1;
	CASE floor(random() * 34)::integer
		WHEN 0, 1, 2, 3 THEN RETURN format('INSERT INTO chat.messages (conversation_id, role, user_id, content) SELECT id, ''user'', %L, ''said %s'' FROM chat.conversations WHERE id = %L', u, word, c);
		WHEN 4 THEN RETURN format('INSERT INTO chat.messages (conversation_id, role, content) SELECT id, ''assistant'', ''answer %s'' FROM chat.conversations WHERE id = %L', word, c);
		WHEN 5, 6 THEN RETURN format('UPDATE chat.messages SET content = ''edited %s'' WHERE id = %L', word, m.id);
		WHEN 7, 8 THEN RETURN format('DELETE FROM chat.messages WHERE id = %L', m.id);
		WHEN 9, 10 THEN RETURN format('INSERT INTO chat.participants (conversation_id, user_id) SELECT id, %L FROM chat.conversations WHERE id = %L ON CONFLICT DO NOTHING', u, c);
		WHEN 11, 12 THEN RETURN format('DELETE FROM chat.participants p USING chat.conversations c WHERE c.id = p.conversation_id AND c.owner_id <> p.user_id AND p.conversation_id = %L AND p.user_id = %L', c, u);
		WHEN 13, 14 THEN RETURN format('UPDATE chat.users SET name = ''renamed %s'' WHERE id = %L', word, u);
		WHEN 15 THEN RETURN format('UPDATE chat.conversations SET title = %L WHERE id = %L', oracle.one_of('hidden', 'shown ' || word), c);
		WHEN 16, 17 THEN RETURN format('UPDATE chat.conversations SET archived_at = CASE WHEN archived_at IS NULL THEN now() END WHERE id = %L', c);
		WHEN 18 THEN RETURN format('UPDATE chat.conversations SET owner_id = %L WHERE id = %L', u, c);
		WHEN 19 THEN RETURN format('DELETE FROM chat.conversations WHERE id = %L', c);
		WHEN 20, 21 THEN RETURN format('INSERT INTO chat.conversations (id, owner_id, title) VALUES (%L, %L, ''new %s'') ON CONFLICT DO NOTHING', c, u, word);
		WHEN 22 THEN RETURN format('INSERT INTO chat.tool_executions (message_id, tool_id, user_id, input) SELECT id, ''tool'', user_id, ''{"x": %s}'' FROM chat.messages WHERE id = %L', word, m.id);
		WHEN 23 THEN RETURN format('UPDATE chat.tool_executions SET status = ''completed'', output = ''%s'' WHERE conversation_id = %L', word, c);
		WHEN 24 THEN RETURN format('INSERT INTO chat.artifacts (id, conversation_id, kind, title) SELECT gen_random_uuid(), id, ''text'', ''a%s'' FROM chat.conversations WHERE id = %L', word, c);
		WHEN 25 THEN RETURN format('INSERT INTO chat.artifact_versions (artifact_id, content) SELECT id, ''v%s'' FROM chat.artifacts WHERE conversation_id = %L LIMIT 1', word, c);
		WHEN 26 THEN RETURN format(oracle.one_of('DELETE FROM chat.artifacts WHERE conversation_id = %L', 'UPDATE chat.artifacts SET title = title || ''+'' WHERE conversation_id = %L'), c);
		WHEN 27 THEN RETURN oracle.one_of('UPDATE chat.models SET context_tokens = context_tokens + 1 WHERE id = ''model-1''', format('INSERT INTO chat.models (id) VALUES (''m%s'') ON CONFLICT DO NOTHING', word),
			'DELETE FROM chat.models WHERE id = (SELECT min(id) FROM chat.models WHERE id LIKE ''m%'' AND id NOT LIKE ''model%'')');
		WHEN 28 THEN RETURN format('INSERT INTO chat.sessions (token_hash, user_id, role, expires_at) VALUES (sha256(''%s''), %L, ''penny_user'', ''2100-01-01'') ON CONFLICT (token_hash) DO UPDATE SET user_id = excluded.user_id', word, u);
		WHEN 29 THEN RETURN format('DELETE FROM chat.sessions WHERE user_id = %L', u);
		WHEN 30 THEN RETURN format('UPDATE chat.users SET avatar_url = ''http://%s'' WHERE id = %L', word, u);
		WHEN 31 THEN RETURN format('DO $do$BEGIN UPDATE chat.messages SET content = ''never'' WHERE conversation_id = %L; RAISE EXCEPTION ''no''; EXCEPTION WHEN raise_exception THEN NULL; END$do$', c);
		WHEN 32 THEN RETURN format('SET LOCAL session_replication_role = replica; UPDATE chat.%s; SET LOCAL session_replication_role = origin', format(oracle.one_of(
			'messages SET content = ''replicated'' WHERE conversation_id = %L', 'conversations SET archived_at = NULL, title = ''replicated'' WHERE id = %L',
			'participants SET active_at = active_at - interval ''1 day'' WHERE conversation_id = %L'), c));
		WHEN 33 THEN RETURN format('UPDATE chat.messages SET user_id = %L WHERE user_id = %L AND conversation_id = %L', u, other, c);
	END CASE;
END
$$;

CREATE FUNCTION oracle.restrict(target text, condition text) RETURNS text LANGUAGE sql IMMUTABLE
RETURN format('CREATE POLICY own ON %s AS RESTRICTIVE FOR SELECT USING (%s)', target, condition);

CREATE FUNCTION oracle.change_of_rights() RETURNS text LANGUAGE sql VOLATILE
RETURN oracle.one_of('REVOKE SELECT ON chat.models FROM penny_user', 'GRANT SELECT ON chat.models TO penny_user',
	'REVOKE EXECUTE ON FUNCTION penny.sessions() FROM penny_user', 'GRANT EXECUTE ON FUNCTION penny.sessions() TO penny_user',
	'REVOKE penny_admin FROM oracle_reader', 'GRANT penny_admin TO oracle_reader',
	'ALTER ROLE oracle_reader BYPASSRLS', 'ALTER ROLE oracle_reader NOBYPASSRLS',
	'ALTER TABLE chat.artifacts DISABLE ROW LEVEL SECURITY', 'ALTER TABLE chat.artifacts ENABLE ROW LEVEL SECURITY',
	'ALTER TABLE chat.messages ADD COLUMN IF NOT EXISTS extra integer DEFAULT 1', 'ALTER TABLE chat.messages DROP COLUMN IF EXISTS extra',
	'TRUNCATE chat.tool_executions', 'TRUNCATE chat.sessions', 'TRUNCATE oracle.told, oracle.untold',
	'UPDATE chat.messages SET metadata = ''{}''');

-- The run goes through topics: what catalogs are like meanwhile, ...
CREATE FUNCTION oracle.begin_topic(topic integer) RETURNS text LANGUAGE sql VOLATILE
RETURN (ARRAY[
	'RESET work_mem',
	oracle.restrict('chat.messages', 'user_id IS NULL OR _penny.can_see_user(user_id)'),
	oracle.restrict('chat.messages', 'NOT EXISTS (SELECT FROM oracle.told t WHERE t.user_id = messages.user_id)'),
	oracle.restrict('chat.messages', 'NOT EXISTS (SELECT FROM oracle.untold t WHERE t.user_id = messages.user_id)'),
	oracle.restrict('chat.messages', 'current_setting(''oracle.hidden'', true) IS DISTINCT FROM role'),
	oracle.restrict('chat.conversations', 'title <> ''hidden'''),
	'ALTER TABLE chat.messages DISABLE TRIGGER penny_invalidate',
	oracle.restrict('chat.messages', 'oracle.judge(content)'),
	oracle.restrict('chat.conversations', 'owner_id = (SELECT penny.user_id()) OR (SELECT _penny.is_admin())'),
	oracle.restrict('chat.artifacts', '_penny.can_manage(conversation_id)'),
	oracle.restrict('chat.messages', 'content NOT LIKE ''%3%'''),
	'CREATE TABLE oracle.child () INHERITS (chat.messages)',
	'RESET work_mem',
	oracle.restrict('chat.participants', 'active_at > ''2020-01-01''')])[topic];

-- ... what happens at a fixed point of one, by luck it might never: a right is
-- there, is taken from callers who just got an answer, and given back (rest:
-- changes until the next topic), ...
CREATE FUNCTION oracle.certain_change(topic integer, rest integer) RETURNS text LANGUAGE sql IMMUTABLE
RETURN CASE WHEN topic = 13 THEN (ARRAY[
	'GRANT EXECUTE ON FUNCTION penny.sessions() TO penny_user',
	'REVOKE EXECUTE ON FUNCTION penny.sessions() FROM penny_user',
	'GRANT SELECT ON chat.models TO penny_user',
	'REVOKE SELECT ON chat.models FROM penny_user',
	'GRANT SELECT ON chat.models TO penny_user; GRANT EXECUTE ON FUNCTION penny.sessions() TO penny_user'])[rest] END;

-- ... the change that goes with it, ...
CREATE FUNCTION oracle.change_of_topic(topic integer) RETURNS text
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
	u uuid := oracle.uid(oracle.skewed(10));
	c uuid := oracle.cid(oracle.skewed(24));
	n integer := floor(random() * 10);
BEGIN
	CASE topic
		WHEN 2 THEN RETURN format(oracle.one_of(
			'INSERT INTO chat.participants (conversation_id, user_id) SELECT id, %L FROM chat.conversations WHERE id = %L ON CONFLICT DO NOTHING',
			'DELETE FROM chat.participants p USING chat.conversations c WHERE c.id = p.conversation_id AND c.owner_id <> p.user_id AND p.user_id = %1$L'), u, c);
		WHEN 3 THEN RETURN format(oracle.one_of('INSERT INTO oracle.told VALUES (%L) ON CONFLICT DO NOTHING', 'DELETE FROM oracle.told WHERE user_id = %L'), u);
		WHEN 4 THEN RETURN format(oracle.one_of('INSERT INTO oracle.untold VALUES (%L) ON CONFLICT DO NOTHING', 'DELETE FROM oracle.untold WHERE user_id = %L'), u);
		WHEN 6 THEN RETURN format('UPDATE chat.conversations SET title = CASE title WHEN ''hidden'' THEN ''shown'' ELSE ''hidden'' END WHERE id = %L', c);
		WHEN 7 THEN RETURN format('UPDATE chat.messages SET content = ''unheard %s'' WHERE conversation_id = %L', n, c);
		WHEN 8 THEN RETURN format('CREATE OR REPLACE FUNCTION oracle.judge(content text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS ''BEGIN RETURN content LIKE ''''%%%s%%''''; END''', n);
		WHEN 9, 10 THEN RETURN format('UPDATE chat.conversations SET owner_id = %L WHERE id = %L', u, c);
		WHEN 11 THEN RETURN format('ALTER POLICY own ON chat.messages USING (content NOT LIKE ''%%%s%%'')', n);
		WHEN 12 THEN RETURN format('INSERT INTO oracle.child (id, conversation_id, seq, version, created_version, role, content) SELECT gen_random_uuid(), id, 1000 + %s, version, version, ''user'', ''of a child'' FROM chat.conversations WHERE id = %L', n, c);
		WHEN 13 THEN RETURN oracle.change_of_rights();
		WHEN 14 THEN RETURN format('SET LOCAL session_replication_role = replica; UPDATE chat.participants SET active_at = active_at + interval ''20 years'' * (CASE WHEN active_at < ''2020-01-01'' THEN 1 ELSE -1 END) WHERE user_id = %L AND conversation_id = %L; SET LOCAL session_replication_role = origin', u, c);
		ELSE RETURN oracle.change_of_rows();
	END CASE;
END
$$;

-- ... and back; and the conversations that are asked for most are there again,
-- with those who ask most, or there would be less to answer with each topic.
CREATE FUNCTION oracle.end_topic() RETURNS text LANGUAGE sql STABLE
RETURN coalesce((SELECT string_agg(format('DROP POLICY own ON %s; ', polrelid::regclass), '') FROM pg_policy WHERE polname = 'own'), '')
	|| 'ALTER TABLE chat.messages ENABLE ALWAYS TRIGGER penny_invalidate; DROP TABLE IF EXISTS oracle.child;'
	|| 'GRANT SELECT ON chat.models TO penny_user; GRANT EXECUTE ON FUNCTION penny.sessions() TO penny_user;'
	|| 'ALTER TABLE chat.artifacts ENABLE ROW LEVEL SECURITY; ALTER ROLE oracle_reader NOBYPASSRLS; REVOKE penny_admin FROM oracle_reader;'
	|| 'INSERT INTO chat.conversations (id, owner_id, title) SELECT oracle.cid(n), oracle.uid(n), ''back '' || n FROM generate_series(1, 8) n ON CONFLICT DO NOTHING;'
	|| 'INSERT INTO chat.participants (conversation_id, user_id) SELECT oracle.cid(n), oracle.uid(u) FROM generate_series(1, 8) n, generate_series(1, 3) u ON CONFLICT DO NOTHING';

-- ---- the oracle ---------------------------------------------------------------

CREATE PROCEDURE oracle.run(cases integer, seed double precision, first integer, INOUT report jsonb DEFAULT NULL)
LANGUAGE plpgsql AS $$
DECLARE
	callers CONSTANT integer := 5;
	asked CONSTANT integer := 48; -- by each, between two changes
	-- a few at a time: plans are kept for four roles; the last are those who lose by a certain change
	roles CONSTANT text[] := '{{penny_user,penny_user,penny_user,penny_agent,penny_admin},{penny_user,penny_user,penny_user,oracle_reader,oracle_owner},{penny_user,penny_user,penny_agent,oracle_reader,penny_admin}}';
	who integer[];
	as_role text[];
	questions oracle.question[];
	cached text[];
	cursors text[];
	change text;
	recent text[] := '{}';
	topics integer[] := '{}';
	uncached text;
	wrong jsonb := '[]';
	done integer := 0;
	changes integer := 0;
	topic integer;
	rest integer := 0; -- changes until the next topic
	certain boolean := false; -- the change is
	again boolean; -- one certain change follows another: the same ask the same
	before text[]; -- what they got
	denials integer := 0;
	taken integer := 0; -- of them, to callers who were just answered
	n integer;
BEGIN
	SET client_min_messages = error;
	PERFORM setseed(seed);
	PERFORM oracle.dblink_connect('other', format('dbname=%L host=%L port=%s user=%L', current_database(), split_part(current_setting('unix_socket_directories'), ',', 1), current_setting('port'), current_user));
	COMMIT;
	WHILE done < cases LOOP
		-- a change, here or by another session
		IF rest = 0 THEN
			topic := 1 + (first + cardinality(topics)) % 14;
			-- a short one where reads go around the cache
			rest := CASE WHEN topic IN (4, 5, 7, 12) THEN 8 ELSE 24 END;
			topics := topics || topic;
			EXECUTE oracle.end_topic();
			COMMIT;
			change := oracle.begin_topic(topic);
		ELSIF oracle.certain_change(topic, rest) IS NOT NULL THEN
			change := oracle.certain_change(topic, rest);
		ELSIF random() < (CASE WHEN topic IN (8, 11, 13) THEN 0.15 ELSE 0.35 END) THEN
			change := oracle.change_of_topic(topic);
		ELSIF random() < 0.02 THEN
			change := oracle.change_of_rights();
		ELSE
			change := oracle.change_of_rows();
		END IF;
		again := certain;
		certain := oracle.certain_change(topic, rest) IS NOT NULL;
		recent := (change || recent)[1:8];
		rest := rest - 1;
		IF topic = 5 THEN
			PERFORM set_config('oracle.hidden', oracle.one_of('user', 'assistant'), false);
		END IF;
		COMMIT;
		IF random() < 0.5 THEN
			EXECUTE change;
		ELSE
			PERFORM oracle.dblink_exec('other', change);
		END IF;
		COMMIT;
		changes := changes + 1;
		-- who asks what
		IF NOT (certain AND again) THEN
			SELECT array_agg(oracle.skewed(10)), array_agg(roles[1 + changes / 50 % 3][1 + floor(random() * 5)::integer])
				INTO who, as_role FROM generate_series(1, callers);
			SELECT array_agg((floor(extract(epoch FROM p.active_at) * 1000000) - 946684800000000)::bigint || '_' || p.conversation_id)
				INTO cursors FROM (SELECT * FROM chat.participants ORDER BY random() LIMIT 4) p;
			SELECT array_agg(ROW(floor(random() * 13), oracle.cid(oracle.skewed(24)), oracle.skewed(3),
					CASE WHEN random() < 0.3 THEN cursors[oracle.skewed(4)] END)::oracle.question)
				INTO questions FROM generate_series(1, callers * asked);
			IF certain THEN
				as_role := (SELECT array_agg(roles[3][i] ORDER BY i) FROM generate_series(1, callers) i);
				FOR c IN 1 .. callers LOOP
					questions[c * asked - 1].kind := 10;
					questions[c * asked].kind := 11;
				END LOOP;
			END IF;
		END IF;
		COMMIT;
		before := cached;
		cached := '{}';
		FOR c IN 1 .. callers LOOP
			PERFORM penny.act_as(oracle.uid(who[c]), as_role[c]);
			FOR i IN 1 .. asked LOOP
				n := (c - 1) * asked + i;
				cached[n] := oracle.ask(questions[n]);
			END LOOP;
			PERFORM penny.act_as(NULL);
		END LOOP;
		COMMIT;
		SET TRANSACTION ISOLATION LEVEL SERIALIZABLE;
		FOR c IN 1 .. callers LOOP
			PERFORM penny.act_as(oracle.uid(who[c]), as_role[c]);
			FOR i IN 1 .. asked LOOP
				n := (c - 1) * asked + i;
				uncached := oracle.ask(questions[n]);
				IF uncached LIKE 'error 42501 %' THEN
					denials := denials + 1;
					IF certain AND again AND before[n] NOT LIKE 'error %' THEN
						taken := taken + 1;
					END IF;
				ELSIF uncached LIKE 'error %' THEN
					RAISE EXCEPTION 'the answer to % is %', questions[n], uncached;
				END IF;
				IF uncached IS DISTINCT FROM cached[n] AND jsonb_array_length(wrong) < 5 THEN
					wrong := wrong || jsonb_build_object('topic', topic, 'caller', who[c], 'role', as_role[c], 'question', questions[n]::text,
						'cached', left(cached[n], 600), 'uncached', left(uncached, 600), 'changes', recent);
				END IF;
			END LOOP;
			PERFORM penny.act_as(NULL);
		END LOOP;
		COMMIT;
		done := done + callers * asked;
		EXIT WHEN jsonb_array_length(wrong) >= 5;
	END LOOP;
	PERFORM oracle.dblink_disconnect('other');
	report := jsonb_build_object('cases', done, 'changes', changes, 'topics', topics, 'denials', denials, 'taken', taken, 'wrong', wrong);
END
$$;

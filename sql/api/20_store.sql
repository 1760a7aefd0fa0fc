-- Laying schema chat, and what its policies and triggers call.

-- Asked by the policies of schema chat for each row, so written in C: one
-- look-up past the policies of participants, remembered for the snapshot.
CREATE OR REPLACE FUNCTION _penny.can_access(conversation uuid) RETURNS boolean
LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 10
AS 'MODULE_PATHNAME', 'penny_can_access';
COMMENT ON FUNCTION _penny.can_access(uuid) IS 'May the caller see the conversation: as a participant, or as penny_admin';

CREATE OR REPLACE FUNCTION _penny.can_manage(conversation uuid) RETURNS boolean
LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 10
AS 'MODULE_PATHNAME', 'penny_can_manage';
COMMENT ON FUNCTION _penny.can_manage(uuid) IS 'May the caller change title, marks and participants, or delete: as the owner, as a participant with penny_agent, or as penny_admin';

CREATE OR REPLACE FUNCTION _penny.can_see_user(user_id uuid) RETURNS boolean
LANGUAGE c STABLE STRICT PARALLEL RESTRICTED COST 1000
AS 'MODULE_PATHNAME', 'penny_can_see_user';
COMMENT ON FUNCTION _penny.can_see_user(uuid) IS 'Does the caller share a conversation with the user';

CREATE OR REPLACE FUNCTION _penny.is_agent() RETURNS boolean
LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'penny_is_agent';
COMMENT ON FUNCTION _penny.is_agent() IS 'Has the current role the rights of penny_agent';

CREATE OR REPLACE FUNCTION _penny.is_user() RETURNS boolean
LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'penny_is_user';
COMMENT ON FUNCTION _penny.is_user() IS 'Has the current role the rights of penny_user';

CREATE OR REPLACE FUNCTION _penny.is_admin() RETURNS boolean
LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'penny_is_admin';
COMMENT ON FUNCTION _penny.is_admin() IS 'Has the current role the rights of penny_admin';

CREATE OR REPLACE FUNCTION _penny.order_change() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_order_change';
COMMENT ON FUNCTION _penny.order_change() IS 'Trigger of schema chat: locks the conversation and numbers the change';

CREATE OR REPLACE FUNCTION _penny.publish_change() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_publish_row';
COMMENT ON FUNCTION _penny.publish_change() IS 'Trigger of schema chat: keeps counters, leaves tombstones, publishes';

CREATE OR REPLACE FUNCTION _penny.flush_changes() RETURNS trigger
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_flush_changes';
COMMENT ON FUNCTION _penny.flush_changes() IS 'Trigger of schema chat: writes the conversations back';

CREATE OR REPLACE FUNCTION _penny.lock_conversation(conversation uuid) RETURNS boolean
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_lock_conversation';
COMMENT ON FUNCTION _penny.lock_conversation(uuid) IS 'Lock a conversation that the caller may see, before its rows; false where there is none';

CREATE OR REPLACE FUNCTION _penny.ensure_user(user_id uuid) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_ensure_user';
COMMENT ON FUNCTION _penny.ensure_user(uuid) IS 'Make the row of a user whom only a token or an invitation has named';

-- Does the object of a step stand?
CREATE OR REPLACE FUNCTION _penny.store_stands(kind text, name text) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	target text := pg_catalog.split_part(name, ' ', 1);
	object text := pg_catalog.split_part(name, ' ', 2);
BEGIN
	CASE kind
		WHEN 'schema' THEN
			RETURN EXISTS (SELECT FROM pg_namespace WHERE nspname = target);
		WHEN 'table', 'index' THEN
			RETURN to_regclass(target) IS NOT NULL;
		WHEN 'trigger' THEN
			RETURN EXISTS (SELECT FROM pg_trigger WHERE tgrelid = to_regclass(target) AND tgname = object);
		WHEN 'policy' THEN
			RETURN EXISTS (SELECT FROM pg_policy WHERE polrelid = to_regclass(target) AND polname = object);
		WHEN 'rls' THEN
			RETURN (SELECT relrowsecurity FROM pg_class WHERE oid = to_regclass(target));
		WHEN 'grant' THEN
			RETURN EXISTS (
				SELECT FROM pg_roles r,
					LATERAL (
						SELECT relacl AS acl FROM pg_class WHERE oid = to_regclass(target)
						UNION ALL
						SELECT attacl FROM pg_attribute WHERE attrelid = to_regclass(target)
						UNION ALL
						SELECT nspacl FROM pg_namespace WHERE nspname = target) o,
					aclexplode(o.acl) a
				WHERE r.rolname = object AND a.grantee = r.oid);
	END CASE;
END
$$;
COMMENT ON FUNCTION _penny.store_stands(text, text) IS 'Does the object of a step of the store stand';

-- Only a table is read: a view would run what its owner has put there with the
-- rights of the caller.
CREATE OR REPLACE FUNCTION _penny.store_is_there() RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN EXISTS (SELECT FROM pg_tables WHERE schemaname = 'chat' AND tablename = 'store');
END
$$;
COMMENT ON FUNCTION _penny.store_is_there() IS 'Is there a table chat.store';

-- Who lays something must own what stands in schema chat: a trigger that
-- somebody else has put there would run with the caller's rights.
CREATE OR REPLACE FUNCTION _penny.check_store_owner() RETURNS void
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	me oid := (SELECT oid FROM pg_roles WHERE rolname = current_user);
	other record;
BEGIN
	SELECT o.* INTO other FROM (
		SELECT 1 AS n, 'schema chat' AS what, nspowner AS owner FROM pg_namespace WHERE nspname = 'chat'
		UNION ALL
		SELECT 2, 'chat.' || c.relname, c.relowner FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			JOIN _penny.store_step s ON s.kind = 'table' AND s.name = 'chat.' || c.relname
			WHERE n.nspname = 'chat') o
		WHERE o.owner <> me ORDER BY o.n, o.what LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION USING ERRCODE = 'insufficient_privilege',
			MESSAGE = format('%s belongs to %s', other.what, other.owner::regrole),
			HINT = format('Call as its owner: SET ROLE %s.', other.owner::regrole);
	END IF;
END
$$;
COMMENT ON FUNCTION _penny.check_store_owner() IS 'Raise an error when schema chat or a table of the store belongs to another role than the caller';

-- Run the missing steps up to a version; gives how many of each kind.
-- pg_restore --disable-triggers leaves them firing by the session's role only,
-- and an owner may have switched one off.
CREATE OR REPLACE FUNCTION _penny.idle_triggers(OUT "table" text, OUT trigger text)
RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('%I.%I', n.nspname, c.relname), t.tgname::text
	FROM _penny.store_step s
	JOIN pg_namespace n ON n.nspname = 'chat'
	JOIN pg_class c ON c.relnamespace = n.oid
	JOIN pg_trigger t ON t.tgrelid = c.oid AND NOT t.tgisinternal
	WHERE s.kind = 'trigger' AND s.name = n.nspname || '.' || c.relname || ' ' || t.tgname
		AND t.tgenabled <> 'A'
	ORDER BY s.number
$$;
COMMENT ON FUNCTION _penny.idle_triggers() IS 'Triggers of the store that stand but do not always fire';

CREATE OR REPLACE FUNCTION _penny.lay_store(up_to integer) RETURNS jsonb
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning
AS $$
DECLARE
	step record;
	idle record;
	laid jsonb := '{}';
	recorded integer;
BEGIN
	PERFORM pg_advisory_xact_lock(hashtext('penny.create_store'));
	IF _penny.store_is_there() THEN
		EXECUTE 'SELECT max(version) FROM chat.store' INTO recorded;
	END IF;
	FOR step IN SELECT * FROM _penny.store_step WHERE version <= up_to ORDER BY number LOOP
		-- a change of tables runs once, when the store comes to its version;
		-- everything else runs when it is missing
		IF step.kind = 'change' THEN
			CONTINUE WHEN step.version <= coalesce(recorded, 0);
		ELSE
			CONTINUE WHEN _penny.store_stands(step.kind, step.name);
		END IF;
		IF laid = '{}' THEN
			PERFORM _penny.check_store_owner();
		END IF;
		EXECUTE step.body;
		laid := laid || jsonb_build_object(step.kind, coalesce((laid ->> step.kind)::integer, 0) + 1);
	END LOOP;
	FOR idle IN SELECT * FROM _penny.idle_triggers() LOOP
		EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', idle."table", idle.trigger);
		laid := laid || jsonb_build_object('trigger', coalesce((laid ->> 'trigger')::integer, 0) + 1);
	END LOOP;
	IF recorded IS DISTINCT FROM up_to THEN
		PERFORM _penny.check_store_owner();
	END IF;
	IF recorded IS NULL THEN
		EXECUTE 'INSERT INTO chat.store (version) VALUES ($1)' USING up_to;
	ELSIF recorded < up_to THEN
		EXECUTE 'UPDATE chat.store SET version = $1, laid_at = now()' USING up_to;
	END IF;
	RETURN laid;
END
$$;
COMMENT ON FUNCTION _penny.lay_store(integer) IS 'Run the missing steps of the store up to a version';

CREATE OR REPLACE FUNCTION penny.create_store() RETURNS text
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	newest integer := (SELECT max(version) FROM _penny.store_step);
	recorded integer;
	laid jsonb;
BEGIN
	IF _penny.store_is_there() THEN
		EXECUTE 'SELECT max(version) FROM chat.store' INTO recorded;
	END IF;
	-- an older store stays at its version until upgrade_store() is called
	laid := _penny.lay_store(coalesce(recorded, newest));
	RETURN format('store of version %s in schema chat: %s', coalesce(recorded, newest),
		CASE WHEN laid = '{}' THEN 'all stands, nothing was changed'
		ELSE 'laid ' || (SELECT string_agg(format('%s %s', value, CASE
				WHEN key = 'rls' THEN 'row security settings'
				WHEN value = '1' THEN key
				WHEN key = 'policy' THEN 'policies'
				WHEN key = 'index' THEN 'indexes'
				ELSE key || 's' END), ', ' ORDER BY key) FROM jsonb_each_text(laid)) END)
		|| CASE WHEN recorded < newest
			THEN format('; version %s is there, take it with SELECT penny.upgrade_store()', newest)
			ELSE '' END;
END
$$;
COMMENT ON FUNCTION penny.create_store() IS 'Lay what is missing of the tables, triggers, policies and grants of schema chat; the caller owns what is made. Repeated, it says what stands and changes nothing';

CREATE OR REPLACE FUNCTION penny.upgrade_store() RETURNS text
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	newest integer := (SELECT max(version) FROM _penny.store_step);
	recorded integer;
BEGIN
	IF NOT _penny.store_is_there() THEN
		RAISE EXCEPTION USING ERRCODE = 'undefined_table', MESSAGE = 'there is no store to upgrade',
			HINT = 'Lay one with SELECT penny.create_store().';
	END IF;
	EXECUTE 'SELECT max(version) FROM chat.store' INTO recorded;
	IF recorded >= newest THEN
		RETURN format('store is of version %s, nothing was changed', recorded);
	END IF;
	PERFORM _penny.lay_store(newest);
	RETURN format('store went from version %s to %s', recorded, newest);
END
$$;
COMMENT ON FUNCTION penny.upgrade_store() IS 'Apply the steps of newer versions of the store';

REVOKE EXECUTE ON FUNCTION
	_penny.can_access(uuid), _penny.can_manage(uuid), _penny.can_see_user(uuid),
	_penny.is_user(), _penny.is_agent(), _penny.is_admin(),
	_penny.order_change(), _penny.publish_change(), _penny.flush_changes(),
	_penny.lock_conversation(uuid), _penny.ensure_user(uuid),
	_penny.store_stands(text, text), _penny.store_is_there(), _penny.check_store_owner(), _penny.idle_triggers(), _penny.lay_store(integer),
	penny.create_store(), penny.upgrade_store() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION
	_penny.can_access(uuid), _penny.can_manage(uuid), _penny.can_see_user(uuid),
	_penny.is_user(), _penny.is_agent(), _penny.is_admin(),
	_penny.lock_conversation(uuid), _penny.ensure_user(uuid) TO penny_user;
GRANT EXECUTE ON FUNCTION
	_penny.order_change(), _penny.publish_change(), _penny.flush_changes(),
	_penny.store_stands(text, text), _penny.store_is_there(), _penny.check_store_owner(), _penny.idle_triggers(), _penny.lay_store(integer),
	penny.create_store(), penny.upgrade_store() TO penny_admin;

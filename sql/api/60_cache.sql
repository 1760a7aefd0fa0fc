-- The cache: results of functions, invalidation of what a user's tables hold,
-- and what shows and checks it.  How it stays coherent: src/cache.

CREATE OR REPLACE FUNCTION penny.invalidate() RETURNS trigger
LANGUAGE c VOLATILE
AS 'MODULE_PATHNAME', 'penny_invalidate';
COMMENT ON FUNCTION penny.invalidate() IS
'Trigger, AFTER, each row or each statement with transition tables, ENABLE ALWAYS: ends what was cached under the tags "name:value" of its arguments, pairs of a name and a column; without arguments under "schema.table"';

CREATE OR REPLACE FUNCTION penny.cached(
	fn regprocedure, args jsonb DEFAULT NULL, ttl interval DEFAULT '300 s') RETURNS jsonb
LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'penny_cached';
COMMENT ON FUNCTION penny.cached(regprocedure, jsonb, interval) IS
'The result of fn(args) or fn(), from memory when it is there: STABLE functions that return jsonb. At most ttl old, and exact in what it declared by penny.cache_tag()';

CREATE OR REPLACE FUNCTION penny.cache_tag(VARIADIC tags text[]) RETURNS void
LANGUAGE c STABLE STRICT PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'penny_cache_tag';
COMMENT ON FUNCTION penny.cache_tag(text[]) IS
'Called by a cached function or route: its result depends on these tags, such as project:42, and ends when a penny.invalidate() trigger raises one';

CREATE OR REPLACE FUNCTION penny.cache_stats() RETURNS jsonb
LANGUAGE c VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'penny_cache_stats';
COMMENT ON FUNCTION penny.cache_stats() IS
'What is cached, and counters of hits, misses and refusals since the server started';

CREATE OR REPLACE FUNCTION penny.cache_entries(
	OUT kind text, OUT label text, OUT state text, OUT status integer, OUT bytes bigint,
	OUT tags integer, OUT age interval, OUT expires_in interval, OUT etag text, OUT content text)
RETURNS SETOF record
LANGUAGE c VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'penny_show_cache_entries';
COMMENT ON FUNCTION penny.cache_entries() IS
'What is cached: one row for each entry, equal content where entries share their bytes';

CREATE OR REPLACE FUNCTION penny.cache_clear() RETURNS bigint
LANGUAGE c VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'penny_clear_cache';
COMMENT ON FUNCTION penny.cache_clear() IS 'Drop all that is cached; gives the number of entries';

CREATE OR REPLACE FUNCTION _penny.cache_past(past boolean) RETURNS boolean
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_cache_past';
COMMENT ON FUNCTION _penny.cache_past(boolean) IS
'Read past the cache until told otherwise or until the transaction ends; gives what was in force';

CREATE OR REPLACE FUNCTION _penny.cache_verified(hits bigint, violations bigint) RETURNS void
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_cache_verified';
COMMENT ON FUNCTION _penny.cache_verified(bigint, bigint) IS
'Count hits that were compared with the tables';

CREATE OR REPLACE FUNCTION _penny.cache_check(
	"table" regclass, times bigint, keys integer, pause_us integer DEFAULT 0) RETURNS jsonb
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_cache_check';
COMMENT ON FUNCTION _penny.cache_check(regclass, bigint, integer, integer) IS
'Compare hits with a table (key integer, version bigint) while others raise versions, with trigger penny.invalidate(''check'', <key>); wrong, stale and early must be 0';

-- Runs in one snapshot (STABLE), in which both reads must give the same.
CREATE OR REPLACE FUNCTION _penny.cache_compare(conversation uuid, OUT hit boolean, OUT same boolean)
LANGUAGE plpgsql STABLE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	before bigint := (penny.cache_stats()->>'hits')::bigint;
	cached text;
	read text;
BEGIN
	cached := penny.conversation(conversation)::text;
	hit := (penny.cache_stats()->>'hits')::bigint > before;
	PERFORM _penny.cache_past(true);
	read := penny.conversation(conversation)::text;
	PERFORM _penny.cache_past(false);
	same := cached IS NOT DISTINCT FROM read;
END
$$;
COMMENT ON FUNCTION _penny.cache_compare(uuid) IS
'Read a conversation through the cache and past it, under one snapshot';

CREATE OR REPLACE FUNCTION penny.cache_verify(sample integer DEFAULT 100) RETURNS jsonb
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	id uuid;
	one record;
	checked bigint := 0;
	hits bigint := 0;
	different uuid[] := '{}';
BEGIN
	FOR id IN SELECT c.id FROM chat.conversations c ORDER BY random() LIMIT sample LOOP
		FOR i IN 1 .. 2 LOOP
			SELECT * INTO one FROM _penny.cache_compare(id);
			checked := checked + 1;
			hits := hits + one.hit::integer;
			IF NOT one.same THEN
				different := different || id;
			END IF;
		END LOOP;
	END LOOP;
	PERFORM _penny.cache_verified(hits, cardinality(different));
	RETURN jsonb_build_object('checked', checked, 'hits', hits, 'different', to_jsonb(different));
END
$$;
COMMENT ON FUNCTION penny.cache_verify(integer) IS
'Read some conversations twice through the cache and each time past it, under one snapshot; those that were not the same';

REVOKE EXECUTE ON FUNCTION penny.invalidate(), penny.cached(regprocedure, jsonb, interval),
	penny.cache_tag(text[]), penny.cache_stats(), penny.cache_entries(), penny.cache_clear(),
	penny.cache_verify(integer), _penny.cache_past(boolean), _penny.cache_verified(bigint, bigint),
	_penny.cache_check(regclass, bigint, integer, integer), _penny.cache_compare(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION penny.cached(regprocedure, jsonb, interval), penny.cache_tag(text[])
	TO penny_user;
GRANT EXECUTE ON FUNCTION penny.cache_stats() TO penny_admin, pg_monitor;
GRANT EXECUTE ON FUNCTION penny.cache_entries(), penny.cache_clear() TO penny_admin;
-- who owns the store lays triggers with it; a right to create them, not to fire them
GRANT EXECUTE ON FUNCTION penny.invalidate() TO penny_admin;

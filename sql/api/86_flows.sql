-- Flows: jobs that wait for others (src/queue/flow.h).

CREATE OR REPLACE FUNCTION penny.enqueue_flow(flow jsonb) RETURNS bigint
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_enqueue_flow_sql';
COMMENT ON FUNCTION penny.enqueue_flow(jsonb) IS 'Enqueue a tree of jobs: each an object with the names of the arguments of penny.enqueue(), children (an array of such) and on_child_failure (fail, ignore or wait). A job starts when all its children have ended and gets what they gave. Gives the id of the root; up to 10,000 jobs, 32 levels deep';

REVOKE EXECUTE ON FUNCTION penny.enqueue_flow(jsonb) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION penny.enqueue_flow(jsonb) TO penny_user;

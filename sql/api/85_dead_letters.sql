-- Dead letters: jobs that failed at last (src/queue/dead.c).

CREATE OR REPLACE FUNCTION penny.redrive(id bigint) RETURNS bigint
LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_redrive_sql';
COMMENT ON FUNCTION penny.redrive(bigint) IS 'Enqueue a dead letter again, with all its attempts; gives its new id, null when there is none of this id. Its errors and former ids are kept. A parent takes its dead children along and waits for them. PY409 while another job holds its key';

CREATE OR REPLACE FUNCTION penny.redrive(queue text, n integer DEFAULT NULL, rate integer DEFAULT NULL) RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_redrive_queue_sql';
COMMENT ON FUNCTION penny.redrive(text, integer, integer) IS 'Enqueue dead letters of a queue again, the oldest first, n of them or all, rate a second or at once; gives how many. Those whose key another job holds stay. PY404: no such queue';

CREATE OR REPLACE FUNCTION penny.purge_dead(queue text, older_than interval DEFAULT NULL) RETURNS bigint
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_purge_dead_sql';
COMMENT ON FUNCTION penny.purge_dead(text, interval) IS 'Forget the dead letters of a queue, those that died longer ago than older_than or all; gives how many. A parent that waits for one goes on. PY404: no such queue';

REVOKE EXECUTE ON FUNCTION penny.redrive(bigint), penny.redrive(text, integer, integer), penny.purge_dead(text, interval) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION penny.redrive(bigint), penny.redrive(text, integer, integer), penny.purge_dead(text, interval) TO penny_agent;

-- The triggers of schema chat: order and publication (src/store/change.c).
--
-- Three on each table that belongs to a conversation: penny_order numbers the
-- change (BEFORE ROW), penny_publish says it to the realtime part (AFTER ROW),
-- penny_flush writes the conversation's row back (AFTER STATEMENT).  Those of
-- sessions tell the end of a session to the sockets that signed in with it.  They fire
-- ALWAYS: replicated rows keep their numbers, but are published.  PostgreSQL fires triggers of a kind in
-- the order of their names.
--! version 1

--# trigger chat.conversations penny_order
CREATE TRIGGER penny_order BEFORE INSERT OR UPDATE OR DELETE ON chat.conversations
	FOR EACH ROW EXECUTE FUNCTION _penny.order_change();
ALTER TABLE chat.conversations ENABLE ALWAYS TRIGGER penny_order;
--# trigger chat.conversations penny_publish
CREATE TRIGGER penny_publish AFTER INSERT OR UPDATE OR DELETE ON chat.conversations
	FOR EACH ROW EXECUTE FUNCTION _penny.publish_change();
ALTER TABLE chat.conversations ENABLE ALWAYS TRIGGER penny_publish;
--# trigger chat.conversations penny_flush
CREATE TRIGGER penny_flush AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON chat.conversations
	FOR EACH STATEMENT EXECUTE FUNCTION _penny.flush_changes();
ALTER TABLE chat.conversations ENABLE ALWAYS TRIGGER penny_flush;

--# trigger chat.participants penny_order
CREATE TRIGGER penny_order BEFORE INSERT OR UPDATE ON chat.participants
	FOR EACH ROW EXECUTE FUNCTION _penny.order_change();
ALTER TABLE chat.participants ENABLE ALWAYS TRIGGER penny_order;
--# trigger chat.participants penny_publish
CREATE TRIGGER penny_publish AFTER INSERT OR UPDATE OR DELETE ON chat.participants
	FOR EACH ROW EXECUTE FUNCTION _penny.publish_change();
ALTER TABLE chat.participants ENABLE ALWAYS TRIGGER penny_publish;
--# trigger chat.participants penny_flush
CREATE TRIGGER penny_flush AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON chat.participants
	FOR EACH STATEMENT EXECUTE FUNCTION _penny.flush_changes();
ALTER TABLE chat.participants ENABLE ALWAYS TRIGGER penny_flush;

--# trigger chat.messages penny_order
CREATE TRIGGER penny_order BEFORE INSERT OR UPDATE ON chat.messages
	FOR EACH ROW EXECUTE FUNCTION _penny.order_change();
ALTER TABLE chat.messages ENABLE ALWAYS TRIGGER penny_order;
--# trigger chat.messages penny_publish
CREATE TRIGGER penny_publish AFTER INSERT OR UPDATE OR DELETE ON chat.messages
	FOR EACH ROW EXECUTE FUNCTION _penny.publish_change();
ALTER TABLE chat.messages ENABLE ALWAYS TRIGGER penny_publish;
--# trigger chat.messages penny_flush
CREATE TRIGGER penny_flush AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON chat.messages
	FOR EACH STATEMENT EXECUTE FUNCTION _penny.flush_changes();
ALTER TABLE chat.messages ENABLE ALWAYS TRIGGER penny_flush;

--# trigger chat.tool_executions penny_order
CREATE TRIGGER penny_order BEFORE INSERT OR UPDATE ON chat.tool_executions
	FOR EACH ROW EXECUTE FUNCTION _penny.order_change();
ALTER TABLE chat.tool_executions ENABLE ALWAYS TRIGGER penny_order;
--# trigger chat.tool_executions penny_publish
CREATE TRIGGER penny_publish AFTER INSERT OR UPDATE OR DELETE ON chat.tool_executions
	FOR EACH ROW EXECUTE FUNCTION _penny.publish_change();
ALTER TABLE chat.tool_executions ENABLE ALWAYS TRIGGER penny_publish;
--# trigger chat.tool_executions penny_flush
CREATE TRIGGER penny_flush AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON chat.tool_executions
	FOR EACH STATEMENT EXECUTE FUNCTION _penny.flush_changes();
ALTER TABLE chat.tool_executions ENABLE ALWAYS TRIGGER penny_flush;

--# trigger chat.artifacts penny_order
CREATE TRIGGER penny_order BEFORE INSERT OR UPDATE ON chat.artifacts
	FOR EACH ROW EXECUTE FUNCTION _penny.order_change();
ALTER TABLE chat.artifacts ENABLE ALWAYS TRIGGER penny_order;
--# trigger chat.artifacts penny_publish
CREATE TRIGGER penny_publish AFTER INSERT OR UPDATE OR DELETE ON chat.artifacts
	FOR EACH ROW EXECUTE FUNCTION _penny.publish_change();
ALTER TABLE chat.artifacts ENABLE ALWAYS TRIGGER penny_publish;
--# trigger chat.artifacts penny_flush
CREATE TRIGGER penny_flush AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON chat.artifacts
	FOR EACH STATEMENT EXECUTE FUNCTION _penny.flush_changes();
ALTER TABLE chat.artifacts ENABLE ALWAYS TRIGGER penny_flush;

--# trigger chat.artifact_versions penny_order
CREATE TRIGGER penny_order BEFORE INSERT OR UPDATE ON chat.artifact_versions
	FOR EACH ROW EXECUTE FUNCTION _penny.order_change();
ALTER TABLE chat.artifact_versions ENABLE ALWAYS TRIGGER penny_order;
--# trigger chat.artifact_versions penny_publish
CREATE TRIGGER penny_publish AFTER INSERT OR UPDATE OR DELETE ON chat.artifact_versions
	FOR EACH ROW EXECUTE FUNCTION _penny.publish_change();
ALTER TABLE chat.artifact_versions ENABLE ALWAYS TRIGGER penny_publish;
--# trigger chat.artifact_versions penny_flush
CREATE TRIGGER penny_flush AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON chat.artifact_versions
	FOR EACH STATEMENT EXECUTE FUNCTION _penny.flush_changes();
ALTER TABLE chat.artifact_versions ENABLE ALWAYS TRIGGER penny_flush;

--# trigger chat.sessions penny_publish
CREATE TRIGGER penny_publish AFTER INSERT OR UPDATE OR DELETE ON chat.sessions
	FOR EACH ROW EXECUTE FUNCTION _penny.publish_change();
ALTER TABLE chat.sessions ENABLE ALWAYS TRIGGER penny_publish;
--# trigger chat.sessions penny_flush
CREATE TRIGGER penny_flush AFTER TRUNCATE ON chat.sessions
	FOR EACH STATEMENT EXECUTE FUNCTION _penny.flush_changes();
ALTER TABLE chat.sessions ENABLE ALWAYS TRIGGER penny_flush;

-- The triggers of schema chat that keep the cache true (src/cache, src/store/trust.c).
--
-- penny_invalidate tells the cache which tags a changed row stands for, before
-- the change is committed; what the tags are is said in src/README.md.  They
-- fire ALWAYS, also for replicated rows.  A read is not cached while one of
-- them is missing, changed or switched off.
--! version 1

--# trigger chat.users penny_invalidate
CREATE TRIGGER penny_invalidate AFTER INSERT OR UPDATE OR DELETE ON chat.users
	FOR EACH ROW EXECUTE FUNCTION penny.invalidate('name', 'id');
ALTER TABLE chat.users ENABLE ALWAYS TRIGGER penny_invalidate;
--# trigger chat.users penny_invalidate_all
CREATE TRIGGER penny_invalidate_all AFTER TRUNCATE ON chat.users
	FOR EACH STATEMENT EXECUTE FUNCTION penny.invalidate();
ALTER TABLE chat.users ENABLE ALWAYS TRIGGER penny_invalidate_all;

--# trigger chat.models penny_invalidate
CREATE TRIGGER penny_invalidate AFTER INSERT OR UPDATE OR DELETE ON chat.models
	FOR EACH ROW EXECUTE FUNCTION penny.invalidate();
ALTER TABLE chat.models ENABLE ALWAYS TRIGGER penny_invalidate;
--# trigger chat.models penny_invalidate_all
CREATE TRIGGER penny_invalidate_all AFTER TRUNCATE ON chat.models
	FOR EACH STATEMENT EXECUTE FUNCTION penny.invalidate();
ALTER TABLE chat.models ENABLE ALWAYS TRIGGER penny_invalidate_all;

--# trigger chat.conversations penny_invalidate
CREATE TRIGGER penny_invalidate AFTER INSERT OR UPDATE OR DELETE ON chat.conversations
	FOR EACH ROW EXECUTE FUNCTION penny.invalidate('conversation', 'id');
ALTER TABLE chat.conversations ENABLE ALWAYS TRIGGER penny_invalidate;
--# trigger chat.conversations penny_invalidate_all
CREATE TRIGGER penny_invalidate_all AFTER TRUNCATE ON chat.conversations
	FOR EACH STATEMENT EXECUTE FUNCTION penny.invalidate();
ALTER TABLE chat.conversations ENABLE ALWAYS TRIGGER penny_invalidate_all;

--# trigger chat.participants penny_invalidate
CREATE TRIGGER penny_invalidate AFTER INSERT OR UPDATE OR DELETE ON chat.participants
	FOR EACH ROW EXECUTE FUNCTION penny.invalidate('conversation', 'conversation_id', 'list', 'user_id');
ALTER TABLE chat.participants ENABLE ALWAYS TRIGGER penny_invalidate;
--# trigger chat.participants penny_invalidate_member
CREATE TRIGGER penny_invalidate_member AFTER INSERT OR DELETE ON chat.participants
	FOR EACH ROW EXECUTE FUNCTION penny.invalidate('member', 'user_id');
ALTER TABLE chat.participants ENABLE ALWAYS TRIGGER penny_invalidate_member;
--# trigger chat.participants penny_invalidate_moved
CREATE TRIGGER penny_invalidate_moved AFTER UPDATE ON chat.participants
	FOR EACH ROW WHEN (OLD.user_id OPERATOR(pg_catalog.<>) NEW.user_id
		OR OLD.conversation_id OPERATOR(pg_catalog.<>) NEW.conversation_id)
	EXECUTE FUNCTION penny.invalidate('member', 'user_id');
ALTER TABLE chat.participants ENABLE ALWAYS TRIGGER penny_invalidate_moved;
--# trigger chat.participants penny_invalidate_all
CREATE TRIGGER penny_invalidate_all AFTER TRUNCATE ON chat.participants
	FOR EACH STATEMENT EXECUTE FUNCTION penny.invalidate();
ALTER TABLE chat.participants ENABLE ALWAYS TRIGGER penny_invalidate_all;

--# trigger chat.messages penny_invalidate
CREATE TRIGGER penny_invalidate AFTER INSERT OR UPDATE OR DELETE ON chat.messages
	FOR EACH ROW EXECUTE FUNCTION penny.invalidate('conversation', 'conversation_id');
ALTER TABLE chat.messages ENABLE ALWAYS TRIGGER penny_invalidate;
--# trigger chat.messages penny_invalidate_all
CREATE TRIGGER penny_invalidate_all AFTER TRUNCATE ON chat.messages
	FOR EACH STATEMENT EXECUTE FUNCTION penny.invalidate();
ALTER TABLE chat.messages ENABLE ALWAYS TRIGGER penny_invalidate_all;

--# trigger chat.tool_executions penny_invalidate
CREATE TRIGGER penny_invalidate AFTER INSERT OR UPDATE OR DELETE ON chat.tool_executions
	FOR EACH ROW EXECUTE FUNCTION penny.invalidate('conversation', 'conversation_id');
ALTER TABLE chat.tool_executions ENABLE ALWAYS TRIGGER penny_invalidate;
--# trigger chat.tool_executions penny_invalidate_all
CREATE TRIGGER penny_invalidate_all AFTER TRUNCATE ON chat.tool_executions
	FOR EACH STATEMENT EXECUTE FUNCTION penny.invalidate();
ALTER TABLE chat.tool_executions ENABLE ALWAYS TRIGGER penny_invalidate_all;

--# trigger chat.artifacts penny_invalidate
CREATE TRIGGER penny_invalidate AFTER INSERT OR UPDATE OR DELETE ON chat.artifacts
	FOR EACH ROW EXECUTE FUNCTION penny.invalidate('conversation', 'conversation_id');
ALTER TABLE chat.artifacts ENABLE ALWAYS TRIGGER penny_invalidate;
--# trigger chat.artifacts penny_invalidate_all
CREATE TRIGGER penny_invalidate_all AFTER TRUNCATE ON chat.artifacts
	FOR EACH STATEMENT EXECUTE FUNCTION penny.invalidate();
ALTER TABLE chat.artifacts ENABLE ALWAYS TRIGGER penny_invalidate_all;

--# trigger chat.artifact_versions penny_invalidate
CREATE TRIGGER penny_invalidate AFTER INSERT OR UPDATE OR DELETE ON chat.artifact_versions
	FOR EACH ROW EXECUTE FUNCTION penny.invalidate('conversation', 'conversation_id');
ALTER TABLE chat.artifact_versions ENABLE ALWAYS TRIGGER penny_invalidate;
--# trigger chat.artifact_versions penny_invalidate_all
CREATE TRIGGER penny_invalidate_all AFTER TRUNCATE ON chat.artifact_versions
	FOR EACH STATEMENT EXECUTE FUNCTION penny.invalidate();
ALTER TABLE chat.artifact_versions ENABLE ALWAYS TRIGGER penny_invalidate_all;

--# trigger chat.sessions penny_invalidate
CREATE TRIGGER penny_invalidate AFTER INSERT OR UPDATE OR DELETE ON chat.sessions
	FOR EACH ROW EXECUTE FUNCTION penny.invalidate('session', 'token_hash', 'sessions', 'user_id');
ALTER TABLE chat.sessions ENABLE ALWAYS TRIGGER penny_invalidate;
--# trigger chat.sessions penny_invalidate_all
CREATE TRIGGER penny_invalidate_all AFTER TRUNCATE ON chat.sessions
	FOR EACH STATEMENT EXECUTE FUNCTION penny.invalidate();
ALTER TABLE chat.sessions ENABLE ALWAYS TRIGGER penny_invalidate_all;

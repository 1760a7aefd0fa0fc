-- What the roles may do with the tables; the policies say with which rows.
-- A step is skipped when its role already holds any privilege on the table.
--! version 1

--# grant chat penny_user
GRANT USAGE ON SCHEMA chat TO penny_user;
--# grant chat.store penny_user
GRANT SELECT ON chat.store TO penny_user;
--# grant chat.users penny_user
-- Who shares a conversation sees a name, not what else an owner keeps of a person.
GRANT SELECT (id, name, avatar_url, created_at), INSERT (id, name, avatar_url, metadata), UPDATE (name, avatar_url, metadata, updated_at) ON chat.users TO penny_user;
--# grant chat.users penny_admin
GRANT SELECT, INSERT, UPDATE, DELETE ON chat.users TO penny_admin;
--# grant chat.models penny_user
GRANT SELECT ON chat.models TO penny_user;
--# grant chat.models penny_admin
GRANT INSERT, UPDATE, DELETE ON chat.models TO penny_admin;
--# grant chat.tools penny_user
GRANT SELECT ON chat.tools TO penny_user;
--# grant chat.tools penny_agent
GRANT INSERT, UPDATE ON chat.tools TO penny_agent;
--# grant chat.tools penny_admin
GRANT DELETE ON chat.tools TO penny_admin;
--# grant chat.conversations penny_user
GRANT SELECT, DELETE,
	INSERT (id, owner_id, title, metadata, external_id, archived_at, pinned_at),
	UPDATE (title, metadata, archived_at, pinned_at)
	ON chat.conversations TO penny_user;
--# grant chat.conversations penny_agent
GRANT INSERT (created_at) ON chat.conversations TO penny_agent;
--# grant chat.conversations penny_admin
GRANT INSERT, UPDATE ON chat.conversations TO penny_admin;
--# grant chat.participants penny_user
GRANT SELECT, DELETE, INSERT (conversation_id, user_id) ON chat.participants TO penny_user;
--# grant chat.messages penny_user
GRANT SELECT, DELETE,
	INSERT (id, conversation_id, parent_id, user_id, role, status, content, parts, model, client_id, metadata),
	UPDATE (status, content, parts, metadata)
	ON chat.messages TO penny_user;
--# grant chat.messages penny_agent
GRANT INSERT, UPDATE ON chat.messages TO penny_agent;
--# grant chat.tool_executions penny_user
GRANT SELECT ON chat.tool_executions TO penny_user;
--# grant chat.tool_executions penny_agent
GRANT INSERT, UPDATE, DELETE ON chat.tool_executions TO penny_agent;
--# grant chat.artifacts penny_user
GRANT SELECT ON chat.artifacts TO penny_user;
--# grant chat.artifacts penny_agent
GRANT INSERT, UPDATE, DELETE ON chat.artifacts TO penny_agent;
--# grant chat.artifact_versions penny_user
GRANT SELECT ON chat.artifact_versions TO penny_user;
--# grant chat.artifact_versions penny_agent
GRANT INSERT, UPDATE, DELETE ON chat.artifact_versions TO penny_agent;
--# grant chat.tombstones penny_user
GRANT SELECT ON chat.tombstones TO penny_user;
--# grant chat.files penny_user
GRANT SELECT, DELETE, INSERT (id, user_id, conversation_id, name, media_type, size, sha256) ON chat.files TO penny_user;
--# grant chat.files penny_admin
GRANT UPDATE ON chat.files TO penny_admin;
--# grant chat.sessions penny_admin
GRANT SELECT, INSERT, DELETE ON chat.sessions TO penny_admin;

-- Row-level security: what penny_user, and so also penny_agent and penny_admin
-- who inherit from it, may see and change.  Enabled, not forced: the owner of
-- the tables and superusers see all.  The membership of a conversation is asked
-- through _penny.can_access(), which reads participants as their owner (a
-- policy of participants that reads participants would recurse).  Every policy
-- uses a function of penny: without the extension none is left, and nobody but
-- the owner gets in.
--
-- Members write messages of role user in their own name; every other message,
-- tool executions and artifacts need penny_agent.  Title, marks, participants
-- and the deletion belong to the owner of the conversation, to agents that are
-- members, and to penny_admin, whose policies ask a function of penny although
-- it is always true: they go with the extension, and access is then deny-all.
--! version 1

--# rls chat.store
ALTER TABLE chat.store ENABLE ROW LEVEL SECURITY;
--# rls chat.users
ALTER TABLE chat.users ENABLE ROW LEVEL SECURITY;
--# rls chat.models
ALTER TABLE chat.models ENABLE ROW LEVEL SECURITY;
--# rls chat.tools
ALTER TABLE chat.tools ENABLE ROW LEVEL SECURITY;
--# rls chat.conversations
ALTER TABLE chat.conversations ENABLE ROW LEVEL SECURITY;
--# rls chat.participants
ALTER TABLE chat.participants ENABLE ROW LEVEL SECURITY;
--# rls chat.messages
ALTER TABLE chat.messages ENABLE ROW LEVEL SECURITY;
--# rls chat.tool_executions
ALTER TABLE chat.tool_executions ENABLE ROW LEVEL SECURITY;
--# rls chat.artifacts
ALTER TABLE chat.artifacts ENABLE ROW LEVEL SECURITY;
--# rls chat.artifact_versions
ALTER TABLE chat.artifact_versions ENABLE ROW LEVEL SECURITY;
--# rls chat.tombstones
ALTER TABLE chat.tombstones ENABLE ROW LEVEL SECURITY;
--# rls chat.files
ALTER TABLE chat.files ENABLE ROW LEVEL SECURITY;
--# rls chat.sessions
ALTER TABLE chat.sessions ENABLE ROW LEVEL SECURITY;

--# policy chat.store penny_select
CREATE POLICY penny_select ON chat.store FOR SELECT TO penny_user
	USING ((SELECT _penny.is_user()));

--# policy chat.users penny_select
CREATE POLICY penny_select ON chat.users FOR SELECT TO penny_user
	USING (id = (SELECT penny.user_id()) OR _penny.can_see_user(id));

--# policy chat.users penny_insert
CREATE POLICY penny_insert ON chat.users FOR INSERT TO penny_user
	WITH CHECK (id = (SELECT penny.user_id()));

--# policy chat.users penny_update
CREATE POLICY penny_update ON chat.users FOR UPDATE TO penny_user
	USING (id = (SELECT penny.user_id()))
	WITH CHECK (id = (SELECT penny.user_id()));

--# policy chat.users penny_admin
CREATE POLICY penny_admin ON chat.users FOR ALL TO penny_admin
	USING ((SELECT _penny.is_admin()))
	WITH CHECK ((SELECT _penny.is_admin()));

--# policy chat.models penny_select
CREATE POLICY penny_select ON chat.models FOR SELECT TO penny_user
	USING ((SELECT _penny.is_user()));

--# policy chat.models penny_admin
CREATE POLICY penny_admin ON chat.models FOR ALL TO penny_admin
	USING ((SELECT _penny.is_admin()))
	WITH CHECK ((SELECT _penny.is_admin()));

--# policy chat.tools penny_select
CREATE POLICY penny_select ON chat.tools FOR SELECT TO penny_user
	USING ((SELECT _penny.is_user()));

--# policy chat.tools penny_insert
CREATE POLICY penny_insert ON chat.tools FOR INSERT TO penny_agent
	WITH CHECK ((SELECT _penny.is_agent()));

--# policy chat.tools penny_update
CREATE POLICY penny_update ON chat.tools FOR UPDATE TO penny_agent
	USING ((SELECT _penny.is_agent()))
	WITH CHECK ((SELECT _penny.is_agent()));

--# policy chat.tools penny_admin
CREATE POLICY penny_admin ON chat.tools FOR ALL TO penny_admin
	USING ((SELECT _penny.is_admin()))
	WITH CHECK ((SELECT _penny.is_admin()));

--# policy chat.conversations penny_select
CREATE POLICY penny_select ON chat.conversations FOR SELECT TO penny_user
	USING (owner_id = (SELECT penny.user_id()) OR _penny.can_access(id));

--# policy chat.conversations penny_insert
CREATE POLICY penny_insert ON chat.conversations FOR INSERT TO penny_user
	WITH CHECK (owner_id = (SELECT penny.user_id()));

--# policy chat.conversations penny_update
CREATE POLICY penny_update ON chat.conversations FOR UPDATE TO penny_user
	USING (_penny.can_manage(id))
	WITH CHECK (_penny.can_manage(id));

--# policy chat.conversations penny_delete
CREATE POLICY penny_delete ON chat.conversations FOR DELETE TO penny_user
	USING (_penny.can_manage(id));

--# policy chat.conversations penny_admin
CREATE POLICY penny_admin ON chat.conversations FOR ALL TO penny_admin
	USING ((SELECT _penny.is_admin()))
	WITH CHECK ((SELECT _penny.is_admin()));

--# policy chat.participants penny_select
CREATE POLICY penny_select ON chat.participants FOR SELECT TO penny_user
	USING (_penny.can_access(conversation_id));

--# policy chat.participants penny_insert
CREATE POLICY penny_insert ON chat.participants FOR INSERT TO penny_user
	WITH CHECK (_penny.can_manage(conversation_id));

--# policy chat.participants penny_delete
CREATE POLICY penny_delete ON chat.participants FOR DELETE TO penny_user
	USING (user_id = (SELECT penny.user_id()) OR _penny.can_manage(conversation_id));

--# policy chat.messages penny_select
CREATE POLICY penny_select ON chat.messages FOR SELECT TO penny_user
	USING (_penny.can_access(conversation_id));

--# policy chat.messages penny_insert
CREATE POLICY penny_insert ON chat.messages FOR INSERT TO penny_user
	WITH CHECK (_penny.can_access(conversation_id) AND ((role = 'user' AND user_id = (SELECT penny.user_id())) OR (SELECT _penny.is_agent())));

--# policy chat.messages penny_update
CREATE POLICY penny_update ON chat.messages FOR UPDATE TO penny_user
	USING (_penny.can_access(conversation_id) AND ((role = 'user' AND user_id = (SELECT penny.user_id())) OR (SELECT _penny.is_agent())))
	WITH CHECK (_penny.can_access(conversation_id) AND ((role = 'user' AND user_id = (SELECT penny.user_id())) OR (SELECT _penny.is_agent())));

--# policy chat.messages penny_delete
CREATE POLICY penny_delete ON chat.messages FOR DELETE TO penny_user
	USING (_penny.can_access(conversation_id) AND ((role = 'user' AND user_id = (SELECT penny.user_id())) OR _penny.can_manage(conversation_id)));

--# policy chat.tool_executions penny_select
CREATE POLICY penny_select ON chat.tool_executions FOR SELECT TO penny_user
	USING (_penny.can_access(conversation_id));

--# policy chat.tool_executions penny_write
CREATE POLICY penny_write ON chat.tool_executions FOR ALL TO penny_agent
	USING (_penny.can_access(conversation_id))
	WITH CHECK (_penny.can_access(conversation_id));

--# policy chat.artifacts penny_select
CREATE POLICY penny_select ON chat.artifacts FOR SELECT TO penny_user
	USING (_penny.can_access(conversation_id));

--# policy chat.artifacts penny_write
CREATE POLICY penny_write ON chat.artifacts FOR ALL TO penny_agent
	USING (_penny.can_access(conversation_id))
	WITH CHECK (_penny.can_access(conversation_id));

--# policy chat.artifact_versions penny_select
CREATE POLICY penny_select ON chat.artifact_versions FOR SELECT TO penny_user
	USING (_penny.can_access(conversation_id));

--# policy chat.artifact_versions penny_write
CREATE POLICY penny_write ON chat.artifact_versions FOR ALL TO penny_agent
	USING (_penny.can_access(conversation_id))
	WITH CHECK (_penny.can_access(conversation_id));

--# policy chat.tombstones penny_select
CREATE POLICY penny_select ON chat.tombstones FOR SELECT TO penny_user
	USING (_penny.can_access(conversation_id));

--# policy chat.files penny_select
CREATE POLICY penny_select ON chat.files FOR SELECT TO penny_user
	USING (user_id = (SELECT penny.user_id()) OR _penny.can_access(conversation_id));

--# policy chat.files penny_insert
CREATE POLICY penny_insert ON chat.files FOR INSERT TO penny_user
	WITH CHECK (user_id = (SELECT penny.user_id()) AND (conversation_id IS NULL OR _penny.can_access(conversation_id)));

--# policy chat.files penny_delete
CREATE POLICY penny_delete ON chat.files FOR DELETE TO penny_user
	USING (user_id = (SELECT penny.user_id()));

--# policy chat.files penny_admin
CREATE POLICY penny_admin ON chat.files FOR ALL TO penny_admin
	USING ((SELECT _penny.is_admin()))
	WITH CHECK ((SELECT _penny.is_admin()));

--# policy chat.sessions penny_admin
CREATE POLICY penny_admin ON chat.sessions FOR ALL TO penny_admin
	USING ((SELECT _penny.is_admin()))
	WITH CHECK ((SELECT _penny.is_admin()));

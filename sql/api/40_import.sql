-- Import of conversations in OpenAI chat form.

CREATE OR REPLACE FUNCTION penny.import_chat(doc jsonb, owner uuid DEFAULT NULL) RETURNS uuid
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_import';
COMMENT ON FUNCTION penny.import_chat(jsonb, uuid) IS 'Import one conversation in OpenAI chat form {"id"?, "title"?, "metadata"?, "messages": [{"role", "content", "tool_calls"?, "tool_call_id"?}]} for an owner (the caller by default): messages in order, tool calls with arguments and results as tool executions. A conversation is known by owner and id (without an id by its content): importing it again gives the same id and changes nothing. Needs penny_agent; another owner than oneself penny_admin';

REVOKE EXECUTE ON FUNCTION penny.import_chat(jsonb, uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION penny.import_chat(jsonb, uuid) TO penny_agent;

-- The tables of schema chat.
--
-- penny.create_store() runs these steps as the caller, who owns what they make.
-- A line "--# kind name" opens a step; the step runs when the object of that
-- name is missing.  Nothing here uses an object of penny (no default, check or
-- generated column), so that the tables outlive the extension: identifiers,
-- seq and version are given by triggers.
--! version 1

--# schema chat
CREATE SCHEMA chat;
COMMENT ON SCHEMA chat IS 'Conversations kept by penny: ordinary tables of their owner';

--# table chat.store
CREATE TABLE chat.store (
	one boolean PRIMARY KEY DEFAULT true CHECK (one),
	version integer NOT NULL CHECK (version > 0),
	laid_at timestamp with time zone NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE chat.store IS 'One row: the version of this schema, as penny.create_store() and penny.upgrade_store() left it';

--# table chat.users
CREATE TABLE chat.users (
	id uuid PRIMARY KEY,
	name text,
	avatar_url text,
	metadata jsonb NOT NULL DEFAULT '{}' CHECK (pg_catalog.jsonb_typeof(metadata) = 'object'),
	created_at timestamp with time zone NOT NULL DEFAULT pg_catalog.now(),
	updated_at timestamp with time zone NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE chat.users IS 'Who takes part; a row is made at the first write of a user whom only the token knew';

--# table chat.models
CREATE TABLE chat.models (
	id text PRIMARY KEY,
	provider text,
	name text,
	context_tokens integer CHECK (context_tokens > 0),
	metadata jsonb NOT NULL DEFAULT '{}' CHECK (pg_catalog.jsonb_typeof(metadata) = 'object'),
	created_at timestamp with time zone NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE chat.models IS 'Language models by the name under which messages cite them';

--# table chat.tools
CREATE TABLE chat.tools (
	id text PRIMARY KEY CHECK (id <> ''),
	description text,
	input_schema jsonb,
	metadata jsonb NOT NULL DEFAULT '{}' CHECK (pg_catalog.jsonb_typeof(metadata) = 'object'),
	created_at timestamp with time zone NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE chat.tools IS 'Tools by the name under which models call them';

--# table chat.conversations
CREATE TABLE chat.conversations (
	id uuid PRIMARY KEY,
	owner_id uuid NOT NULL REFERENCES chat.users (id),
	title text,
	metadata jsonb NOT NULL DEFAULT '{}' CHECK (pg_catalog.jsonb_typeof(metadata) = 'object'),
	external_id text,
	last_seq bigint NOT NULL,
	version bigint NOT NULL,
	state_version bigint NOT NULL,
	message_count bigint NOT NULL,
	head_message_id uuid,
	archived_at timestamp with time zone,
	pinned_at timestamp with time zone,
	created_at timestamp with time zone NOT NULL DEFAULT pg_catalog.now(),
	updated_at timestamp with time zone NOT NULL DEFAULT pg_catalog.now(),
	last_message_at timestamp with time zone
) WITH (fillfactor = 70);
COMMENT ON TABLE chat.conversations IS 'One row a conversation; its lock orders all changes of the conversation';
COMMENT ON COLUMN chat.conversations.version IS 'Number of the newest change of anything in the conversation';
COMMENT ON COLUMN chat.conversations.state_version IS 'Number of the newest change of this row''s own title, metadata, marks or owner';
COMMENT ON COLUMN chat.conversations.last_seq IS 'seq of the newest message ever written';
COMMENT ON COLUMN chat.conversations.head_message_id IS 'Newest message by seq';
COMMENT ON COLUMN chat.conversations.external_id IS 'Name under which penny.import_chat() found it; a second import of that name by the owner changes nothing';

--# index chat.conversations_owner_external_id
CREATE UNIQUE INDEX conversations_owner_external_id ON chat.conversations (owner_id, external_id);

--# table chat.participants
CREATE TABLE chat.participants (
	conversation_id uuid NOT NULL REFERENCES chat.conversations (id) ON DELETE CASCADE,
	user_id uuid NOT NULL REFERENCES chat.users (id) ON DELETE CASCADE,
	version bigint NOT NULL,
	active_at timestamp with time zone NOT NULL,
	created_at timestamp with time zone NOT NULL DEFAULT pg_catalog.now(),
	PRIMARY KEY (conversation_id, user_id)
) WITH (fillfactor = 80);
COMMENT ON TABLE chat.participants IS 'Who may see a conversation; the owner is one of them';
COMMENT ON COLUMN chat.participants.active_at IS 'last_message_at of the conversation (created_at while it has none): the order of a user''s list';

--# index chat.participants_user_active
CREATE INDEX participants_user_active ON chat.participants (user_id, active_at DESC, conversation_id DESC);

--# table chat.messages
CREATE TABLE chat.messages (
	id uuid PRIMARY KEY,
	conversation_id uuid NOT NULL REFERENCES chat.conversations (id) ON DELETE CASCADE,
	seq bigint NOT NULL,
	version bigint NOT NULL,
	created_version bigint NOT NULL,
	parent_id uuid,
	user_id uuid REFERENCES chat.users (id) ON DELETE SET NULL,
	role text NOT NULL CHECK (role IN ('user', 'assistant', 'system', 'developer', 'tool')),
	status text NOT NULL DEFAULT 'completed'
		CHECK (status IN ('pending', 'streaming', 'completed', 'failed', 'cancelled', 'interrupted')),
	content text,
	parts jsonb CHECK (pg_catalog.jsonb_typeof(parts) = 'array'),
	model text,
	client_id text CHECK (pg_catalog.octet_length(client_id) BETWEEN 1 AND 200),
	input_tokens bigint CHECK (input_tokens >= 0),
	output_tokens bigint CHECK (output_tokens >= 0),
	metadata jsonb CHECK (pg_catalog.jsonb_typeof(metadata) = 'object'),
	created_at timestamp with time zone NOT NULL DEFAULT pg_catalog.now(),
	updated_at timestamp with time zone
);
COMMENT ON TABLE chat.messages IS 'Messages in the order of seq';
COMMENT ON COLUMN chat.messages.seq IS '1, 2, 3 ... in the order of commits; the number of a deleted message is not used again';
COMMENT ON COLUMN chat.messages.version IS 'Number of the newest change of this message in its conversation';
COMMENT ON COLUMN chat.messages.created_version IS 'Number of the change that brought it';
COMMENT ON COLUMN chat.messages.parent_id IS 'The message it answers; it may name one that was deleted';
COMMENT ON COLUMN chat.messages.client_id IS 'Chosen by the writer: a repeated write under it gives the same message';
COMMENT ON COLUMN chat.messages.updated_at IS 'When it was last changed; null as long as it never was';

--# index chat.messages_conversation_seq
CREATE UNIQUE INDEX messages_conversation_seq ON chat.messages (conversation_id, seq);
--# index chat.messages_conversation_version
CREATE UNIQUE INDEX messages_conversation_version ON chat.messages (conversation_id, version);
--# index chat.messages_conversation_created
CREATE INDEX messages_conversation_created ON chat.messages (conversation_id, created_at DESC);
--# index chat.messages_streaming
CREATE INDEX messages_streaming ON chat.messages (conversation_id) WHERE status = 'streaming';
--# index chat.messages_client_id
CREATE UNIQUE INDEX messages_client_id ON chat.messages (conversation_id, user_id, client_id)
	NULLS NOT DISTINCT WHERE client_id IS NOT NULL;
--# index chat.messages_user
CREATE INDEX messages_user ON chat.messages (user_id) WHERE user_id IS NOT NULL;

--# table chat.tool_executions
CREATE TABLE chat.tool_executions (
	id uuid PRIMARY KEY,
	conversation_id uuid NOT NULL REFERENCES chat.conversations (id) ON DELETE CASCADE,
	version bigint NOT NULL,
	message_id uuid REFERENCES chat.messages (id) ON DELETE CASCADE,
	message_seq bigint,
	user_id uuid REFERENCES chat.users (id) ON DELETE SET NULL,
	tool_id text NOT NULL REFERENCES chat.tools (id),
	tool_call_id text,
	status text NOT NULL DEFAULT 'pending'
		CHECK (status IN ('pending', 'running', 'approval_requested', 'approval_responded',
						  'completed', 'failed', 'denied')),
	input jsonb,
	output jsonb,
	error text,
	created_at timestamp with time zone NOT NULL DEFAULT pg_catalog.now(),
	started_at timestamp with time zone,
	finished_at timestamp with time zone
);
COMMENT ON TABLE chat.tool_executions IS 'Calls of tools with arguments and results';
COMMENT ON COLUMN chat.tool_executions.message_id IS 'The message that called the tool';
COMMENT ON COLUMN chat.tool_executions.message_seq IS 'seq of that message, kept by a trigger: the tools of a page are one range of an index';

--# index chat.tool_executions_conversation_version
CREATE UNIQUE INDEX tool_executions_conversation_version ON chat.tool_executions (conversation_id, version);
--# index chat.tool_executions_conversation_message
CREATE INDEX tool_executions_conversation_message ON chat.tool_executions (conversation_id, message_seq);
--# index chat.tool_executions_message
CREATE INDEX tool_executions_message ON chat.tool_executions (message_id);
--# index chat.tool_executions_user_status_started
CREATE INDEX tool_executions_user_status_started ON chat.tool_executions (user_id, status, started_at);
--# index chat.tool_executions_open
CREATE INDEX tool_executions_open ON chat.tool_executions (created_at) WHERE status IN ('pending', 'running');
--# index chat.tool_executions_tool_status
CREATE INDEX tool_executions_tool_status ON chat.tool_executions (tool_id, status);

--# table chat.artifacts
CREATE TABLE chat.artifacts (
	id uuid PRIMARY KEY,
	conversation_id uuid NOT NULL REFERENCES chat.conversations (id) ON DELETE CASCADE,
	version bigint NOT NULL,
	message_id uuid REFERENCES chat.messages (id) ON DELETE SET NULL,
	user_id uuid REFERENCES chat.users (id) ON DELETE SET NULL,
	kind text NOT NULL,
	title text,
	metadata jsonb NOT NULL DEFAULT '{}' CHECK (pg_catalog.jsonb_typeof(metadata) = 'object'),
	created_at timestamp with time zone NOT NULL DEFAULT pg_catalog.now(),
	updated_at timestamp with time zone NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE chat.artifacts IS 'Documents, code and the like made in a conversation';

--# index chat.artifacts_conversation_version
CREATE UNIQUE INDEX artifacts_conversation_version ON chat.artifacts (conversation_id, version);
--# index chat.artifacts_message
CREATE INDEX artifacts_message ON chat.artifacts (message_id) WHERE message_id IS NOT NULL;
--# index chat.artifacts_user
CREATE INDEX artifacts_user ON chat.artifacts (user_id) WHERE user_id IS NOT NULL;

--# table chat.files
CREATE TABLE chat.files (
	id uuid PRIMARY KEY,
	user_id uuid REFERENCES chat.users (id) ON DELETE SET NULL,
	conversation_id uuid REFERENCES chat.conversations (id) ON DELETE CASCADE,
	name text NOT NULL,
	media_type text NOT NULL,
	size bigint NOT NULL CHECK (size >= 0),
	sha256 bytea NOT NULL CHECK (pg_catalog.octet_length(sha256) = 32),
	location text,
	created_at timestamp with time zone NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE chat.files IS 'Files by the hash of their content; location says where the bytes are';

--# index chat.files_user
CREATE INDEX files_user ON chat.files (user_id) WHERE user_id IS NOT NULL;
--# index chat.files_conversation
CREATE INDEX files_conversation ON chat.files (conversation_id) WHERE conversation_id IS NOT NULL;

--# table chat.artifact_versions
CREATE TABLE chat.artifact_versions (
	artifact_id uuid NOT NULL REFERENCES chat.artifacts (id) ON DELETE CASCADE,
	number integer NOT NULL CHECK (number > 0),
	conversation_id uuid NOT NULL REFERENCES chat.conversations (id) ON DELETE CASCADE,
	version bigint NOT NULL,
	user_id uuid REFERENCES chat.users (id) ON DELETE SET NULL,
	content text,
	data jsonb,
	file_id uuid REFERENCES chat.files (id),
	created_at timestamp with time zone NOT NULL DEFAULT pg_catalog.now(),
	PRIMARY KEY (artifact_id, number)
);
COMMENT ON TABLE chat.artifact_versions IS 'Bodies of artifacts, numbered 1, 2, 3 ... in each';

--# index chat.artifact_versions_conversation_version
CREATE UNIQUE INDEX artifact_versions_conversation_version ON chat.artifact_versions (conversation_id, version);
--# index chat.artifact_versions_user
CREATE INDEX artifact_versions_user ON chat.artifact_versions (user_id) WHERE user_id IS NOT NULL;
--# index chat.artifact_versions_file
CREATE INDEX artifact_versions_file ON chat.artifact_versions (file_id) WHERE file_id IS NOT NULL;

--# table chat.tombstones
CREATE TABLE chat.tombstones (
	conversation_id uuid NOT NULL,
	version bigint NOT NULL,
	kind text NOT NULL,
	id uuid NOT NULL,
	created_at timestamp with time zone NOT NULL DEFAULT pg_catalog.now(),
	PRIMARY KEY (conversation_id, version)
);
COMMENT ON TABLE chat.tombstones IS 'What was deleted, by the number of the deletion; outlives the conversation';

--# table chat.sessions
CREATE TABLE chat.sessions (
	token_hash bytea PRIMARY KEY CHECK (pg_catalog.octet_length(token_hash) = 32),
	user_id uuid NOT NULL REFERENCES chat.users (id) ON DELETE CASCADE,
	role text NOT NULL,
	created_at timestamp with time zone NOT NULL DEFAULT pg_catalog.now(),
	expires_at timestamp with time zone NOT NULL
);
COMMENT ON TABLE chat.sessions IS 'Session tokens; only the SHA-256 of a token is kept';

--# index chat.sessions_user
CREATE INDEX sessions_user ON chat.sessions (user_id);
--# index chat.sessions_expires
CREATE INDEX sessions_expires ON chat.sessions (expires_at);

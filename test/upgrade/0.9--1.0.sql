-- From the version that never was to 1.0: what is not re-runnable.

DROP FUNCTION penny.gone(integer);
DROP TYPE penny.mood;
DROP VIEW penny.old_view;
DROP SEQUENCE _penny.counter;
DROP TRIGGER old_trigger ON penny.routes;
DROP FUNCTION _penny.http_old(penny.request);
DROP FUNCTION penny.epoch();
DROP FUNCTION penny.doctor();
DROP FUNCTION penny.create_store(boolean);
-- a table that is dumped leaves the list of those only by this
ALTER EXTENSION penny DROP TABLE _penny.memory;
DROP TABLE _penny.memory;

COMMENT ON SCHEMA _penny IS 'Internal to penny: what its functions, policies and processes use';
COMMENT ON SCHEMA penny IS 'Public functions and tables of penny';
REVOKE USAGE ON SCHEMA penny, _penny FROM PUBLIC;
GRANT USAGE ON SCHEMA penny TO penny_user, penny_authenticator;
GRANT USAGE ON SCHEMA _penny TO penny_user, penny_authenticator;

ALTER TYPE penny.request ADD ATTRIBUTE request_id text;
COMMENT ON TYPE penny.request IS 'A request as a handler gets it: params from the pattern, query and headers as objects of strings, headers in lower case';
COMMENT ON TYPE penny.response IS 'What a handler gives that wants more than a body with status 200';

DELETE FROM penny.routes WHERE handler = '_penny.http_old';
DROP INDEX penny.routes_handler;
ALTER TABLE penny.routes
	ADD COLUMN builtin boolean NOT NULL DEFAULT false,
	ALTER COLUMN access SET DEFAULT 'user',
	ADD CHECK (method ~ '^[A-Z]{1,16}$'),
	ADD CHECK (access IN ('public', 'user', 'agent', 'admin')),
	ADD CHECK (cache_ttl >= '0'),
	ADD CHECK (cache_scope IN ('public', 'role', 'user')),
	ADD CHECK (statement_timeout > '0'),
	ADD PRIMARY KEY (method, pattern);
COMMENT ON TABLE penny.routes IS 'What the HTTP server answers: method and pattern to the function that handles it';
COMMENT ON COLUMN penny.routes.pattern IS 'A path such as /things/{id}; {name} takes one segment and is found in request.params';
COMMENT ON COLUMN penny.routes.handler IS 'Name of a function (penny.request) returning json, jsonb or penny.response, looked up when the row is written';
COMMENT ON COLUMN penny.routes.access IS 'Who may call: public (also without a token), user, agent or admin';
COMMENT ON COLUMN penny.routes.cache_ttl IS 'How long an answer to GET may be served again; null: never';
COMMENT ON COLUMN penny.routes.cache_scope IS 'Whom a kept answer serves: public (everybody who may call the route), role (all in the same role) or user; the handler is told no more of the caller than that';
COMMENT ON COLUMN penny.routes.statement_timeout IS 'How long the handler may take; null: the setting';
COMMENT ON COLUMN penny.routes.builtin IS 'Rows of the extension itself, not dumped';
SELECT pg_catalog.pg_extension_config_dump('penny.routes', 'WHERE NOT builtin');
REVOKE ALL ON penny.routes FROM PUBLIC;
GRANT SELECT ON penny.routes TO penny_authenticator, penny_admin;
GRANT DELETE, INSERT (method, pattern, handler, access, cache_ttl, cache_scope, statement_timeout),
	UPDATE (method, pattern, handler, access, cache_ttl, cache_scope, statement_timeout)
	ON penny.routes TO penny_admin;

COMMENT ON TABLE _penny.store_step IS 'Steps that lay schema chat, in order; a step runs when its object is missing';
GRANT SELECT ON _penny.store_step TO penny_admin;

CREATE TABLE penny.room_policies (
	prefix text PRIMARY KEY,
	handler text NOT NULL
);
COMMENT ON TABLE penny.room_policies IS 'Free rooms: those whose name begins with prefix and a colon let in whom the handler says';
COMMENT ON COLUMN penny.room_policies.handler IS 'Name of a function (room text) returning boolean, or jsonb {"read": boolean, "write": boolean}; it runs as the caller';
SELECT pg_catalog.pg_extension_config_dump('penny.room_policies', '');
GRANT SELECT ON penny.room_policies TO penny_user;
GRANT INSERT, UPDATE, DELETE ON penny.room_policies TO penny_admin;

CREATE UNLOGGED TABLE _penny.stream_chunks (
	message_id uuid NOT NULL,
	index bigint NOT NULL,
	chunk text NOT NULL,
	pending integer NOT NULL,
	saved_at timestamp with time zone NOT NULL,
	written_at timestamp with time zone NOT NULL,
	PRIMARY KEY (message_id, index)
);
COMMENT ON TABLE _penny.stream_chunks IS 'Pieces of messages that grow, as far as they are not in chat.messages yet; the last row of a message says how far it is';

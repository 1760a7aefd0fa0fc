-- Routes of the HTTP server.  Built-in rows belong to the extension and are
-- written anew with every version; rows of users are dumped.

CREATE TABLE penny.routes (
	method text NOT NULL CHECK (method ~ '^[A-Z]{1,16}$'),
	pattern text NOT NULL,
	handler text NOT NULL,
	access text NOT NULL DEFAULT 'user' CHECK (access IN ('public', 'user', 'agent', 'admin')),
	cache_ttl interval CHECK (cache_ttl >= '0'),
	cache_scope text CHECK (cache_scope IN ('public', 'role', 'user')),
	statement_timeout interval CHECK (statement_timeout > '0'),
	builtin boolean NOT NULL DEFAULT false,
	PRIMARY KEY (method, pattern)
);
COMMENT ON TABLE penny.routes IS 'What the HTTP server answers: method and pattern to the function that handles it';
COMMENT ON COLUMN penny.routes.pattern IS 'A path such as /things/{id}; {name} takes one segment and is found in request.params';
COMMENT ON COLUMN penny.routes.handler IS 'Name of a function (penny.request) returning json, jsonb or penny.response, looked up when the row is written';
COMMENT ON COLUMN penny.routes.access IS 'Who may call: public (also without a token), user, agent or admin';
COMMENT ON COLUMN penny.routes.cache_ttl IS 'How long an answer to GET may be served again; null: never';
COMMENT ON COLUMN penny.routes.cache_scope IS 'Whom a kept answer serves: public (everybody who may call the route), role (all in the same role) or user; the handler is told no more of the caller than that';
COMMENT ON COLUMN penny.routes.statement_timeout IS 'How long the handler may take; null: the setting';
COMMENT ON COLUMN penny.routes.builtin IS 'Rows of the extension itself, not dumped';

SELECT pg_catalog.pg_extension_config_dump('penny.routes', 'WHERE NOT builtin');

GRANT SELECT ON penny.routes TO penny_authenticator, penny_admin;
-- Not builtin: such a row would stand before the others and not be dumped.
GRANT DELETE, INSERT (method, pattern, handler, access, cache_ttl, cache_scope, statement_timeout),
	UPDATE (method, pattern, handler, access, cache_ttl, cache_scope, statement_timeout)
	ON penny.routes TO penny_admin;

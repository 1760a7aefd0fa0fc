-- Free rooms, and messages that grow.  Pieces of such a message are unlogged:
-- they are written with every few words and would wait for the disk each time;
-- what a crash takes is the text since the last checkpoint (src/store/stream.c).

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

-- The text of sql/store: steps that penny.create_store() runs as its caller.

CREATE TABLE _penny.store_step (
	number integer PRIMARY KEY,
	version integer NOT NULL,
	kind text NOT NULL,
	name text NOT NULL,
	body text NOT NULL
);
COMMENT ON TABLE _penny.store_step IS 'Steps that lay schema chat, in order; a step runs when its object is missing';
GRANT SELECT ON _penny.store_step TO penny_admin;

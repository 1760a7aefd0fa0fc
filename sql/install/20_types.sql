-- What a handler of a route gets and gives.

CREATE TYPE penny.request AS (
	method text,
	path text,
	params jsonb,
	query jsonb,
	headers jsonb,
	body jsonb,
	user_id uuid,
	role text,
	request_id text
);
COMMENT ON TYPE penny.request IS 'A request as a handler gets it: params from the pattern, query and headers as objects of strings, headers in lower case';

CREATE TYPE penny.response AS (
	status integer,
	headers jsonb,
	body jsonb
);
COMMENT ON TYPE penny.response IS 'What a handler gives that wants more than a body with status 200';

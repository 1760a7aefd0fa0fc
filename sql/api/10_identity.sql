-- Who is calling.  Anybody who may use the schema may ask; act_as() is for
-- superusers and tests.

CREATE OR REPLACE FUNCTION penny.user_id() RETURNS uuid
LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'penny_user_id';
COMMENT ON FUNCTION penny.user_id() IS 'The user on whose behalf this runs: that of the request, or of penny.act_as(); null when there is none. It is not a setting and cannot be forged by SQL';

CREATE OR REPLACE FUNCTION penny.claims() RETURNS jsonb
LANGUAGE c STABLE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'penny_claims';
COMMENT ON FUNCTION penny.claims() IS 'The verified claims of the caller''s token; the setting request.jwt.claims is a copy';

CREATE OR REPLACE FUNCTION penny.act_as(user_id uuid, role text DEFAULT 'penny_user') RETURNS void
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_act_as';
COMMENT ON FUNCTION penny.act_as(uuid, text) IS 'Act as a user in a role until the end of the session or until act_as(NULL); undone like SET when the transaction rolls back. Only for sessions that logged in as a superuser, so RESET ROLE afterwards gives nothing away';

CREATE OR REPLACE FUNCTION penny.uuid_v7() RETURNS uuid
LANGUAGE c VOLATILE PARALLEL SAFE
AS 'MODULE_PATHNAME', 'penny_uuid_v7';
COMMENT ON FUNCTION penny.uuid_v7() IS 'A UUID of version 7: in the order of time, ascending within a session';

-- For superusers; whoever may reload the keys may be granted it.
CREATE OR REPLACE FUNCTION penny.reload_keys() RETURNS integer
LANGUAGE c VOLATILE PARALLEL UNSAFE
AS 'MODULE_PATHNAME', 'penny_reload_keys';
COMMENT ON FUNCTION penny.reload_keys() IS 'Reload settings and the keys of tokens; when it returns, no token of a key that was taken away is accepted any more. Returns the number of keys; an error when a file was refused, older keys are then in force';

REVOKE EXECUTE ON FUNCTION penny.user_id(), penny.claims(), penny.act_as(uuid, text), penny.uuid_v7(), penny.reload_keys() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION penny.user_id(), penny.claims(), penny.act_as(uuid, text), penny.uuid_v7() TO penny_user, penny_authenticator;

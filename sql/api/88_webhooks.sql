-- What penny.handle() needs for a URL.

CREATE OR REPLACE FUNCTION _penny.webhook_check(url text, secret text) RETURNS void
LANGUAGE c STRICT VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'penny_webhook_check';
COMMENT ON FUNCTION _penny.webhook_check(text, text) IS
'Raises an error unless penny.webhook_allow lets the URL be called and the secret is one of Standard Webhooks';

CREATE OR REPLACE FUNCTION penny.webhook_secret() RETURNS text
LANGUAGE c STRICT VOLATILE PARALLEL RESTRICTED
AS 'MODULE_PATHNAME', 'penny_webhook_secret';
COMMENT ON FUNCTION penny.webhook_secret() IS
'A new secret for the signatures of a webhook, for penny.handle() and for the receiver';

REVOKE ALL ON FUNCTION _penny.webhook_check(text, text), penny.webhook_secret() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION _penny.webhook_check(text, text), penny.webhook_secret() TO penny_admin;

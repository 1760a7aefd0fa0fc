/*-------------------------------------------------------------------------
 *
 * guc_security.c
 *		Settings of identity: whose tokens are accepted, and by what certificate
 *		penny shows who it is.
 *
 * Without any of them no token is accepted but sessions of the store, and the
 * port speaks plain HTTP.  Paths of secrets are shown to superusers only.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/guc.h"
#include "utils/varlena.h"

#include "config/config.h"

char *penny_dev_user = "";
char *penny_jwt_audience = "";
char *penny_jwt_default_role = "penny_user";
char *penny_jwt_issuer = "";
char *penny_jwt_key_file = "";
int penny_jwt_leeway = 30;
char *penny_jwt_roles = "penny_user,penny_agent,penny_admin";
char *penny_jwt_secret_file = "";
char *penny_tls_cert_file = "";
char *penny_tls_key_file = "";

static bool check_role(char **value, void **extra, GucSource source);
static bool check_roles(char **value, void **extra, GucSource source);
static bool check_uuid(char **value, void **extra, GucSource source);

/* Define them, sorted by name. */
void
penny_config_security(void)
{
	DefineCustomStringVariable(
		"penny.dev_user", "Sets the user as whom loopback requests without a token act.",
		"For development only: whoever reaches the port from this machine "
		"is that user. Empty turns it off.",
		&penny_dev_user, penny_dev_user, PGC_SIGHUP, 0, check_uuid, NULL, NULL);
	DefineCustomStringVariable("penny.jwt_audience", "Sets the audience that a token must name.",
							   "Empty accepts any.", &penny_jwt_audience, penny_jwt_audience,
							   PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("penny.jwt_default_role",
							   "Sets the role of a token that names none.",
							   "It must be one of \"penny.jwt_roles\".", &penny_jwt_default_role,
							   penny_jwt_default_role, PGC_SIGHUP, 0, check_role, NULL, NULL);
	DefineCustomStringVariable("penny.jwt_issuer", "Sets the issuer that a token must name.",
							   "Empty accepts any.", &penny_jwt_issuer, penny_jwt_issuer,
							   PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable(
		"penny.jwt_key_file", "Sets the file with the keys of tokens signed by RS256 or EdDSA.",
		"Public keys in PEM, or a JWK Set, which may hold secrets for HS256 "
		"as well. Empty accepts no such token.",
		&penny_jwt_key_file, penny_jwt_key_file, PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"penny.jwt_leeway", "Sets the difference of clocks allowed in a token's times.", NULL,
		&penny_jwt_leeway, penny_jwt_leeway, 0, 3600, PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomStringVariable("penny.jwt_roles", "Sets the roles that a token may name.",
							   "A list separated by commas. The role penny_authenticator must be a "
							   "member of each.",
							   &penny_jwt_roles, penny_jwt_roles, PGC_SIGHUP, 0, check_roles, NULL,
							   NULL);
	DefineCustomStringVariable("penny.jwt_secret_file",
							   "Sets the file with the secret of tokens signed by HS256.",
							   "At least 32 bytes, readable by the server and not by others. Empty "
							   "accepts no such token.",
							   &penny_jwt_secret_file, penny_jwt_secret_file, PGC_SIGHUP,
							   GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("penny.tls_cert_file",
							   "Sets the file with the certificate of the port.",
							   "PEM, followed by those that lead to its root. With it and "
							   "\"penny.tls_key_file\" the port speaks TLS; empty is plain HTTP.",
							   &penny_tls_cert_file, penny_tls_cert_file, PGC_SIGHUP,
							   GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable(
		"penny.tls_key_file", "Sets the file with the private key of the certificate.",
		"PEM without a passphrase, readable by the server and not by "
		"others.",
		&penny_tls_key_file, penny_tls_key_file, PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
}

static bool
check_role(char **value, void **extra, GucSource source)
{
	(void) extra;
	(void) source;
	if (**value == '\0' || strlen(*value) >= NAMEDATALEN)
	{
		GUC_check_errdetail("The name of a role has 1 to %d bytes.", NAMEDATALEN - 1);
		return false;
	}
	return true;
}

/* A list of identifiers, as in search_path. */
static bool
check_roles(char **value, void **extra, GucSource source)
{
	char *copy = pstrdup(*value);
	List *names = NIL;
	bool ok;

	(void) extra;
	(void) source;
	ok = SplitIdentifierString(copy, ',', &names);
	if (!ok)
		GUC_check_errdetail("List syntax is invalid.");
	list_free(names);
	pfree(copy);
	return ok;
}

/* Empty, or 8-4-4-4-12 hexadecimal digits. */
static bool
check_uuid(char **value, void **extra, GucSource source)
{
	size_t len = strlen(*value);
	bool ok = len == 0 || len == 36;

	(void) extra;
	(void) source;
	for (size_t i = 0; ok && i < len; i++)
	{
		if (i == 8 || i == 13 || i == 18 || i == 23)
			ok = (*value)[i] == '-';
		else
			ok = isxdigit((unsigned char) (*value)[i]) != 0;
	}
	if (!ok)
		GUC_check_errdetail("The value must be a uuid, such as "
							"01890a5d-ac96-774b-bcce-b302099a8057, or empty.");
	return ok;
}

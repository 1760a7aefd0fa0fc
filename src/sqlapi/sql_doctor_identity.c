/*-------------------------------------------------------------------------
 *
 * sql_doctor_identity.c
 *		The rows of penny.doctor() about roles, tokens, keys and the certificate.
 *
 * Nothing secret is shown: neither the path nor the bytes of a secret file.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/stat.h>
#include <unistd.h>

#include "access/htup_details.h"
#include "catalog/pg_authid.h"
#include "commands/dbcommands.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#include "auth/certificate.h"
#include "auth/key.h"
#include "config/config.h"
#include "sqlapi/sql_doctor.h"

static void check_roles(ReturnSetInfo *out);
static bool may_connect(Oid role);
static void check_token_roles(ReturnSetInfo *out);
static char *missing_membership(const char *roles);
static void check_secret(ReturnSetInfo *out);
static const char *secret_fault(const char *path, char **detail);
static void check_certificate(ReturnSetInfo *out);
static void check_keys(ReturnSetInfo *out);
static const char *ambiguous_algorithm(void);
static void check_identity(ReturnSetInfo *out);

void
penny_doctor_identity(ReturnSetInfo *out)
{
	check_roles(out);
	check_token_roles(out);
	check_secret(out);
	check_certificate(out);
	check_keys(out);
	check_identity(out);
}

/* ---- roles --------------------------------------------------------------- */

/* The four roles, and penny_authenticator as the extension made it. */
static void
check_roles(ReturnSetInfo *out)
{
	static const char *const names[] = {"penny_user", "penny_agent", "penny_admin"};
	HeapTuple tuple = SearchSysCache1(AUTHNAME, CStringGetDatum("penny_authenticator"));
	StringInfoData bad;

	initStringInfo(&bad);
	if (!HeapTupleIsValid(tuple))
		appendStringInfoString(&bad, "penny_authenticator does not exist; ");
	else
	{
		Form_pg_authid role = (Form_pg_authid) GETSTRUCT(tuple);

		if (!role->rolcanlogin)
			appendStringInfoString(&bad, "penny_authenticator may not log in; ");
		if (role->rolsuper || role->rolbypassrls || role->rolcreaterole)
			appendStringInfoString(&bad, "penny_authenticator has rights it must not have; ");
		if (role->rolconnlimit != 0)
			appendStringInfoString(&bad, "penny_authenticator lets clients log in; ");
		if (!may_connect(role->oid))
			appendStringInfo(&bad, "penny_authenticator may not connect to database \"%s\"; ",
							 penny_database);
		ReleaseSysCache(tuple);
	}
	for (int i = 0; i < lengthof(names); i++)
	{
		if (!OidIsValid(get_role_oid(names[i], true)))
			appendStringInfo(&bad, "%s does not exist; ", names[i]);
	}
	penny_doctor_report(
		out, "roles", bad.len == 0,
		pstrdup(bad.len == 0 ? "all are there" : pnstrdup(bad.data, bad.len - 2)),
		"ALTER ROLE penny_authenticator LOGIN NOINHERIT NOSUPERUSER NOBYPASSRLS NOCREATEROLE "
		"CONNECTION LIMIT 0; GRANT CONNECT ON DATABASE to it; drop and create the extension to "
		"get missing roles.");
}

/* May the role enter the database that penny serves?  True where there is none. */
static bool
may_connect(Oid role)
{
	Oid database = get_database_oid(penny_database, true);

	return !OidIsValid(database) ||
		   DatumGetBool(DirectFunctionCall3(has_database_privilege_id_id, ObjectIdGetDatum(role),
											ObjectIdGetDatum(database),
											CStringGetTextDatum("CONNECT")));
}

/* Roles that a token may name must be there for penny_authenticator to take. */
static void
check_token_roles(ReturnSetInfo *out)
{
	char *missing = missing_membership(penny_jwt_roles);
	char *not_listed = NULL;
	List *names = NIL;
	ListCell *lc;

	if (SplitIdentifierString(pstrdup(penny_jwt_roles), ',', &names))
	{
		not_listed = penny_jwt_default_role;
		foreach (lc, names)
		{
			if (strcmp(lfirst(lc), penny_jwt_default_role) == 0)
				not_listed = NULL;
		}
	}
	penny_doctor_report(
		out, "token roles", missing == NULL && not_listed == NULL,
		missing != NULL      ? psprintf("penny_authenticator is no member of %s", missing)
		: not_listed != NULL ? psprintf("%s, the default, is not one of the roles", not_listed)
							 : pstrdup(penny_jwt_roles),
		"GRANT each role of \"penny.jwt_roles\" TO penny_authenticator; "
		"\"penny.jwt_default_role\" must be one of them.");
}

/* The first role of the list that penny_authenticator cannot take, or NULL. */
static char *
missing_membership(const char *roles)
{
	Oid authenticator = get_role_oid("penny_authenticator", true);
	List *names = NIL;
	ListCell *lc;

	if (!SplitIdentifierString(pstrdup(roles), ',', &names) || !OidIsValid(authenticator))
		return NULL;
	foreach (lc, names)
	{
		Oid role = get_role_oid(lfirst(lc), true);

		if (!OidIsValid(role) || !is_member_of_role_nosuper(authenticator, role))
			return lfirst(lc);
	}
	return NULL;
}

/* ---- tokens and keys ------------------------------------------------------ */

/* The file of the HS256 secret. */
static void
check_secret(ReturnSetInfo *out)
{
	char *detail = NULL;
	const char *remedy;
	PennyKeyStatus status;

	if (penny_jwt_secret_file[0] == '\0')
	{
		penny_doctor_report(
			out, "token secret", true,
			pstrdup("not set: signed tokens are refused, sessions of the store work"), NULL);
		return;
	}
	remedy = secret_fault(penny_jwt_secret_file, &detail);
	penny_key_status(PENNY_SECRET_FILE, &status);
	if (remedy == NULL && status.refused)
	{
		detail = psprintf("refused when it was read last: %s", status.reason);
		remedy = "Mend the file, then execute SELECT penny.reload_keys(); until then the secret "
				 "before it stays in force.";
	}
	penny_doctor_report(out, "token secret", remedy == NULL, detail, remedy);
}

/* What is wrong with the file, as a remedy; NULL = nothing. */
static const char *
secret_fault(const char *path, char **detail)
{
	const char *make = "Set \"penny.jwt_secret_file\" to a file of 32 to 4096 random bytes, owned "
					   "by the server's user, mode 0600, and reload.";
	struct stat st;

	if (stat(path, &st) < 0 || access(path, R_OK) < 0)
	{
		*detail = psprintf("the server cannot read the file: %s", strerror(errno));
		return make;
	}
	*detail =
		psprintf("%lld bytes, mode 0%03o", (long long) st.st_size, (unsigned) st.st_mode & 07777);
	if (penny_key_fault(PENNY_SECRET_FILE, path) == NULL)
		return NULL;
	if (S_ISREG(st.st_mode) && (st.st_mode & (S_IWGRP | S_IXGRP | S_IRWXO)) != 0)
		return "Take the file from others: chmod 0600.";
	return make;
}

/* The files of certificate and key, as they are now. */
static void
check_certificate(ReturnSetInfo *out)
{
	PennyCertificate *certificate;
	char why[256];
	const char *remedy;
	time_t until = 0;
	int64 days;
	bool ok;

	if (!penny_certificate_wanted())
	{
		penny_doctor_report(out, "certificate", true,
							pstrdup("not set: the port speaks plain HTTP"), NULL);
		return;
	}
	certificate = palloc0(sizeof(*certificate));
	ok = penny_certificate_read(certificate, &until, why, sizeof(why), &remedy);
	penny_certificate_forget(certificate);
	pfree(certificate);
	if (!ok)
	{
		penny_doctor_report(out, "certificate", false, pstrdup(why), remedy);
		return;
	}
	days = ((int64) until - (int64) time(NULL)) / SECS_PER_DAY;
	penny_doctor_report(out, "certificate", until > time(NULL),
						until > time(NULL)
							? psprintf("fits its key, valid for " INT64_FORMAT " more days", days)
							: psprintf("it ended " INT64_FORMAT " days ago", -days),
						"Get a new certificate, put it in the place of the old one, and reload.");
}

/* The file of public keys, as the supervisor read it last. */
static void
check_keys(ReturnSetInfo *out)
{
	PennyKeyStatus status;
	const char *ambiguous = ambiguous_algorithm();

	penny_key_status(PENNY_KEY_FILE, &status);
	if (status.refused)
		penny_doctor_report(
			out, "token keys", false,
			psprintf("refused when the file was read last: %s", status.reason),
			psprintf("Mend the file, then execute SELECT penny.reload_keys(); until then the "
					 "%d keys before it stay in force.",
					 status.count));
	else if (ambiguous != NULL)
		penny_doctor_report(out, "token keys", false,
							psprintf("several keys are for %s, and not all have a kid", ambiguous),
							"Put all keys of one algorithm into one JWK Set, each with a kid.");
	else if (status.count == 0)
		penny_doctor_report(out, "token keys", true,
							pstrdup("not set: tokens signed by RS256 or EdDSA are refused"), NULL);
	else
		penny_doctor_report(out, "token keys", true,
							psprintf("%d keys in force, %d left out, read at %s", status.count,
									 status.skipped, timestamptz_to_str(status.taken)),
							NULL);
}

/* Tokens without kid could mean several keys then. */
static const char *
ambiguous_algorithm(void)
{
	for (int algorithm = 0; algorithm < PENNY_KEY_ALGORITHMS; algorithm++)
	{
		int without_kid;
		int count = penny_key_count((PennyKeyAlgorithm) algorithm, &without_kid);

		if (count > 1 && without_kid > 0)
			return penny_key_algorithm_name((PennyKeyAlgorithm) algorithm);
	}
	return NULL;
}

/* Settings that are meant for development, or that leave tokens unbound. */
static void
check_identity(ReturnSetInfo *out)
{
	bool dev = penny_dev_user[0] != '\0';
	bool bound = penny_jwt_audience[0] != '\0' && penny_jwt_issuer[0] != '\0';

	penny_doctor_report(
		out, "development user", !dev,
		dev ? psprintf("loopback requests without a token act as %s", penny_dev_user)
			: pstrdup("off"),
		"Take \"penny.dev_user\" out where others than developers can reach this machine.");
	penny_doctor_report(out, "token claims", true,
						psprintf("audience %s, issuer %s%s",
								 penny_jwt_audience[0] != '\0' ? "checked" : "any",
								 penny_jwt_issuer[0] != '\0' ? "checked" : "any",
								 bound ? "" : "; set both when others sign with the same secret"),
						NULL);
}

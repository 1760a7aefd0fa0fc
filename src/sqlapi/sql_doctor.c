/*-------------------------------------------------------------------------
 *
 * sql_doctor.c
 *		What is wrong with this server, and what to do about it.
 *
 * _penny.doctor(extension_version): one row for each check of settings,
 * shared memory, files and roles.  The check of the store is SQL, in
 * sql/api/70_status.sql, which puts both together as penny.doctor().
 *
 * Nothing secret is shown: neither the path nor the bytes of a secret file.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/stat.h>
#include <unistd.h>

#include "access/htup_details.h"
#include "access/twophase.h"
#include "access/xlog.h"
#include "catalog/pg_authid.h"
#include "commands/dbcommands.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/syscache.h"
#include "utils/timestamp.h"
#include "utils/varlena.h"

#include "auth/key.h"
#include "auth/certificate.h"
#include "base/compat.h"
#include "base/planemap.h"
#include "base/registry.h"
#include "base/staff.h"
#include "config/config.h"
#include "executor/quarantine.h"
#include "queue/queue.h"
#include "redis/redis.h"

PG_FUNCTION_INFO_V1(penny_doctor);

static void check_preload(ReturnSetInfo *out);
static void check_versions(ReturnSetInfo *out, const char *extension);
static void check_database(ReturnSetInfo *out);
static void check_slots(ReturnSetInfo *out);
static void check_executors(ReturnSetInfo *out);
static void check_gateway(ReturnSetInfo *out);
static const char *of_gateway(const char *check, int number);
static void check_port(ReturnSetInfo *out, const char *name, const PennyGatewayEntry *entry);
static void check_edge(ReturnSetInfo *out, const char *name, const PennyGatewayEntry *entry);
static void check_roles(ReturnSetInfo *out);
static bool may_connect(Oid role);
static void check_token_roles(ReturnSetInfo *out);
static void check_secret(ReturnSetInfo *out);
static void check_keys(ReturnSetInfo *out);
static const char *ambiguous_algorithm(void);
static const char *secret_fault(const char *path, char **detail);
static void check_certificate(ReturnSetInfo *out);
static void check_identity(ReturnSetInfo *out);
static void check_quarantine(ReturnSetInfo *out);
static void check_jobs(ReturnSetInfo *out);
static void check_courier(ReturnSetInfo *out);
static void check_others(ReturnSetInfo *out);
static void check_redis(ReturnSetInfo *out);
static char *missing_membership(const char *roles);
static void report(ReturnSetInfo *out, const char *check, bool ok, char *detail,
				   const char *remedy);

/* _penny.doctor(extension_version text) */
Datum
penny_doctor(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *out = (ReturnSetInfo *) fcinfo->resultinfo;

	InitMaterializedSRF(fcinfo, 0);
	check_preload(out);
	check_versions(out, text_to_cstring(PG_GETARG_TEXT_PP(0)));
	check_database(out);
	if (penny_plane() != NULL)
	{
		check_slots(out);
		check_executors(out);
		check_gateway(out);
		check_roles(out);
		check_token_roles(out);
		check_secret(out);
		check_certificate(out);
		check_keys(out);
		check_identity(out);
		check_quarantine(out);
		check_jobs(out);
		check_courier(out);
	}
	check_others(out);
	return (Datum) 0;
}

/* ---- server ------------------------------------------------------------- */

static void
check_preload(ReturnSetInfo *out)
{
	bool ok = penny_plane() != NULL;

	report(out, "preload", ok, pstrdup(ok ? "penny is preloaded" : "penny is not preloaded"),
		   "Add the line \"shared_preload_libraries = 'penny'\" to postgresql.conf and restart the "
		   "server.");
}

/* Server, and whether library and SQL objects are of one version. */
static void
check_versions(ReturnSetInfo *out, const char *extension)
{
	int server = atoi(GetConfigOption("server_version_num", false, false));

	report(out, "server version", server >= PENNY_WANTED_SERVER,
		   psprintf("PostgreSQL %d.%d", server / 10000, server % 10000),
		   psprintf("Update to %d.%d or newer, which closes holes in the server.",
					PENNY_WANTED_SERVER / 10000, PENNY_WANTED_SERVER % 10000));
	report(out, "extension version", strcmp(extension, PENNY_VERSION) == 0,
		   psprintf("extension %s, library %s", extension, PENNY_VERSION),
		   "Execute ALTER EXTENSION penny UPDATE; restart the server if the library is the older "
		   "one.");
}

/* Served, writable, UTF-8. */
static void
check_database(ReturnSetInfo *out)
{
	const char *here = get_database_name(MyDatabaseId);

	if (penny_plane() != NULL)
		report(out, "database", strcmp(here, penny_database) == 0,
			   psprintf("this is \"%s\", penny serves \"%s\"", here, penny_database),
			   psprintf("Set \"penny.database\" to \"%s\" and restart the server, or install the "
						"extension in \"%s\".",
						here, penny_database));
	report(out, "recovery", !RecoveryInProgress(),
		   pstrdup(RecoveryInProgress() ? "a standby: nothing listens here"
										: "the server takes writes"),
		   "Ask the primary, or promote this server.");
	report(out, "encoding", GetDatabaseEncoding() == PG_UTF8, pstrdup(GetDatabaseEncodingName()),
		   "Create the database with ENCODING 'UTF8'.");
}

/* Room for all workers beside PostgreSQL's own. */
static void
check_slots(ReturnSetInfo *out)
{
	int workers = penny_config_workers();

	report(
		out, "worker slots", max_worker_processes >= workers,
		psprintf("max_worker_processes is %d, penny alone needs %d", max_worker_processes, workers),
		psprintf("Set \"max_worker_processes\" to %d and restart the server.",
				 penny_config_worker_slots()));
}

static void
check_executors(ReturnSetInfo *out)
{
	const char *reason = penny_readiness_reason(penny_readiness());
	int connected = 0;
	int running;
	int busy;

	penny_executor_count(&running, &busy);
	for (int i = 0; i < PENNY_MAX_EXECUTORS; i++)
		connected += pg_atomic_read_u32(&penny_registry()->executor[i].connected);
	report(out, "executors", connected >= penny_executors_min,
		   psprintf("%d running, %d of them connected, %d busy; %d to %d are wanted", running,
					connected, busy, penny_executors_min,
					Max(penny_executors_min, penny_executors_max)),
		   "Look into the server's log; set \"max_worker_processes\" higher if slots are short.");
	report(out, "service", reason == NULL, pstrdup(reason != NULL ? reason : "requests are served"),
		   "Execute CREATE EXTENSION penny in the database that \"penny.database\" names, and let "
		   "penny_authenticator log in.");
}

/* ---- gateway ------------------------------------------------------------ */

static void
check_gateway(ReturnSetInfo *out)
{
	for (int i = 0; i < penny_gateways; i++)
	{
		const PennyGatewayEntry *entry = &penny_registry()->gateway[i];

		check_port(out, of_gateway("port", i), entry);
		check_edge(out, of_gateway("edge", i), entry);
	}
}

/* The name of a check; where there are several gateways, of which. */
static const char *
of_gateway(const char *check, int number)
{
	return penny_gateways == 1 ? check : psprintf("%s of gateway %d", check, number + 1);
}

static void
check_port(ReturnSetInfo *out, const char *name, const PennyGatewayEntry *entry)
{
	uint32 listening = pg_atomic_read_u32(unconstify(pg_atomic_uint32 *, &entry->listening));
	uint32 wanted = pg_atomic_read_u32(unconstify(pg_atomic_uint32 *, &entry->wanted));
	int error = (int) pg_atomic_read_u32(unconstify(pg_atomic_uint32 *, &entry->bind_errno));
	bool ok = wanted > 0 && listening == wanted;

	report(out, name, ok,
		   psprintf("port %d: %u of %u sockets listen on %s%s%s", penny_port, listening, wanted,
					penny_listen_addresses, ok || error == 0 ? "" : ": ",
					ok || error == 0 ? "" : strerror(error)),
		   "Stop the other server on that port, or change \"penny.port\" or "
		   "\"penny.listen_addresses\" and reload.");
}

static void
check_edge(ReturnSetInfo *out, const char *name, const PennyGatewayEntry *entry)
{
	uint32 pid = pg_atomic_read_u32(unconstify(pg_atomic_uint32 *, &entry->edge_pid));
	uint32 failures = pg_atomic_read_u32(unconstify(pg_atomic_uint32 *, &entry->failures));
	uint64 crashes = pg_atomic_read_u64(unconstify(pg_atomic_uint64 *, &entry->crashes));

	report(out, name, pid != 0 && failures == 0,
		   psprintf("%s; ended unasked " UINT64_FORMAT " times, lately %u without an answer",
					pid != 0 ? psprintf("process %u", pid) : "no penny-edge runs", crashes,
					failures),
		   "Look into the server's log for lines of penny-edge; the program must lie beside "
		   "postgres or where \"penny.edge_program\" says.");
}

/* ---- roles and identity ------------------------------------------------- */

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
	report(out, "roles", bad.len == 0,
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
	report(out, "token roles", missing == NULL && not_listed == NULL,
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

/* The file of the HS256 secret. */
static void
check_secret(ReturnSetInfo *out)
{
	char *detail = NULL;
	const char *remedy;
	PennyKeyStatus status;

	if (penny_jwt_secret_file[0] == '\0')
	{
		report(out, "token secret", true,
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
	report(out, "token secret", remedy == NULL, detail, remedy);
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
		report(out, "certificate", true, pstrdup("not set: the port speaks plain HTTP"), NULL);
		return;
	}
	certificate = palloc0(sizeof(*certificate));
	ok = penny_certificate_read(certificate, &until, why, sizeof(why), &remedy);
	penny_certificate_forget(certificate);
	pfree(certificate);
	if (!ok)
	{
		report(out, "certificate", false, pstrdup(why), remedy);
		return;
	}
	days = ((int64) until - (int64) time(NULL)) / SECS_PER_DAY;
	report(out, "certificate", until > time(NULL),
		   until > time(NULL) ? psprintf("fits its key, valid for " INT64_FORMAT " more days", days)
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
		report(out, "token keys", false,
			   psprintf("refused when the file was read last: %s", status.reason),
			   psprintf("Mend the file, then execute SELECT penny.reload_keys(); until then the "
						"%d keys before it stay in force.",
						status.count));
	else if (ambiguous != NULL)
		report(out, "token keys", false,
			   psprintf("several keys are for %s, and not all have a kid", ambiguous),
			   "Put all keys of one algorithm into one JWK Set, each with a kid.");
	else if (status.count == 0)
		report(out, "token keys", true,
			   pstrdup("not set: tokens signed by RS256 or EdDSA are refused"), NULL);
	else
		report(out, "token keys", true,
			   psprintf("%d keys in force, %d left out, read at %s", status.count, status.skipped,
						timestamptz_to_str(status.taken)),
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

	report(out, "development user", !dev,
		   dev ? psprintf("loopback requests without a token act as %s", penny_dev_user)
			   : pstrdup("off"),
		   "Take \"penny.dev_user\" out where others than developers can reach this machine.");
	report(out, "token claims", true,
		   psprintf("audience %s, issuer %s%s", penny_jwt_audience[0] != '\0' ? "checked" : "any",
					penny_jwt_issuer[0] != '\0' ? "checked" : "any",
					bound ? "" : "; set both when others sign with the same secret"),
		   NULL);
}

/* What is refused because it crashed its process. */
static void
check_quarantine(ReturnSetInfo *out)
{
	PennyQuarantineEntry *entries = palloc_array(PennyQuarantineEntry, PENNY_QUARANTINE_ENTRIES);
	int n = penny_quarantine_list(entries);
	int refused = 0;

	for (int i = 0; i < n; i++)
		refused += entries[i].refused;
	report(out, "quarantine", refused == 0,
		   n == 0 ? pstrdup("nothing crashed its process")
				  : psprintf("%d requests and routes are refused, %d are suspected", refused,
							 n - refused),
		   "Look at penny.quarantine(), mend the handlers, then execute SELECT "
		   "penny.quarantine_clear().");
}

/* Jobs that came by a statement wait until somebody says so. */
static void
check_jobs(ReturnSetInfo *out)
{
	bool held;

	if (!penny_queue_here())
		return;
	held = penny_jobs_held();
	report(
		out, "jobs", !held,
		pstrdup(held ? "restored jobs wait for penny.load_jobs()" : "jobs are loaded as they come"),
		"When they may run: SELECT penny.load_jobs().");
}

/* Webhooks: a worker and its program. */
static void
check_courier(ReturnSetInfo *out)
{
	uint32 child = pg_atomic_read_u32(&penny_registry()->courier_child);
	uint32 failures = pg_atomic_read_u32(&penny_registry()->courier_failures);
	bool worker = penny_staff_held(&penny_registry()->courier);

	if (penny_webhook_allow[0] == '\0')
	{
		report(out, "courier", true, pstrdup("\"penny.webhook_allow\" is empty: webhooks are off"),
			   NULL);
		return;
	}
	report(out, "courier", worker && child != 0,
		   psprintf("%s; lately %u ended without an answer",
					!worker      ? "penny courier does not run"
					: child != 0 ? psprintf("process %u", child)
								 : "no penny-courier is ready",
					failures),
		   "Look into the server's log for lines of penny-courier; the program must lie beside "
		   "postgres or where \"penny.courier_program\" says.");
}

static void
check_others(ReturnSetInfo *out)
{
	report(out, "prepared transactions", true,
		   psprintf("max_prepared_transactions is %d%s", max_prepared_xacts,
					max_prepared_xacts > 0 ? "; commits of prepared transactions are published "
											 "without frames, members read them from the tables"
										   : ""),
		   NULL);
	if (penny_plane() != NULL)
		check_redis(out);
}

static void
check_redis(ReturnSetInfo *out)
{
	char *detail;
	const char *remedy;
	bool ok = penny_redis_fault(&detail, &remedy);

	report(out, "redis", ok, detail, remedy);
}

/* One row; the remedy is shown only where something is wrong. */
static void
report(ReturnSetInfo *out, const char *check, bool ok, char *detail, const char *remedy)
{
	Datum values[4];
	bool nulls[4] = {false};

	values[0] = CStringGetTextDatum(check);
	values[1] = BoolGetDatum(ok);
	values[2] = CStringGetTextDatum(detail);
	nulls[3] = ok || remedy == NULL;
	values[3] = nulls[3] ? (Datum) 0 : CStringGetTextDatum(remedy);
	tuplestore_putvalues(out->setResult, out->setDesc, values, nulls);
}

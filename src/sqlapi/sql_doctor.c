/*-------------------------------------------------------------------------
 *
 * sql_doctor.c
 *		What is wrong with this server, and what to do about it.
 *
 * _penny.doctor(extension_version): one row for each check of settings,
 * shared memory, files and roles.  Here are those of the server and of penny's
 * processes; roles, tokens and keys are in sql_doctor_identity.c, jobs in
 * sql_doctor_jobs.c.  The check of the store is SQL, in sql/api/70_status.sql,
 * which puts all together as penny.doctor().
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/twophase.h"
#include "access/xlog.h"
#include "commands/dbcommands.h"
#include "fmgr.h"
#include "funcapi.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "base/compat.h"
#include "base/planemap.h"
#include "base/registry.h"
#include "base/staff.h"
#include "config/config.h"
#include "executor/quarantine.h"
#include "redis/redis.h"
#include "sqlapi/sql_doctor.h"

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
static void check_quarantine(ReturnSetInfo *out);
static void check_others(ReturnSetInfo *out);
static void check_redis(ReturnSetInfo *out);

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
		penny_doctor_identity(out);
		check_quarantine(out);
		penny_doctor_jobs(out);
	}
	check_others(out);
	return (Datum) 0;
}

/* ---- server ------------------------------------------------------------- */

static void
check_preload(ReturnSetInfo *out)
{
	bool ok = penny_plane() != NULL;

	penny_doctor_report(
		out, "preload", ok, pstrdup(ok ? "penny is preloaded" : "penny is not preloaded"),
		"Add the line \"shared_preload_libraries = 'penny'\" to postgresql.conf and restart the "
		"server.");
}

/* Server, and whether library and SQL objects are of one version. */
static void
check_versions(ReturnSetInfo *out, const char *extension)
{
	int server = atoi(GetConfigOption("server_version_num", false, false));

	penny_doctor_report(out, "server version", server >= PENNY_WANTED_SERVER,
						psprintf("PostgreSQL %d.%d", server / 10000, server % 10000),
						psprintf("Update to %d.%d or newer, which closes holes in the server.",
								 PENNY_WANTED_SERVER / 10000, PENNY_WANTED_SERVER % 10000));
	penny_doctor_report(
		out, "extension version", strcmp(extension, PENNY_VERSION) == 0,
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
		penny_doctor_report(
			out, "database", strcmp(here, penny_database) == 0,
			psprintf("this is \"%s\", penny serves \"%s\"", here, penny_database),
			psprintf("Set \"penny.database\" to \"%s\" and restart the server, or install the "
					 "extension in \"%s\".",
					 here, penny_database));
	penny_doctor_report(out, "recovery", !RecoveryInProgress(),
						pstrdup(RecoveryInProgress() ? "a standby: nothing listens here"
													 : "the server takes writes"),
						"Ask the primary, or promote this server.");
	penny_doctor_report(out, "encoding", GetDatabaseEncoding() == PG_UTF8,
						pstrdup(GetDatabaseEncodingName()),
						"Create the database with ENCODING 'UTF8'.");
}

/* Room for all workers beside PostgreSQL's own. */
static void
check_slots(ReturnSetInfo *out)
{
	int workers = penny_config_workers();

	penny_doctor_report(
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
	penny_doctor_report(
		out, "executors", connected >= penny_executors_min,
		psprintf("%d running, %d of them connected, %d busy; %d to %d are wanted", running,
				 connected, busy, penny_executors_min,
				 Max(penny_executors_min, penny_executors_max)),
		"Look into the server's log; set \"max_worker_processes\" higher if slots are short.");
	penny_doctor_report(
		out, "service", reason == NULL, pstrdup(reason != NULL ? reason : "requests are served"),
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

	penny_doctor_report(out, name, ok,
						psprintf("port %d: %u of %u sockets listen on %s%s%s", penny_port,
								 listening, wanted, penny_listen_addresses,
								 ok || error == 0 ? "" : ": ",
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

	penny_doctor_report(
		out, name, pid != 0 && failures == 0,
		psprintf("%s; ended unasked " UINT64_FORMAT " times, lately %u without an answer",
				 pid != 0 ? psprintf("process %u", pid) : "no penny-edge runs", crashes, failures),
		"Look into the server's log for lines of penny-edge; the program must lie beside "
		"postgres or where \"penny.edge_program\" says.");
}

/* ---- others --------------------------------------------------------------- */

/* What is refused because it crashed its process. */
static void
check_quarantine(ReturnSetInfo *out)
{
	PennyQuarantineEntry *entries = palloc_array(PennyQuarantineEntry, PENNY_QUARANTINE_ENTRIES);
	int n = penny_quarantine_list(entries);
	int refused = 0;

	for (int i = 0; i < n; i++)
		refused += entries[i].refused;
	penny_doctor_report(out, "quarantine", refused == 0,
						n == 0 ? pstrdup("nothing crashed its process")
							   : psprintf("%d requests and routes are refused, %d are suspected",
										  refused, n - refused),
						"Look at penny.quarantine(), mend the handlers, then execute SELECT "
						"penny.quarantine_clear().");
}

static void
check_others(ReturnSetInfo *out)
{
	penny_doctor_report(out, "prepared transactions", true,
						psprintf("max_prepared_transactions is %d%s", max_prepared_xacts,
								 max_prepared_xacts > 0
									 ? "; commits of prepared transactions are published "
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

	penny_doctor_report(out, "redis", ok, detail, remedy);
}

/* One row; the remedy is shown only where something is wrong. */
void
penny_doctor_report(ReturnSetInfo *out, const char *check, bool ok, const char *detail,
					const char *remedy)
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

/*-------------------------------------------------------------------------
 *
 * reset.c
 *		Between two calls: nothing of the first may be there for the second.
 *
 * The transaction's end took back settings, role, snapshot, and locks of the
 * transaction; run.c dropped the cursors.  What a session keeps beyond it is
 * dropped here: prepared statements, advisory locks, what currval() and
 * lastval() remember, temporary objects.  LISTEN is refused in a background
 * process by PostgreSQL itself.  Plans stay, and so does what a procedural
 * language keeps in variables of its own (plperl's %_SHARED, plpython's GD):
 * DISCARD ALL does not reach those either.
 *
 * Then everything is looked at again.  A difference is a hole in the above:
 * the executor says so in the log and leaves, and a fresh one comes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/namespace.h"
#include "nodes/plannodes.h"
#include "tcop/dest.h"
#include "utils/queryenvironment.h"

#include "commands/prepare.h"
#include "commands/sequence.h"
#include "miscadmin.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/snapmgr.h"

#include "base/compat.h"
#include "base/reset.h"
#include "base/worker.h"

/* Settings that decide what a statement means or may do. */
static const char *const watched[] = {"search_path",
									  "row_security",
									  "role",
									  "session_authorization",
									  "TimeZone",
									  "DateStyle",
									  "default_transaction_isolation",
									  "default_transaction_read_only",
									  "statement_timeout",
									  "lock_timeout",
									  "client_encoding",
									  "request.jwt.claims"};

static char *baseline[lengthof(watched)];
static Oid session_user = InvalidOid;

static void drop_temporary_objects(void *arg);
static const char *check_identity(void);
static const char *check_session(void);
static const char *check_settings(void);

void
penny_reset_baseline(void)
{
	session_user = GetSessionUserId();
	for (int i = 0; i < lengthof(watched); i++)
	{
		const char *value = GetConfigOption(watched[i], true, false);

		if (baseline[i] != NULL)
			pfree(baseline[i]);
		baseline[i] = MemoryContextStrdup(TopMemoryContext, value != NULL ? value : "");
	}
}

const char *
penny_reset_session(void)
{
	const char *wrong;

	DropAllPreparedStatements();
	LockReleaseAll(USER_LOCKMETHOD, true);
	ResetSequenceCaches();
	if (!penny_worker_guard(drop_temporary_objects, NULL))
		return "temporary objects";

	wrong = check_identity();
	if (wrong == NULL)
		wrong = check_session();
	if (wrong == NULL)
		wrong = check_settings();
	return wrong;
}

/* Only a session that ever made a temporary object has the schema. */
static void
drop_temporary_objects(void *arg)
{
	Oid schema;
	Oid toast_schema;

	(void) arg;
	GetTempNamespaceState(&schema, &toast_schema);
	if (!OidIsValid(schema))
		return;
	StartTransactionCommand();
	ResetTempTableNamespace();
	CommitTransactionCommand();
}

static const char *
check_identity(void)
{
	Oid user;
	int context;

	GetUserIdAndSecContext(&user, &context);
	if (user != session_user || GetSessionUserId() != session_user ||
		GetAuthenticatedUserId() != session_user)
		return "user";
	if (context != 0)
		return "security context";
	if (OidIsValid(GetCurrentRoleId()))
		return "role";
	return NULL;
}

static const char *
check_session(void)
{
	if (IsTransactionOrTransactionBlock())
		return "transaction";
	if (ActiveSnapshotSet() || TransactionIdIsValid(MyProc->xmin))
		return "snapshot";
	if (TransactionIdIsValid(MyProc->xid))
		return "transaction id";
	if (!ThereAreNoReadyPortals())
		return "cursor";
	if (!penny_no_locks_held())
		return "lock";
	return NULL;
}

static const char *
check_settings(void)
{
	for (int i = 0; i < lengthof(watched); i++)
	{
		const char *value = GetConfigOption(watched[i], true, false);

		if (strcmp(value != NULL ? value : "", baseline[i]) != 0)
			return watched[i];
	}
	return NULL;
}

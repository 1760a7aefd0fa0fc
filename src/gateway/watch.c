/*-------------------------------------------------------------------------
 *
 * watch.c
 *		Notices commands that change what penny stands on.
 *
 * Runs in every backend.  Three jobs:
 *
 * 1. Extensions, databases and roles that are made, altered or dropped, in
 *	  whatever way, pass the object access hook.  Once such a transaction has
 *	  committed and sent its invalidations, the supervisor is woken to look
 *	  again, so it need not poll.  (The transaction callback would be too
 *	  early: the invalidations follow it.)
 *
 * 2. DROP DATABASE, ALTER DATABASE .. RENAME or SET TABLESPACE and CREATE
 *	  DATABASE .. TEMPLATE want a database without other sessions, and
 *	  executors are sessions.  When the database is penny's own and the caller
 *	  may command it, the executors are asked to leave for the length of the
 *	  transaction; those in a call finish it first.  PostgreSQL waits five
 *	  seconds for them by itself, and refuses as ever if somebody stays.
 *
 * 3. Commands about roles, memberships, privileges and policies, and functions
 *	  that are replaced (which policies and rooms may ask), may take a right away that somebody used when joining a room or signing in.  When
 *	  such a transaction has committed and sent its invalidations, all tokens
 *	  and all rooms are asked for again (realtime/publish.h).  Roles are the
 *	  server's, so this is noticed in every database.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "commands/dbcommands.h"
#include "commands/defrem.h"
#include "miscadmin.h"
#include "tcop/utility.h"
#include "utils/resowner.h"

#include "base/compat.h"
#include "base/registry.h"
#include "config/config.h"
#include "gateway/watch.h"
#include "queue/config.h"
#include "realtime/publish.h"

static object_access_hook_type prev_object_access = NULL;
static ProcessUtility_hook_type prev_utility = NULL;

static bool changed = false;  /* this transaction touched what we watch */
static bool rights = false;   /* this transaction may have taken rights away */
static bool detached = false; /* this transaction has penny's database alone */

static void watch_object(ObjectAccessType access, Oid classId, Oid objectId, int subId, void *arg);
static void watch_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
						  ProcessUtilityContext context, ParamListInfo params,
						  QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc);
static void watch_transaction(XactEvent event, void *arg);
static void watch_end(ResourceReleasePhase phase, bool isCommit, bool isTopLevel, void *arg);
static bool changes_rights(Node *statement);
static const char *database_wanted_alone(Node *statement);
static const char *option_value(List *options, const char *name);
static bool may_detach(const char *database);

/* Install the hooks. */
void
penny_watch_init(void)
{
	prev_object_access = object_access_hook;
	object_access_hook = watch_object;
	prev_utility = ProcessUtility_hook;
	ProcessUtility_hook = watch_utility;
	RegisterXactCallback(watch_transaction, NULL);
	RegisterResourceReleaseCallback(watch_end, NULL);
}

/* Note a change of what we watch. */
static void
watch_object(ObjectAccessType access, Oid classId, Oid objectId, int subId, void *arg)
{
	if (prev_object_access)
		prev_object_access(access, classId, objectId, subId, arg);

	if ((access == OAT_POST_CREATE || access == OAT_DROP || access == OAT_POST_ALTER) &&
		(classId == ExtensionRelationId || classId == DatabaseRelationId ||
		 classId == AuthIdRelationId))
		changed = true;
}

/* Ask the executors to leave before, or the supervisor to look after a statement. */
static void
watch_utility(PlannedStmt *pstmt, const char *queryString, bool readOnlyTree,
			  ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *queryEnv,
			  DestReceiver *dest, QueryCompletion *qc)
{
	Node *statement = pstmt->utilityStmt;
	const char *database = database_wanted_alone(statement);
	bool commit_prepared = IsA(statement, TransactionStmt) &&
						   ((TransactionStmt *) statement)->kind == TRANS_STMT_COMMIT_PREPARED;

	if (database != NULL && !detached && may_detach(database))
	{
		detached = true;
		penny_database_detach();
	}

	rights |= changes_rights(statement);
	if (prev_utility)
		prev_utility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc);
	else
		standard_ProcessUtility(pstmt, queryString, readOnlyTree, context, params, queryEnv, dest,
								qc);

	if (commit_prepared && penny_registry() != NULL &&
		pg_atomic_read_u32(&penny_registry()->changed) != 0)
	{
		penny_supervisor_look();
	}
	if (commit_prepared)
		penny_queue_config_prepared();
	if (commit_prepared && penny_registry() != NULL &&
		pg_atomic_read_u32(&penny_registry()->rights) != 0)
		rights = true; /* it may be that one */
}

/* Are policies of the table asked of others than before? */
static bool
changes_row_security(AlterTableStmt *statement)
{
	ListCell *lc;

	foreach (lc, statement->cmds)
	{
		AlterTableType type = lfirst_node(AlterTableCmd, lc)->subtype;

		if (type == AT_EnableRowSecurity || type == AT_ForceRowSecurity || type == AT_ChangeOwner)
			return true;
	}
	return false;
}

/* May the statement take somebody's right to a room away? */
static bool
changes_rights(Node *statement)
{
	switch (nodeTag(statement))
	{
		case T_GrantRoleStmt:
		case T_AlterRoleStmt:
		case T_DropRoleStmt:
		case T_DropOwnedStmt:
		case T_ReassignOwnedStmt:
			return true;
		case T_CreateFunctionStmt:
			return ((CreateFunctionStmt *) statement)->replace && penny_publish_active();
		case T_AlterTableStmt:
			return changes_row_security((AlterTableStmt *) statement) && penny_publish_active();
		case T_GrantStmt:
		case T_CreatePolicyStmt:
		case T_AlterPolicyStmt:
			return penny_publish_active();
		case T_DropStmt:
			return ((DropStmt *) statement)->removeType == OBJECT_POLICY && penny_publish_active();
		case T_RenameStmt:
			return ((RenameStmt *) statement)->renameType == OBJECT_ROLE;
		default:
			return false;
	}
}

/* Which database does the statement need without other sessions? */
static const char *
database_wanted_alone(Node *statement)
{
	const char *database;

	switch (nodeTag(statement))
	{
		case T_DropdbStmt:
			return ((DropdbStmt *) statement)->dbname;
		case T_CreatedbStmt:
			database = option_value(((CreatedbStmt *) statement)->options, "template");
			return database != NULL ? database : "template1";
		case T_AlterDatabaseStmt:
			if (option_value(((AlterDatabaseStmt *) statement)->options, "tablespace") != NULL)
				return ((AlterDatabaseStmt *) statement)->dbname;
			return NULL;
		case T_RenameStmt:
			if (((RenameStmt *) statement)->renameType == OBJECT_DATABASE)
				return ((RenameStmt *) statement)->subname;
			return NULL;
		default:
			return NULL;
	}
}

static const char *
option_value(List *options, const char *name)
{
	ListCell *lc;

	foreach (lc, options)
	{
		DefElem *option = lfirst_node(DefElem, lc);

		if (strcmp(option->defname, name) == 0 && option->arg != NULL)
			return defGetString(option);
	}
	return NULL;
}

/* Penny's own database, from another one, by somebody who may. */
static bool
may_detach(const char *database)
{
	Oid oid;

	if (penny_registry() == NULL || strcmp(database, penny_database) != 0)
		return false;
	oid = get_database_oid(database, true);
	return OidIsValid(oid) && (superuser() || penny_owns_database(oid, GetUserId()));
}

/* What is prepared now is committed by somebody else: let them look too. */
static void
watch_transaction(XactEvent event, void *arg)
{
	(void) arg;
	if (event == XACT_EVENT_PREPARE && changed && penny_registry() != NULL)
		pg_atomic_write_u32(&penny_registry()->changed, 1);
	if (event == XACT_EVENT_PREPARE && rights && penny_registry() != NULL)
		pg_atomic_write_u32(&penny_registry()->rights, 1);
}

/* The end of a transaction, its invalidations sent and its locks released. */
static void
watch_end(ResourceReleasePhase phase, bool isCommit, bool isTopLevel, void *arg)
{
	(void) arg;
	if (!isTopLevel || phase != RESOURCE_RELEASE_AFTER_LOCKS || (!changed && !detached && !rights))
		return;
	if (penny_registry() == NULL)
		return;
	if (rights && isCommit)
		penny_publish_rights();
	if (detached)
		penny_database_release();
	else if (isCommit && changed)
		penny_supervisor_look();
	changed = detached = rights = false;
}

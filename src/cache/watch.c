/*-------------------------------------------------------------------------
 *
 * watch.c
 *		Notices commands that change what a cached value may depend on besides
 *		rows: definitions, rights, policies, triggers, roles, settings.
 *
 * A transaction that has executed such a command raises the stamp of
 * everything.  Commands that are known to be harmless are listed below; all
 * others count, so that one which nobody has thought of costs misses and no
 * more.  The command is noted before it runs, so that it is among what an
 * internal commit pushes, and after it, since some go on in a transaction of
 * their own.
 *
 * Tables that are dropped or truncated are noticed by the object access hook,
 * which also sees what does not come as a command, and tells temporary ones
 * apart.  REFRESH MATERIALIZED VIEW raises the tag of the view.
 *
 * COMMIT PREPARED tells other processes what changed in catalogs after it can
 * be seen, as COMMIT does; see fence.c.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/objectaccess.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_database.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "nodes/nodes.h"
#include "nodes/parsenodes.h"
#include "tcop/utility.h"
#include "utils/lsyscache.h"

#include "cache/cache_private.h"

static object_access_hook_type prev_object_access = NULL;
static ProcessUtility_hook_type prev_utility = NULL;

static void watch_object(ObjectAccessType access, Oid classId, Oid objectId, int subId, void *arg);
static void watch_utility(PlannedStmt *pstmt, const char *query, bool read_only_tree,
						  ProcessUtilityContext context, ParamListInfo params,
						  QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *qc);
static bool is_harmless(Node *statement);
static bool is_temporary(const RangeVar *relation);
static bool drops_tables(const DropStmt *statement);
static void refreshed(const RefreshMatViewStmt *statement);

void
penny_cache_watch_init(void)
{
	prev_object_access = object_access_hook;
	object_access_hook = watch_object;
	prev_utility = ProcessUtility_hook;
	ProcessUtility_hook = watch_utility;
}

/* ---- commands ------------------------------------------------------------ */

static void
run_utility(PlannedStmt *pstmt, const char *query, bool read_only_tree,
			ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *environment,
			DestReceiver *dest, QueryCompletion *qc)
{
	if (prev_utility)
		prev_utility(pstmt, query, read_only_tree, context, params, environment, dest, qc);
	else
		standard_ProcessUtility(pstmt, query, read_only_tree, context, params, environment, dest,
								qc);
}

static bool
finishes_prepared(Node *statement)
{
	return IsA(statement, TransactionStmt) &&
		   castNode(TransactionStmt, statement)->kind == TRANS_STMT_COMMIT_PREPARED;
}

static void
watch_utility(PlannedStmt *pstmt, const char *query, bool read_only_tree,
			  ProcessUtilityContext context, ParamListInfo params, QueryEnvironment *environment,
			  DestReceiver *dest, QueryCompletion *qc)
{
	Node *statement = pstmt->utilityStmt;
	bool counts = penny_cache_is_on() && !is_harmless(statement);

	if (counts)
		penny_cache_invalidate_all();
	if (finishes_prepared(statement) && penny_fence_begin_finish())
	{
		PG_TRY();
		{
			run_utility(pstmt, query, read_only_tree, context, params, environment, dest, qc);
		}
		PG_FINALLY();
		{
			penny_fence_end_finish();
		}
		PG_END_TRY();
		return;
	}
	run_utility(pstmt, query, read_only_tree, context, params, environment, dest, qc);
	if (counts)
		penny_cache_invalidate_all();
	else if (penny_cache_is_on() && IsA(statement, RefreshMatViewStmt))
		refreshed(castNode(RefreshMatViewStmt, statement));
}

/*
 * Does the command change nothing that a cached value depends on, other than by
 * rows (which triggers see), by commands of its own (which come through here
 * again), or by objects that the object access hook sees?
 */
static bool
is_harmless(Node *statement)
{
	switch (nodeTag(statement))
	{
			/* transactions, settings of the session, cursors, messages, locks */
		case T_TransactionStmt:
		case T_VariableSetStmt:
		case T_VariableShowStmt:
		case T_ConstraintsSetStmt:
		case T_DeclareCursorStmt:
		case T_FetchStmt:
		case T_ClosePortalStmt:
		case T_ListenStmt:
		case T_UnlistenStmt:
		case T_NotifyStmt:
		case T_LockStmt:
		case T_DiscardStmt:
		case T_LoadStmt:
			/* what they run comes through here, or writes rows */
		case T_PrepareStmt:
		case T_ExecuteStmt:
		case T_DeallocateStmt:
		case T_DoStmt:
		case T_CallStmt:
		case T_CopyStmt:
			/* storage and plans */
		case T_VacuumStmt:
		case T_CheckPointStmt:
		case T_ClusterStmt:
		case T_ReindexStmt:
		case T_IndexStmt:
		case T_CreateStatsStmt:
		case T_AlterStatsStmt:
			/* the tag of the view says it */
		case T_RefreshMatViewStmt:
			/* seen by the object access hook */
		case T_TruncateStmt:
			/* said by the supervisor once settings are read again */
		case T_AlterSystemStmt:
			return true;

		case T_ExplainStmt:
		{
			Node *inner = castNode(ExplainStmt, statement)->query;

			if (inner != NULL && IsA(inner, Query))
				inner = castNode(Query, inner)->utilityStmt;
			else
				return false;
			return inner == NULL || is_harmless(inner);
		}
		case T_DropStmt:
			return drops_tables(castNode(DropStmt, statement));
		case T_CreateStmt:
			return castNode(CreateStmt, statement)->relation->relpersistence == RELPERSISTENCE_TEMP;
		case T_CreateTableAsStmt:
			return castNode(CreateTableAsStmt, statement)->into->rel->relpersistence ==
				   RELPERSISTENCE_TEMP;
		case T_CreateSeqStmt:
			return castNode(CreateSeqStmt, statement)->sequence->relpersistence ==
				   RELPERSISTENCE_TEMP;
		case T_ViewStmt:
			return castNode(ViewStmt, statement)->view->relpersistence == RELPERSISTENCE_TEMP;
		case T_AlterTableStmt:
			return is_temporary(castNode(AlterTableStmt, statement)->relation);
		default:
			return false;
	}
}

/* Is this the name of a temporary table? */
static bool
is_temporary(const RangeVar *relation)
{
	Oid oid = RangeVarGetRelid(relation, NoLock, true);

	return OidIsValid(oid) && get_rel_persistence(oid) == RELPERSISTENCE_TEMP;
}

static bool
drops_tables(const DropStmt *statement)
{
	return statement->removeType == OBJECT_TABLE || statement->removeType == OBJECT_INDEX ||
		   statement->removeType == OBJECT_SEQUENCE || statement->removeType == OBJECT_VIEW ||
		   statement->removeType == OBJECT_MATVIEW;
}

static void
refreshed(const RefreshMatViewStmt *statement)
{
	Oid oid = RangeVarGetRelid(statement->relation, NoLock, true);
	char *tag = OidIsValid(oid) ? penny_tag_of_table(oid) : NULL;

	if (tag != NULL)
		penny_cache_invalidate(tag, NULL);
}

/* ---- objects ------------------------------------------------------------- */

/* The relation is still in the catalog. */
static bool
lasting_relation(Oid relation)
{
	return get_rel_persistence(relation) != RELPERSISTENCE_TEMP;
}

static void
watch_object(ObjectAccessType access, Oid classId, Oid objectId, int subId, void *arg)
{
	bool counts = false;

	if (prev_object_access)
		prev_object_access(access, classId, objectId, subId, arg);
	if (!penny_cache_is_on())
		return;
	/* a table rewritten in place, as by CLUSTER: the old storage is dropped */
	if (access == OAT_POST_ALTER && arg != NULL && ((ObjectAccessPostAlter *) arg)->is_internal)
		return;
	if (access == OAT_DROP && arg != NULL &&
		(((ObjectAccessDrop *) arg)->dropflags & PERFORM_DELETION_INTERNAL) != 0)
		return;

	switch (access)
	{
		case OAT_TRUNCATE:
			counts = lasting_relation(objectId);
			break;
		case OAT_DROP:
		case OAT_POST_ALTER:
			if (classId == RelationRelationId)
				counts = lasting_relation(objectId);
			else if (classId == NamespaceRelationId)
				counts = !isAnyTempNamespace(objectId);
			else
				counts = classId == ProcedureRelationId || classId == ExtensionRelationId ||
						 classId == DatabaseRelationId || classId == AuthIdRelationId;
			break;
		default:
			break;
	}
	if (counts)
		penny_cache_invalidate_all();
}

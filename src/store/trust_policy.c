/*-------------------------------------------------------------------------
 *
 * trust_policy.c
 *		What the policies of a table go by: the rows' own columns, who calls,
 *		other tables, or something that the cache cannot know.
 *
 * A policy may go by the row itself, by IMMUTABLE functions, by who calls
 * (current_user, penny.user_id(), single claims, all of which are part of a
 * cached read's key), and by the questions of store/access.c, which say
 * themselves what their answers depend on.  The time of day, settings,
 * sequences, random rows, and every other STABLE or VOLATILE function make it
 * opaque.  So do the claims exp, iat, nbf and jti, and the claims as a whole:
 * the key is without those, since each token has its own.
 *
 * Other tables are collected for the caller to judge.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/sysattr.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type_d.h"
#include "nodes/nodeFuncs.h"
#include "nodes/parsenodes.h"
#include "nodes/primnodes.h"
#include "rewrite/rowsecurity.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "store/trust_policy.h"

static bool look_at_node(Node *node, void *context);

/* Is a function one of penny's of this name? */
static bool
is_pennys(Oid function, const char *schema, const char *name)
{
	char *found = get_func_name(function);
	char *found_schema;

	if (found == NULL || strcmp(found, name) != 0)
		return false;
	found_schema = get_namespace_name(get_func_namespace(function));
	return found_schema != NULL && strcmp(found_schema, schema) == 0;
}

/* Functions of penny that say themselves what their results depend on, or are in the key. */
static bool
tells_cache(Oid function)
{
	static const char *const internal[] = {"can_access", "can_manage", "can_see_user",
										   "is_user",    "is_agent",   "is_admin"};
	int i;

	if (is_pennys(function, "penny", "user_id"))
		return true;
	for (i = 0; i < lengthof(internal); i++)
		if (is_pennys(function, "_penny", internal[i]))
			return true;
	return false;
}

/* For check_functions_in_node(): true ends the search. */
static bool
is_opaque_function(Oid function, void *context)
{
	(void) context;
	return func_volatile(function) != PROVOLATILE_IMMUTABLE && !tells_cache(function);
}

/* Is it penny.claims(), or (SELECT penny.claims())? */
static bool
is_claims(Node *node)
{
	if (node != NULL && IsA(node, SubLink) && castNode(SubLink, node)->subLinkType == EXPR_SUBLINK)
	{
		Query *query = castNode(Query, castNode(SubLink, node)->subselect);

		if (query->rtable != NIL || list_length(query->targetList) != 1)
			return false;
		node = (Node *) linitial_node(TargetEntry, query->targetList)->expr;
	}
	return node != NULL && IsA(node, FuncExpr) &&
		   is_pennys(castNode(FuncExpr, node)->funcid, "penny", "claims");
}

/* Is it one claim, of those that are in the key of a cached read? */
static bool
is_one_claim(OpExpr *expr)
{
	static const char *const left_out[] = {"exp", "iat", "nbf", "jti"};
	Const *name;
	char *claim;
	int i;

	if ((expr->opfuncid != F_JSONB_OBJECT_FIELD && expr->opfuncid != F_JSONB_OBJECT_FIELD_TEXT) ||
		!is_claims(linitial(expr->args)) || !IsA(lsecond(expr->args), Const))
		return false;
	name = lsecond_node(Const, expr->args);
	if (name->constisnull || name->consttype != TEXTOID)
		return false;
	claim = TextDatumGetCString(name->constvalue);
	for (i = 0; i < lengthof(left_out); i++)
		if (strcmp(claim, left_out[i]) == 0)
			return false;
	return true;
}

/* A column: of the policy's own table, or of one that the policy asks. */
static void
look_at_column(Var *var, PennyPolicyView *view)
{
	int i;

	if (var->varattno < 0 && var->varattno != TableOidAttributeNumber)
		view->opaque = true; /* where a row lies, and who wrote it, changes by itself */
	if (var->varlevelsup != view->depth)
		return;
	for (i = 0; i < PENNY_POLICY_KEYS; i++)
		if (var->varattno > 0 && var->varattno == view->key[i])
			return;
	view->columns = true;
}

static bool
look_at_query(Query *query, PennyPolicyView *view)
{
	ListCell *cell;

	foreach (cell, query->rtable)
	{
		RangeTblEntry *entry = lfirst_node(RangeTblEntry, cell);

		if (entry->rtekind == RTE_RELATION)
			view->relations = list_append_unique_oid(view->relations, entry->relid);
		if (entry->tablesample != NULL || entry->rtekind == RTE_TABLEFUNC)
			view->opaque = true;
	}
	view->depth++;
	(void) query_tree_walker(query, look_at_node, view, 0);
	view->depth--;
	return false;
}

static bool
look_at_node(Node *node, void *context)
{
	PennyPolicyView *view = context;

	if (node == NULL || view->opaque)
		return view->opaque;
	if (IsA(node, Query))
		return look_at_query((Query *) node, view);
	if (IsA(node, OpExpr) && is_one_claim((OpExpr *) node))
		return false;
	if (IsA(node, Var))
		look_at_column((Var *) node, view);
	else if (IsA(node, SQLValueFunction))
	{
		SQLValueFunctionOp op = ((SQLValueFunction *) node)->op;

		view->opaque = op != SVFOP_CURRENT_ROLE && op != SVFOP_CURRENT_USER && op != SVFOP_USER;
	}
	else if (IsA(node, NextValueExpr) || check_functions_in_node(node, is_opaque_function, NULL))
		view->opaque = true;
	return view->opaque || expression_tree_walker(node, look_at_node, context);
}

/*
 * Add what the SELECT policies of a table go by.
 */
void
penny_policy_look(PennyPolicyView *view, Relation relation)
{
	ListCell *cell;

	if (relation->rd_rsdesc == NULL)
		return;
	foreach (cell, relation->rd_rsdesc->policies)
	{
		RowSecurityPolicy *policy = lfirst(cell);

		if (policy->polcmd != ACL_SELECT_CHR && policy->polcmd != '*')
			continue;
		view->depth = 0;
		(void) look_at_node((Node *) policy->qual, view);
	}
}

/*-------------------------------------------------------------------------
 *
 * statement.c
 *		Statements with plans kept for each role that runs them.
 *
 * A plan over tables with row-level security is made for one role, and
 * PostgreSQL makes it anew when another role executes it.  An executor serves
 * users and agents in turn, so a statement keeps a plan for each of the last
 * few roles.  Plans are generic: they are made once and run many times, so
 * they must not be made for the size that a table has at the moment: a plan
 * that scans a young table of one page would scan it still when it has grown,
 * until statistics are gathered anew.  Every statement here has an index to go
 * by, so while one runs, and with it its foreign keys and triggers, the planner
 * sees sequential scans as disabled.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "optimizer/cost.h"

#include "store/statement.h"

/* The current role's plan. */
static SPIPlanPtr
statement_plan(PennyStatement *statement)
{
	Oid role = GetUserId();
	SPIPlanPtr plan;
	int i;

	for (i = 0; i < PENNY_STATEMENT_ROLES; i++)
		if (statement->plans[i].plan != NULL && statement->plans[i].role == role)
			return statement->plans[i].plan;
	plan = SPI_prepare_cursor(statement->sql, statement->nargs, statement->argtypes,
							  CURSOR_OPT_GENERIC_PLAN);
	if (plan == NULL || SPI_keepplan(plan) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not prepare a statement: %s", SPI_result_code_string(SPI_result))));
	i = statement->next;
	statement->next = (i + 1) % PENNY_STATEMENT_ROLES;
	if (statement->plans[i].plan != NULL)
		SPI_freeplan(statement->plans[i].plan);
	statement->plans[i].role = role;
	statement->plans[i].plan = plan;
	return plan;
}

/* Execute a plan, without sequential scans should it have to be made anew. */
static pg_noinline int
execute(SPIPlanPtr plan, const Datum *values, const char *nulls, bool read_only)
{
	bool saved = enable_seqscan;
	int rc;

	enable_seqscan = false;
	PG_TRY();
	{
		rc = SPI_execute_plan(plan, unconstify(Datum *, values), nulls, read_only, 0);
	}
	PG_FINALLY();
	{
		enable_seqscan = saved;
	}
	PG_END_TRY();
	return rc;
}

/*
 * Run as the current role; the result is in SPI_tuptable.
 */
uint64
penny_statement_run(PennyStatement *statement, const Datum *values, const char *nulls,
					bool read_only)
{
	int rc = execute(statement_plan(statement), values, nulls, read_only);

	if (rc < 0)
		ereport(ERROR, (errcode(ERRCODE_INTERNAL_ERROR),
						errmsg("could not run a statement: %s", SPI_result_code_string(rc))));
	return SPI_processed;
}

/*
 * Run as a table's owner.  On error the abort of the (sub)transaction gives
 * the user back.
 */
void
penny_statement_run_as(PennyStatement *statement, Oid owner, const Datum *values, const char *nulls)
{
	Oid saved_user;
	int saved_context;

	GetUserIdAndSecContext(&saved_user, &saved_context);
	SPI_connect();
	SetUserIdAndSecContext(owner,
						   saved_context | SECURITY_LOCAL_USERID_CHANGE | SECURITY_NOFORCE_RLS);
	(void) penny_statement_run(statement, values, nulls, false);
	SetUserIdAndSecContext(saved_user, saved_context);
	SPI_finish();
}

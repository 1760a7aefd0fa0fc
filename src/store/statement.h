/*-------------------------------------------------------------------------
 *
 * statement.h
 *		Statements with plans kept for each role that runs them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_STATEMENT_H
#define PENNY_STATEMENT_H

#include "postgres.h"

#include "executor/spi.h"

#define PENNY_STATEMENT_ARGS 12
#define PENNY_STATEMENT_ROLES 4

/* A name is looked up in pg_catalog only when it is written there: qualify all. */
#define PENNY_EQ " OPERATOR(pg_catalog.=) "
#define PENNY_NE " OPERATOR(pg_catalog.<>) "
#define PENNY_GT " OPERATOR(pg_catalog.>) "
#define PENNY_GE " OPERATOR(pg_catalog.>=) "
#define PENNY_LE " OPERATOR(pg_catalog.<=) "
#define PENNY_LT " OPERATOR(pg_catalog.<) "

typedef struct PennyStatement
{
	const char *sql;
	int nargs;
	Oid argtypes[PENNY_STATEMENT_ARGS];
	struct
	{
		Oid role;
		SPIPlanPtr plan;
	} plans[PENNY_STATEMENT_ROLES];
	int next; /* the plan that is given up next */
} PennyStatement;

/* Run as the current role; SPI must be connected. */
extern uint64 penny_statement_run(PennyStatement *statement, const Datum *values, const char *nulls,
								  bool read_only);
/* Run as a table's owner, past policies, in its own SPI connection; no result. */
extern void penny_statement_run_as(PennyStatement *statement, Oid owner, const Datum *values,
								   const char *nulls);

#endif /* PENNY_STATEMENT_H */

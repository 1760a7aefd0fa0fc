/*-------------------------------------------------------------------------
 *
 * statements.h
 *		SQL from C, for what is rare in the queue: keys, flows, schedules, dead
 *		letters, what is shown.  Without PostgreSQL's executor/spi.h.
 *
 * Statements run as the owner of penny's tables, past privileges: who calls
 * has checked the right.  Every name in them is qualified, operators too.
 * Plans are kept for the life of the session, generic, without sequential scans
 * where there is an index.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_QUEUE_STATEMENTS_H
#define PENNY_QUEUE_STATEMENTS_H

#include "postgres.h"

#include "utils/jsonb.h"

#define PENNY_QUEUE_STATEMENT_ARGS 20

#define PENNY_SQL_EQ " OPERATOR(pg_catalog.=) "
#define PENNY_SQL_NE " OPERATOR(pg_catalog.<>) "
#define PENNY_SQL_LE " OPERATOR(pg_catalog.<=) "
#define PENNY_SQL_LT " OPERATOR(pg_catalog.<) "
#define PENNY_SQL_GT " OPERATOR(pg_catalog.>) "
#define PENNY_SQL_MINUS " OPERATOR(pg_catalog.-) "
#define PENNY_SQL_PLUS " OPERATOR(pg_catalog.+) "

typedef struct PennyQueueStatement
{
	const char *sql;
	int nargs;
	Oid argtypes[PENNY_QUEUE_STATEMENT_ARGS];
	void *plan; /* kept */
} PennyQueueStatement;

/* A row of the result; its values are gone afterwards, so copy them (the context is the caller's). */
typedef void (*PennyQueueRowFn)(const Datum *values, const bool *nulls, void *arg);

/*
 * Run it; how many rows it touched or gave.  `nulls` as SPI has them ('n' is
 * null), or NULL: none.  `read_only`: with the active snapshot, else a new one
 * (of the transaction's level) that sees what this transaction has done.
 */
extern uint64 penny_queue_run(PennyQueueStatement *statement, const Datum *values,
							  const char *nulls, bool read_only, PennyQueueRowFn each, void *arg);
/* The one value of one row, an int64; false: there is none, or it is null. */
extern bool penny_queue_run_int64(PennyQueueStatement *statement, const Datum *values,
								  const char *nulls, bool read_only, int64 *out);

/* In a procedure that is not atomic: end the transaction and begin another. */
extern void penny_statements_commit(void);

#endif /* PENNY_QUEUE_STATEMENTS_H */

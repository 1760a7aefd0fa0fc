/*-------------------------------------------------------------------------
 *
 * read_rows.h
 *		What a read gave: rows of each kind, sorted, with their users' names.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_READ_ROWS_H
#define PENNY_READ_ROWS_H

#include "postgres.h"

#include "store/read_statements.h"
#include "store/tables.h"

/* A result taken apart; it lives as long as the SPI connection. */
typedef struct PennyResult
{
	PennyRow *rows;
	int first[PENNY_ROW_KINDS + 1];
	int n[PENNY_ROW_KINDS + 1];
} PennyResult;

typedef int (*PennyRowOrder)(const void *a, const void *b);

/* Run a statement; SPI must be connected. */
extern void penny_result_run(PennyResult *result, PennyStatement *statement, const Datum *values);
extern void penny_result_sort(PennyResult *result, PennyRowKind kind, PennyRowOrder order);
/* What is being built for the cache depends on the tag "name:<uuid>" of each row of a kind. */
extern void penny_result_depend(PennyResult *result, PennyRowKind kind, const char *name,
								PennyColumn column);
/* Give each message the executions of its calls, as its list. */
extern void penny_result_give_tools(PennyResult *result);
/* Make the row that a page of at most `limit` rows of a kind is. */
extern void penny_result_page(PennyRow *page, PennyResult *result, PennyRowKind kind, int limit,
							  bool forward);

/* The rows of a kind. */
static inline PennyRow *
penny_result_rows(PennyResult *result, PennyRowKind kind)
{
	return result->rows + result->first[kind];
}

static inline PennyRowList
penny_result_list(PennyResult *result, PennyRowKind kind)
{
	PennyRowList list = {penny_result_rows(result, kind), result->n[kind]};

	return list;
}

#endif /* PENNY_READ_ROWS_H */

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
/* The executions of a message, when they are sorted by message. */
extern PennyRow *penny_result_tools(PennyResult *result, const PennyRow *message, int *ntools);

/* Orders of messages, of rows that have a version, of tool executions. */
extern int penny_row_by_seq(const void *a, const void *b);
extern int penny_row_by_seq_descending(const void *a, const void *b);
extern int penny_row_by_version(const void *a, const void *b);
extern int penny_row_by_message(const void *a, const void *b);

/* The rows of a kind. */
static inline PennyRow *
penny_result_rows(PennyResult *result, PennyRowKind kind)
{
	return result->rows + result->first[kind];
}

#endif /* PENNY_READ_ROWS_H */

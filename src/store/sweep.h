/*-------------------------------------------------------------------------
 *
 * sweep.h
 *		Rows that nobody ends, ended by penny: what sweeps have in common.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_STORE_SWEEP_H
#define PENNY_STORE_SWEEP_H

#include "postgres.h"

#include "utils/uuid.h"

#include "store/statement.h"
#include "store/tables.h"

#define PENNY_SWEEP_TIME 2000 /* ms that a sweep takes at most, of the executor's 5 s */

/* A row of a conversation that may have to be ended. */
typedef struct PennySwept
{
	pg_uuid_t id;
	pg_uuid_t conversation;
} PennySwept;

/* What penny_sweep_begin() has changed. */
typedef struct PennySweep
{
	int settings;
	Oid user;
	int context;
} PennySweep;

/* End one row: the caller's work, in a subtransaction.  False: it is not to be ended. */
typedef bool (*PennySweepFn)(const PennySwept *row, void *arg);

/*
 * From here to the end (after an error there is none): as the owner of the table, in
 * a security-restricted context, and locks are waited for only for a moment.
 */
extern void penny_sweep_begin(PennySweep *sweep, PennyTable table);
/* The caller's own role again; locks are waited for as before only from the end on. */
extern void penny_sweep_step_back(const PennySweep *sweep);
extern void penny_sweep_end(const PennySweep *sweep);
/* The rows (id, conversation) of a statement, in the caller's context. */
extern int penny_sweep_find(PennyStatement *statement, Datum *values, PennySwept **found);
/*
 * Call `end` in a subtransaction.  An error is undone, and logged ("message" <id>,
 * "whose producer is gone") unless somebody else has the row; a cancel goes on.
 */
extern bool penny_sweep_try(const PennySwept *row, PennySweepFn end, void *arg, const char *what,
							const char *why);

#endif /* PENNY_STORE_SWEEP_H */

/*-------------------------------------------------------------------------
 *
 * chores.h
 *		What executors do for the supervisor, which is in no database.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_CHORES_H
#define PENNY_CHORES_H

#include "postgres.h"

typedef enum PennyChore
{
	PENNY_CHORE_STREAMS,    /* close messages whose producers are dead */
	PENNY_CHORE_EXECUTIONS, /* fail executions of tools that are too old */
	PENNY_CHORES
} PennyChore;

/* Supervisor: may there be something to do?  Then let some executor do it. */
extern bool penny_chores_due(PennyChore chore);
extern void penny_chores_ask(PennyChore chore);
/* Executor, ready, between calls: do what is asked for. */
extern void penny_chores_do(void);

#endif /* PENNY_CHORES_H */

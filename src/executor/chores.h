/*-------------------------------------------------------------------------
 *
 * chores.h
 *		What executors do for the supervisor, which is in no database.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_CHORES_H
#define PENNY_CHORES_H

/* Supervisor: let some executor look for dead producers of messages. */
extern void penny_chores_ask(void);
/* Executor, ready, between calls: do what is asked for. */
extern void penny_chores_do(void);

#endif /* PENNY_CHORES_H */

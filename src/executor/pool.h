/*-------------------------------------------------------------------------
 *
 * executor.h
 *		Executors: the processes that run requests.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EXECUTOR_H
#define PENNY_EXECUTOR_H

/* Shared memory; from _PG_init. */
extern void penny_executor_init(void);

#endif /* PENNY_EXECUTOR_H */

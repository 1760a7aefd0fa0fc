/*-------------------------------------------------------------------------
 *
 * prepared.h
 *		Publication of prepared transactions.
 *
 * COMMIT PREPARED fires no transaction callback, so what a transaction would
 * publish is kept in shared memory from PREPARE TRANSACTION on.  See
 * prepared.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_PREPARED_H
#define PENNY_PREPARED_H

#include "postgres.h"

#include "realtime/pending.h"

/* Shared memory and the utility hook; from penny_publish_init(). */
extern void penny_prepared_init(void);

/* Transaction callbacks: PRE_PREPARE (may fail), PREPARE, ABORT. */
extern void penny_prepared_reserve(const PennyPending *pending);
extern void penny_prepared_keep(void);
extern void penny_prepared_cancel(void);

/*
 * Supervisor: publish what was committed and drop what was rolled back
 * without this being noticed at once (its backend died in between, a standby
 * or replication worker did it).  Returns the number of prepared transactions
 * still open: as long as there are any, call it again.
 */
extern int penny_prepared_sweep(void);

#endif /* PENNY_PREPARED_H */

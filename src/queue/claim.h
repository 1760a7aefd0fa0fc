/*-------------------------------------------------------------------------
 *
 * claim.h
 *		External workers: claiming jobs, and what becomes of claims.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_CLAIM_H
#define PENNY_CLAIM_H

#include "postgres.h"

#include "queue/queue.h"

#define PENNY_CLAIM_MAX 1000
#define PENNY_CLAIM_BYTES (64 * 1024 * 1024) /* of what they carry, after which no more are given */

typedef struct PennyClaimed
{
	PennyJob job; /* as it was taken */
	PennyJobRow row;
	Jsonb *children; /* what they gave, or NULL */
} PennyClaimed;

/* Transaction callbacks; from penny_queue_init(). */
extern void penny_claim_init(void);

/*
 * Claim up to n external jobs of a queue until now + lease (us); how many, in
 * the current memory context.  Given back when this transaction, or
 * subtransaction, rolls back.  `worker` is shown to who looks, may be NULL.
 */
extern int penny_claim(uint16 queue, int n, int64 lease, const char *worker,
					   PennyClaimed **claimed);

/*
 * End a claim in this transaction.  PY409 when the job is not the caller's any
 * more: its lease ended, it was cancelled, or it has been ended.
 */
extern void penny_claim_complete(int64 id, uint64 token, Jsonb *result);
extern void penny_claim_complete_many(const int64 *ids, const uint64 *tokens, int n,
									  Jsonb **results);
extern void penny_claim_fail(int64 id, uint64 token, const char *error, int64 retry_in,
							 bool permanent);

/* At once, whatever becomes of the transaction; `held`: was each the caller's still? */
extern void penny_claim_extend(const int64 *ids, const uint64 *tokens, int n, int64 lease,
							   bool *held);
/* Likewise; how many were. */
extern int penny_claim_release(const int64 *ids, const uint64 *tokens, int n);
/* PY409 when it is not. */
extern void penny_claim_check(int64 id, uint64 token);
/* It is not: PY409. */
extern void penny_claim_stale(int64 id) __attribute__((noreturn));

/* ---- claim_upkeep.c ------------------------------------------------------------- */

/*
 * Leases that are over, and requests that wait for what time has made ready.  In a
 * transaction, by the worker that does the queue's upkeep; when to go on, or
 * PENNY_SCHED_NEVER.
 */
extern int64 penny_claims_upkeep(void);

#endif /* PENNY_CLAIM_H */

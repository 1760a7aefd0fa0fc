/*-------------------------------------------------------------------------
 *
 * pending.h
 *		What the current transaction will publish; inside realtime only.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_PENDING_H
#define PENNY_PENDING_H

#include "postgres.h"

#include "plane/event.h"

typedef struct PennyPending
{
	int n;                /* events */
	int space;            /* room in the arrays */
	PennyEventOut *event; /* in the order they were said; room and frame in one piece */
	int *level;           /* nesting level of the transaction that said each */
	Size bytes;           /* of rooms and frames */
	bool resync;          /* events were dropped: read the tables */
	bool missed;          /* of them some whose frames are in no table */
	bool sessions;        /* of them some about sessions: verify all again */
	bool streams;         /* a message began to grow */
	bool executions;      /* a tool began to run */
	bool routes;          /* penny.routes changed */
} PennyPending;

/* Publish a list; cannot fail, allocate or wait. */
extern void penny_pending_publish(const PennyPending *list);

#endif /* PENNY_PENDING_H */

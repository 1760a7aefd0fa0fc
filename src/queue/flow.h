/*-------------------------------------------------------------------------
 *
 * flow.h
 *		Flows: jobs that wait for others, their children.
 *
 * A parent lies with the deferred jobs, `pending` says how many children have
 * not ended; it is offered to the scheduler by the commit that counts down to 0.
 * _penny.job_edges has a row for each child, which keeps what it gave until the
 * parent is gone.
 *
 * When a child fails at last or is cancelled, the parent's on_child_failure says
 * what becomes of the parent:
 *
 *	fail	it is a dead letter at once, reason `child`, and fails its own parent in
 *			turn; its other children go on, they have lives of their own
 *	ignore	the child has ended; the parent finds the error among its children
 *	wait	the parent waits until the child is redriven and completes, or is purged
 *			or cancelled
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_QUEUE_FLOW_H
#define PENNY_QUEUE_FLOW_H

#include "postgres.h"

#include "queue/queue.h"

#define PENNY_FLOW_RESULTS (64 * 1024 * 1024) /* bytes of results of children, as text */
#define PENNY_FLOW_DEPTH 32
#define PENNY_FLOW_JOBS 10000

/* Enqueue a tree of jobs, in the name of the current user; the id of its root. */
extern int64 penny_flow_enqueue(Jsonb *job);
/* Is it one, so that children may have given something? */
static inline bool
penny_flow_is_parent(const PennyJobRow *row)
{
	return row->on_child_failure != '\0';
}
/*
 * What the children of a job gave, in the order in which they were enqueued, by
 * a snapshot of its own: [{"id", "kind", "state", "result" | "error"}], or NULL:
 * it has none.  Results beyond PENNY_FLOW_RESULTS bytes in all are left out, and
 * "omitted": true says so: penny.job() of the child has them.
 */
extern Jsonb *penny_flow_children(int64 parent);
/* Children wait for this parent: note them. */
extern void penny_flow_edge(int64 parent, int64 child, const char *kind, int position, char mode);

#endif /* PENNY_QUEUE_FLOW_H */

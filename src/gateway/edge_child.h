/*-------------------------------------------------------------------------
 *
 * edge_child.h
 *		The gateway's child: one penny-edge process.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_CHILD_H
#define PENNY_EDGE_CHILD_H

#include "postgres.h"

#include "base/child.h"

/* A running edge; process.pid 0 = none.  Private to the gateway. */
typedef struct PennyEdgeChild
{
	PennyChild process;
	int control_fd; /* it gets certificates from here */
	bool untold;    /* the one in force is still to be sent */
} PennyEdgeChild;

#define PENNY_EDGE_CHILD_NONE                         \
	{                                                 \
		.process = PENNY_CHILD_NONE, .control_fd = -1 \
	}

/*
 * Start an edge on region E[edge] with the given listening sockets.  Sweeps
 * the region first.  False when that failed; the reason is logged.
 */
extern bool penny_edge_child_start(PennyEdgeChild *edge, int number, const int *listen_fds,
								   int nlisten);
/* Has it ended?  Then its wait status is fetched, and there is none. */
extern bool penny_edge_child_ended(PennyEdgeChild *edge, int *status);
/* Tell the edge which certificate is in force; what does not go is untold. */
extern void penny_edge_child_tell(PennyEdgeChild *edge);
/* Was the program replaced since the edge was started? */
extern bool penny_edge_child_outdated(const PennyEdgeChild *edge);
/* Kill it and wait until it is gone. */
extern void penny_edge_child_kill(PennyEdgeChild *edge);

#endif /* PENNY_EDGE_CHILD_H */

/*-------------------------------------------------------------------------
 *
 * child.h
 *		The gateway's child: one penny-edge process.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_CHILD_H
#define PENNY_CHILD_H

#include "postgres.h"

#include <sys/stat.h>
#include <sys/types.h>

/* A running edge; pid 0 = none.  Private to the gateway. */
typedef struct PennyChild
{
	pid_t pid;
	int pidfd;           /* readable when it has ended */
	int log_fd;          /* what it writes to stderr; not blocking; -1 after its end */
	int control_fd;      /* it gets certificates from here */
	bool untold;         /* the one in force is still to be sent */
	struct stat program; /* as it was when it was started */
} PennyChild;

#define PENNY_CHILD_NONE                                      \
	{                                                         \
		.pid = 0, .pidfd = -1, .log_fd = -1, .control_fd = -1 \
	}

/*
 * Start an edge on region E[edge] with the given listening sockets.  Sweeps
 * the region first.  False when that failed; the reason is logged.
 */
extern bool penny_child_start(PennyChild *child, int edge, const int *listen_fds, int nlisten);

/* Has it ended?  Then its wait status is fetched, and the child is none. */
extern bool penny_child_ended(PennyChild *child, int *status);

/* Tell the edge which certificate is in force; what does not go is untold. */
extern void penny_child_tell(PennyChild *child);
/* Was the program replaced since the edge was started? */
extern bool penny_child_outdated(const PennyChild *child);

/* Send a signal to the edge, if one runs. */
extern void penny_child_signal(const PennyChild *child, int signal);
/* Kill it and wait until it is gone. */
extern void penny_child_kill(PennyChild *child);

/* Copy what the edge has written to the server's log, in bounds. */
extern void penny_child_log(PennyChild *child);
/* The same for the last time: what is no whole line is logged too. */
extern void penny_child_log_end(PennyChild *child);

#endif /* PENNY_CHILD_H */

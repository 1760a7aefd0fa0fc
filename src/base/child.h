/*-------------------------------------------------------------------------
 *
 * child.h
 *		A program that a worker starts, watches, and ends: penny-edge of a
 *		gateway, penny-courier of the courier.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_CHILD_H
#define PENNY_CHILD_H

#include "postgres.h"

#include <sys/stat.h>
#include <sys/types.h>

#define PENNY_CHILD_ARGUMENTS 3
#define PENNY_CHILD_FD 3 /* where a child's own descriptors begin, behind standard error */

/* What to start. */
typedef struct PennyLaunch
{
	const char *name;    /* of the program, in messages and as its argument 0 */
	const char *program; /* path */
	const char *argument[PENNY_CHILD_ARGUMENTS]; /* NULL after the last */
	const int *fds; /* descriptors that lie at PENNY_CHILD_FD and up; -1: nothing there */
	int nfds;
} PennyLaunch;

#define PENNY_CHILD_LINE 1024 /* bytes of a line of its log */

/* What of its log was read and not yet written down (child_log.c). */
typedef struct PennyChildLog
{
	char line[PENNY_CHILD_LINE + 1];
	int len;
	bool cut;       /* the rest of this line is dropped */
	int64 since;    /* begin of a period, ms */
	int lines;      /* logged in it */
	int suppressed; /* not logged in it */
} PennyChildLog;

/* A running child; pid 0 = none.  Private to its worker. */
typedef struct PennyChild
{
	const char *name;
	pid_t pid;
	int pidfd;           /* readable when it has ended */
	int log_fd;          /* what it writes to stderr; not blocking; -1 after its end */
	struct stat program; /* as it was when it was started */
	PennyChildLog log;
} PennyChild;

#define PENNY_CHILD_NONE                                  \
	{                                                     \
		.name = NULL, .pid = 0, .pidfd = -1, .log_fd = -1 \
	}

/* The program's path: as set, or beside the server's own; path has MAXPGPATH bytes. */
extern void penny_child_program(char *path, const char *setting, const char *name);

/* Start it.  False when that failed; the reason is logged. */
extern bool penny_child_start(PennyChild *child, const PennyLaunch *launch);

/* Has it ended?  Then its wait status is fetched, and the child is none. */
extern bool penny_child_ended(PennyChild *child, int *status);

/* Was the program at this path replaced since the child was started? */
extern bool penny_child_outdated(const PennyChild *child, const char *path);

/* Send a signal to the child, if one runs. */
extern void penny_child_signal(const PennyChild *child, int signal);
/* Kill it and wait until it is gone. */
extern void penny_child_kill(PennyChild *child);

/* Copy what the child has written to the server's log, in bounds. */
extern void penny_child_log(PennyChild *child);
/* The same for the last time: what is no whole line is logged too. */
extern void penny_child_log_end(PennyChild *child);

#endif /* PENNY_CHILD_H */

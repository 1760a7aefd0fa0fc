/*-------------------------------------------------------------------------
 *
 * loop.h
 *		The event loop: libev below, libwebsockets for the client sockets.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_LOOP_H
#define PENNY_EDGE_LOOP_H

#include "edge/edge.h"

struct PennyConnection;
struct ev_loop;
struct lws;

/* Make loop and context; NULL, or what failed.  Before the sandbox. */
extern const char *penny_loop_create(void);
/* Run until the edge is to end. */
extern void penny_loop_run(void);
extern struct ev_loop *penny_loop(void);
/* Give a socket to libwebsockets, which owns it from then on; NULL on failure. */
extern struct lws *penny_loop_adopt(int fd, struct PennyConnection *connection);

#endif /* PENNY_EDGE_LOOP_H */

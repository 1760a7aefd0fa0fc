/*-------------------------------------------------------------------------
 *
 * listener.h
 *		The gateway's listening sockets.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_LISTENER_H
#define PENNY_LISTENER_H

#include "postgres.h"

/* Take addresses and port from the settings; true when they changed.  Gives old sockets up. */
extern bool penny_listeners_configure(void);

/*
 * Try to open what is not open yet.  Unless `quiet`, logs the first failure of
 * an address and its later success.  Returns how many are open that were not;
 * *opened of them were not open in another gateway either.
 */
extern int penny_listeners_open(bool quiet, int *opened);

extern int penny_listeners_wanted(void);
/* Descriptors of those that are open, at most PENNY_MAX_LISTEN; returns their number. */
extern int penny_listeners_fds(int *fds);
/* errno of the last failure of an address that is not open, 0 = all are. */
extern int penny_listeners_errno(void);
/* "127.0.0.1:3000, [::1]:3000", those that are open; in static memory. */
extern const char *penny_listeners_text(void);
extern void penny_listeners_close(void);
/* The server is being stopped: keep the sockets for nobody. */
extern void penny_listeners_give_up(void);

#endif /* PENNY_LISTENER_H */

/*-------------------------------------------------------------------------
 *
 * listener.h
 *		Accepting connections from the listening sockets of the gateway.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_LISTENER_H
#define PENNY_EDGE_LISTENER_H

#include "edge/edge.h"

/* At most that many connections, whatever the settings say (descriptors). */
extern void penny_listener_start(uint32_t ceiling);
extern void penny_listener_stop(void);
/* A descriptor became free: go on accepting if that was stopped. */
extern void penny_listener_resume(void);

#endif /* PENNY_EDGE_LISTENER_H */

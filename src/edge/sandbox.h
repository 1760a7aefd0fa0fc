/*-------------------------------------------------------------------------
 *
 * sandbox.h
 *		What penny-edge gives up before it reads the first byte of a client.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_SANDBOX_H
#define PENNY_EDGE_SANDBOX_H

#include <stdint.h>

/*
 * First half, before the loop is made: resource limits, death with the parent,
 * what libraries would otherwise read from files later.  `connections` sets
 * the number of descriptors.  Returns the number of connections that the
 * descriptors allow.
 */
extern uint32_t penny_sandbox_limits(uint32_t connections);
/* Second half: the system call filter.  NULL, or the step that failed (errno). */
extern const char *penny_sandbox_enter(void);
/* penny-edge --sandbox-test: try each forbidden thing, print TAP; exit code. */
extern int penny_sandbox_test(void);

#endif /* PENNY_EDGE_SANDBOX_H */

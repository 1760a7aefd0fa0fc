/*-------------------------------------------------------------------------
 *
 * relay_start.h
 *		The supervisor's part of penny relay: there is one while
 *		penny.redis_url is set.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_RELAY_START_H
#define PENNY_RELAY_START_H

#include "postgres.h"

/* Once each turn: start it if it is wanted, does not run, and its pause is over. */
extern void penny_relay_start(void);
/* When that is to be looked at without a wake; PENNY_NEVER: no need. */
extern int64 penny_relay_start_at(void);

#endif /* PENNY_RELAY_START_H */

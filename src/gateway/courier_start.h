/*-------------------------------------------------------------------------
 *
 * courier_start.h
 *		The supervisor's part of penny courier: there is one while penny is ready
 *		and penny.webhook_allow is set.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_COURIER_START_H
#define PENNY_COURIER_START_H

#include "postgres.h"

/* Once each turn: start it if it is wanted and not there. */
extern void penny_courier_start(void);
/* When that is to be looked at without a wake; PENNY_NEVER: no need. */
extern int64 penny_courier_start_at(void);

#endif /* PENNY_COURIER_START_H */

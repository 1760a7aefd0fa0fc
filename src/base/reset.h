/*-------------------------------------------------------------------------
 *
 * reset.h
 *		Between two calls: nothing of the first may be there for the second.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_RESET_H
#define PENNY_RESET_H

#include "postgres.h"

/* Note how a clean session looks; connected, and again after a reload. */
extern void penny_reset_baseline(void);

/*
 * Clean up after a call, as strong as DISCARD ALL.  NULL, or what is still
 * there afterwards: then the process must not serve another call.
 */
extern const char *penny_reset_session(void);

#endif /* PENNY_RESET_H */

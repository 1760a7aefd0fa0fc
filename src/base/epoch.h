/*-------------------------------------------------------------------------
 *
 * epoch.h
 *		The epoch of the data: equal epochs mean one unbroken history.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EPOCH_H
#define PENNY_EPOCH_H

#include "postgres.h"

#define PENNY_EPOCH_LEN 16 /* characters of the text, without its NUL */

/*
 * The epoch of the connected database.  Opaque; letters and digits only.  The
 * text stays valid until the next call.  Needs a preloaded penny.
 */
extern const char *penny_epoch_text(void);

/* Register shared memory and the postmaster's exit callback; from _PG_init. */
extern void penny_epoch_init(void);

#endif /* PENNY_EPOCH_H */

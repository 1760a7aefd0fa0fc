/*-------------------------------------------------------------------------
 *
 * worker_slot.h
 *		Starting a dynamic worker, for the supervisor; see worker_slot.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_GATEWAY_WORKER_SLOT_H
#define PENNY_GATEWAY_WORKER_SLOT_H

#include "postgres.h"

#include "postmaster/bgworker.h"

#include "base/worker.h"

#define PENNY_SLOT_PAUSE 10000 /* ms until a start is tried again that found no slot */

/*
 * Ask for a worker of this kind and number; true: *asked is its handle, the
 * caller's to pfree().  False: no slot is free, *asked is NULL, and the log has it
 * with this name, unless *told says that it has it already.
 */
extern bool penny_slot_start(PennyWorkerKind kind, int number, const char *name,
							 BackgroundWorkerHandle **asked, bool *told);

#endif /* PENNY_GATEWAY_WORKER_SLOT_H */

/*-------------------------------------------------------------------------
 *
 * dispatch.h
 *		What each kind of call does, inside its transaction.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_DISPATCH_H
#define PENNY_DISPATCH_H

#include "postgres.h"

#include "executor/run.h"

/* May this call write?  Known before its transaction begins. */
extern bool penny_dispatch_writes(const PennyRequest *request);

/*
 * Do the call and fill in the answer.  SPI is connected, a snapshot is active;
 * the role is that of the executor.
 */
extern void penny_dispatch(PennyRun *run);

#endif /* PENNY_DISPATCH_H */

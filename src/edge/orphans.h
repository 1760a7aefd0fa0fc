/*-------------------------------------------------------------------------
 *
 * orphans.h
 *		Calls about jobs whose client has gone before they were answered.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_ORPHANS_H
#define PENNY_EDGE_ORPHANS_H

#include "edge/calls.h"

/*
 * The client of this call has gone.  If the call claims jobs and may be
 * running, it is taken over: what it claims is given back.  False: it is to be
 * abandoned.
 */
extern bool penny_orphan_take(PennyPending *call);
/* The call is to be carried out, whoever there is to hear of it. */
extern void penny_orphan_finish(PennyPending *call);
/* The answer of this call, in one piece, cannot be told any more: give back what it claimed. */
extern void penny_orphan_return(const PennyPending *call, const PennyAnswer *answer);

#endif /* PENNY_EDGE_ORPHANS_H */

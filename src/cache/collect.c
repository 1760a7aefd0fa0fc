/*-------------------------------------------------------------------------
 *
 * collect.c
 *		What the values that are being built depend on.
 *
 * Collectors form a stack, the innermost first, in TopTransactionContext.  A
 * dependency goes to the innermost; a collector that is closed, or a hit that
 * is found, hands what it depends on to the one around it.  Each knows the
 * nesting level of the transaction that opened it: a rollback closes those of
 * its subtransactions.  An error that somebody caught without a
 * subtransaction leaves collectors behind, which are closed when the one
 * around them is.
 *
 * The token of a dependency is that of the moment at which it is told, after
 * the snapshot was taken.  That is right for pushes of transactions (see
 * plane/cache.h); if the same tag is told twice with different seqs, somebody
 * pushed meanwhile, and the value is not kept.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/memutils.h"

#include "cache/cache_private.h"

static PennyCollector *innermost = NULL;

static void add_token(PennyCollector *collector, uint32 slot, uint64 seq);
static void hand_over(const PennyCollector *closed);
static void drop(PennyCollector *collector);
static void give_up(PennyCollector *collector);
static void transaction_event(XactEvent event, void *arg);
static void subtransaction_event(SubXactEvent event, SubTransactionId mine, SubTransactionId parent,
								 void *arg);

void
penny_collector_init(void)
{
	RegisterXactCallback(transaction_event, NULL);
	RegisterSubXactCallback(subtransaction_event, NULL);
}

PennyCollector *
penny_collector_open(PennyCacheKind kind, Snapshot snapshot, int flight)
{
	PennyCollector *collector = MemoryContextAlloc(TopTransactionContext, sizeof(PennyCollector));

	collector->outer = innermost;
	collector->level = innermost == NULL ? 1 : innermost->level + 1;
	collector->nest = GetCurrentTransactionNestLevel();
	collector->flight = flight;
	collector->kind_noted = false;
	collector->tagged = false;
	collector->kind = kind;
	collector->refusal = PENNY_CACHE_FINE;
	collector->xmin = snapshot->xmin;
	collector->xmax = snapshot->xmax;
	collector->tokens = 0;
	innermost = collector;
	return collector;
}

static void
drop(PennyCollector *collector)
{
	innermost = collector->outer;
	penny_flight_end(collector->flight, false);
	pfree(collector);
}

/*
 * Close; the flight goes on, and is for the caller to end.  False: an error
 * has dropped it.
 */
bool
penny_collector_close(int level, PennyCollector *closed)
{
	while (innermost != NULL && innermost->level > level)
		give_up(innermost);
	if (innermost == NULL || innermost->level != level)
		return false;
	*closed = *innermost;
	innermost->flight = PENNY_FLIGHT_NONE;
	drop(innermost);
	hand_over(closed);
	return true;
}

/* What this one depended on, the one around it depends on too. */
static void
hand_over(const PennyCollector *closed)
{
	if (innermost == NULL)
		return;
	for (int i = 0; i < closed->tokens; i++)
		add_token(innermost, closed->token[i].slot, closed->token[i].seq);
	penny_cache_refuse(closed->refusal);
}

/* An error ended it.  If somebody caught that, his answer depends on what led to it. */
static void
give_up(PennyCollector *collector)
{
	innermost = collector->outer;
	hand_over(collector);
	penny_flight_end(collector->flight, false);
	pfree(collector);
}

void
penny_collector_include(const PennyCacheHit *hit)
{
	if (innermost == NULL)
		return;
	for (int i = 0; i < hit->tokens; i++)
		add_token(innermost, hit->token[i].slot, hit->token[i].seq);
}

static void
add_token(PennyCollector *collector, uint32 slot, uint64 seq)
{
	if (slot == PENNY_STAMP_NONE)
		return;
	collector->tagged = collector->tagged || slot != PENNY_STAMP_ALL;
	for (int i = 0; i < collector->tokens; i++)
	{
		if (collector->token[i].slot != slot)
			continue;
		if (collector->token[i].seq != seq && collector->refusal == PENNY_CACHE_FINE)
			collector->refusal = PENNY_CACHE_REFUSED_MOVED;
		return;
	}
	if (collector->tokens == PENNY_CACHE_TOKENS)
	{
		if (collector->refusal == PENNY_CACHE_FINE)
			collector->refusal = PENNY_CACHE_REFUSED_TAGS;
		return;
	}
	collector->token[collector->tokens].slot = slot;
	collector->token[collector->tokens].seq = seq;
	collector->tokens++;
}

void
penny_collector_depend(uint32 slot)
{
	if (innermost != NULL)
		add_token(innermost, slot, penny_stamp_seq(penny_plane(), slot));
}

void
penny_cache_refuse(PennyCacheRefusal why)
{
	if (innermost != NULL && innermost->refusal == PENNY_CACHE_FINE)
		innermost->refusal = why;
}

/* The outermost, which knows least of what it is, is told by those inside. */
void
penny_cache_note_kind(PennyCacheKind kind)
{
	PennyCollector *collector = innermost;

	if (collector == NULL)
		return;
	while (collector->outer != NULL)
		collector = collector->outer;
	if (!collector->kind_noted && collector->kind == PENNY_CACHE_ROUTE)
	{
		collector->kind_noted = true;
		collector->kind = kind;
	}
}

bool
penny_collector_is_refused(void)
{
	return innermost != NULL && innermost->refusal != PENNY_CACHE_FINE;
}

bool
penny_cache_collecting(void)
{
	return innermost != NULL;
}

/* ---- callbacks ----------------------------------------------------------- */

/* The memory goes with the transaction. */
static void
transaction_event(XactEvent event, void *arg)
{
	(void) arg;
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PREPARE:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_PARALLEL_ABORT:
			while (innermost != NULL)
				drop(innermost);
			break;
		default:
			break;
	}
}

static void
subtransaction_event(SubXactEvent event, SubTransactionId mine, SubTransactionId parent, void *arg)
{
	int level = GetCurrentTransactionNestLevel();

	(void) mine;
	(void) parent;
	(void) arg;
	if (event == SUBXACT_EVENT_ABORT_SUB)
	{
		while (innermost != NULL && innermost->nest >= level)
			give_up(innermost);
	}
	else if (event == SUBXACT_EVENT_COMMIT_SUB)
	{
		for (PennyCollector *c = innermost; c != NULL && c->nest >= level; c = c->outer)
			c->nest = level - 1;
	}
}

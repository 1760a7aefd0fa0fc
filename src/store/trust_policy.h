/*-------------------------------------------------------------------------
 *
 * trust_policy.h
 *		What the policies of a table go by.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_TRUST_POLICY_H
#define PENNY_TRUST_POLICY_H

#include "postgres.h"

#include "nodes/pg_list.h"
#include "utils/relcache.h"

#define PENNY_POLICY_KEYS 2

typedef struct PennyPolicyView
{
	AttrNumber key[PENNY_POLICY_KEYS]; /* columns that are no more than keys; 0: none */
	bool opaque;                       /* they ask what nobody tells the cache of */
	bool columns;                      /* they ask other columns than the keys */
	List *relations;                   /* OIDs of the tables that they ask, each once */
	int depth;                         /* of queries, while they are looked at */
} PennyPolicyView;

/* Add what the SELECT policies of a table go by. */
extern void penny_policy_look(PennyPolicyView *view, Relation relation);

#endif /* PENNY_TRUST_POLICY_H */

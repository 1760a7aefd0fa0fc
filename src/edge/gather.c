/*-------------------------------------------------------------------------
 *
 * gather.c
 *		One call for all equal requests in flight.
 *
 * When something that many read has changed, all of them ask at once.  The
 * first makes the call; the others wait until its answer begins, which is
 * after an executor has put it into the cache, and look there again.  Who does
 * not find it then (it may not be kept, or has changed once more) makes a call
 * of its own: nobody waits twice for others, and an answer never depends on
 * what another one was given.
 *
 * Equal means the same key: route, path, arguments, and for whom.  Who waits
 * keeps its request where a request is kept that has not come whole
 * (input.c bounds that), and waits for acquire_timeout at most.  When the one
 * that made the call goes away, its call is abandoned, and the next makes
 * another.  When that one goes away, too, nobody waits any more: clients that
 * leave one after the other cannot keep those behind them waiting.
 *
 * There is an entry for each call in flight that is for a cached route, so
 * there are no more of them than of calls, which calls.c bounds.
 *
 *-------------------------------------------------------------------------
 */
#include "edge/gather.h"

#include <stdlib.h>
#include <string.h>

#define BUCKETS 256

struct PennyGather
{
	PennyGather *next_in_bucket;
	PennyCacheKey key;
	PennyHttp *leader; /* makes the call */
	PennyHttp *first;  /* of those that wait */
	PennyHttp *last;
	bool left; /* one that made the call has gone away */
};

static PennyGather *table[BUCKETS];

static PennyGather **
bucket_of(const PennyCacheKey *key)
{
	return &table[key->word[0] % BUCKETS];
}

static PennyGather *
find(const PennyCacheKey *key)
{
	PennyGather *gather = *bucket_of(key);

	while (gather != NULL &&
		   (gather->key.word[0] != key->word[0] || gather->key.word[1] != key->word[1]))
		gather = gather->next_in_bucket;
	return gather;
}

/* Take an entry out of the table: who comes now begins anew. */
static void
take_out(PennyGather *gather)
{
	PennyGather **link = bucket_of(&gather->key);

	while (*link != gather)
		link = &(*link)->next_in_bucket;
	*link = gather->next_in_bucket;
}

static void
append(PennyGather *gather, PennyHttp *http)
{
	http->gather = gather;
	http->next_gathered = NULL;
	http->prev_gathered = gather->last;
	if (gather->last != NULL)
		gather->last->next_gathered = http;
	else
		gather->first = http;
	gather->last = http;
}

static void
detach(PennyHttp *http)
{
	PennyGather *gather = http->gather;

	if (http->prev_gathered != NULL)
		http->prev_gathered->next_gathered = http->next_gathered;
	else
		gather->first = http->next_gathered;
	if (http->next_gathered != NULL)
		http->next_gathered->prev_gathered = http->prev_gathered;
	else
		gather->last = http->prev_gathered;
	http->gather = NULL;
	http->next_gathered = http->prev_gathered = NULL;
}

bool
penny_gather_join(PennyHttp *http, const PennyCacheKey *key)
{
	PennyGather *gather;

	if (http->gather != NULL)
		return true; /* it was next when the one before it went away */
	gather = find(key);
	if (gather == NULL)
	{
		gather = penny_alloc(sizeof(*gather));
		memset(gather, 0, sizeof(*gather));
		gather->key = *key;
		gather->leader = http;
		gather->next_in_bucket = *bucket_of(key);
		*bucket_of(key) = gather;
		http->gather = gather;
		return true;
	}
	if (http->waited)
		return true; /* alone */
	append(gather, http);
	http->state = PENNY_HTTP_GATHER;
	penny_connection_deadline(http->connection,
							  penny_edge.now + penny_edge.settings.acquire_timeout);
	penny_count(&penny_edge.plane, PENNY_COUNT_GATHERED, 1);
	return false;
}

void
penny_gather_end(PennyHttp *http)
{
	PennyGather *gather = http->gather;

	if (gather == NULL)
		return;
	if (gather->leader != http)
	{
		detach(http);
		return;
	}
	take_out(gather);
	http->gather = NULL;
	while (gather->first != NULL)
	{
		PennyHttp *next = gather->first;

		detach(next);
		penny_http_again(next);
	}
	free(gather);
}

void
penny_gather_leave(PennyHttp *http)
{
	PennyGather *gather = http->gather;
	PennyHttp *next;

	if (gather == NULL)
		return;
	if (gather->leader != http)
	{
		detach(http);
		return;
	}
	next = gather->first;
	if (next == NULL || gather->left)
	{
		penny_gather_end(http);
		return;
	}
	http->gather = NULL;
	gather->left = true;
	detach(next);
	gather->leader = next;
	next->gather = gather;
	penny_http_again(next);
}

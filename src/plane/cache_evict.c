/*-------------------------------------------------------------------------
 *
 * cache_evict.c
 *		Which body goes: S3-FIFO by bytes, what is dead first, quotas of kinds.
 *		The work of writers, under the cache's lock.
 *
 * S3-FIFO: J. Yang, Y. Zhang, Z. Qiu, Y. Yue, R. Vinayak, "FIFO queues are all
 * you need for cache eviction" (SOSP 2023).  New bodies go into a small queue of
 * a tenth of the arena.  Its oldest goes on into the main queue when it was used
 * at least twice, else out, and its key is remembered as a ghost for as long as
 * nine tenths of an arena go out after it; who comes back meanwhile starts in
 * the main queue.  There the oldest starts again as the newest as long as it has
 * uses to spend.  A hit moves nothing.
 *
 * Uses are counted by backends in the body and by edges in their hints, both
 * up to three; they are added up when the body is looked at.  What an edge says
 * can keep a body longer or let it go, and nothing else.
 *
 * Dead bodies, none of whose entries holds, are taken first: the one at hand
 * whatever its uses, and beside it some that a hand finds which goes round over
 * all of them.
 *
 * How much is done for one body that goes is bounded; uses can only be spent
 * once, so on the average it is a few steps.
 *
 *-------------------------------------------------------------------------
 */
#include "plane/cache_layout.h"

#define MAX_SPARED 1024 /* bodies that start again before one must go */
#define SWEEP 4         /* bodies that the hand looks at */
#define PROMOTE 2       /* uses that bring a body from the small queue to the main one */

static inline PennyCacheBody *
body_of(PennyPlane *plane, uint32_t number)
{
	return &penny_cache_bodies(plane)[number - 1];
}

/* ---- lists: a body is in that of its queue and in that of its kind ------- */

static PennyCacheLinks *
links_of(PennyPlane *plane, uint32_t number, bool kind)
{
	PennyCacheBody *body = body_of(plane, number);

	return kind ? &body->in_kind : &body->in_queue;
}

static void
list_add(PennyPlane *plane, PennyCacheList *list, uint32_t number, bool kind)
{
	PennyCacheLinks *links = links_of(plane, number, kind);

	links->newer = 0;
	links->older = list->head;
	if (list->head != 0)
		links_of(plane, list->head, kind)->newer = number;
	else
		list->tail = number;
	list->head = number;
	list->chunks += body_of(plane, number)->chunks;
}

static void
list_remove(PennyPlane *plane, PennyCacheList *list, uint32_t number, bool kind)
{
	PennyCacheLinks *links = links_of(plane, number, kind);

	if (links->newer != 0)
		links_of(plane, links->newer, kind)->older = links->older;
	else
		list->head = links->older;
	if (links->older != 0)
		links_of(plane, links->older, kind)->newer = links->newer;
	else
		list->tail = links->newer;
	list->chunks -= body_of(plane, number)->chunks;
}

/* A new body, as the newest of a queue and of its kind. */
void
penny_queue_add(PennyPlane *plane, uint32_t number, PennyCacheQueue queue)
{
	PennyCacheHeader *header = penny_cache_header(plane);
	PennyCacheBody *body = body_of(plane, number);

	body->queue = queue;
	list_add(plane, &header->queue[queue], number, false);
	list_add(plane, &header->of_kind[body->kind], number, true);
}

void
penny_queue_remove(PennyPlane *plane, uint32_t number)
{
	PennyCacheHeader *header = penny_cache_header(plane);
	PennyCacheBody *body = body_of(plane, number);

	list_remove(plane, &header->queue[body->queue], number, false);
	list_remove(plane, &header->of_kind[body->kind], number, true);
}

/* ---- uses ---------------------------------------------------------------- */

/* Add what was counted since the last time to what is there; at most three. */
static uint32_t
count_uses(PennyPlane *plane, uint32_t number)
{
	PennyCacheBody *body = body_of(plane, number);
	uint64_t uses = atomic_load_explicit(&body->uses, memory_order_relaxed);
	uint32_t freq = body->freq + (uint32_t) (uses & 3);

	for (uint32_t i = 0; i < plane->config.edges; i++)
	{
		uint64_t hint;

		if (plane->e[i] == NULL)
			continue;
		hint = atomic_load_explicit(&penny_cache_hints(plane, (int) i)[number - 1],
									memory_order_relaxed);
		if (hint >> 2 == uses >> 2)
			freq += (uint32_t) (hint & 3);
	}
	if (freq > body->freq)
		atomic_store_explicit(&body->uses, (uses | 3) + 1, memory_order_relaxed);
	body->freq = freq < 3 ? freq : 3;
	return body->freq;
}

/* ---- ghosts -------------------------------------------------------------- */

static PennyCacheGhost *
ghost_set(PennyPlane *plane, uint64_t origin)
{
	uint64_t ghosts = (uint64_t) plane->config.cache_entries * 2;

	return &penny_cache_ghosts(
		plane)[(origin >> 20) & (ghosts - 1) & ~(uint64_t) (PENNY_GHOST_WAYS - 1)];
}

/* Remember a key, in the place of the oldest of its set. */
static void
ghost_add(PennyPlane *plane, uint64_t origin, uint32_t chunks)
{
	PennyCacheHeader *header = penny_cache_header(plane);
	PennyCacheGhost *ghost = ghost_set(plane, origin);
	PennyCacheGhost *oldest = ghost;

	for (int i = 0; i < PENNY_GHOST_WAYS; i++)
	{
		if (ghost[i].origin == origin)
		{
			oldest = &ghost[i];
			break;
		}
		if (ghost[i].at < oldest->at)
			oldest = &ghost[i];
	}
	header->ghost_now += chunks;
	oldest->origin = origin;
	oldest->at = header->ghost_now;
}

/* Did this key go out not long ago?  Then it is no ghost any more. */
bool
penny_ghost_take(PennyPlane *plane, uint64_t origin)
{
	PennyCacheHeader *header = penny_cache_header(plane);
	PennyCacheGhost *ghost = ghost_set(plane, origin);

	for (int i = 0; i < PENNY_GHOST_WAYS; i++)
	{
		uint64_t at = ghost[i].at;

		if (ghost[i].origin != origin || at == 0)
			continue;
		ghost[i].at = 0;
		return header->ghost_now - at <= (uint64_t) header->chunks_limit * 9 / 10;
	}
	return false;
}

/* ---- S3-FIFO ------------------------------------------------------------- */

static void
evict(PennyPlane *plane, uint32_t number)
{
	penny_body_free(plane, number);
	penny_cache_add(&penny_cache_header(plane)->evictions, 1);
}

static void
move(PennyPlane *plane, uint32_t number, PennyCacheQueue to)
{
	PennyCacheHeader *header = penny_cache_header(plane);
	PennyCacheBody *body = body_of(plane, number);

	list_remove(plane, &header->queue[body->queue], number, false);
	body->queue = to;
	list_add(plane, &header->queue[to], number, false);
}

/* One body of the main queue goes; there is one. */
static void
evict_main(PennyPlane *plane)
{
	PennyCacheList *list = &penny_cache_header(plane)->queue[PENNY_QUEUE_MAIN];
	int spared = 0;

	while (spared++ < MAX_SPARED && count_uses(plane, list->tail) > 0 &&
		   !penny_body_dead(plane, body_of(plane, list->tail)))
	{
		body_of(plane, list->tail)->freq--;
		move(plane, list->tail, PENNY_QUEUE_MAIN);
	}
	evict(plane, list->tail);
}

/* One body of the small queue goes, or what was used moves on until the queue is empty. */
static bool
evict_small(PennyPlane *plane)
{
	PennyCacheHeader *header = penny_cache_header(plane);
	PennyCacheList *list = &header->queue[PENNY_QUEUE_SMALL];

	while (list->tail != 0)
	{
		uint32_t number = list->tail;
		PennyCacheBody *body = body_of(plane, number);
		bool dead = penny_body_dead(plane, body);

		if (dead || count_uses(plane, number) < PROMOTE)
		{
			if (!dead)
				ghost_add(plane, body->origin, body->chunks);
			evict(plane, number);
			return true;
		}
		body->freq = 0;
		move(plane, number, PENNY_QUEUE_MAIN);
		if (header->queue[PENNY_QUEUE_MAIN].chunks > header->chunks_limit / 10 * 9)
		{
			evict_main(plane);
			return true;
		}
	}
	return false;
}

/* Let the hand go on; did it find anything dead? */
static bool
sweep(PennyPlane *plane)
{
	PennyCacheHeader *header = penny_cache_header(plane);
	bool found = false;

	for (int i = 0; i < SWEEP && header->bodies_used > 0; i++)
	{
		uint32_t number = header->sweep % header->bodies_used + 1;
		PennyCacheBody *body = body_of(plane, number);

		header->sweep = number;
		if (body->entries > 0 && penny_body_dead(plane, body))
		{
			evict(plane, number);
			found = true;
		}
	}
	return found;
}

/* Something goes; false when nothing is there. */
static bool
evict_one(PennyPlane *plane)
{
	PennyCacheHeader *header = penny_cache_header(plane);
	PennyCacheList *queue = header->queue;

	if (sweep(plane))
		return true;
	if (queue[PENNY_QUEUE_SMALL].chunks >= header->chunks_limit / 10 ||
		queue[PENNY_QUEUE_MAIN].tail == 0)
	{
		if (evict_small(plane))
			return true;
	}
	if (queue[PENNY_QUEUE_MAIN].tail == 0)
		return false;
	evict_main(plane);
	return true;
}

/* ---- quotas -------------------------------------------------------------- */

static uint32_t
quota_of(const PennyPlane *plane, PennyCacheKind kind)
{
	const PennyCacheHeader *header = penny_cache_header(plane);

	return (uint32_t) ((uint64_t) header->chunks_limit * (100 - header->quota[kind]) / 100);
}

/* The oldest of a kind goes, after those that were used had another round. */
static void
evict_of_kind(PennyPlane *plane, PennyCacheKind kind)
{
	PennyCacheList *list = &penny_cache_header(plane)->of_kind[kind];
	int spared = 0;

	while (spared++ < MAX_SPARED && count_uses(plane, list->tail) > 0 &&
		   !penny_body_dead(plane, body_of(plane, list->tail)))
	{
		uint32_t number = list->tail;

		body_of(plane, number)->freq--;
		list_remove(plane, list, number, true);
		list_add(plane, list, number, true);
	}
	evict(plane, list->tail);
}

/* Could so many chunks be of this kind? */
bool
penny_cache_fits(const PennyPlane *plane, PennyCacheKind kind, uint32_t chunks)
{
	return chunks <= quota_of(plane, kind);
}

/*
 * Evict until there are so many chunks for this kind; false when that cannot
 * be.  A kind without a quota of its own is left to S3-FIFO over all kinds.
 */
bool
penny_cache_make_room(PennyPlane *plane, PennyCacheKind kind, uint32_t chunks)
{
	PennyCacheHeader *header = penny_cache_header(plane);
	PennyCacheList *list = &header->of_kind[kind];

	while (header->quota[kind] != 0 && list->tail != 0 &&
		   list->chunks + chunks > quota_of(plane, kind))
		evict_of_kind(plane, kind);
	while (!penny_arena_has(plane, chunks))
	{
		if (!evict_one(plane))
			return false;
	}
	return penny_cache_fits(plane, kind, chunks);
}

/*-------------------------------------------------------------------------
 *
 * token_memory.c
 *		Remember who a token is, so that a hit needs no other process.
 *
 * An executor verifies a token and says with its answer who that is, and what
 * would end it: a time, a change of the keys, of roles or settings, of the
 * session's row (its stamp).  Each look-up compares all with the plane as it is then,
 * so a token ends here in the moment in which it ends for executors.  Only
 * what an executor vouched for gets here; failures are never remembered, so
 * that a token that becomes valid is not held back, and nobody can fill this
 * memory with what they made up.
 *
 * Tokens are compared whole: the hash finds them, it does not stand for them.
 * Its seed is random.  Count and bytes are bounded; first in, first out with a
 * second chance decides who gives way.
 *
 * One thread, no locks.
 *
 *-------------------------------------------------------------------------
 */
#include "edge/token_memory.h"

#include <stdlib.h>
#include <string.h>

#include "plane/route.h"

#define BUCKETS 8192

typedef struct Token Token;

struct Token
{
	Token *next_in_bucket;
	Token *next; /* in the order of eviction */
	Token *prev;
	uint64_t hash;
	PennyViewer viewer;
	uint32_t len;
	bool used; /* since it was last looked at */
	char bytes[];
};

static Token *table[BUCKETS];
static Token order = {.next = &order, .prev = &order};
static uint64_t seed;
static size_t count;
static size_t bytes;

static size_t
size_of(size_t len)
{
	return sizeof(Token) + len + 16;
}

static uint64_t
hash_of(PennySpan token)
{
	if (seed == 0)
		penny_random(&seed, sizeof(seed));
	return penny_hash(token.data, token.len, seed);
}

static Token *
look(PennySpan token, uint64_t hash)
{
	Token *known = table[hash % BUCKETS];

	while (known != NULL && (known->hash != hash || known->len != token.len ||
							 memcmp(known->bytes, token.data, token.len) != 0))
		known = known->next_in_bucket;
	return known;
}

static void
leave_order(Token *token)
{
	token->prev->next = token->next;
	token->next->prev = token->prev;
}

static void
enter_order(Token *token)
{
	token->next = &order;
	token->prev = order.prev;
	order.prev->next = token;
	order.prev = token;
}

static void
forget(Token *token)
{
	Token **link = &table[token->hash % BUCKETS];

	while (*link != token)
		link = &(*link)->next_in_bucket;
	*link = token->next_in_bucket;
	leave_order(token);
	bytes -= size_of(token->len);
	count--;
	free(token);
}

/* Is what was said of it still so? */
static bool
holds(const PennyViewer *viewer)
{
	const PennyPlane *plane = &penny_edge.plane;

	if (viewer->until != 0 && penny_edge.wall >= viewer->until)
		return false;
	if (atomic_load_explicit(&plane->p->keys_stamp, memory_order_acquire) != viewer->keys_stamp)
		return false;
	if (penny_stamp_seq(plane, PENNY_STAMP_ALL) != viewer->all_seq)
		return false;
	return viewer->stamp_slot == PENNY_STAMP_NONE ||
		   penny_stamp_seq(plane, viewer->stamp_slot) == viewer->stamp_seq;
}

const PennyViewer *
penny_token_viewer(PennySpan token)
{
	Token *known;

	if (token.len == 0 || count == 0)
		return NULL;
	known = look(token, hash_of(token));
	if (known == NULL)
		return NULL;
	if (!holds(&known->viewer))
	{
		forget(known);
		return NULL;
	}
	known->used = true;
	return &known->viewer;
}

/* Make room for one more. */
static void
make_room(size_t size)
{
	while (count >= PENNY_TOKENS_MAX || bytes + size > PENNY_TOKENS_BYTES)
	{
		Token *oldest = order.next;

		if (oldest->used)
		{
			oldest->used = false;
			leave_order(oldest);
			enter_order(oldest);
		}
		else
			forget(oldest);
	}
}

void
penny_token_remember(PennySpan token, const PennyViewer *viewer)
{
	uint64_t hash;
	Token *known;

	if (viewer->known != 1 || token.len == 0 || token.len > PENNY_TOKEN_REMEMBERED_MAX ||
		viewer->access >= PENNY_ACCESSES ||
		(viewer->stamp_slot != PENNY_STAMP_NONE &&
		 viewer->stamp_slot >= penny_edge.plane.config.cache_stamps) ||
		!holds(viewer))
		return;
	hash = hash_of(token);
	known = look(token, hash);
	if (known != NULL)
	{
		known->viewer = *viewer;
		return;
	}
	make_room(size_of(token.len));
	known = penny_alloc(sizeof(*known) + token.len);
	known->hash = hash;
	known->viewer = *viewer;
	known->len = (uint32_t) token.len;
	known->used = false;
	memcpy(known->bytes, token.data, token.len);
	known->next_in_bucket = table[hash % BUCKETS];
	table[hash % BUCKETS] = known;
	enter_order(known);
	bytes += size_of(token.len);
	count++;
}

size_t
penny_tokens_count(void)
{
	return count;
}

size_t
penny_tokens_bytes(void)
{
	return bytes;
}

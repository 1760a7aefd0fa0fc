/*-------------------------------------------------------------------------
 *
 * variants.c
 *		Compressed bodies within a budget of bytes.
 *
 * The key is the hash of the content (status, header lines, body) with the
 * coding: whoever may see the content may see its variant, a changed content
 * has another hash, and nothing here ever has to be invalidated.  The hash is a
 * SipHash under the plane's key, 128 bits: nobody can make two contents meet.
 *
 * The header lines are kept beside the body, so that a hit copies nothing of
 * the identity, which may even have been evicted from the plane.
 *
 * Eviction is first in, first out with a second chance: who was used since it
 * last came up goes to the end again.  So what is asked for once does not drive
 * out what is asked for often.  A body that compression does not make smaller
 * is remembered by an empty variant, so that it is tried once.
 *
 * One thread, no locks; memory is bounded by the budget, which is looked at on
 * every insertion and after every reload (penny_variants_trim()).
 *
 *-------------------------------------------------------------------------
 */
#include "edge/variants.h"

#include <stdlib.h>
#include <string.h>

#define BUCKETS 8192

struct PennyVariant
{
	PennyVariant *next_in_bucket;
	PennyVariant *next; /* in the order of eviction */
	PennyVariant *prev;
	PennyCacheKey hash;
	PennyCoding coding;
	uint32_t head_len;
	uint32_t body_len;
	bool used; /* since it was last looked at */
	char bytes[];
};

static PennyVariant *table[BUCKETS];
static PennyVariant order = {.next = &order, .prev = &order};
static size_t bytes;
static size_t count;

static PennyVariant **
bucket_of(const PennyCacheKey *hash)
{
	return &table[hash->word[0] % BUCKETS];
}

/* What it takes, with what malloc adds. */
static size_t
size_of(size_t head_len, size_t body_len)
{
	return sizeof(PennyVariant) + head_len + body_len + 16;
}

static size_t
budget(void)
{
	if (penny_edge.settings.codings[0] == PENNY_IDENTITY)
		return 0; /* nobody gets one */
	return (size_t) penny_edge.settings.compression_cache_size * 1024;
}

static PennyVariant *
look(const PennyCacheKey *hash, PennyCoding coding)
{
	PennyVariant *variant = *bucket_of(hash);

	while (variant != NULL && (variant->hash.word[0] != hash->word[0] ||
							   variant->hash.word[1] != hash->word[1] || variant->coding != coding))
		variant = variant->next_in_bucket;
	return variant;
}

const PennyVariant *
penny_variant_find(const PennyCacheKey *hash, PennyCoding coding)
{
	PennyVariant *variant = look(hash, coding);

	if (variant != NULL)
		variant->used = true;
	return variant;
}

PennySpan
penny_variant_head(const PennyVariant *variant)
{
	return (PennySpan){variant->bytes, variant->head_len};
}

PennySpan
penny_variant_body(const PennyVariant *variant)
{
	return (PennySpan){variant->bytes + variant->head_len, variant->body_len};
}

static void
leave_order(PennyVariant *variant)
{
	variant->prev->next = variant->next;
	variant->next->prev = variant->prev;
}

static void
enter_order(PennyVariant *variant)
{
	variant->next = &order;
	variant->prev = order.prev;
	order.prev->next = variant;
	order.prev = variant;
}

static void
drop(PennyVariant *variant)
{
	PennyVariant **link = bucket_of(&variant->hash);

	while (*link != variant)
		link = &(*link)->next_in_bucket;
	*link = variant->next_in_bucket;
	leave_order(variant);
	bytes -= size_of(variant->head_len, variant->body_len);
	count--;
	free(variant);
}

/* Make room until no more than that many bytes are taken. */
static void
shrink(size_t to)
{
	while (bytes > to)
	{
		PennyVariant *oldest = order.next;

		if (oldest->used)
		{
			oldest->used = false;
			leave_order(oldest);
			enter_order(oldest);
		}
		else
			drop(oldest);
	}
}

void
penny_variants_trim(void)
{
	shrink(budget());
}

bool
penny_variant_fits(size_t len)
{
	/* One that would drive out most of the others is not worth it. */
	return len <= budget() / 4;
}

void
penny_variant_keep(const PennyCacheKey *hash, PennyCoding coding, PennySpan head, PennySpan body)
{
	size_t size = size_of(head.len, body.len);
	PennyVariant *variant;

	if (!penny_variant_fits(size) || look(hash, coding) != NULL)
		return;
	shrink(budget() - size);
	variant = penny_alloc(sizeof(*variant) + head.len + body.len);
	variant->hash = *hash;
	variant->coding = coding;
	variant->head_len = (uint32_t) head.len;
	variant->body_len = (uint32_t) body.len;
	variant->used = false;
	if (head.len > 0)
		memcpy(variant->bytes, head.data, head.len);
	if (body.len > 0)
		memcpy(variant->bytes + head.len, body.data, body.len);
	variant->next_in_bucket = *bucket_of(hash);
	*bucket_of(hash) = variant;
	enter_order(variant);
	bytes += size;
	count++;
}

size_t
penny_variants_bytes(void)
{
	return bytes;
}

size_t
penny_variants_count(void)
{
	return count;
}

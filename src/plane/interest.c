/*-------------------------------------------------------------------------
 *
 * interest.c
 *		In which rooms does anybody listen?  See interest.h.
 *
 *-------------------------------------------------------------------------
 */
#include "plane/interest.h"

static inline uint32_t
bit_of(uint64_t room_hash)
{
	return (uint32_t) (room_hash % PENNY_INTEREST_BITS);
}

static inline uint64_t
mask_of(uint32_t bit)
{
	return UINT64_C(1) << (bit % 64);
}

/* One thread writes the word, so a load and a store do. */
void
penny_interest_add(PennyPlane *plane, PennyInterest *interest, uint64_t room_hash)
{
	uint32_t bit = bit_of(room_hash);
	_Atomic uint64_t *word = &plane->e[plane->self]->interest[bit / 64];

	if (interest->rooms[bit]++ == 0)
		atomic_store_explicit(word, atomic_load_explicit(word, memory_order_relaxed) | mask_of(bit),
							  memory_order_relaxed);
	penny_interest_fence();
}

void
penny_interest_remove(PennyPlane *plane, PennyInterest *interest, uint64_t room_hash)
{
	uint32_t bit = bit_of(room_hash);
	_Atomic uint64_t *word = &plane->e[plane->self]->interest[bit / 64];

	if (interest->rooms[bit] > 0 && --interest->rooms[bit] == 0)
		atomic_store_explicit(word,
							  atomic_load_explicit(word, memory_order_relaxed) & ~mask_of(bit),
							  memory_order_relaxed);
}

bool
penny_interest_any(const PennyPlane *plane, uint64_t room_hash)
{
	uint32_t bit = bit_of(room_hash);

	for (uint32_t i = 0; i < plane->config.edges; i++)
	{
		if (atomic_load_explicit(&plane->e[i]->interest[bit / 64], memory_order_relaxed) &
			mask_of(bit))
			return true;
	}
	return false;
}

void
penny_interest_clear(PennyPlane *plane, int edge)
{
	for (int i = 0; i < PENNY_INTEREST_BITS / 64; i++)
		atomic_store_explicit(&plane->e[edge]->interest[i], 0, memory_order_relaxed);
}

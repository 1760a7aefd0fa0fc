/*-------------------------------------------------------------------------
 *
 * ring.c
 *		A bounded queue in shared memory.  See ring.h.
 *
 *-------------------------------------------------------------------------
 */
#include "redis/ring.h"

#include <string.h>

/* One place: filled for position p when word is p + 1. */
typedef struct Place
{
	_Atomic uint64_t word;
	char item[];
} Place;

static size_t
stride(uint32_t item)
{
	return sizeof(Place) + ((size_t) item + 7) / 8 * 8;
}

static Place *
place_of(const PennyRing *ring, uint64_t position)
{
	char *first = (char *) ring + sizeof(PennyRing);

	return (Place *) (first + position % ring->places * stride(ring->item));
}

size_t
penny_ring_size(uint32_t places, uint32_t item)
{
	return sizeof(PennyRing) + places * stride(item);
}

void
penny_ring_init(PennyRing *ring, uint32_t places, uint32_t item)
{
	memset(ring, 0, penny_ring_size(places, item));
	ring->places = places;
	ring->item = item;
}

bool
penny_ring_claim(PennyRing *ring, uint32_t n)
{
	if (atomic_fetch_add(&ring->claimed, n) + n <= ring->places)
		return true;
	atomic_fetch_sub(&ring->claimed, n);
	return false;
}

void
penny_ring_unclaim(PennyRing *ring, uint32_t n)
{
	atomic_fetch_sub(&ring->claimed, n);
}

void
penny_ring_publish(PennyRing *ring, const void *items, uint32_t n)
{
	uint64_t position = atomic_fetch_add(&ring->tail, n);

	for (uint32_t i = 0; i < n; i++)
	{
		Place *place = place_of(ring, position + i);

		memcpy(place->item, (const char *) items + (size_t) i * ring->item, ring->item);
		atomic_store_explicit(&place->word, position + i + 1, memory_order_release);
	}
}

bool
penny_ring_waits(const PennyRing *ring)
{
	uint64_t position = atomic_load_explicit(&ring->head, memory_order_relaxed);

	return atomic_load_explicit(&place_of(ring, position)->word, memory_order_acquire) ==
		   position + 1;
}

bool
penny_ring_take(PennyRing *ring, void *item)
{
	uint64_t position = atomic_load_explicit(&ring->head, memory_order_relaxed);

	if (!penny_ring_waits(ring))
		return false;
	memcpy(item, place_of(ring, position)->item, ring->item);
	atomic_store_explicit(&ring->head, position + 1, memory_order_relaxed);
	atomic_fetch_sub(&ring->claimed, 1);
	return true;
}

uint64_t
penny_ring_claimed(const PennyRing *ring)
{
	return atomic_load_explicit(&ring->claimed, memory_order_relaxed);
}

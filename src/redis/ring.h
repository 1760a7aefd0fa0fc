/*-------------------------------------------------------------------------
 *
 * ring.h
 *		A bounded queue in shared memory: many processes put in, one takes out.
 *		Plain C.
 *
 * Putting has two steps.  penny_ring_claim() reserves room, as a number of
 * places and not as places, and may fail.  penny_ring_publish() then takes the
 * next places in order and cannot fail, allocate or wait: there is room, since
 * a place counts as claimed until the taker has emptied it.  So who claims and
 * then waits long (a commit for its standby) holds nobody up.
 *
 * A place has a word that says for which position it is filled.  A process
 * that ends between the two stores of publish would stop the queue; nothing
 * there can end it but a crash, after which the memory is made anew.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_RING_H
#define PENNY_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "plane/layout.h"

typedef struct PennyRing
{
	_Alignas(PENNY_CACHE_LINE) _Atomic uint64_t claimed; /* places reserved or filled */
	_Alignas(PENNY_CACHE_LINE) _Atomic uint64_t tail;    /* next position to be filled */
	_Alignas(PENNY_CACHE_LINE) _Atomic uint64_t head;    /* next to be taken; the taker writes */
	uint32_t places;
	uint32_t item; /* bytes */
} PennyRing;

/* Bytes of a ring with its places. */
extern size_t penny_ring_size(uint32_t places, uint32_t item);
/* Make one in memory of that size, aligned to PENNY_CACHE_LINE. */
extern void penny_ring_init(PennyRing *ring, uint32_t places, uint32_t item);

extern bool penny_ring_claim(PennyRing *ring, uint32_t n);
extern void penny_ring_unclaim(PennyRing *ring, uint32_t n);
/* Fill n claimed places with n items that lie behind one another. */
extern void penny_ring_publish(PennyRing *ring, const void *items, uint32_t n);

/* The taker: copy the next item out; false when there is none. */
extern bool penny_ring_take(PennyRing *ring, void *item);
extern bool penny_ring_waits(const PennyRing *ring);
extern uint64_t penny_ring_claimed(const PennyRing *ring);

#endif /* PENNY_RING_H */

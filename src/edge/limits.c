/*-------------------------------------------------------------------------
 *
 * limits.c
 *		Table of addresses with open connections, and token buckets.
 *
 * The table is hashed with a random seed, so that nobody can choose addresses
 * that collide; entries live as long as they have connections.  An IPv6
 * client has a whole /64 to pick from, so it counts as one; an IPv4 address
 * that comes mapped into IPv6 is the IPv4 address.
 *
 * What counts is what all edges have together: an address holds an entry of
 * region S (plane/share.h) as long as it has connections here.
 *
 *-------------------------------------------------------------------------
 */
#include "edge/limits.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "plane/share.h"

#define BUCKETS 4096

struct PennyAddress
{
	PennyAddress *next;
	uint32_t bucket;
	uint32_t connections;
	int entry;       /* in region S */
	uint8_t key[17]; /* family, then 4 or 8 bytes */
};

static PennyAddress *table[BUCKETS];
static uint64_t seed;
static uint32_t addresses;

/* The IPv4 address inside an IPv6 one, or NULL. */
static const uint8_t *
mapped_ipv4(const struct sockaddr *from)
{
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *) from;

	if (from->sa_family == AF_INET)
		return (const uint8_t *) &((const struct sockaddr_in *) from)->sin_addr;
	if (from->sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
		return in6->sin6_addr.s6_addr + 12;
	return NULL;
}

static void
make_key(const struct sockaddr *from, uint8_t key[17])
{
	const uint8_t *ipv4 = mapped_ipv4(from);

	memset(key, 0, 17);
	if (ipv4 != NULL)
	{
		key[0] = 4;
		memcpy(key + 1, ipv4, 4);
	}
	else if (from->sa_family == AF_INET6)
	{
		key[0] = 6;
		memcpy(key + 1, ((const struct sockaddr_in6 *) from)->sin6_addr.s6_addr, 8);
	}
}

/* The loop's clock is in ms, that of region S in us. */
static uint64_t
now_us(void)
{
	return penny_edge.now * 1000;
}

/* The entry of an address, made if there is none yet. */
static PennyAddress *
find_address(const uint8_t key[17])
{
	uint32_t bucket;
	PennyAddress *address;

	if (seed == 0)
		penny_random(&seed, sizeof(seed));
	bucket = (uint32_t) (penny_hash(key, 17, seed) % BUCKETS);
	for (address = table[bucket]; address != NULL; address = address->next)
	{
		if (memcmp(address->key, key, 17) == 0)
			return address;
	}
	address = penny_alloc(sizeof(*address));
	memset(address, 0, sizeof(*address));
	memcpy(address->key, key, 17);
	address->bucket = bucket;
	address->entry = PENNY_SHARED_NOWHERE;
	address->next = table[bucket];
	table[bucket] = address;
	addresses++;
	return address;
}

/* Connections of the address, over all edges if it has an entry there. */
static uint32_t
open_of(const PennyAddress *address)
{
	if (address->entry == PENNY_SHARED_NOWHERE)
		return address->connections;
	return penny_shared_open(&penny_edge.plane, address->entry);
}

PennyAdmission
penny_address_take(const struct sockaddr *from, PennyAddress **taken)
{
	const PennyEdgeSettings *settings = &penny_edge.settings;
	uint8_t key[17];
	PennyAddress *address;
	PennyAdmission why = PENNY_ADMITTED;

	if (!penny_shared_connect(&penny_edge.plane, settings->max_connections))
		return PENNY_ALL_TAKEN;
	make_key(from, key);
	address = find_address(key);
	if (address->connections > 0)
		penny_shared_hold_again(&penny_edge.plane, address->entry);
	else
		address->entry = penny_shared_hold(&penny_edge.plane, key, sizeof(key), now_us());
	address->connections++;
	if (open_of(address) > settings->max_connections_per_address)
		why = PENNY_ADDRESS_TAKEN;
	else if (!penny_shared_take(&penny_edge.plane, address->entry, PENNY_RATE_CONNECTS,
								settings->connections_per_second, now_us()))
		why = PENNY_ADDRESS_FAST;
	if (why != PENNY_ADMITTED)
		penny_address_release(address);
	else
		*taken = address;
	return why;
}

bool
penny_address_request(PennyAddress *address)
{
	uint32_t rate = penny_edge.settings.requests_per_second;

	return rate == 0 || penny_shared_take(&penny_edge.plane, address->entry, PENNY_RATE_REQUESTS,
										  rate, now_us());
}

void
penny_address_release(PennyAddress *address)
{
	PennyAddress **link = &table[address->bucket];

	penny_shared_disconnect(&penny_edge.plane);
	penny_shared_release(&penny_edge.plane, address->entry);
	if (--address->connections > 0)
		return;
	while (*link != address)
		link = &(*link)->next;
	*link = address->next;
	free(address);
	addresses--;
}

uint32_t
penny_addresses(void)
{
	return addresses;
}

bool
penny_address_text(const struct sockaddr *from, char out[PENNY_PEER_TEXT])
{
	const uint8_t *ipv4 = mapped_ipv4(from);
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *) from;

	out[0] = '\0';
	if (ipv4 != NULL)
	{
		inet_ntop(AF_INET, ipv4, out, PENNY_PEER_TEXT);
		return ipv4[0] == 127;
	}
	if (from->sa_family != AF_INET6)
		return from->sa_family == AF_UNIX;
	inet_ntop(AF_INET6, &in6->sin6_addr, out, PENNY_PEER_TEXT);
	return IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
}

bool
penny_bucket_take(PennyBucket *bucket, uint32_t rate)
{
	uint64_t passed = penny_edge.now - bucket->taken_at;
	uint64_t refill = passed * rate; /* thousandths: rate a second is rate/1000 a ms */

	if (rate == 0)
		return true;
	bucket->taken_at = penny_edge.now;
	bucket->used = refill >= bucket->used ? 0 : bucket->used - (uint32_t) refill;
	if (bucket->used + 1000 > (uint64_t) rate * 1000)
		return false;
	bucket->used += 1000;
	return true;
}

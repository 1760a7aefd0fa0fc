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
 *-------------------------------------------------------------------------
 */
#include "edge/limits.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 4096

struct PennyAddress
{
	PennyAddress *next;
	uint32_t bucket;
	uint32_t connections;
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

PennyAddress *
penny_address_take(const struct sockaddr *from)
{
	uint8_t key[17];
	uint32_t bucket;
	PennyAddress *address;

	if (seed == 0)
		penny_random(&seed, sizeof(seed));
	make_key(from, key);
	bucket = (uint32_t) (penny_hash(key, sizeof(key), seed) % BUCKETS);
	for (address = table[bucket]; address != NULL; address = address->next)
	{
		if (memcmp(address->key, key, sizeof(key)) == 0)
			break;
	}
	if (address == NULL)
	{
		address = penny_alloc(sizeof(*address));
		memcpy(address->key, key, sizeof(key));
		address->bucket = bucket;
		address->connections = 0;
		address->next = table[bucket];
		table[bucket] = address;
		addresses++;
	}
	else if (address->connections >= penny_edge.settings.max_connections_per_address)
		return NULL;
	address->connections++;
	return address;
}

void
penny_address_release(PennyAddress *address)
{
	PennyAddress **link = &table[address->bucket];

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

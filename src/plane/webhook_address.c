/*-------------------------------------------------------------------------
 *
 * webhook_address.c
 *		Which IP addresses a webhook may be called at.  See webhook_address.h.
 *
 * The tables follow the registries of special addresses of IANA (RFC 6890 and
 * what was added since).  What is not in them: 168.63.129.16, a public number
 * at which every machine of one cloud finds its configuration.
 *
 * Pure: no allocation, no I/O.
 *
 *-------------------------------------------------------------------------
 */
#include "plane/webhook_address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

typedef struct Special
{
	uint8_t base[16];
	int bits;
	PennyAddressClass class;
} Special;

static const Special special_4[] = {
	{{0}, 8, PENNY_ADDRESS_NEVER},           /* this network: connects to this host */
	{{10}, 8, PENNY_ADDRESS_INTERNAL},       /* private */
	{{100, 64}, 10, PENNY_ADDRESS_INTERNAL}, /* behind a carrier's NAT */
	{{127}, 8, PENNY_ADDRESS_INTERNAL},      /* loopback */
	{{168, 63, 129, 16}, 32, PENNY_ADDRESS_INTERNAL},
	{{169, 254}, 16, PENNY_ADDRESS_INTERNAL},  /* link-local, metadata of clouds */
	{{172, 16}, 12, PENNY_ADDRESS_INTERNAL},   /* private */
	{{192, 0, 0}, 24, PENNY_ADDRESS_INTERNAL}, /* protocol assignments */
	{{192, 0, 2}, 24, PENNY_ADDRESS_NEVER},    /* documentation */
	{{192, 88, 99}, 24, PENNY_ADDRESS_NEVER},  /* relays of 6to4 */
	{{192, 168}, 16, PENNY_ADDRESS_INTERNAL},  /* private */
	{{198, 18}, 15, PENNY_ADDRESS_INTERNAL},   /* benchmarks */
	{{198, 51, 100}, 24, PENNY_ADDRESS_NEVER}, /* documentation */
	{{203, 0, 113}, 24, PENNY_ADDRESS_NEVER},  /* documentation */
	{{224}, 4, PENNY_ADDRESS_NEVER},           /* multicast */
	{{240}, 4, PENNY_ADDRESS_NEVER},           /* reserved, broadcast */
};

/* The first that holds counts; what is in none is NEVER. */
static const Special special_6[] = {
	{{[15] = 1}, 128, PENNY_ADDRESS_INTERNAL},           /* loopback */
	{{0xfc}, 7, PENNY_ADDRESS_INTERNAL},                 /* unique local */
	{{0xfe, 0x80}, 10, PENNY_ADDRESS_INTERNAL},          /* link-local */
	{{0x20, 0x01}, 23, PENNY_ADDRESS_NEVER},             /* Teredo, ORCHID, protocols */
	{{0x20, 0x01, 0x0d, 0xb8}, 32, PENNY_ADDRESS_NEVER}, /* documentation */
	{{0x20, 0x02}, 16, PENNY_ADDRESS_NEVER},             /* 6to4 */
	{{0x3f, 0xff}, 20, PENNY_ADDRESS_NEVER},             /* documentation */
	{{0x20}, 3, PENNY_ADDRESS_PUBLIC},
};

static bool
same_bits(const uint8_t *a, const uint8_t *b, int bits)
{
	int whole = bits / 8;
	int rest = bits % 8;

	if (memcmp(a, b, (size_t) whole) != 0)
		return false;
	return rest == 0 || (a[whole] ^ b[whole]) >> (8 - rest) == 0;
}

PennyAddressClass
penny_address_class(const PennyAddress *address)
{
	const Special *table = address->ipv6 ? special_6 : special_4;
	size_t n = address->ipv6 ? sizeof(special_6) / sizeof(special_6[0])
							 : sizeof(special_4) / sizeof(special_4[0]);

	for (size_t i = 0; i < n; i++)
	{
		if (same_bits(address->bytes, table[i].base, table[i].bits))
			return table[i].class;
	}
	return address->ipv6 ? PENNY_ADDRESS_NEVER : PENNY_ADDRESS_PUBLIC;
}

bool
penny_address_parse(const char *text, size_t len, PennyAddress *address)
{
	char copy[PENNY_ADDRESS_TEXT];

	memset(address, 0, sizeof(*address));
	if (len == 0 || len >= sizeof(copy) || memchr(text, '\0', len) != NULL)
		return false;
	memcpy(copy, text, len);
	copy[len] = '\0';
	address->ipv6 = memchr(text, ':', len) != NULL;
	return inet_pton(address->ipv6 ? AF_INET6 : AF_INET, copy, address->bytes) == 1;
}

void
penny_address_text(const PennyAddress *address, char text[PENNY_ADDRESS_TEXT])
{
	if (inet_ntop(address->ipv6 ? AF_INET6 : AF_INET, address->bytes, text, PENNY_ADDRESS_TEXT) ==
		NULL)
		text[0] = '\0';
}

bool
penny_address_equal(const PennyAddress *a, const PennyAddress *b)
{
	return a->ipv6 == b->ipv6 && memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

bool
penny_address_of(const struct sockaddr *from, PennyAddress *address, uint16_t *port)
{
	memset(address, 0, sizeof(*address));
	if (from->sa_family == AF_INET)
	{
		struct sockaddr_in in;

		memcpy(&in, from, sizeof(in));
		memcpy(address->bytes, &in.sin_addr, 4);
		*port = ntohs(in.sin_port);
		return true;
	}
	if (from->sa_family == AF_INET6)
	{
		struct sockaddr_in6 in6;

		memcpy(&in6, from, sizeof(in6));
		memcpy(address->bytes, &in6.sin6_addr, 16);
		address->ipv6 = true;
		*port = ntohs(in6.sin6_port);
		return true;
	}
	return false;
}

bool
penny_network_parse(const char *text, size_t len, PennyNetwork *network)
{
	const char *slash = memchr(text, '/', len);
	size_t digits;
	int max;

	if (slash == NULL || !penny_address_parse(text, (size_t) (slash - text), &network->base))
		return false;
	digits = len - (size_t) (slash + 1 - text);
	max = network->base.ipv6 ? 128 : 32;
	if (digits == 0 || digits > 3)
		return false;
	network->bits = 0;
	for (size_t i = 0; i < digits; i++)
	{
		if (slash[1 + i] < '0' || slash[1 + i] > '9')
			return false;
		network->bits = network->bits * 10 + (slash[1 + i] - '0');
	}
	if (network->bits > max)
		return false;
	for (int bit = network->bits; bit < max; bit++)
	{
		if (network->base.bytes[bit / 8] >> (7 - bit % 8) & 1)
			return false;
	}
	return true;
}

bool
penny_network_holds(const PennyNetwork *network, const PennyAddress *address)
{
	return network->base.ipv6 == address->ipv6 &&
		   same_bits(network->base.bytes, address->bytes, network->bits);
}

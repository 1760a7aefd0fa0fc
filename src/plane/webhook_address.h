/*-------------------------------------------------------------------------
 *
 * webhook_address.h
 *		Which IP addresses a webhook may be called at.
 *
 * An address is PUBLIC, or INTERNAL: a network of somebody's own, into which
 * strangers must not reach through us, or NEVER: not an address of a host, or a
 * form that hides another address (IPv4-mapped, NAT64, 6to4, Teredo).  An
 * INTERNAL one may be named by who configures the server, a NEVER one not even
 * so.  Of IPv6 only what is assigned to the public is PUBLIC.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_WEBHOOK_ADDRESS_H
#define PENNY_WEBHOOK_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PENNY_ADDRESS_TEXT 46 /* bytes of an address as text, with its end */

typedef struct PennyAddress
{
	uint8_t bytes[16]; /* in network order; of IPv4 the first 4, the others 0 */
	bool ipv6;
} PennyAddress;

typedef enum PennyAddressClass
{
	PENNY_ADDRESS_PUBLIC,
	PENNY_ADDRESS_INTERNAL,
	PENNY_ADDRESS_NEVER
} PennyAddressClass;

typedef struct PennyNetwork
{
	PennyAddress base;
	int bits;
} PennyNetwork;

struct sockaddr;

extern PennyAddressClass penny_address_class(const PennyAddress *address);
/*
 * Read four decimal numbers, or IPv6 without brackets and zone; nothing else
 * that somebody might take for an address (hexadecimal, octal, one number).
 */
extern bool penny_address_parse(const char *text, size_t len, PennyAddress *address);
extern void penny_address_text(const PennyAddress *address, char text[PENNY_ADDRESS_TEXT]);
extern bool penny_address_equal(const PennyAddress *a, const PennyAddress *b);
/* From a socket address of IPv4 or IPv6, with its port. */
extern bool penny_address_of(const struct sockaddr *from, PennyAddress *address, uint16_t *port);

/* Read address/bits; false when malformed or when bits of the host are set. */
extern bool penny_network_parse(const char *text, size_t len, PennyNetwork *network);
extern bool penny_network_holds(const PennyNetwork *network, const PennyAddress *address);

#endif /* PENNY_WEBHOOK_ADDRESS_H */

/*-------------------------------------------------------------------------
 *
 * limits.h
 *		How much one client may take: connections for each address, messages
 *		for each WebSocket, rates.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_LIMITS_H
#define PENNY_EDGE_LIMITS_H

#include <sys/socket.h>

#include "edge/edge.h"

#define PENNY_PEER_TEXT 48 /* an address as text, with a NUL */

/* An address with open connections. */
typedef struct PennyAddress PennyAddress;

typedef enum PennyAdmission
{
	PENNY_ADMITTED,
	PENNY_ALL_TAKEN,     /* there are as many connections as there may be */
	PENNY_ADDRESS_TAKEN, /* the address has as many as it may */
	PENNY_ADDRESS_FAST   /* it opens them faster than it may */
} PennyAdmission;

/* Count a connection of this address, if all edges together may have one more. */
extern PennyAdmission penny_address_take(const struct sockaddr *from, PennyAddress **address);
extern void penny_address_release(PennyAddress *address);
/* Count a request; false when the address has made as many as it may. */
extern bool penny_address_request(PennyAddress *address);
/* Addresses with open connections. */
extern uint32_t penny_addresses(void);

/* Write an address as text; true when it is this machine's own. */
extern bool penny_address_text(const struct sockaddr *from, char out[PENNY_PEER_TEXT]);

/* A token bucket that holds one second's worth; all zero = full. */
typedef struct PennyBucket
{
	uint64_t taken_at; /* ms of the last take */
	uint32_t used;     /* thousandths of tokens taken */
} PennyBucket;

/* Take one of `rate` a second; false when there is none.  0 = no limit. */
extern bool penny_bucket_take(PennyBucket *bucket, uint32_t rate);

#endif /* PENNY_EDGE_LIMITS_H */

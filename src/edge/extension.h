/*-------------------------------------------------------------------------
 *
 * extension.h
 *		Sec-WebSocket-Extensions: what a client offers (RFC 6455 9.1, RFC 7692).
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_EXTENSION_H
#define PENNY_EDGE_EXTENSION_H

#include "plane/call.h"

#define PENNY_EXTENSION_ANSWER 160 /* bytes of a header line, with its NUL */

typedef enum PennyOffer
{
	PENNY_OFFER_NONE,     /* nothing that is wanted */
	PENNY_OFFER_DEFLATE,  /* permessage-deflate, with these window bits */
	PENNY_OFFER_MALFORMED /* the header cannot be read */
} PennyOffer;

/*
 * Read one header's value; the first offer of permessage-deflate that can be
 * met counts.  *window_bits: log2 of the greatest distance that the server's
 * messages may use, 8 to 15; *asked: the client named it.
 */
extern PennyOffer penny_extension_read(PennySpan value, int *window_bits, bool *asked);
/* The header line, with CRLF, that accepts it; returns its length. */
extern size_t penny_extension_answer(char out[PENNY_EXTENSION_ANSWER], int window_bits, bool asked);

#endif /* PENNY_EDGE_EXTENSION_H */

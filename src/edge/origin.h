/*-------------------------------------------------------------------------
 *
 * origin.h
 *		From which page, and to which host, does a request come?
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_ORIGIN_H
#define PENNY_EDGE_ORIGIN_H

#include "edge/http_parse.h"

/* Is this the name or an address of the loopback interface, with or without port? */
extern bool penny_origin_is_loopback(PennySpan host);
/* May it use a WebSocket?  True without Origin, for the host itself, for listed origins. */
extern bool penny_origin_allowed(const PennyHttpParser *parser, const char *bytes);
/* Is an origin listed at all: is CORS on? */
extern bool penny_origin_listing(void);
/* Take the Origin when there is exactly one and it is listed. */
extern bool penny_origin_listed(const PennyHttpParser *parser, const char *bytes,
								PennySpan *origin);
/* Is the Host of the request one that the settings list, or do they list none? */
extern bool penny_origin_host_allowed(const PennyHttpParser *parser, const char *bytes);

#endif /* PENNY_EDGE_ORIGIN_H */

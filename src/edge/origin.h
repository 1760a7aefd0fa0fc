/*-------------------------------------------------------------------------
 *
 * origin.h
 *		May a page of this origin open a WebSocket?
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_ORIGIN_H
#define PENNY_EDGE_ORIGIN_H

#include "edge/http_parse.h"

/* Is this the name or an address of the loopback interface, with or without port? */
extern bool penny_origin_is_loopback(PennySpan host);
/* True without Origin, for the host of the request, and for listed origins. */
extern bool penny_origin_allowed(const PennyHttpParser *parser, const char *bytes);

#endif /* PENNY_EDGE_ORIGIN_H */

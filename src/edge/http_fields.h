/*-------------------------------------------------------------------------
 *
 * http_fields.h
 *		What the two halves of the HTTP parser share; no interface of others.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_HTTP_FIELDS_H
#define PENNY_EDGE_HTTP_FIELDS_H

#include "edge/http_parse.h"

/* Judge the fields of a complete head: DONE or ERROR. */
extern PennyHttpResult penny_http_judge_fields(PennyHttpParser *parser, const char *buffer);
/* Remember an error and return PENNY_HTTP_ERROR. */
extern PennyHttpResult penny_http_fail(PennyHttpParser *parser, int status, const char *reason);

/* Classes of characters. */
#define PENNY_HTTP_TOKEN 1   /* of a token */
#define PENNY_HTTP_TOKEN68 2 /* of a bearer token */
extern const unsigned char penny_http_class[256];

static inline bool
penny_http_is_token(unsigned char c)
{
	return (penny_http_class[c] & PENNY_HTTP_TOKEN) != 0;
}

static inline PennyHttpSlice
penny_http_slice(const char *buffer, PennySpan span)
{
	return (PennyHttpSlice){(uint32_t) (span.data - buffer), (uint32_t) span.len};
}

#endif /* PENNY_EDGE_HTTP_FIELDS_H */

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
extern bool penny_http_is_token(unsigned char c);

static inline PennyHttpSlice
penny_http_slice(const char *buffer, PennySpan span)
{
	return (PennyHttpSlice){(uint32_t) (span.data - buffer), (uint32_t) span.len};
}

#endif /* PENNY_EDGE_HTTP_FIELDS_H */

/*-------------------------------------------------------------------------
 *
 * http_target.h
 *		The request target: its forms, checks of path and query,
 *		percent-decoding.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_HTTP_TARGET_H
#define PENNY_EDGE_HTTP_TARGET_H

#include "plane/call.h"

/*
 * Take scheme and authority off a target in absolute form: what is left is in
 * origin form ("/" where there was no path).  An empty authority tells that it
 * was another form, and the target stays as it is.
 */
extern void penny_http_target_split(PennySpan *target, PennySpan *authority);
/*
 * Check a target in origin form and split it; NULL, or the static reason why
 * it is refused.  Refused are: anything not starting with '/', bytes that a
 * URI cannot hold, malformed %xx, %00, dot segments (also written as %2e).
 */
extern const char *penny_http_target_check(PennySpan target, PennySpan *path, PennySpan *query);

/*
 * Percent-decode text that was checked, '+' staying '+'.  False when it does
 * not fit into size bytes or is malformed.  No NUL is added.
 */
extern bool penny_http_decode(PennySpan text, char *out, size_t size, size_t *len);

/*
 * Find the first `name=value` of a query and decode the value ('+' is a space
 * there).  False when absent, malformed or larger than size bytes.
 */
extern bool penny_http_query_value(PennySpan query, const char *name, char *out, size_t size,
								   size_t *len);

#endif /* PENNY_EDGE_HTTP_TARGET_H */

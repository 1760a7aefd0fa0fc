/*-------------------------------------------------------------------------
 *
 * token_memory.h
 *		Who the tokens of recent requests are.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_TOKEN_MEMORY_H
#define PENNY_EDGE_TOKEN_MEMORY_H

#include "edge/edge.h"
#include "plane/cache.h"

#define PENNY_TOKENS_MAX 16384          /* tokens remembered */
#define PENNY_TOKENS_BYTES (8 << 20)    /* that they take together */
#define PENNY_TOKEN_REMEMBERED_MAX 4096 /* bytes of one */

/*
 * Who this token is, if that is known and still holds; NULL otherwise.  Valid
 * until the next call here.
 */
extern const PennyViewer *penny_token_viewer(PennySpan token);
/* An executor has said who it is.  What is not to be kept is not. */
extern void penny_token_remember(PennySpan token, const PennyViewer *viewer);
/* Tokens remembered, and the bytes that they take. */
extern size_t penny_tokens_count(void);
extern size_t penny_tokens_bytes(void);

#endif /* PENNY_EDGE_TOKEN_MEMORY_H */

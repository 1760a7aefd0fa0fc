/*-------------------------------------------------------------------------
 *
 * packed.h
 *		Messages compressed by permessage-deflate.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_PACKED_H
#define PENNY_EDGE_PACKED_H

#include "edge/frame.h"

/*
 * The frame to send in place of this one to a client that unpacks with so many
 * window bits: its packed form, made once for all, or itself.  Borrowed from
 * the frame.
 */
extern PennyFrame *penny_packed(PennyFrame *frame, int window_bits);

typedef enum PennyUnpack
{
	PENNY_UNPACKED,
	PENNY_UNPACK_LARGE, /* more than `limit` bytes, or suspiciously many for what came */
	PENNY_UNPACK_BAD    /* not compressed data */
} PennyUnpack;

/* Unpack the payload of a message; *text is valid until the next call. */
extern PennyUnpack penny_unpack(PennySpan payload, size_t limit, PennySpan *text);

#endif /* PENNY_EDGE_PACKED_H */

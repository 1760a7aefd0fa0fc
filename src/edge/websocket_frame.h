/*-------------------------------------------------------------------------
 *
 * websocket_frame.h
 *		Server side of the WebSocket framing (RFC 6455), strict.
 *
 * A push parser without memory of its own: the caller hands over what it
 * read, the payload is unmasked in place and given back in pieces.  Call
 * penny_websocket_parse() until it says NEED_MORE:
 *
 *	DATA	a piece of a message, perhaps empty.  first and final mark its ends;
 *			`expect` bytes of the current frame are still to come, so
 *			that a buffer can be sized; lengths are checked against the limit as
 *			soon as a frame's head is there, before anything is gathered
 *	PING	payload, to be answered with a PONG
 *	PONG	payload
 *	CLOSE	code (1005 when the frame had none) and reason; whatever follows is
 *			swallowed
 *	ERROR	close with `code`; whatever follows is swallowed
 *
 * Text is UTF-8 validated over fragments (1007).  Not accepted (1002): frames
 * without a mask, reserved bits (but RSV1 on the first frame of a message, where
 * permessage-deflate was agreed upon), unknown opcodes,
 * long or fragmented control frames, lengths in a longer form than needed,
 * continuation without a start and the other way round, close codes that may
 * not be sent.  More than PENNY_WEBSOCKET_FRAGMENTS fragments are 1008, too
 * large a message is 4413.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_EDGE_WEBSOCKET_FRAME_H
#define PENNY_EDGE_WEBSOCKET_FRAME_H

#include "edge/utf8.h"

#define PENNY_WEBSOCKET_FRAGMENTS 1024 /* of one message */
#define PENNY_WEBSOCKET_HEAD_MAX 10    /* bytes of a server frame's head */
#define PENNY_WEBSOCKET_CONTROL_MAX 125
#define PENNY_WEBSOCKET_PACKED 0x40 /* RSV1 in a frame's first byte (RFC 7692) */

typedef enum PennyWebsocketOpcode
{
	PENNY_WEBSOCKET_CONTINUATION = 0,
	PENNY_WEBSOCKET_TEXT = 1,
	PENNY_WEBSOCKET_BINARY = 2,
	PENNY_WEBSOCKET_CLOSE = 8,
	PENNY_WEBSOCKET_PING = 9,
	PENNY_WEBSOCKET_PONG = 10
} PennyWebsocketOpcode;

typedef enum PennyWebsocketResult
{
	PENNY_WEBSOCKET_NEED_MORE, /* all input is used up */
	PENNY_WEBSOCKET_DATA,
	PENNY_WEBSOCKET_GOT_PING,
	PENNY_WEBSOCKET_GOT_PONG,
	PENNY_WEBSOCKET_GOT_CLOSE,
	PENNY_WEBSOCKET_ERROR
} PennyWebsocketResult;

/* Close codes used here and by the callers. */
#define PENNY_CLOSE_NORMAL 1000
#define PENNY_CLOSE_GOING_AWAY 1001
#define PENNY_CLOSE_PROTOCOL 1002
#define PENNY_CLOSE_NO_STATUS 1005 /* never sent */
#define PENNY_CLOSE_INVALID_TEXT 1007
#define PENNY_CLOSE_POLICY 1008
#define PENNY_CLOSE_INTERNAL 1011
#define PENNY_CLOSE_RESTART 1012
#define PENNY_CLOSE_MALFORMED 4400
#define PENNY_CLOSE_SIGNED_OUT 4401
#define PENNY_CLOSE_ORIGIN 4403
#define PENNY_CLOSE_SILENT 4408
#define PENNY_CLOSE_TOO_LARGE 4413
#define PENNY_CLOSE_SLOW 4420
#define PENNY_CLOSE_TOO_FAST 4429

typedef struct PennyWebsocketEvent
{
	bool first;    /* DATA: a message starts */
	bool final;    /* DATA: the message is complete with this piece */
	bool binary;   /* DATA: not text */
	bool packed;   /* DATA: compressed; what it is after unpacking was not looked at */
	uint16_t code; /* CLOSE, ERROR */
	char *data;    /* payload, reason of CLOSE: in the input or the parser */
	size_t len;
	uint64_t expect;    /* DATA: further bytes that the current frame announces */
	const char *reason; /* ERROR: static text */
} PennyWebsocketEvent;

typedef struct PennyWebsocketParser
{
	uint64_t limit;   /* bytes of one message */
	uint64_t message; /* bytes of the message so far, announced ones included */
	uint64_t left;    /* payload bytes of the frame still to come */
	uint32_t fragments;
	uint8_t phase;
	uint8_t have; /* bytes of the head or of a control payload gathered */
	uint8_t head[14];
	uint8_t mask[4];
	uint8_t mask_at;
	uint8_t opcode;         /* of the current frame */
	uint8_t message_opcode; /* of the message being gathered; 0 = none */
	bool packs;             /* the caller's: compressed messages may come */
	bool packed;            /* the message being gathered is one */
	bool fin;
	bool started; /* a piece of the message was given out */
	PennyUtf8 utf8;
	char control[PENNY_WEBSOCKET_CONTROL_MAX + 1];
} PennyWebsocketParser;

extern void penny_websocket_init(PennyWebsocketParser *parser, uint64_t limit);
/*
 * Take up to len bytes; *used tells how many were.  The data of an event
 * are valid until the next call.
 */
extern PennyWebsocketResult penny_websocket_parse(PennyWebsocketParser *parser, char *bytes,
												  size_t len, size_t *used,
												  PennyWebsocketEvent *event);

/* Write the head of an unfragmented server frame; returns its length. */
extern size_t penny_websocket_head(uint8_t out[PENNY_WEBSOCKET_HEAD_MAX],
								   PennyWebsocketOpcode opcode, uint64_t payload_len);
/*
 * Write a whole close frame (head and payload); returns its length.  The
 * reason is cut at a character's end where it does not fit.  Code 0 or 1005
 * writes one without code.
 */
extern size_t penny_websocket_close(uint8_t out[PENNY_WEBSOCKET_CONTROL_MAX + 2], uint16_t code,
									const char *reason, size_t reason_len);

#endif /* PENNY_EDGE_WEBSOCKET_FRAME_H */

/*-------------------------------------------------------------------------
 *
 * websocket_frame.c
 *		Server side of the WebSocket framing: parser and heads of frames.
 *
 * Phases: HEAD gathers the 2 to 14 bytes of a frame's head; PAYLOAD passes a
 * data frame on as it comes; CONTROL gathers the payload of a control frame,
 * at most 125 bytes, in the parser; ENDED swallows what follows a close frame
 * or an error.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "edge/websocket_frame.h"

enum
{
	PHASE_HEAD,
	PHASE_PAYLOAD,
	PHASE_CONTROL,
	PHASE_ENDED
};

void
penny_websocket_init(PennyWebsocketParser *parser, uint64_t limit)
{
	memset(parser, 0, sizeof(*parser));
	parser->limit = limit;
}

/* Report an error and swallow what follows. */
static PennyWebsocketResult
fail(PennyWebsocketParser *parser, PennyWebsocketEvent *event, uint16_t code, const char *reason)
{
	parser->phase = PHASE_ENDED;
	memset(event, 0, sizeof(*event));
	event->code = code;
	event->reason = reason;
	return PENNY_WEBSOCKET_ERROR;
}

/* Length of the head that starts with these bytes, of which two are needed. */
static size_t
head_length(const uint8_t *head)
{
	uint8_t len = head[1] & 0x7F;

	return 2 + (len == 126 ? 2 : len == 127 ? 8 : 0) + 4;
}

/* What is wrong with the first two bytes of a head; NULL when nothing is. */
static const char *
check_start(const PennyWebsocketParser *parser)
{
	uint8_t opcode = parser->head[0] & 0x0F;
	bool fin = parser->head[0] & 0x80;

	bool may_pack =
		parser->packs && (opcode == PENNY_WEBSOCKET_TEXT || opcode == PENNY_WEBSOCKET_BINARY);

	if (parser->head[0] & 0x70 & ~(may_pack ? PENNY_WEBSOCKET_PACKED : 0))
		return "a reserved bit is set";
	if (!(parser->head[1] & 0x80))
		return "frame is not masked";
	switch (opcode)
	{
		case PENNY_WEBSOCKET_CONTINUATION:
			if (parser->message_opcode == 0)
				return "continuation without a message";
			return NULL;
		case PENNY_WEBSOCKET_TEXT:
		case PENNY_WEBSOCKET_BINARY:
			if (parser->message_opcode != 0)
				return "new message inside a fragmented one";
			return NULL;
		case PENNY_WEBSOCKET_CLOSE:
		case PENNY_WEBSOCKET_PING:
		case PENNY_WEBSOCKET_PONG:
			if (!fin)
				return "fragmented control frame";
			if ((parser->head[1] & 0x7F) > PENNY_WEBSOCKET_CONTROL_MAX)
				return "control frame is too long";
			return NULL;
		default:
			return "unknown opcode";
	}
}

/* Payload length of a complete head; *minimal tells whether its form is the shortest. */
static uint64_t
payload_length(const uint8_t *head, bool *minimal)
{
	uint64_t len = head[1] & 0x7F;
	int bytes = len == 126 ? 2 : len == 127 ? 8 : 0;

	*minimal = true;
	if (bytes == 0)
		return len;
	len = 0;
	for (int i = 0; i < bytes; i++)
		len = len << 8 | head[2 + i];
	*minimal = bytes == 2 ? len > 125 : len > 0xFFFF;
	return len;
}

/* Enter the frame whose head is complete; false with the event's error set. */
static bool
enter_frame(PennyWebsocketParser *parser, PennyWebsocketEvent *event)
{
	size_t head_len = head_length(parser->head);
	bool minimal;
	uint64_t len = payload_length(parser->head, &minimal);

	if (!minimal || len >> 63)
	{
		fail(parser, event, PENNY_CLOSE_PROTOCOL, "length is malformed");
		return false;
	}
	parser->fin = parser->head[0] & 0x80;
	parser->opcode = parser->head[0] & 0x0F;
	memcpy(parser->mask, parser->head + head_len - 4, 4);
	parser->mask_at = 0;
	parser->left = len;
	parser->have = 0;
	if (parser->opcode >= PENNY_WEBSOCKET_CLOSE)
	{
		parser->phase = PHASE_CONTROL;
		return true;
	}
	if (parser->opcode != PENNY_WEBSOCKET_CONTINUATION)
	{
		parser->message_opcode = parser->opcode;
		parser->message = 0;
		parser->fragments = 0;
		parser->started = false;
		parser->packed = parser->head[0] & PENNY_WEBSOCKET_PACKED;
		memset(&parser->utf8, 0, sizeof(parser->utf8));
	}
	if (len > parser->limit - parser->message)
	{
		fail(parser, event, PENNY_CLOSE_TOO_LARGE, "message is too large");
		return false;
	}
	if (++parser->fragments > PENNY_WEBSOCKET_FRAGMENTS)
	{
		fail(parser, event, PENNY_CLOSE_POLICY, "message has too many fragments");
		return false;
	}
	parser->message += len;
	parser->phase = PHASE_PAYLOAD;
	return true;
}

/* Gather the head; sets *used.  ERROR, or NEED_MORE (see the phase). */
static PennyWebsocketResult
gather_head(PennyWebsocketParser *parser, const char *bytes, size_t len, size_t *used,
			PennyWebsocketEvent *event)
{
	size_t i = 0;

	while (i < len && parser->phase == PHASE_HEAD)
	{
		parser->head[parser->have++] = (uint8_t) bytes[i++];
		if (parser->have == 2)
		{
			const char *wrong = check_start(parser);

			if (wrong != NULL)
			{
				*used = i;
				return fail(parser, event, PENNY_CLOSE_PROTOCOL, wrong);
			}
		}
		if (parser->have >= 2 && parser->have == head_length(parser->head) &&
			!enter_frame(parser, event))
		{
			*used = i;
			return PENNY_WEBSOCKET_ERROR;
		}
	}
	*used = i;
	return PENNY_WEBSOCKET_NEED_MORE;
}

/* Unmask bytes of the current frame in place. */
static void
unmask(PennyWebsocketParser *parser, char *bytes, size_t len)
{
	size_t i = 0;
	uint8_t turned[8];
	uint64_t mask8;

	for (int k = 0; k < 8; k++)
		turned[k] = parser->mask[(parser->mask_at + k) & 3];
	memcpy(&mask8, turned, 8);
	for (; len - i >= 8; i += 8)
	{
		uint64_t word;

		memcpy(&word, bytes + i, 8);
		word ^= mask8;
		memcpy(bytes + i, &word, 8);
	}
	for (; i < len; i++)
		bytes[i] = (char) ((uint8_t) bytes[i] ^ turned[i & 7]);
	parser->mask_at = (parser->mask_at + len) & 3;
}

/* Pass a piece of a data frame on. */
static PennyWebsocketResult
take_payload(PennyWebsocketParser *parser, char *bytes, size_t len, size_t *used,
			 PennyWebsocketEvent *event)
{
	size_t take = len < parser->left ? len : (size_t) parser->left;

	*used = take;
	if (take == 0 && parser->left > 0)
		return PENNY_WEBSOCKET_NEED_MORE;
	unmask(parser, bytes, take);
	parser->left -= take;
	event->binary = parser->message_opcode == PENNY_WEBSOCKET_BINARY;
	event->packed = parser->packed;
	event->first = !parser->started;
	event->final = parser->fin && parser->left == 0;
	event->data = bytes;
	event->len = take;
	event->expect = parser->left;
	parser->started = true;
	if (!event->binary && !event->packed &&
		(!penny_utf8_feed(&parser->utf8, bytes, take) ||
		 (event->final && !penny_utf8_complete(&parser->utf8))))
		return fail(parser, event, PENNY_CLOSE_INVALID_TEXT, "text is not UTF-8");
	if (parser->left == 0)
		parser->phase = PHASE_HEAD;
	if (event->final)
		parser->message_opcode = 0;
	return PENNY_WEBSOCKET_DATA;
}

/* May an endpoint send this close code (RFC 6455 7.4 and the IANA registry)? */
static bool
close_code_valid(uint16_t code)
{
	return (code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006) ||
		   (code >= 3000 && code <= 4999);
}

/* Finish a close frame whose payload is gathered. */
static PennyWebsocketResult
take_close(PennyWebsocketParser *parser, PennyWebsocketEvent *event)
{
	const uint8_t *payload = (const uint8_t *) parser->control;

	event->code = PENNY_CLOSE_NO_STATUS;
	event->data = parser->control;
	event->len = 0;
	if (parser->have == 1)
		return fail(parser, event, PENNY_CLOSE_PROTOCOL, "close frame of one byte");
	if (parser->have >= 2)
	{
		event->code = (uint16_t) (payload[0] << 8 | payload[1]);
		event->data = parser->control + 2;
		event->len = parser->have - 2;
		if (!close_code_valid(event->code))
			return fail(parser, event, PENNY_CLOSE_PROTOCOL, "close code is invalid");
		if (!penny_utf8_valid(event->data, event->len))
			return fail(parser, event, PENNY_CLOSE_INVALID_TEXT, "close reason is not UTF-8");
	}
	parser->phase = PHASE_ENDED;
	return PENNY_WEBSOCKET_GOT_CLOSE;
}

/* Gather a control frame's payload; its event when it is complete. */
static PennyWebsocketResult
take_control(PennyWebsocketParser *parser, char *bytes, size_t len, size_t *used,
			 PennyWebsocketEvent *event)
{
	size_t take = len < parser->left ? len : (size_t) parser->left;

	*used = take;
	memcpy(parser->control + parser->have, bytes, take);
	unmask(parser, parser->control + parser->have, take);
	parser->have += (uint8_t) take;
	parser->left -= take;
	if (parser->left > 0)
		return PENNY_WEBSOCKET_NEED_MORE;
	if (parser->opcode == PENNY_WEBSOCKET_CLOSE)
		return take_close(parser, event);
	event->data = parser->control;
	event->len = parser->have;
	parser->have = 0;
	parser->phase = PHASE_HEAD;
	return parser->opcode == PENNY_WEBSOCKET_PING ? PENNY_WEBSOCKET_GOT_PING
												  : PENNY_WEBSOCKET_GOT_PONG;
}

PennyWebsocketResult
penny_websocket_parse(PennyWebsocketParser *parser, char *bytes, size_t len, size_t *used,
					  PennyWebsocketEvent *event)
{
	PennyWebsocketResult result;
	size_t head = 0;
	size_t payload = 0;

	memset(event, 0, sizeof(*event));
	if (parser->phase == PHASE_HEAD)
	{
		result = gather_head(parser, bytes, len, &head, event);
		if (result == PENNY_WEBSOCKET_ERROR || parser->phase == PHASE_HEAD)
		{
			*used = head;
			return result;
		}
	}
	if (parser->phase == PHASE_PAYLOAD)
		result = take_payload(parser, bytes + head, len - head, &payload, event);
	else if (parser->phase == PHASE_CONTROL)
		result = take_control(parser, bytes + head, len - head, &payload, event);
	else
	{
		payload = len - head;
		result = PENNY_WEBSOCKET_NEED_MORE;
	}
	*used = head + payload;
	return result;
}

size_t
penny_websocket_head(uint8_t out[PENNY_WEBSOCKET_HEAD_MAX], PennyWebsocketOpcode opcode,
					 uint64_t payload_len)
{
	int bytes = payload_len <= 125 ? 0 : payload_len <= 0xFFFF ? 2 : 8;

	out[0] = (uint8_t) (0x80 | opcode);
	out[1] = (uint8_t) (bytes == 0 ? payload_len : bytes == 2 ? 126 : 127);
	for (int i = 0; i < bytes; i++)
		out[2 + i] = (uint8_t) (payload_len >> 8 * (bytes - 1 - i));
	return 2 + (size_t) bytes;
}

size_t
penny_websocket_close(uint8_t out[PENNY_WEBSOCKET_CONTROL_MAX + 2], uint16_t code,
					  const char *reason, size_t reason_len)
{
	size_t head;

	if (code == 0 || code == PENNY_CLOSE_NO_STATUS)
		return penny_websocket_head(out, PENNY_WEBSOCKET_CLOSE, 0);
	if (reason_len > PENNY_WEBSOCKET_CONTROL_MAX - 2)
	{
		reason_len = PENNY_WEBSOCKET_CONTROL_MAX - 2;
		while (reason_len > 0 && ((uint8_t) reason[reason_len] & 0xC0) == 0x80)
			reason_len--;
	}
	head = penny_websocket_head(out, PENNY_WEBSOCKET_CLOSE, 2 + reason_len);
	out[head] = (uint8_t) (code >> 8);
	out[head + 1] = (uint8_t) code;
	if (reason_len > 0)
		memcpy(out + head + 2, reason, reason_len);
	return head + 2 + reason_len;
}

/*-------------------------------------------------------------------------
 *
 * fuzz_wire.c
 *		What a Redis that means harm may send: replies in any pieces, values
 *		with an envelope, URLs.
 *
 *-------------------------------------------------------------------------
 */
#include "fuzz.h"

#include "redis/envelope.h"
#include "redis/url.h"
#include "redis/wire.h"

#define MAX_REPLY 4096

/* Everything of a reply is readable; returns its nodes. */
static size_t
walk(const PennyReply *reply, int depth)
{
	size_t nodes = 1;

	MUST(reply != NULL && depth < 10);
	switch (reply->type)
	{
		case PENNY_REPLY_STATUS:
		case PENNY_REPLY_ERROR:
		case PENNY_REPLY_STRING:
			MUST(reply->text[reply->len] == '\0' && reply->len <= MAX_REPLY);
			MUST(strlen(reply->text) <= reply->len);
			break;
		case PENNY_REPLY_ARRAY:
			MUST(reply->len <= PENNY_WIRE_ELEMENTS);
			for (size_t i = 0; i < reply->len; i++)
				nodes += walk(reply->element[i], depth + 1);
			break;
		default:
			break;
	}
	return nodes;
}

static void
replies(FuzzInput input)
{
	PennyWire wire;
	PennyReply *reply;
	PennyWireResult result = PENNY_WIRE_DONE;

	penny_wire_init(&wire, MAX_REPLY);
	while (input.size > 0 && result != PENNY_WIRE_LOST)
	{
		size_t n = 1 + fuzz_byte(&input) % 64;
		char *piece;

		n = n < input.size ? n : input.size;
		piece = malloc(n > 0 ? n : 1);
		if (n > 0)
			memcpy(piece, input.data, n);
		result = penny_wire_feed(&wire, piece, n);
		free(piece);
		input.data += n;
		input.size -= n;
		while (result == PENNY_WIRE_DONE)
		{
			result = penny_wire_reply(&wire, &reply);
			if (result == PENNY_WIRE_DONE)
				walk(reply, 0);
			penny_reply_free(reply);
		}
	}
	MUST((result == PENNY_WIRE_LOST) == wire.broken);
	MUST(!wire.broken || wire.why[0] != '\0');
	penny_wire_close(&wire);
}

/* An envelope that is taken is the one that would be written. */
static void
envelope(const char *value, size_t size)
{
	PennyEnvelope found;
	char again[PENNY_ENVELOPE_MAX];
	size_t body_len;

	if (!penny_envelope_read(value, size, &found, &body_len))
		return;
	MUST(body_len < size && found.head_len <= PENNY_ENVELOPE_HEAD_MAX);
	MUST(penny_envelope_write(&found, again) == size - body_len);
	MUST(memcmp(again, value + body_len, size - body_len) == 0);
}

static void
url(const char *bytes, size_t size)
{
	char *text = malloc(size + 1);
	PennyRedisUrl found;
	const char *hint;

	memcpy(text, bytes, size);
	text[size] = '\0';
	if (penny_redis_url_parse(text, &found, &hint) == NULL)
		MUST(found.host[0] != '\0' && (found.local || found.port != 0) && hint == NULL &&
			 found.db <= PENNY_REDIS_DB_MAX);
	else
		MUST(hint != NULL);
	free(text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *copy = malloc(size > 0 ? size : 1);

	if (size > 0)
		memcpy(copy, data, size);
	replies((FuzzInput){data, size});
	if (size > 0)
	{
		envelope(copy, size);
		url(copy, size);
	}
	free(copy);
	return 0;
}

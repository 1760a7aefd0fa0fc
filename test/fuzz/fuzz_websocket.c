/*-------------------------------------------------------------------------
 *
 * fuzz_websocket.c
 *		The WebSocket framing: any bytes in any pieces give the same messages.
 *
 *-------------------------------------------------------------------------
 */
#include "fuzz.h"

#include "edge/websocket_frame.h"

#define LIMIT 4096

/* What came out: a hash of kinds, marks and bytes, without the pieces' ends. */
typedef struct Outcome
{
	uint64_t hash;
	size_t message; /* bytes of the current message */
	bool open;
	uint16_t error;
} Outcome;

static void
mix(Outcome *outcome, const void *bytes, size_t len)
{
	const uint8_t *at = bytes;

	for (size_t i = 0; i < len; i++)
		outcome->hash = (outcome->hash ^ at[i]) * UINT64_C(1099511628211);
}

static void
take_data(Outcome *outcome, const PennyWebsocketEvent *event)
{
	MUST(event->first == !outcome->open);
	if (event->first)
		outcome->message = 0;
	outcome->message += event->len;
	outcome->open = !event->final;
	MUST(outcome->message + event->expect <= LIMIT);
	/* an invalid text may be told a piece earlier or later: only whole ones count */
	if (event->final)
		mix(outcome, &outcome->message, sizeof(outcome->message));
}

static Outcome
run(const uint8_t *data, size_t size, size_t step, bool packs)
{
	Outcome outcome = {UINT64_C(14695981039346656037), 0, false, 0};
	PennyWebsocketParser parser;

	penny_websocket_init(&parser, LIMIT);
	parser.packs = packs;
	for (size_t at = 0; at < size; at += step)
	{
		size_t len = size - at < step ? size - at : step;
		char *piece = malloc(len);
		size_t done = 0;
		PennyWebsocketResult result;

		memcpy(piece, data + at, len);
		do
		{
			PennyWebsocketEvent event;
			size_t used;

			result = penny_websocket_parse(&parser, piece + done, len - done, &used, &event);
			MUST(used <= len - done);
			done += used;
			MUST(result == PENNY_WEBSOCKET_NEED_MORE || used > 0 || event.len == 0);
			if (result == PENNY_WEBSOCKET_DATA)
				take_data(&outcome, &event);
			else if (result != PENNY_WEBSOCKET_NEED_MORE)
			{
				MUST(result != PENNY_WEBSOCKET_ERROR || (event.code >= 1002 && event.reason));
				MUST(event.len <= PENNY_WEBSOCKET_CONTROL_MAX);
				mix(&outcome, &result, sizeof(result));
				mix(&outcome, &event.code, sizeof(event.code));
				if (result != PENNY_WEBSOCKET_ERROR)
					mix(&outcome, event.data, event.len);
				else
					outcome.error = event.code;
			}
		} while (result != PENNY_WEBSOCKET_NEED_MORE);
		MUST(done == len);
		free(piece);
	}
	return outcome;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	Outcome whole, steps;

	if (size < 1)
		return 0;
	whole = run(data + 1, size - 1, size, data[0] & 128);
	steps = run(data + 1, size - 1, (size_t) data[0] % 16 + 1, data[0] & 128);
	MUST(whole.hash == steps.hash && whole.error == steps.error);
	return 0;
}

/*-------------------------------------------------------------------------
 *
 * fuzz_extension.c
 *		Sec-WebSocket-Extensions of strangers, and payloads that they say are
 *		compressed.
 *
 *-------------------------------------------------------------------------
 */
#include "fuzz.h"

#include "edge/extension.h"
#include "edge/packed.h"

/* What was unpacked packs and unpacks again. */
static void
there_and_back(PennySpan text)
{
	PennyFrame *frame = penny_frame_make(text);
	PennyFrame *packed = penny_packed(frame, 15);
	PennySpan again;

	if (packed != frame)
	{
		MUST(packed->len < frame->len);
		if (penny_unpack(penny_frame_text(packed), 1 << 20, &again) == PENNY_UNPACKED)
			MUST(again.len == penny_frame_text(frame).len &&
				 memcmp(again.data, penny_frame_text(frame).data, again.len) == 0);
	}
	penny_frame_unref(frame);
	MUST(penny_frames_alive() == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *bytes = malloc(size > 0 ? size : 1);
	PennySpan all = {bytes, size};
	PennySpan text;
	int bits;
	bool asked;

	if (size > 0)
		memcpy(bytes, data, size);
	if (penny_extension_read(all, &bits, &asked) == PENNY_OFFER_DEFLATE)
	{
		char line[PENNY_EXTENSION_ANSWER];

		MUST(bits >= 8 && bits <= 15 && (asked || bits == 15));
		MUST(penny_extension_answer(line, bits, asked) < sizeof(line));
	}
	if (penny_unpack(all, 1 << 20, &text) == PENNY_UNPACKED)
	{
		MUST(text.len <= 1 << 20 && (text.len <= 16384 || text.len <= 100 * size));
		there_and_back(text);
	}
	free(bytes);
	return 0;
}

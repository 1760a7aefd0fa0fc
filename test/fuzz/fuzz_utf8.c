/*-------------------------------------------------------------------------
 *
 * fuzz_utf8.c
 *		UTF-8 validation: whole and in pieces it must agree with a decoder that
 *		goes by code points, and fail at the same byte.
 *
 *-------------------------------------------------------------------------
 */
#include "fuzz.h"

#include "edge/utf8.h"

/* Length of the valid character at the start; 0 = none, whatever follows. */
static size_t
character(const uint8_t *at, size_t len)
{
	uint32_t code;
	size_t want = at[0] < 0x80 ? 1 : at[0] >> 5 == 6 ? 2 : at[0] >> 4 == 14 ? 3 : 4;

	if (want == 1)
		return 1;
	if ((want == 4 && at[0] >> 3 != 30) || want > len)
		return 0;
	code = at[0] & (0xFF >> (want + 1));
	for (size_t i = 1; i < want; i++)
	{
		if (at[i] >> 6 != 2)
			return 0;
		code = code << 6 | (at[i] & 0x3F);
	}
	if (code < (want == 2   ? 0x80u
				: want == 3 ? 0x800u
							: 0x10000u) ||
		code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF))
		return 0;
	return want;
}

static bool
valid(const uint8_t *text, size_t len)
{
	for (size_t at = 0; at < len;)
	{
		size_t n = character(text + at, len - at);

		if (n == 0)
			return false;
		at += n;
	}
	return true;
}

/* Can these bytes be made valid by adding some? */
static bool
hopeful(const uint8_t *text, size_t len)
{
	static const char *const endings[] = {
		"",         "\x80",         "\xA0",         "\x90",         "\x80\x80",    "\xA0\x80",
		"\x90\x80", "\x80\x80\x80", "\x90\x80\x80", "\xBF\xBF\xBF", "\x8F\xBF\xBF"};
	uint8_t copy[16];
	size_t tail = len < 4 ? len : 4;

	/* all but an unfinished character at the end is valid */
	for (size_t cut = 0; cut <= tail; cut++)
	{
		if (!valid(text, len - cut))
			continue;
		if (cut > 0)
			memcpy(copy, text + len - cut, cut);
		for (size_t i = 0; i < sizeof(endings) / sizeof(endings[0]); i++)
		{
			size_t more = strlen(endings[i]);

			memcpy(copy + cut, endings[i], more);
			if (valid(copy, cut + more))
				return true;
		}
	}
	return false;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	PennyUtf8 state = {0, 0, 0};
	size_t step;
	size_t at = 0;
	bool good = true;

	if (size < 1 || size > 2000)
		return 0;
	step = (size_t) data[0] % 16 + 1;
	data++;
	size--;
	MUST(penny_utf8_valid(data, size) == valid(data, size));
	while (at < size && good)
	{
		size_t len = size - at < step ? size - at : step;
		char *piece = malloc(len);

		memcpy(piece, data + at, len);
		good = penny_utf8_feed(&state, piece, len);
		free(piece);
		at += len;
		MUST(good == hopeful(data, at));
	}
	MUST(!good || penny_utf8_complete(&state) == valid(data, size));
	return 0;
}

/*-------------------------------------------------------------------------
 *
 * utf8.c
 *		UTF-8 validation, also over pieces.
 *
 * The state is how many continuation bytes are missing and in which range the
 * next one must lie: the range of the second byte is what excludes overlong
 * forms, surrogates and code points that do not exist; later ones are always
 * 80..BF.  Text is mostly ASCII, so that is skipped eight bytes at a time.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "edge/utf8.h"

/* Bytes of ASCII at the start, found by words, so perhaps a few too few. */
static size_t
ascii_run(const uint8_t *bytes, size_t len)
{
	size_t i = 0;

	while (len - i >= 8)
	{
		uint64_t word;

		memcpy(&word, bytes + i, 8);
		if (word & UINT64_C(0x8080808080808080))
			break;
		i += 8;
	}
	return i;
}

/* Start a character with a byte that is not ASCII. */
static bool
lead(PennyUtf8 *state, uint8_t byte)
{
	state->low = 0x80;
	state->high = 0xBF;
	if (byte >= 0xC2 && byte <= 0xDF)
		state->need = 1;
	else if (byte >= 0xE0 && byte <= 0xEF)
	{
		state->need = 2;
		if (byte == 0xE0)
			state->low = 0xA0;
		else if (byte == 0xED)
			state->high = 0x9F;
	}
	else if (byte >= 0xF0 && byte <= 0xF4)
	{
		state->need = 3;
		if (byte == 0xF0)
			state->low = 0x90;
		else if (byte == 0xF4)
			state->high = 0x8F;
	}
	else
		return false;
	return true;
}

bool
penny_utf8_feed(PennyUtf8 *state, const void *bytes, size_t len)
{
	const uint8_t *in = bytes;
	size_t i = 0;

	while (i < len)
	{
		uint8_t byte;

		if (state->need == 0)
		{
			i += ascii_run(in + i, len - i);
			if (i == len)
				break;
		}
		byte = in[i++];
		if (state->need > 0)
		{
			if (byte < state->low || byte > state->high)
				return false;
			state->low = 0x80;
			state->high = 0xBF;
			state->need--;
		}
		else if (byte >= 0x80 && !lead(state, byte))
			return false;
	}
	return true;
}

bool
penny_utf8_complete(const PennyUtf8 *state)
{
	return state->need == 0;
}

bool
penny_utf8_valid(const void *bytes, size_t len)
{
	PennyUtf8 state = {0, 0, 0};

	return penny_utf8_feed(&state, bytes, len) && penny_utf8_complete(&state);
}

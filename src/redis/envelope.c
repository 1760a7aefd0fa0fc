/*-------------------------------------------------------------------------
 *
 * envelope.c
 *		The envelope of a value in Redis.  See envelope.h.
 *
 * What is read comes from anybody who can write to Redis: every length is
 * checked, and what is read must be what would be written, byte for byte, so
 * that an envelope has one form.
 *
 *-------------------------------------------------------------------------
 */
#include "redis/envelope.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define SIZE_TAIL "\"size\":\"000000\"}}"
#define SIZE_DIGITS 6

static const char digits[] = "0123456789abcdef";

static char *
put_hex(char *out, const void *bytes, size_t len)
{
	const uint8_t *byte = bytes;

	for (size_t i = 0; i < len; i++)
	{
		*out++ = digits[byte[i] >> 4];
		*out++ = digits[byte[i] & 15];
	}
	return out;
}

static char *
put_text(char *out, const char *text)
{
	size_t len = strlen(text);

	memcpy(out, text, len);
	return out + len;
}

/* Big-endian, so that digits read as a number. */
static char *
put_number(char *out, uint64_t number)
{
	for (int shift = 60; shift >= 0; shift -= 4)
		*out++ = digits[number >> shift & 15];
	return out;
}

bool
penny_envelope_fits(const char *body, size_t body_len, size_t head_len)
{
	return body_len > 2 && body[0] == '{' && body[body_len - 1] == '}' &&
		   head_len <= PENNY_ENVELOPE_HEAD_MAX;
}

size_t
penny_envelope_write(const PennyEnvelope *envelope, char out[PENNY_ENVELOPE_MAX])
{
	char *to = out;
	char size[SIZE_DIGITS + 1];
	size_t total = PENNY_ENVELOPE_FIXED + 2 * envelope->head_len;

	to = put_text(to, ",\"_penny\":{\"v\":1,\"token\":\"");
	to = put_number(to, envelope->token);
	to = put_text(to, "\",\"hash\":\"");
	to = put_number(to, envelope->hash[0]);
	to = put_number(to, envelope->hash[1]);
	to = put_text(to, "\",\"head\":\"");
	to = put_hex(to, envelope->head, envelope->head_len);
	to = put_text(to, "\",\"mac\":\"");
	to = put_hex(to, envelope->mac, PENNY_MAC_LEN);
	to = put_text(to, "\",\"size\":\"");
	for (int i = SIZE_DIGITS - 1; i >= 0; i--, total /= 10)
		size[i] = (char) ('0' + total % 10);
	size[SIZE_DIGITS] = '\0';
	to = put_text(to, size);
	to = put_text(to, "\"}}");
	return (size_t) (to - out);
}

static int
hex(char c)
{
	const char *at = c == '\0' ? NULL : strchr(digits, c);

	return at == NULL ? -1 : (int) (at - digits);
}

static bool
get_hex(const char **from, void *bytes, size_t len)
{
	uint8_t *byte = bytes;

	for (size_t i = 0; i < len; i++, *from += 2)
	{
		int high = hex((*from)[0]);
		int low = high < 0 ? -1 : hex((*from)[1]);

		if (low < 0)
			return false;
		byte[i] = (uint8_t) (high * 16 + low);
	}
	return true;
}

static bool
get_number(const char **from, uint64_t *number)
{
	*number = 0;
	for (int i = 0; i < 16; i++, (*from)++)
	{
		int digit = hex(**from);

		if (digit < 0)
			return false;
		*number = *number << 4 | (uint64_t) digit;
	}
	return true;
}

static bool
skip(const char **from, const char *text)
{
	size_t len = strlen(text);

	if (memcmp(*from, text, len) != 0)
		return false;
	*from += len;
	return true;
}

bool
penny_envelope_read(const char *value, size_t len, PennyEnvelope *envelope, size_t *body_len)
{
	const char *from;
	size_t size = 0;

	memset(envelope, 0, sizeof(*envelope));
	if (len < PENNY_ENVELOPE_FIXED + 2 || value[0] != '{')
		return false;
	from = value + len - (sizeof(SIZE_TAIL) - 1);
	if (!skip(&from, "\"size\":\""))
		return false;
	for (int i = 0; i < SIZE_DIGITS; i++, from++)
	{
		if (*from < '0' || *from > '9')
			return false;
		size = size * 10 + (size_t) (*from - '0');
	}
	if (!skip(&from, "\"}}") || size < PENNY_ENVELOPE_FIXED || size > PENNY_ENVELOPE_MAX ||
		size + 2 > len || (size - PENNY_ENVELOPE_FIXED) % 2 != 0)
		return false;
	envelope->head_len = (size - PENNY_ENVELOPE_FIXED) / 2;
	*body_len = len - size;
	from = value + *body_len;
	/* all fixed parts lie within `size` bytes, whose count was checked */
	return skip(&from, ",\"_penny\":{\"v\":1,\"token\":\"") &&
		   get_number(&from, &envelope->token) && skip(&from, "\",\"hash\":\"") &&
		   get_number(&from, &envelope->hash[0]) && get_number(&from, &envelope->hash[1]) &&
		   skip(&from, "\",\"head\":\"") && get_hex(&from, envelope->head, envelope->head_len) &&
		   skip(&from, "\",\"mac\":\"") && get_hex(&from, envelope->mac, PENNY_MAC_LEN) &&
		   skip(&from, "\",\"size\":\"");
}

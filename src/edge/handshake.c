/*-------------------------------------------------------------------------
 *
 * handshake.c
 *		The answer to a WebSocket key: base64(SHA-1(key + GUID)).
 *
 * SHA-1 is written out here (RFC 3174) for this one input of 60 bytes: as a
 * handshake it protects nothing, and a cryptographic library would first want
 * to load configuration and providers, which the sandbox refuses.
 *
 *-------------------------------------------------------------------------
 */
#include <stdint.h>
#include <string.h>

#include "edge/handshake.h"

#define KEY_LEN 24
#define GUID "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
#define GUID_LEN 36

static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

bool
penny_handshake_key_valid(const char *key, size_t len)
{
	const char *digit = NULL;

	if (len != KEY_LEN || key[22] != '=' || key[23] != '=')
		return false;
	for (int i = 0; i < 22; i++)
	{
		digit = key[i] == '\0' ? NULL : strchr(base64, key[i]);
		if (digit == NULL)
			return false;
	}
	/* 22 digits are 132 bits: the last 4 must be zero */
	return ((digit - base64) & 15) == 0;
}

static uint32_t
rotate(uint32_t word, int bits)
{
	return word << bits | word >> (32 - bits);
}

/* Take one block of 64 bytes into the hash. */
static void
sha1_block(uint32_t h[5], const uint8_t block[64])
{
	uint32_t w[80];
	uint32_t a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];

	for (int i = 0; i < 16; i++)
		w[i] = (uint32_t) block[4 * i] << 24 | (uint32_t) block[4 * i + 1] << 16 |
			   (uint32_t) block[4 * i + 2] << 8 | block[4 * i + 3];
	for (int i = 16; i < 80; i++)
		w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
	for (int i = 0; i < 80; i++)
	{
		uint32_t f, k, next;

		if (i < 20)
			f = (b & c) | (~b & d), k = 0x5A827999;
		else if (i < 40)
			f = b ^ c ^ d, k = 0x6ED9EBA1;
		else if (i < 60)
			f = (b & c) | (b & d) | (c & d), k = 0x8F1BBCDC;
		else
			f = b ^ c ^ d, k = 0xCA62C1D6;
		next = rotate(a, 5) + f + e + k + w[i];
		e = d;
		d = c;
		c = rotate(b, 30);
		b = a;
		a = next;
	}
	h[0] += a;
	h[1] += b;
	h[2] += c;
	h[3] += d;
	h[4] += e;
}

void
penny_handshake_accept(const char *key, char out[PENNY_WEBSOCKET_ACCEPT_LEN + 1])
{
	uint32_t h[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
	uint8_t block[128] = {0}; /* 60 bytes, the end mark and the length need two blocks */
	uint8_t digest[21] = {0};
	size_t len = KEY_LEN + GUID_LEN;

	memcpy(block, key, KEY_LEN);
	memcpy(block + KEY_LEN, GUID, GUID_LEN);
	block[len] = 0x80;
	block[126] = (uint8_t) (len * 8 >> 8);
	block[127] = (uint8_t) (len * 8);
	sha1_block(h, block);
	sha1_block(h, block + 64);
	for (int i = 0; i < 20; i++)
		digest[i] = (uint8_t) (h[i / 4] >> (24 - i % 4 * 8));

	for (int i = 0, o = 0; i < 21; i += 3, o += 4)
	{
		uint32_t three = (uint32_t) digest[i] << 16 | (uint32_t) digest[i + 1] << 8 | digest[i + 2];

		out[o] = base64[three >> 18];
		out[o + 1] = base64[three >> 12 & 63];
		out[o + 2] = base64[three >> 6 & 63];
		out[o + 3] = base64[three & 63];
	}
	out[PENNY_WEBSOCKET_ACCEPT_LEN - 1] = '=';
	out[PENNY_WEBSOCKET_ACCEPT_LEN] = '\0';
}

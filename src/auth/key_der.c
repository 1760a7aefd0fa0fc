/*-------------------------------------------------------------------------
 *
 * key_der.c
 *		Public keys as SubjectPublicKeyInfo in DER.  See key_der.h.
 *
 * Writing goes from the end to the start, so that every length is known when
 * it is written.  Reading finds the two numbers, writes them anew and compares:
 * so there is one encoding of each key, and no rule of DER is checked here that
 * writing does not keep.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "auth/key_der.h"

#define TAG_INTEGER 0x02
#define TAG_BIT_STRING 0x03
#define TAG_SEQUENCE 0x30

/* AlgorithmIdentifier { rsaEncryption, NULL } */
static const uint8_t rsa_algorithm[] = {0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86,
										0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00};

/* All of it but the point. */
static const uint8_t ed25519_prefix[] = {0x30, 0x2a, 0x30, 0x05, 0x06, 0x03,
										 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00};

/* A buffer that fills from its end. */
typedef struct Writer
{
	uint8_t bytes[PENNY_DER_MAX];
	size_t at; /* the first byte written */
} Writer;

static void
put(Writer *writer, const uint8_t *bytes, size_t len)
{
	writer->at -= len;
	memcpy(writer->bytes + writer->at, bytes, len);
}

static void
put_byte(Writer *writer, uint8_t byte)
{
	put(writer, &byte, 1);
}

/* Tag and length of what was written since `end`. */
static void
put_head(Writer *writer, uint8_t tag, size_t end)
{
	size_t len = end - writer->at;

	if (len < 0x80)
		put_byte(writer, (uint8_t) len);
	else
	{
		put_byte(writer, (uint8_t) len);
		if (len > 0xff)
			put_byte(writer, (uint8_t) (len >> 8));
		put_byte(writer, len > 0xff ? 0x82 : 0x81);
	}
	put_byte(writer, tag);
}

/* A positive integer: a leading bit must not make it negative. */
static void
put_number(Writer *writer, const uint8_t *bytes, size_t len)
{
	size_t end = writer->at;

	put(writer, bytes, len);
	if (bytes[0] & 0x80)
		put_byte(writer, 0);
	put_head(writer, TAG_INTEGER, end);
}

size_t
penny_der_write_rsa(const PennyRsaNumbers *rsa, uint8_t out[PENNY_DER_MAX])
{
	Writer writer = {.at = PENNY_DER_MAX};
	size_t len;

	put_number(&writer, rsa->e, rsa->e_len);
	put_number(&writer, rsa->n, rsa->n_len);
	put_head(&writer, TAG_SEQUENCE, PENNY_DER_MAX);
	put_byte(&writer, 0); /* bits that the bit string does not use */
	put_head(&writer, TAG_BIT_STRING, PENNY_DER_MAX);
	put(&writer, rsa_algorithm, sizeof(rsa_algorithm));
	put_head(&writer, TAG_SEQUENCE, PENNY_DER_MAX);
	len = PENNY_DER_MAX - writer.at;
	memcpy(out, writer.bytes + writer.at, len);
	return len;
}

size_t
penny_der_write_ed25519(const uint8_t point[PENNY_ED25519_LEN], uint8_t out[PENNY_DER_MAX])
{
	memcpy(out, ed25519_prefix, sizeof(ed25519_prefix));
	memcpy(out + sizeof(ed25519_prefix), point, PENNY_ED25519_LEN);
	return sizeof(ed25519_prefix) + PENNY_ED25519_LEN;
}

/* Step into a value: tag and length are skipped, `*end` becomes its end. */
static bool
enter(const uint8_t **at, const uint8_t **end, uint8_t tag)
{
	size_t len;
	size_t bytes;

	if (*end - *at < 2 || **at != tag)
		return false;
	len = (*at)[1];
	*at += 2;
	if (len & 0x80)
	{
		bytes = len & 0x7f;
		if (bytes < 1 || bytes > 2 || (size_t) (*end - *at) < bytes)
			return false;
		for (len = 0; bytes > 0; bytes--)
			len = len << 8 | *(*at)++;
	}
	if (len > (size_t) (*end - *at))
		return false;
	*end = *at + len;
	return true;
}

/* Read a number of at most `size` bytes and step behind it. */
static bool
read_number(const uint8_t **at, const uint8_t *end, uint8_t *out, size_t size, size_t *len)
{
	if (!enter(at, &end, TAG_INTEGER))
		return false;
	if (*at < end && **at == 0)
		(*at)++;
	*len = (size_t) (end - *at);
	if (*len == 0 || *len > size || **at == 0)
		return false;
	memcpy(out, *at, *len);
	*at = end;
	return true;
}

bool
penny_der_read_rsa(const uint8_t *in, size_t len, PennyRsaNumbers *rsa)
{
	const uint8_t *at = in;
	const uint8_t *end = in + len;
	uint8_t again[PENNY_DER_MAX];

	if (!enter(&at, &end, TAG_SEQUENCE) || (size_t) (end - at) < sizeof(rsa_algorithm) ||
		memcmp(at, rsa_algorithm, sizeof(rsa_algorithm)) != 0)
		return false;
	at += sizeof(rsa_algorithm);
	if (!enter(&at, &end, TAG_BIT_STRING) || at == end || *at++ != 0 ||
		!enter(&at, &end, TAG_SEQUENCE) ||
		!read_number(&at, end, rsa->n, sizeof(rsa->n), &rsa->n_len) ||
		!read_number(&at, end, rsa->e, sizeof(rsa->e), &rsa->e_len))
		return false;
	return penny_der_write_rsa(rsa, again) == len && memcmp(again, in, len) == 0;
}

bool
penny_der_read_ed25519(const uint8_t *in, size_t len, uint8_t point[PENNY_ED25519_LEN])
{
	if (len != sizeof(ed25519_prefix) + PENNY_ED25519_LEN ||
		memcmp(in, ed25519_prefix, sizeof(ed25519_prefix)) != 0)
		return false;
	memcpy(point, in + sizeof(ed25519_prefix), PENNY_ED25519_LEN);
	return true;
}

/*-------------------------------------------------------------------------
 *
 * envelope.h
 *		What a value in Redis has beside its JSON: where it comes from and that
 *		it was penny who wrote it.  Plain C.
 *
 * The value stays one JSON object.  Its last member is
 *
 *	"_penny":{"v":1,"token":"<16>","hash":"<32>","head":"<hex>","mac":"<64>","size":"<6>"}
 *
 * and its size (from the comma before it to the last brace) stands at its end,
 * so it is found and compared without parsing JSON.  token: seq of the
 * conversation's stamp; hash: of status, head and body (plane/cache.h); head:
 * the header lines of the answer; mac: HMAC-SHA256 over key, token, hash, head
 * and body.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_ENVELOPE_H
#define PENNY_ENVELOPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PENNY_ENVELOPE_HEAD_MAX 1024 /* bytes of header lines */
#define PENNY_ENVELOPE_FIXED 186     /* bytes beside the head's digits */
#define PENNY_ENVELOPE_MAX (PENNY_ENVELOPE_FIXED + 2 * PENNY_ENVELOPE_HEAD_MAX)
#define PENNY_MAC_LEN 32

typedef struct PennyEnvelope
{
	uint64_t token;
	uint64_t hash[2];
	uint8_t mac[PENNY_MAC_LEN];
	size_t head_len;
	char head[PENNY_ENVELOPE_HEAD_MAX];
} PennyEnvelope;

/* Can a body have one: is it an object, not empty, by its first and last bytes? */
extern bool penny_envelope_fits(const char *body, size_t body_len, size_t head_len);
/* Write it, to stand in place of the body's last brace; returns its bytes. */
extern size_t penny_envelope_write(const PennyEnvelope *envelope, char out[PENNY_ENVELOPE_MAX]);
/*
 * Take it off a value; *body_len: bytes of the body without its last brace.
 * False when there is none.
 */
extern bool penny_envelope_read(const char *value, size_t len, PennyEnvelope *envelope,
								size_t *body_len);

#endif /* PENNY_ENVELOPE_H */

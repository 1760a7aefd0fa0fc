/*-------------------------------------------------------------------------
 *
 * key_der.h
 *		Public keys as SubjectPublicKeyInfo in DER, written and read.
 *
 * No more of ASN.1 than two kinds of keys need: RSA (RFC 8017) and Ed25519
 * (RFC 8410).  What is read must be, byte for byte, what would be written.
 * Plain C without PostgreSQL headers, allocation or global state.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_KEY_DER_H
#define PENNY_KEY_DER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PENNY_ED25519_LEN 32
#define PENNY_RSA_MODULUS_MAX 512 /* bytes */
#define PENNY_RSA_EXPONENT_MAX 8  /* bytes */
#define PENNY_DER_MAX 600         /* bytes of a SubjectPublicKeyInfo */

/* An RSA key; numbers without leading zeros. */
typedef struct PennyRsaNumbers
{
	uint8_t n[PENNY_RSA_MODULUS_MAX];
	size_t n_len;
	uint8_t e[PENNY_RSA_EXPONENT_MAX];
	size_t e_len;
} PennyRsaNumbers;

/* Write; the number of bytes, which lie at the start of out. */
extern size_t penny_der_write_rsa(const PennyRsaNumbers *rsa, uint8_t out[PENNY_DER_MAX]);
extern size_t penny_der_write_ed25519(const uint8_t point[PENNY_ED25519_LEN],
									  uint8_t out[PENNY_DER_MAX]);
/* Read; false when it is something else. */
extern bool penny_der_read_rsa(const uint8_t *in, size_t len, PennyRsaNumbers *rsa);
extern bool penny_der_read_ed25519(const uint8_t *in, size_t len, uint8_t point[PENNY_ED25519_LEN]);

#endif /* PENNY_KEY_DER_H */

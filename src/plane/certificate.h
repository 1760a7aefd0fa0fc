/*-------------------------------------------------------------------------
 *
 * certificate.h
 *		Certificate and key of TLS, as they go from a gateway to its edge.
 *
 * The gateway reads the files, the edge has none: both come as one message
 * over the socket at PENNY_FD_CONTROL, before the edge starts and again
 * whenever they change.  Both sides make the context by the same function, so
 * what the gateway has accepted the edge can use.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_PLANE_CERTIFICATE_H
#define PENNY_PLANE_CERTIFICATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define PENNY_CERT_MAX (48 * 1024) /* bytes of the certificate and its chain */
#define PENNY_KEY_MAX (16 * 1024)  /* bytes of the key */

struct ssl_ctx_st;

/* The message: PEM texts, the certificate first.  Both empty = no TLS. */
typedef struct PennyCertificate
{
	uint32_t cert_len;
	uint32_t key_len;
	char bytes[PENNY_CERT_MAX + PENNY_KEY_MAX];
} PennyCertificate;

/* Bytes of a message that are used. */
static inline size_t
penny_certificate_size(const PennyCertificate *certificate)
{
	return offsetof(PennyCertificate, bytes) + certificate->cert_len + certificate->key_len;
}

/* Is what was received a whole message? */
static inline bool
penny_certificate_valid(const PennyCertificate *certificate, size_t received)
{
	return received >= offsetof(PennyCertificate, bytes) &&
		   certificate->cert_len <= PENNY_CERT_MAX && certificate->key_len <= PENNY_KEY_MAX &&
		   (certificate->cert_len == 0) == (certificate->key_len == 0) &&
		   received == penny_certificate_size(certificate);
}

/*
 * Make a server's context of them.  NULL when they cannot be read, do not fit
 * each other, or are weaker than OpenSSL's security level allows; why says it.
 */
extern struct ssl_ctx_st *penny_certificate_context(const PennyCertificate *certificate, char *why,
													size_t why_size);
/* From when to when the context's certificate is valid; false: not known. */
extern bool penny_certificate_period(const struct ssl_ctx_st *context, time_t *from, time_t *until);

#endif /* PENNY_PLANE_CERTIFICATE_H */

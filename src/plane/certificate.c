/*-------------------------------------------------------------------------
 *
 * certificate.c
 *		Certificate and key of TLS: check and load them.  See certificate.h.
 *
 * Plain C, for gateway, edge and doctor.  Nothing is read from files here, and
 * a key that wants a passphrase is refused: nobody is there to be asked.
 *
 *-------------------------------------------------------------------------
 */
#include "plane/certificate.h"

#include <stdio.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

/* Never ask: a terminal may be there, a person is not. */
static int
no_passphrase(char *buffer, int size, int writing, void *arg)
{
	(void) buffer;
	(void) size;
	(void) writing;
	(void) arg;
	return -1;
}

/* What OpenSSL says about the last failure, behind what we were doing. */
static bool
explain(const char *what, char *why, size_t why_size)
{
	unsigned long error = ERR_peek_last_error();
	const char *reason = error != 0 ? ERR_reason_error_string(error) : NULL;

	snprintf(why, why_size, "%s%s%s", what, reason != NULL ? ": " : "",
			 reason != NULL ? reason : "");
	ERR_clear_error();
	return false;
}

/* The end of a PEM file is an error of its own; any other is a broken file. */
static bool
is_end_of_file(void)
{
	unsigned long error = ERR_peek_last_error();

	return ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
}

/* The first certificate is ours, the others lead to the root. */
static bool
use_certificates(SSL_CTX *context, BIO *pem, char *why, size_t why_size)
{
	X509 *certificate = PEM_read_bio_X509_AUX(pem, NULL, no_passphrase, NULL);
	bool ok;

	if (certificate == NULL)
		return explain("the certificate cannot be read", why, why_size);
	ok = SSL_CTX_use_certificate(context, certificate) == 1;
	X509_free(certificate);
	if (!ok)
		return explain("the certificate cannot be used", why, why_size);
	while ((certificate = PEM_read_bio_X509(pem, NULL, no_passphrase, NULL)) != NULL)
	{
		if (SSL_CTX_add0_chain_cert(context, certificate) != 1)
		{
			X509_free(certificate);
			return explain("a certificate of the chain cannot be used", why, why_size);
		}
	}
	if (!is_end_of_file())
		return explain("a certificate of the chain cannot be read", why, why_size);
	ERR_clear_error();
	return true;
}

static bool
use_key(SSL_CTX *context, BIO *pem, char *why, size_t why_size)
{
	EVP_PKEY *key = PEM_read_bio_PrivateKey(pem, NULL, no_passphrase, NULL);
	bool ok;

	if (key == NULL)
		return explain("the key cannot be read, or it has a passphrase", why, why_size);
	/* Of RSA and others this compares the key with the certificate, too. */
	ok = SSL_CTX_use_PrivateKey(context, key) == 1 && SSL_CTX_check_private_key(context) == 1;
	EVP_PKEY_free(key);
	return ok || explain("the key does not fit the certificate", why, why_size);
}

struct ssl_ctx_st *
penny_certificate_context(const PennyCertificate *certificate, char *why, size_t why_size)
{
	SSL_CTX *context;
	BIO *cert;
	BIO *key;
	bool ok;

	ERR_clear_error();
	context = SSL_CTX_new(TLS_server_method());
	cert = BIO_new_mem_buf(certificate->bytes, (int) certificate->cert_len);
	key = BIO_new_mem_buf(certificate->bytes + certificate->cert_len, (int) certificate->key_len);
	if (context == NULL || cert == NULL || key == NULL)
		ok = explain("no memory for it", why, why_size);
	else
		ok = use_certificates(context, cert, why, why_size) && use_key(context, key, why, why_size);
	BIO_free(cert);
	BIO_free(key);
	if (ok)
		return context;
	SSL_CTX_free(context);
	return NULL;
}

/* One of the two dates. */
static bool
take_time(const ASN1_TIME *text, time_t *out)
{
	struct tm broken;

	if (text == NULL || ASN1_TIME_to_tm(text, &broken) != 1)
		return false;
	*out = timegm(&broken);
	return true;
}

bool
penny_certificate_period(const struct ssl_ctx_st *context, time_t *from, time_t *until)
{
	const X509 *certificate = SSL_CTX_get0_certificate(context);

	return certificate != NULL && take_time(X509_get0_notBefore(certificate), from) &&
		   take_time(X509_get0_notAfter(certificate), until);
}

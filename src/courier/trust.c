/*-------------------------------------------------------------------------
 *
 * trust.c
 *		Which certificates penny-courier trusts: read once, before the sandbox,
 *		into one store that all connections share.
 *
 *-------------------------------------------------------------------------
 */
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <unistd.h>

#include "courier/courier.h"

static X509_STORE *store;

/* Where systems keep theirs. */
static const char *const usual[] = {"/etc/ssl/certs/ca-certificates.crt",
									"/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"};

static bool
load(const char *file)
{
	store = X509_STORE_new();
	if (store != NULL && X509_STORE_load_file(store, file) == 1)
		return true;
	ERR_clear_error();
	X509_STORE_free(store);
	store = NULL;
	return false;
}

void
penny_trust_load(const char *file)
{
	SSL_CTX *warm = SSL_CTX_new(TLS_client_method());

	/* What the library reads for its first connection, it reads now. */
	SSL_CTX_free(warm);
	if (file[0] != '\0')
	{
		if (!load(file))
			penny_log(PENNY_LOG_WARNING,
					  "could not read certificates from \"%s\": no https:// works", file);
		return;
	}
	for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); i++)
	{
		if (access(usual[i], R_OK) == 0 && load(usual[i]))
			return;
	}
	penny_log(PENNY_LOG_WARNING, "this system has no file of trusted certificates: no https:// "
								 "works, unless \"penny.webhook_ca_file\" names one");
}

bool
penny_trust_use(struct ssl_ctx_st *context)
{
	if (store == NULL || SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1)
		return false;
	SSL_CTX_set1_cert_store(context, store);
	return true;
}

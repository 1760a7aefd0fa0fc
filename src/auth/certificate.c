/*-------------------------------------------------------------------------
 *
 * certificate.c
 *		Certificate and key of TLS, from the files that the settings name.
 *
 * The file of the key is held to what PostgreSQL asks of ssl_key_file: a plain
 * file, owned by the server's user or root, mode 0640 or narrower.  What was
 * read is then loaded as the edge will load it, so a file that does not work
 * is found here, where the old one is still in force.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/fd.h"

#include <openssl/crypto.h>
#include <openssl/ssl.h>

#include "auth/certificate.h"
#include "config/config.h"

static bool read_file(const char *setting, const char *path, bool secret, char *out, size_t size,
					  uint32 *len, char *why, size_t why_size);
static const char *file_fault(const struct stat *st, bool secret);

bool
penny_certificate_wanted(void)
{
	return penny_tls_cert_file[0] != '\0' || penny_tls_key_file[0] != '\0';
}

bool
penny_certificate_read(PennyCertificate *certificate, time_t *until, char *why, size_t why_size,
					   const char **remedy)
{
	SSL_CTX *context;
	time_t from;

	*remedy = "Set \"penny.tls_cert_file\" and \"penny.tls_key_file\" to PEM files that the "
			  "server's user can read, the key of mode 0640 or narrower, and reload.";
	if (penny_tls_cert_file[0] == '\0' || penny_tls_key_file[0] == '\0')
	{
		snprintf(why, why_size, "only one of certificate and key is set");
		return false;
	}
	if (!read_file("penny.tls_cert_file", penny_tls_cert_file, false, certificate->bytes,
				   PENNY_CERT_MAX, &certificate->cert_len, why, why_size) ||
		!read_file("penny.tls_key_file", penny_tls_key_file, true,
				   certificate->bytes + certificate->cert_len, PENNY_KEY_MAX, &certificate->key_len,
				   why, why_size))
		return false;

	*remedy = "Give both files anew: the certificate followed by those that lead to its root, and "
			  "its key without a passphrase; then reload.";
	context = penny_certificate_context(certificate, why, why_size);
	if (context == NULL)
		return false;
	if (!penny_certificate_period(context, &from, until))
		*until = 0;
	SSL_CTX_free(context);
	return true;
}

void
penny_certificate_forget(PennyCertificate *certificate)
{
	OPENSSL_cleanse(certificate, sizeof(*certificate));
}

/* A whole file of at most size bytes. */
static bool
read_file(const char *setting, const char *path, bool secret, char *out, size_t size, uint32 *len,
		  char *why, size_t why_size)
{
	int fd = BasicOpenFile(path, O_RDONLY | O_NONBLOCK | PG_BINARY);
	const char *fault;
	struct stat st;
	size_t got = 0;
	ssize_t n = 0;

	if (fd < 0 || fstat(fd, &st) != 0)
	{
		snprintf(why, why_size, "the file of %s cannot be opened: %s", setting, strerror(errno));
		if (fd >= 0)
			close(fd);
		return false;
	}
	fault = file_fault(&st, secret);
	while (fault == NULL && got < size && (n = read(fd, out + got, size - got)) > 0)
		got += (size_t) n;
	if (fault == NULL && n < 0)
		fault = strerror(errno);
	if (fault == NULL && got == 0)
		fault = "it is empty";
	if (fault == NULL && got == size)
		fault = "it is too large";
	close(fd);
	if (fault != NULL)
		snprintf(why, why_size, "the file of %s was refused: %s", setting, fault);
	*len = (uint32) got;
	return fault == NULL;
}

/* What kind of file it may be. */
static const char *
file_fault(const struct stat *st, bool secret)
{
	if (!S_ISREG(st->st_mode))
		return "it is not a regular file";
	if (secret && st->st_uid != geteuid() && st->st_uid != 0)
		return "it must be owned by the user of the server or by root";
	if (secret && (st->st_mode & (S_IWGRP | S_IXGRP | S_IRWXO)) != 0)
		return "its mode must be 0640 or narrower";
	return NULL;
}

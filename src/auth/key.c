/*-------------------------------------------------------------------------
 *
 * key.c
 *		The key that tokens are verified with: HS256 by a secret file.
 *
 * Only processes that verify tokens load it.  The bytes lie on a page of
 * their own that core dumps leave out; they are never in a setting, a log
 * line or shared memory.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/fd.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "auth/key.h"
#include "config/config.h"

#define SECRET_MIN 32 /* bytes; RFC 7518 3.2: as long as the hash */
#define SECRET_MAX 4096
#define HS256_LEN 32

/* One page, so that it alone is left out of core dumps. */
static uint8 secret[SECRET_MAX] __attribute__((aligned(4096)));
static size_t secret_len = 0;

static const char *read_secret(const char *path, uint8 *out, size_t *len);
static const char *read_open_secret(int fd, uint8 *out, size_t *len);
static const char *file_fault(int fd);

void
penny_key_load(void)
{
	uint8 fresh[SECRET_MAX];
	const char *fault;
	size_t len;

	if (penny_jwt_secret_file == NULL || penny_jwt_secret_file[0] == '\0')
	{
		secret_len = 0;
		OPENSSL_cleanse(secret, sizeof(secret));
		return;
	}
	fault = read_secret(penny_jwt_secret_file, fresh, &len);
	if (fault == NULL)
	{
		(void) madvise(secret, sizeof(secret), MADV_DONTDUMP);
		OPENSSL_cleanse(secret, sizeof(secret));
		memcpy(secret, fresh, len);
		secret_len = len;
	}
	else
		ereport(LOG, (errcode(ERRCODE_CONFIG_FILE_ERROR),
					  errmsg("secret file \"%s\" was refused", penny_jwt_secret_file),
					  errdetail_internal("%s", fault)));
	OPENSSL_cleanse(fresh, sizeof(fresh));
}

const char *
penny_key_fault(const char *path)
{
	uint8 fresh[SECRET_MAX];
	size_t len;
	const char *fault = read_secret(path, fresh, &len);

	OPENSSL_cleanse(fresh, sizeof(fresh));
	return fault;
}

/* Read and check the file; NULL, or why it is refused. */
static const char *
read_secret(const char *path, uint8 *out, size_t *len)
{
	int fd = BasicOpenFile(path, O_RDONLY | O_NONBLOCK | PG_BINARY);
	const char *fault;

	if (fd < 0)
		return psprintf("It could not be opened: %s.", strerror(errno));
	fault = file_fault(fd);
	if (fault == NULL)
		fault = read_open_secret(fd, out, len);
	close(fd);
	return fault;
}

static const char *
read_open_secret(int fd, uint8 *out, size_t *len)
{
	uint8 buffer[SECRET_MAX + 2]; /* a newline, and a byte to see that it is too long */
	ssize_t got = read(fd, buffer, sizeof(buffer));
	bool ok;

	if (got > 0 && buffer[got - 1] == '\n')
		got--;
	ok = got >= SECRET_MIN && got <= SECRET_MAX;
	if (ok)
	{
		memcpy(out, buffer, got);
		*len = (size_t) got;
	}
	OPENSSL_cleanse(buffer, sizeof(buffer));
	return ok ? NULL
			  : psprintf("A secret has %d to %d bytes, not counting one newline at its end.",
						 SECRET_MIN, SECRET_MAX);
}

/* Only a plain file that strangers can neither read nor change. */
static const char *
file_fault(int fd)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return psprintf("Its state could not be read: %s.", strerror(errno));
	if (!S_ISREG(st.st_mode))
		return "It is not a regular file.";
	if (st.st_uid != geteuid() && st.st_uid != 0)
		return "It must be owned by the user of the server or by root.";
	if (st.st_mode & (S_IWGRP | S_IXGRP | S_IRWXO))
		return "Its mode must be 0640 or narrower.";
	return NULL;
}

const char *
penny_key_algorithm(void)
{
	return secret_len > 0 ? "HS256" : NULL;
}

bool
penny_key_verify(const char *text, size_t len, const uint8 *signature, size_t signature_len)
{
	uint8 expected[EVP_MAX_MD_SIZE];
	unsigned int expected_len = 0;

	if (secret_len == 0 || signature_len != HS256_LEN)
		return false;
	if (HMAC(EVP_sha256(), secret, (int) secret_len, (const uint8 *) text, len, expected,
			 &expected_len) == NULL ||
		expected_len != HS256_LEN)
		return false;
	return CRYPTO_memcmp(expected, signature, HS256_LEN) == 0;
}

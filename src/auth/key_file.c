/*-------------------------------------------------------------------------
 *
 * key_file.c
 *		Read the files with the keys of tokens, and check who may touch them.
 *
 * A file must be a plain one of the server's user or of root that nobody else
 * can write to; when a secret is in it, others must not be able to read it
 * either.  What is checked is the open file, not its name.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/fd.h"

#include <openssl/crypto.h>

#include "auth/key_file.h"
#include "config/config.h"

static const char *read_all(int fd, char *text, size_t size, size_t *len);
static const char *check_owner(const struct stat *st);
static bool holds_secret(const PennyKeySet *set);

const char *
penny_key_path(PennyKeySource source)
{
	const char *path = source == PENNY_SECRET_FILE ? penny_jwt_secret_file : penny_jwt_key_file;

	return path != NULL ? path : "";
}

const char *
penny_key_read(PennyKeySource source, const char *path, PennyKeySet *set)
{
	static char why[128];
	char *text;
	struct stat st;
	size_t len = 0;
	const char *wrong;
	int fd = BasicOpenFile(path, O_RDONLY | O_NONBLOCK | PG_BINARY);

	if (fd < 0 || fstat(fd, &st) != 0)
	{
		snprintf(why, sizeof(why), "It cannot be read: %s.", strerror(errno));
		if (fd >= 0)
			close(fd);
		return why;
	}
	text = palloc(PENNY_KEY_FILE_MAX + 1);
	wrong = check_owner(&st);
	if (wrong == NULL)
		wrong = read_all(fd, text, PENNY_KEY_FILE_MAX + 1, &len);
	close(fd);
	if (wrong == NULL)
		wrong = source == PENNY_SECRET_FILE ? penny_key_parse_secret(text, len, set)
											: penny_key_parse(text, len, set);
	if (wrong == NULL && holds_secret(set) && (st.st_mode & (S_IWGRP | S_IXGRP | S_IRWXO)) != 0)
		wrong = "Its mode must be 0640 or narrower, since it holds a secret.";
	OPENSSL_cleanse(text, PENNY_KEY_FILE_MAX + 1);
	pfree(text);
	return wrong;
}

const char *
penny_key_fault(PennyKeySource source, const char *path)
{
	PennyKeySet *set = palloc(sizeof(PennyKeySet));
	const char *wrong = penny_key_read(source, path, set);

	OPENSSL_cleanse(set, sizeof(PennyKeySet));
	pfree(set);
	return wrong;
}

/* Read to the end, or a byte more than a file may have. */
static const char *
read_all(int fd, char *text, size_t size, size_t *len)
{
	ssize_t got;

	*len = 0;
	while (*len < size && (got = read(fd, text + *len, size - *len)) != 0)
	{
		if (got < 0 && errno != EINTR)
			return "It cannot be read to its end.";
		if (got > 0)
			*len += (size_t) got;
	}
	return NULL;
}

/* Only a plain file that strangers cannot change. */
static const char *
check_owner(const struct stat *st)
{
	if (!S_ISREG(st->st_mode))
		return "It is not a regular file.";
	if (st->st_uid != geteuid() && st->st_uid != 0)
		return "It must be owned by the user of the server or by root.";
	if (st->st_mode & (S_IWGRP | S_IWOTH))
		return "Its mode must not let others write.";
	return NULL;
}

static bool
holds_secret(const PennyKeySet *set)
{
	for (int i = 0; i < set->count; i++)
	{
		if (set->key[i].algorithm == PENNY_HS256)
			return true;
	}
	return false;
}

/*-------------------------------------------------------------------------
 *
 * secret.c
 *		The password in penny.redis_password_file.
 *
 * As for other secrets the file must be a plain one of the server's user or of
 * root that no stranger can read or change; the open file is checked and not
 * its name.  One line; what follows its end does not count.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/fd.h"

#include "redis/shared.h"

static const char *
check_file(const struct stat *st)
{
	if (!S_ISREG(st->st_mode))
		return "It is not a regular file.";
	if (st->st_uid != geteuid() && st->st_uid != 0)
		return "It must be owned by the user of the server or by root.";
	if ((st->st_mode & (S_IWGRP | S_IXGRP | S_IRWXO)) != 0)
		return "Its mode must be 0640 or narrower.";
	return NULL;
}

const char *
penny_redis_read_password(const char *path, char *out, size_t size)
{
	static char why[128];
	struct stat st;
	const char *wrong;
	ssize_t len = 0;
	ssize_t got;
	int fd = BasicOpenFile(path, O_RDONLY | O_NONBLOCK | PG_BINARY);

	if (fd < 0 || fstat(fd, &st) != 0)
	{
		snprintf(why, sizeof(why), "It cannot be read: %s.", strerror(errno));
		if (fd >= 0)
			close(fd);
		return why;
	}
	wrong = check_file(&st);
	while (wrong == NULL && len < (ssize_t) size &&
		   (got = read(fd, out + len, size - (size_t) len)) != 0)
	{
		if (got < 0 && errno != EINTR)
			wrong = "It cannot be read to its end.";
		len += Max(got, 0);
	}
	close(fd);
	if (wrong != NULL)
		return wrong;
	for (ssize_t i = 0; i < len; i++)
	{
		if (out[i] == '\n' || out[i] == '\r')
			len = i;
		else if (out[i] == '\0')
			return "It has a byte zero.";
	}
	if (len == 0)
		return "It is empty.";
	if (len >= (ssize_t) size)
		return "Its line is too long.";
	out[len] = '\0';
	return NULL;
}

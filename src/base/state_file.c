/*-------------------------------------------------------------------------
 *
 * state_file.c
 *		Small files in which penny remembers something.  See state_file.h.
 *
 * A file is written under another name, flushed and renamed, so there is always
 * the old one or the new one.  May be called in the postmaster: no transaction,
 * no virtual file descriptors.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "storage/fd.h"

#include "base/state_file.h"

static bool write_all(int fd, const char *text);

void
penny_state_read(const PennyStateFile *file, char *text, size_t size,
				 void (*each)(const char *line))
{
	int fd = BasicOpenFile(file->name, O_RDONLY | O_CLOEXEC);
	ssize_t len;
	char *line;

	if (fd < 0)
	{
		if (errno != ENOENT)
			ereport(LOG, (errcode_for_file_access(),
						  errmsg("could not open file \"%s\": %m", file->name)));
		return;
	}
	len = read(fd, text, size - 1);
	close(fd);
	text[Max(len, 0)] = '\0';
	if (strncmp(text, file->header, strlen(file->header)) != 0)
		return;
	for (line = text + strlen(file->header); *line != '\0';)
	{
		char *end = line + strcspn(line, "\n");

		if (*end == '\n')
			*end++ = '\0';
		each(line);
		line = end;
	}
}

static bool
write_all(int fd, const char *text)
{
	ssize_t len = (ssize_t) strlen(text);

	errno = ENOSPC;
	return write(fd, text, len) == len;
}

void
penny_state_write(const PennyStateFile *file, const char *lines)
{
	bool ok;
	int fd;

	if (lines[0] == '\0')
	{
		if (unlink(file->name) < 0 && errno != ENOENT)
			ereport(LOG, (errcode_for_file_access(),
						  errmsg("could not remove file \"%s\": %m", file->name)));
		return;
	}
	fd = BasicOpenFile(file->tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC);
	ok = fd >= 0 && write_all(fd, file->header) && write_all(fd, lines) && pg_fsync(fd) == 0;
	if (!ok)
		ereport(LOG,
				(errcode_for_file_access(), errmsg("could not write file \"%s\": %m", file->tmp),
				 errdetail("What %s holds is kept until the server stops.", file->what)));
	if (fd >= 0)
		close(fd);
	if (ok)
		(void) durable_rename(file->tmp, file->name, LOG);
	else
		(void) unlink(file->tmp);
}

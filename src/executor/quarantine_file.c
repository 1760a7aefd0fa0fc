/*-------------------------------------------------------------------------
 *
 * quarantine_file.c
 *		The file in which the quarantine outlives the server.
 *
 * penny.quarantine in the data directory: text, a line for each entry, so that
 * a person can read it, and remove it while the server is down.  It is written
 * under another name and renamed, by the postmaster after a crash and by
 * whoever holds the table's lock else.  Lines that cannot be read are left out.
 * Without an entry there is no file.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <unistd.h>

#include "storage/fd.h"

#include "executor/quarantine_file.h"

#define FILE_NAME "penny.quarantine"
#define FILE_NAME_TMP "penny.quarantine.tmp"
#define HEADER "penny quarantine 1\n"
#define LINE_SIZE 512

static bool read_line(const char *line, PennyQuarantineEntry *entry);
static int write_lines(char *text, size_t size,
					   const PennyQuarantineEntry table[PENNY_QUARANTINE_ENTRIES]);

void
penny_quarantine_read(PennyQuarantineEntry table[PENNY_QUARANTINE_ENTRIES])
{
	static char text[PENNY_QUARANTINE_ENTRIES * LINE_SIZE];
	ssize_t len;
	char *line;
	int n = 0;
	int fd;

	memset(table, 0, sizeof(*table) * PENNY_QUARANTINE_ENTRIES);
	fd = BasicOpenFile(FILE_NAME, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
	{
		if (errno != ENOENT)
			ereport(LOG, (errcode_for_file_access(),
						  errmsg("could not open file \"%s\": %m", FILE_NAME)));
		return;
	}
	len = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[Max(len, 0)] = '\0';
	if (strncmp(text, HEADER, strlen(HEADER)) != 0)
		return;
	for (line = text + strlen(HEADER); *line != '\0' && n < PENNY_QUARANTINE_ENTRIES;)
	{
		char *end = line + strcspn(line, "\n");

		if (*end == '\n')
			*end++ = '\0';
		if (read_line(line, &table[n]))
			n++;
		else
			memset(&table[n], 0, sizeof(table[n]));
		line = end;
	}
}

/* kind, refused, crashes, signal, key, last, first, latest, request id, route */
static bool
read_line(const char *line, PennyQuarantineEntry *entry)
{
	int kind;
	int refused;
	int at = 0;

	if (sscanf(line,
			   "%d %d %d %d %" INT64_MODIFIER "x %" INT64_MODIFIER "x %" INT64_MODIFIER
			   "d %" INT64_MODIFIER "d %79s %n",
			   &kind, &refused, &entry->crashes, &entry->signal, &entry->key, &entry->last,
			   &entry->first, &entry->latest, entry->request_id, &at) != 9 ||
		(kind != PENNY_QUARANTINE_REQUEST && kind != PENNY_QUARANTINE_ROUTES) || at == 0 ||
		line[at] == '\0')
		return false;
	entry->kind = (PennyQuarantineKind) kind;
	entry->refused = refused != 0;
	if (strcmp(entry->request_id, "-") == 0)
		entry->request_id[0] = '\0';
	strlcpy(entry->route, line + at, sizeof(entry->route));
	return true;
}

static int
write_lines(char *text, size_t size, const PennyQuarantineEntry table[PENNY_QUARANTINE_ENTRIES])
{
	size_t len = strlcpy(text, HEADER, size);
	int n = 0;

	for (int i = 0; i < PENNY_QUARANTINE_ENTRIES; i++)
	{
		const PennyQuarantineEntry *entry = &table[i];

		if (entry->kind == PENNY_QUARANTINE_FREE)
			continue;
		len += snprintf(text + len, size - len,
						"%d %d %d %d %" INT64_MODIFIER "x %" INT64_MODIFIER "x " INT64_FORMAT
						" " INT64_FORMAT " %s %s\n",
						(int) entry->kind, (int) entry->refused, entry->crashes, entry->signal,
						entry->key, entry->last, entry->first, entry->latest,
						entry->request_id[0] != '\0' ? entry->request_id : "-", entry->route);
		n++;
	}
	return n > 0 ? (int) len : 0;
}

void
penny_quarantine_write(const PennyQuarantineEntry table[PENNY_QUARANTINE_ENTRIES])
{
	static char text[PENNY_QUARANTINE_ENTRIES * LINE_SIZE];
	int len = write_lines(text, sizeof(text), table);
	bool ok;
	int fd;

	if (len == 0)
	{
		if (unlink(FILE_NAME) < 0 && errno != ENOENT)
			ereport(LOG, (errcode_for_file_access(),
						  errmsg("could not remove file \"%s\": %m", FILE_NAME)));
		return;
	}
	fd = BasicOpenFile(FILE_NAME_TMP, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC);
	errno = fd < 0 ? errno : ENOSPC;
	ok = fd >= 0 && write(fd, text, len) == len && pg_fsync(fd) == 0;
	if (!ok)
		ereport(LOG, (errcode_for_file_access(),
					  errmsg("could not write file \"%s\": %m", FILE_NAME_TMP),
					  errdetail("The quarantine of penny is kept until the server stops.")));
	if (fd >= 0)
		close(fd);
	if (ok)
		(void) durable_rename(FILE_NAME_TMP, FILE_NAME, LOG);
	else
		(void) unlink(FILE_NAME_TMP);
}

/*-------------------------------------------------------------------------
 *
 * quarantine_file.c
 *		The file in which the quarantine outlives the server.
 *
 * penny.quarantine in the data directory (base/state_file.h): written by the
 * postmaster after a crash and by whoever holds the table's lock else.  Lines
 * that cannot be read are left out.  Without an entry there is no file.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/state_file.h"
#include "executor/quarantine_file.h"

#define LINE_SIZE 512

static const PennyStateFile file = {.name = "penny.quarantine",
									.tmp = "penny.quarantine.tmp",
									.header = "penny quarantine 1\n",
									.what = "the quarantine of penny"};
static char content[PENNY_QUARANTINE_ENTRIES * LINE_SIZE];

static bool read_line(const char *line, PennyQuarantineEntry *entry);

static PennyQuarantineEntry *filled = NULL; /* the table that is read into */
static int filled_n = 0;

static void
take_line(const char *line)
{
	if (filled_n >= PENNY_QUARANTINE_ENTRIES)
		return;
	if (read_line(line, &filled[filled_n]))
		filled_n++;
	else
		memset(&filled[filled_n], 0, sizeof(filled[filled_n]));
}

void
penny_quarantine_read(PennyQuarantineEntry table[PENNY_QUARANTINE_ENTRIES])
{
	memset(table, 0, sizeof(*table) * PENNY_QUARANTINE_ENTRIES);
	filled = table;
	filled_n = 0;
	penny_state_read(&file, content, sizeof(content), take_line);
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

void
penny_quarantine_write(const PennyQuarantineEntry table[PENNY_QUARANTINE_ENTRIES])
{
	size_t len = 0;

	content[0] = '\0';
	for (int i = 0; i < PENNY_QUARANTINE_ENTRIES; i++)
	{
		const PennyQuarantineEntry *entry = &table[i];

		if (entry->kind == PENNY_QUARANTINE_FREE)
			continue;
		len += snprintf(content + len, sizeof(content) - len,
						"%d %d %d %d %" INT64_MODIFIER "x %" INT64_MODIFIER "x " INT64_FORMAT
						" " INT64_FORMAT " %s %s\n",
						(int) entry->kind, (int) entry->refused, entry->crashes, entry->signal,
						entry->key, entry->last, entry->first, entry->latest,
						entry->request_id[0] != '\0' ? entry->request_id : "-", entry->route);
	}
	penny_state_write(&file, content);
}

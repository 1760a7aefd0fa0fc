/*-------------------------------------------------------------------------
 *
 * child_log.c
 *		What a child writes to stderr, into the server's log.
 *
 * A line begins with its level ("WARNING: ", "LOG: ", "DEBUG: "; without one
 * it is a warning).  The child is not trusted: a line is cut at
 * PENNY_CHILD_LINE bytes, everything but printable ASCII becomes "?", and more than BURST lines
 * in PERIOD are counted instead of logged.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "base/child.h"
#include "base/clock.h"

#define BURST 100
#define PERIOD 10000     /* ms */
#define READS_AT_ONCE 16 /* so that a chatty child does not hold its worker */

static void take_bytes(PennyChild *child, const char *bytes, ssize_t len);
static void take_line(PennyChild *child);
static bool within_burst(PennyChild *child);
static int split_level(const char **text);

/*
 * Read what is there, log the whole lines in it.  At the end of the pipe, which
 * a child that goes on may have closed, it is not watched any more.
 */
void
penny_child_log(PennyChild *child)
{
	char bytes[4096];

	for (int i = 0; i < READS_AT_ONCE && child->log_fd >= 0; i++)
	{
		ssize_t len = read(child->log_fd, bytes, sizeof(bytes));

		if (len == 0)
		{
			close(child->log_fd);
			child->log_fd = -1;
		}
		if (len <= 0)
			return;
		take_bytes(child, bytes, len);
	}
}

void
penny_child_log_end(PennyChild *child)
{
	penny_child_log(child);
	if (child->log.len > 0)
		take_bytes(child, "\n", 1);
}

static void
take_bytes(PennyChild *child, const char *bytes, ssize_t len)
{
	PennyChildLog *log = &child->log;

	for (ssize_t i = 0; i < len; i++)
	{
		if (bytes[i] == '\n')
		{
			take_line(child);
			log->len = 0;
			log->cut = false;
		}
		else if (log->len < PENNY_CHILD_LINE)
			log->line[log->len++] = (bytes[i] >= ' ' && bytes[i] <= '~') ? bytes[i] : '?';
		else
			log->cut = true;
	}
}

/* Log one line at its level. */
static void
take_line(PennyChild *child)
{
	PennyChildLog *log = &child->log;
	const char *text = log->line;
	int level;

	log->line[log->len] = '\0';
	level = split_level(&text);
	if (*text == '\0' || !within_burst(child))
		return;
	ereport(level, (errmsg("%s: %s%s", child->name, text, log->cut ? " ..." : "")));
}

/* Count the line; false when there were too many lately. */
static bool
within_burst(PennyChild *child)
{
	PennyChildLog *log = &child->log;
	int64 now = penny_clock_ms();

	if (now - log->since > PERIOD)
	{
		if (log->suppressed > 0)
			ereport(LOG, (errmsg("%s: %d lines were not logged", child->name, log->suppressed)));
		log->since = now;
		log->lines = log->suppressed = 0;
	}
	if (log->lines >= BURST)
	{
		log->suppressed++;
		return false;
	}
	log->lines++;
	return true;
}

/* Level by prefix; *text goes behind it. */
static int
split_level(const char **text)
{
	static const struct
	{
		const char *prefix;
		int level;
	} levels[] = {{"WARNING: ", WARNING}, {"LOG: ", LOG}, {"DEBUG: ", DEBUG1}};

	for (int i = 0; i < lengthof(levels); i++)
	{
		size_t len = strlen(levels[i].prefix);

		if (strncmp(*text, levels[i].prefix, len) == 0)
		{
			*text += len;
			return levels[i].level;
		}
	}
	return WARNING;
}

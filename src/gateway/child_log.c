/*-------------------------------------------------------------------------
 *
 * child_log.c
 *		What an edge writes to stderr, into the server's log.
 *
 * A line begins with its level ("WARNING: ", "LOG: ", "DEBUG: "; without one
 * it is a warning).  The edge is not trusted: a line is cut at LINE_SIZE
 * bytes, everything but printable ASCII becomes "?", and more than BURST lines
 * in PERIOD are counted instead of logged.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "base/clock.h"
#include "gateway/child.h"

#define LINE_SIZE 1024
#define BURST 100
#define PERIOD 10000     /* ms */
#define READS_AT_ONCE 16 /* so that a chatty edge does not hold the gateway */

static char line[LINE_SIZE + 1];
static int line_len = 0;
static bool line_cut = false; /* the rest of this line is dropped */

static int64 period_start = 0;
static int period_lines = 0;
static int suppressed = 0;

static void take_bytes(const char *bytes, ssize_t len);
static void take_line(void);
static bool within_burst(void);
static int split_level(const char **text);

/*
 * Read what is there, log the whole lines in it.  At the end of the pipe, which
 * an edge that goes on may have closed, it is not watched any more.
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
		take_bytes(bytes, len);
	}
}

void
penny_child_log_end(PennyChild *child)
{
	penny_child_log(child);
	if (line_len > 0)
		take_bytes("\n", 1);
}

static void
take_bytes(const char *bytes, ssize_t len)
{
	for (ssize_t i = 0; i < len; i++)
	{
		if (bytes[i] == '\n')
		{
			take_line();
			line_len = 0;
			line_cut = false;
		}
		else if (line_len < LINE_SIZE)
			line[line_len++] = (bytes[i] >= ' ' && bytes[i] <= '~') ? bytes[i] : '?';
		else
			line_cut = true;
	}
}

/* Log one line at its level. */
static void
take_line(void)
{
	const char *text = line;
	int level;

	line[line_len] = '\0';
	level = split_level(&text);
	if (*text == '\0' || !within_burst())
		return;
	ereport(level, (errmsg("penny-edge: %s%s", text, line_cut ? " ..." : "")));
}

/* Count the line; false when there were too many lately. */
static bool
within_burst(void)
{
	int64 now = penny_clock_ms();

	if (now - period_start > PERIOD)
	{
		if (suppressed > 0)
			ereport(LOG, (errmsg("penny-edge: %d lines were not logged", suppressed)));
		period_start = now;
		period_lines = suppressed = 0;
	}
	if (period_lines >= BURST)
	{
		suppressed++;
		return false;
	}
	period_lines++;
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

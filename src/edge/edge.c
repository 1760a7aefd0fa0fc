/*-------------------------------------------------------------------------
 *
 * edge.c
 *		The shared state of penny-edge and its small helpers: log, clock,
 *		random bytes, memory.
 *
 * Out of memory: the address space is limited, every queue and buffer has its
 * own limit, and the process may die at any moment without harm to the
 * database.  So an allocation that fails ends it; the gateway starts another.
 *
 * The log pipe is not blocking: a gateway that does not read loses lines, it
 * does not stop the sockets.
 *
 *-------------------------------------------------------------------------
 */
#include "edge/edge.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define LOG_LINE 1024

PennyEdge penny_edge;

/* Write one message with the prefix that the gateway reads as its level. */
void
penny_log(PennyLogLevel level, const char *format, ...)
{
	static const char *const prefix[] = {"WARNING: ", "LOG: ", "DEBUG: "};
	char line[LOG_LINE];
	va_list args;
	int len;
	int text;

	if (level > penny_edge.log_level)
		return;
	len = snprintf(line, sizeof(line), "%s", prefix[level]);
	va_start(args, format);
	text = vsnprintf(line + len, sizeof(line) - len - 1, format, args);
	va_end(args);
	if (text < 0)
		return;
	if (text > (int) sizeof(line) - len - 2)
		text = sizeof(line) - len - 2;
	for (int i = len; i < len + text; i++)
	{
		if ((unsigned char) line[i] < 0x20 || line[i] == 0x7f)
			line[i] = '?';
	}
	len += text;
	line[len++] = '\n';
	if (write(STDERR_FILENO, line, len) < 0)
		return; /* nobody reads: nothing more can be said */
}

void
penny_edge_clock(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	penny_edge.now = (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
	penny_edge.wall = (uint64_t) time(NULL);
}

void
penny_random(void *bytes, size_t len)
{
	char *next = bytes;

	while (len > 0)
	{
		ssize_t got = getrandom(next, len, 0);

		if (got < 0)
		{
			if (errno == EINTR)
				continue;
			penny_log(PENNY_LOG_WARNING, "could not get random bytes: %s", strerror(errno));
			_exit(1);
		}
		next += got;
		len -= got;
	}
}

void *
penny_alloc(size_t size)
{
	return penny_realloc(NULL, size);
}

void *
penny_realloc(void *old, size_t size)
{
	void *memory = realloc(old, size);

	if (memory == NULL)
	{
		penny_log(PENNY_LOG_WARNING, "out of memory, edge ends");
		_exit(1);
	}
	return memory;
}

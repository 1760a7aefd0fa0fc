/*-------------------------------------------------------------------------
 *
 * log.c
 *		Lines of a program on standard error.
 *
 * The pipe is not blocking: a worker that does not read loses lines, it does
 * not stop the program.
 *
 *-------------------------------------------------------------------------
 */
#include "program/log.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#define LOG_LINE 1024

PennyLogLevel penny_log_level = PENNY_LOG_WARNING;

void
penny_log_begin(PennyLogLevel level)
{
	int flags = fcntl(STDERR_FILENO, F_GETFL);

	penny_log_level = level;
	if (flags >= 0)
		fcntl(STDERR_FILENO, F_SETFL, flags | O_NONBLOCK);
}

/* Write one message with the prefix that the worker reads as its level. */
void
penny_log(PennyLogLevel level, const char *format, ...)
{
	static const char *const prefix[] = {"WARNING: ", "LOG: ", "DEBUG: "};
	char line[LOG_LINE];
	va_list args;
	int len;
	int text;

	if (level > penny_log_level)
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

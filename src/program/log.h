/*-------------------------------------------------------------------------
 *
 * log.h
 *		What a program of penny's own says: lines on standard error, which its
 *		worker reads (base/child_log.c) and writes into the server's log.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_PROGRAM_LOG_H
#define PENNY_PROGRAM_LOG_H

typedef enum PennyLogLevel
{
	PENNY_LOG_WARNING, /* something was lost or refused */
	PENNY_LOG_LOG,     /* life cycle, once */
	PENNY_LOG_DEBUG    /* decisions */
} PennyLogLevel;

/* Messages above this level are dropped. */
extern PennyLogLevel penny_log_level;

/* Take the level; a worker that does not read must not stop the program. */
extern void penny_log_begin(PennyLogLevel level);
/* One line; control characters are replaced. */
extern void penny_log(PennyLogLevel level, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif /* PENNY_PROGRAM_LOG_H */

/*-------------------------------------------------------------------------
 *
 * state_file.h
 *		Small files in the data directory in which penny remembers something
 *		beyond a restart: text, a line for each thing, so that a person can read
 *		them, and remove them while the server is down.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_STATE_FILE_H
#define PENNY_STATE_FILE_H

#include "postgres.h"

typedef struct PennyStateFile
{
	const char *name;
	const char *tmp;    /* under which it is written */
	const char *header; /* first line */
	const char *what;   /* "the quarantine of penny": is lost when it cannot be written */
} PennyStateFile;

/*
 * Read the file and hand over its lines, without their ends; text of `size`
 * bytes is worked on.  Nothing when there is no file or its header is another.
 */
extern void penny_state_read(const PennyStateFile *file, char *text, size_t size,
							 void (*each)(const char *line));
/* Write it durably, header and lines; no file when there are no lines.  A failure is logged. */
extern void penny_state_write(const PennyStateFile *file, const char *lines);

#endif /* PENNY_STATE_FILE_H */

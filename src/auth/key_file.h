/*-------------------------------------------------------------------------
 *
 * key_file.h
 *		The files that penny.jwt_secret_file and penny.jwt_key_file name.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_KEY_FILE_H
#define PENNY_KEY_FILE_H

#include "postgres.h"

#include "auth/key_parse.h"

typedef enum PennyKeySource
{
	PENNY_SECRET_FILE,
	PENNY_KEY_FILE,
	PENNY_KEY_SOURCES
} PennyKeySource;

/* Path by the settings of this process; empty: there is none. */
extern const char *penny_key_path(PennyKeySource source);
/*
 * Read and check a file.  NULL, or why it is refused, as a sentence that shows
 * neither path nor content; valid until the next call.
 */
extern const char *penny_key_read(PennyKeySource source, const char *path, PennyKeySet *set);
/* Why a file would be refused, likewise; NULL when it would be taken. */
extern const char *penny_key_fault(PennyKeySource source, const char *path);

#endif /* PENNY_KEY_FILE_H */

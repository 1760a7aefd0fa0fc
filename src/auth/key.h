/*-------------------------------------------------------------------------
 *
 * key.h
 *		The keys that tokens are verified with.
 *
 * The keys in force lie in shared memory, so that all executors have the same
 * at every instant, and one that starts later than a file went bad has those
 * that were good.  The supervisor alone reads the files: when it starts, when
 * settings are reloaded, and when penny.reload_keys() asks.
 *
 * A token is verified under a shared lock and keys are exchanged under an
 * exclusive one.  So when an exchange is over, no verification with the old
 * keys runs any more, and none begins: penny_key_reload() waits for that.
 *
 * Which key.  A token's kid must be that of a key, exactly.  A token without
 * kid must leave one choice: exactly one key has its alg.  Where no key has a
 * kid at all, the kid of a token is not looked at.  The algorithm belongs to
 * the key; a token that says another is refused before any cryptography.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_KEY_H
#define PENNY_KEY_H

#include "postgres.h"

#include "datatype/timestamp.h"

#include "auth/jwt_parse.h"
#include "auth/key_file.h"

/* What doctor() shows of one file. */
typedef struct PennyKeyStatus
{
	bool refused;      /* the newest file was, older keys are in force */
	char reason[192];  /* why */
	int count;         /* keys in force from it */
	int skipped;       /* keys that are for something else */
	TimestampTz taken; /* when; 0 = never */
} PennyKeyStatus;

/* Shared memory; from _PG_init, when preloading. */
extern void penny_key_init(void);

/* ---- supervisor ---------------------------------------------------------- */

/*
 * Read the files again by the settings of this process and exchange the keys.
 * A file that is refused leaves the keys it had given before, with one line in
 * the log; an empty setting drops them.
 */
extern void penny_key_load(void);
/* Does somebody wait for that?  To be asked before settings are read for it. */
extern bool penny_key_asked(void);

/* ---- executors ----------------------------------------------------------- */

/* Is any key there? */
extern bool penny_key_exists(void);
/* Does the signature of a token that was taken apart fit its text? */
extern PennyJwtError penny_key_verify(const PennyJwt *jwt, const char *token);

/* ---- any backend ---------------------------------------------------------- */

/*
 * Reload settings, and wait until the keys of the files as they are now are in
 * force everywhere; an error when one was refused.  The number of keys.
 */
extern int penny_key_reload(void);
extern void penny_key_status(PennyKeySource source, PennyKeyStatus *status);
/* Keys in force of an algorithm, and how many of them have no kid. */
extern int penny_key_count(PennyKeyAlgorithm algorithm, int *without_kid);

#endif /* PENNY_KEY_H */

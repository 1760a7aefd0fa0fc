/*-------------------------------------------------------------------------
 *
 * key.h
 *		The key that tokens are verified with.
 *
 * The algorithm belongs to the key: a token that names another is refused
 * before any cryptography.  The key is kept in this process alone.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_KEY_H
#define PENNY_KEY_H

#include "postgres.h"

/*
 * Read penny.jwt_secret_file again; at start and on reload.  A file that is
 * refused leaves the key that was there; an empty setting drops it.
 */
extern void penny_key_load(void);

/* Why such a file would be refused, as a sentence; NULL when it would be taken. */
extern const char *penny_key_fault(const char *path);

/* Name of the key's algorithm as tokens write it; NULL when there is no key. */
extern const char *penny_key_algorithm(void);

/* Does the signature fit the text?  Compares in constant time. */
extern bool penny_key_verify(const char *text, size_t len, const uint8 *signature,
							 size_t signature_len);

#endif /* PENNY_KEY_H */

/*-------------------------------------------------------------------------
 *
 * uuid.h
 *		Identifiers of version 7, and UUIDs as text.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_UUID_H
#define PENNY_UUID_H

#include "postgres.h"

#include "utils/uuid.h"

#define PENNY_UUID_TEXT 36 /* characters of a UUID as text */

/* Make a UUID of version 7; ascending within one process. */
extern void penny_uuid_make(pg_uuid_t *uuid);
/* Write 36 characters, no terminator. */
extern void penny_uuid_write(char *to, const pg_uuid_t *uuid);
/* Read 36 characters as penny_uuid_write() writes them, in no other form. */
extern bool penny_uuid_read_exact(pg_uuid_t *uuid, const char *from);

static inline bool
penny_uuid_equal(const pg_uuid_t *a, const pg_uuid_t *b)
{
	return memcmp(a->data, b->data, UUID_LEN) == 0;
}

#endif /* PENNY_UUID_H */

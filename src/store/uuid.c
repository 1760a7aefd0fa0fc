/*-------------------------------------------------------------------------
 *
 * uuid.c
 *		UUID version 7 (RFC 9562): 48 bits of Unix milliseconds, 12 bits of
 *		the millisecond's fraction, 62 random bits.
 *
 * Ascending within one process: a clock that stands or goes back does not stop
 * the 60 bits of time from counting on.  Random bytes are fetched from the
 * kernel for many identifiers at a time, since a call of it costs more than all
 * the rest; none is used twice.  The postmaster makes none, so no two processes
 * begin with the same store.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "port/pg_bswap.h"

#include <time.h>

#include "auth/jwt_parse.h"
#include "store/uuid.h"

#define FRACTION_BITS 12
#define NS_PER_MS 1000000

#define RANDOM_STORE 512 /* bytes; a multiple of what one identifier takes */

static uint64 last_stamp = 0;
static uint8 random_store[RANDOM_STORE];
static int random_left = 0;

/* Milliseconds since 1970 with 12 bits of fraction, ascending. */
static uint64
next_stamp(void)
{
	struct timespec now;
	uint64 stamp;

	clock_gettime(CLOCK_REALTIME, &now);
	stamp = ((uint64) now.tv_sec * 1000 + now.tv_nsec / NS_PER_MS) << FRACTION_BITS;
	stamp |= ((uint64) (now.tv_nsec % NS_PER_MS) << FRACTION_BITS) / NS_PER_MS;
	if (stamp <= last_stamp)
		stamp = last_stamp + 1;
	last_stamp = stamp;
	return stamp;
}

/* Random bytes for one identifier. */
static void
take_random(uint8 *to, int len)
{
	if (random_left < len)
	{
		if (!pg_strong_random(random_store, sizeof(random_store)))
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not generate random bytes")));
		random_left = sizeof(random_store);
	}
	random_left -= len;
	memcpy(to, random_store + random_left, len);
	memset(random_store + random_left, 0, len);
}

/*
 * Make a UUID of version 7.
 */
void
penny_uuid_make(pg_uuid_t *uuid)
{
	uint64 stamp = next_stamp();
	uint64 high;

	take_random(uuid->data + 8, UUID_LEN - 8);
	high = (stamp >> FRACTION_BITS << 16) | 0x7000 | (stamp & ((1 << FRACTION_BITS) - 1));
	high = pg_hton64(high);
	memcpy(uuid->data, &high, sizeof(high));
	uuid->data[8] = (uuid->data[8] & 0x3f) | 0x80;
}

/*
 * Write a UUID as text.
 */
void
penny_uuid_write(char *to, const pg_uuid_t *uuid)
{
	static const char digits[] = "0123456789abcdef";
	int i;

	for (i = 0; i < UUID_LEN; i++)
	{
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*to++ = '-';
		*to++ = digits[uuid->data[i] >> 4];
		*to++ = digits[uuid->data[i] & 15];
	}
}

/*
 * Read a UUID from its one text: lower case, hyphens in their places.
 */
bool
penny_uuid_read_exact(pg_uuid_t *uuid, const char *from)
{
	char again[PENNY_UUID_TEXT];

	if (!penny_uuid_read(from, PENNY_UUID_TEXT, uuid->data))
		return false;
	penny_uuid_write(again, uuid);
	return memcmp(again, from, PENNY_UUID_TEXT) == 0;
}

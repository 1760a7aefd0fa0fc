/*-------------------------------------------------------------------------
 *
 * read_sessions.c
 *		Reading a user's own sessions as JSON.
 *
 * chat.sessions is for admins alone, so the rows are looked up past policies;
 * who calls says whose they are (sql_read.c).  A session is named by the first
 * half of its token's hash, which says nothing of the token and is enough to
 * find the row.
 *
 * Sessions that have ended by themselves are there as long as their rows are:
 * so an answer does not depend on the time of day, and can be cached.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "cache/cache.h"
#include "store/lookup.h"
#include "store/read.h"
#include "store/shape.h"
#include "store/tables.h"

#define SESSION_ID_BYTES 16 /* of the hash's 32 */

/* Newest first; of the same moment by identifier. */
static int
by_creation(const void *a, const void *b)
{
	const PennyRow *ra = a;
	const PennyRow *rb = b;
	TimestampTz ta = DatumGetTimestampTz(ra->value[PENNY_CREATED_AT]);
	TimestampTz tb = DatumGetTimestampTz(rb->value[PENNY_CREATED_AT]);

	if (ta != tb)
		return ta > tb ? -1 : 1;
	return memcmp(VARDATA_ANY(DatumGetPointer(ra->value[PENNY_SESSION_ID])),
				  VARDATA_ANY(DatumGetPointer(rb->value[PENNY_SESSION_ID])), SESSION_ID_BYTES * 2);
}

/* The name of a session, made of its hash. */
static Datum
session_id(Datum hash)
{
	bytea *bytes = DatumGetByteaPP(hash);
	text *id = palloc(VARHDRSZ + SESSION_ID_BYTES * 2);

	if (VARSIZE_ANY_EXHDR(bytes) < SESSION_ID_BYTES)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED), errmsg("the hash of a session is too short")));
	SET_VARSIZE(id, VARHDRSZ + SESSION_ID_BYTES * 2);
	(void) hex_encode(VARDATA_ANY(bytes), SESSION_ID_BYTES, VARDATA(id));
	return PointerGetDatum(id);
}

/*
 * The sessions of a user: {"data"}, newest first.
 */
void
penny_read_sessions(StringInfo out, PennyWriter write, const pg_uuid_t *user)
{
	Datum key = UUIDPGetDatum(user);
	int max = 8;
	PennyRow *rows = palloc(max * sizeof(PennyRow));
	PennyLookup lookup;
	PennyRow all;
	int n = 0;

	if (penny_cache_collecting())
		penny_cache_depend_uuid("sessions", user);
	penny_lookup_begin(&lookup, PENNY_KEY_USER_SESSIONS, GetActiveSnapshot(), AccessShareLock, 1,
					   &key);
	while (penny_lookup_next(&lookup, ForwardScanDirection))
	{
		PennyRow *row;

		if (n == max)
			rows = repalloc_huge(rows, (max *= 2) * sizeof(PennyRow));
		row = &rows[n++];
		penny_row_from_slot(row, PENNY_SESSIONS, lookup.slot);
		row->value[PENNY_SESSION_ID] = session_id(row->value[PENNY_SESSION_HASH]);
		row->isnull[PENNY_SESSION_ID] = false;
		row->value[PENNY_SESSION_ROLE] = datumCopy(row->value[PENNY_SESSION_ROLE], false, -1);
	}
	penny_lookup_end(&lookup);
	qsort(rows, n, sizeof(PennyRow), by_creation);
	memset(all.isnull, true, sizeof(all.isnull));
	all.list[0].rows = rows;
	all.list[0].n = n;
	write(out, &penny_shape_session_list, &all);
}

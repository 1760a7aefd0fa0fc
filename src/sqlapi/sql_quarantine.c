/*-------------------------------------------------------------------------
 *
 * sql_quarantine.c
 *		penny.quarantine() and penny.quarantine_clear().
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <string.h>

#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/error.h"
#include "executor/quarantine.h"

#define COLUMNS 9

PG_FUNCTION_INFO_V1(penny_quarantine);
PG_FUNCTION_INFO_V1(penny_quarantine_forget);

static void put_entry(ReturnSetInfo *out, const PennyQuarantineEntry *entry);

/* penny.quarantine() */
Datum
penny_quarantine(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *out = (ReturnSetInfo *) fcinfo->resultinfo;
	PennyQuarantineEntry *entries;
	int n;

	penny_require_preload();
	InitMaterializedSRF(fcinfo, 0);
	entries = palloc_array(PennyQuarantineEntry, PENNY_QUARANTINE_ENTRIES);
	n = penny_quarantine_list(entries);
	for (int i = 0; i < n; i++)
		put_entry(out, &entries[i]);
	return (Datum) 0;
}

static void
put_entry(ReturnSetInfo *out, const PennyQuarantineEntry *entry)
{
	Datum values[COLUMNS];
	bool nulls[COLUMNS] = {false};

	values[0] = CStringGetTextDatum(psprintf("%016" INT64_MODIFIER "x", entry->key));
	values[1] = CStringGetTextDatum(entry->kind == PENNY_QUARANTINE_REQUEST ? "request" : "route");
	values[2] = CStringGetTextDatum(entry->route);
	values[3] = BoolGetDatum(entry->refused);
	values[4] = Int32GetDatum(entry->crashes);
	values[5] = CStringGetTextDatum(entry->signal != 0
										? psprintf("crash: %s", pg_strsignal(entry->signal))
										: pstrdup("ended from outside, or in a parallel worker"));
	values[6] = CStringGetTextDatum(entry->request_id);
	values[7] = TimestampTzGetDatum(entry->latest);
	values[8] = Int64GetDatum((int64) entry->refusals);
	tuplestore_putvalues(out->setResult, out->setDesc, values, nulls);
}

/* penny.quarantine_clear(id text): NULL for all of them */
Datum
penny_quarantine_forget(PG_FUNCTION_ARGS)
{
	uint64 key = 0;

	penny_require_preload();
	if (!PG_ARGISNULL(0))
	{
		char *id = text_to_cstring(PG_GETARG_TEXT_PP(0));

		if (strlen(id) != 16 || strspn(id, "0123456789abcdef") != 16 ||
			(key = strtou64(id, NULL, 16)) == 0)
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("\"%s\" is not the id of an entry of the quarantine", id),
							errhint("Take it from penny.quarantine().")));
	}
	PG_RETURN_INT32(penny_quarantine_clear(key));
}

/*-------------------------------------------------------------------------
 *
 * sql_cache.c
 *		penny.cached(), penny.invalidate(), penny.cache_tag(), and what shows
 *		and checks the cache.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/error.h"
#include "base/planemap.h"
#include "cache/cache.h"
#include "cache/check.h"
#include "cache/function.h"
#include "cache/invalidate.h"
#include "cache/stats.h"
#include "redis/redis.h"

#define ENTRY_COLUMNS 10

PG_FUNCTION_INFO_V1(penny_cached);
PG_FUNCTION_INFO_V1(penny_invalidate);
PG_FUNCTION_INFO_V1(penny_cache_tag);
PG_FUNCTION_INFO_V1(penny_cache_stats);
PG_FUNCTION_INFO_V1(penny_show_cache_entries);
PG_FUNCTION_INFO_V1(penny_clear_cache);
PG_FUNCTION_INFO_V1(penny_cache_check);
PG_FUNCTION_INFO_V1(penny_cache_past);
PG_FUNCTION_INFO_V1(penny_cache_verified);

static const char *const refusal_names[PENNY_CACHE_REFUSALS] = {
	[PENNY_CACHE_FINE] = NULL,
	[PENNY_CACHE_REFUSED_FENCE] = "fence",
	[PENNY_CACHE_REFUSED_MOVED] = "moved",
	[PENNY_CACHE_REFUSED_WRITER] = "writer",
	[PENNY_CACHE_REFUSED_SERIALIZABLE] = "serializable",
	[PENNY_CACHE_REFUSED_TAGS] = "tags",
	[PENNY_CACHE_REFUSED_SIZE] = "size",
	[PENNY_CACHE_REFUSED_POLICY] = "policy",
	[PENNY_CACHE_REFUSED_STARTUP] = "startup",
	[PENNY_CACHE_REFUSED_OTHER] = "other",
};

static const char *const result_names[] = {
	[PENNY_CACHE_HIT] = "found",       [PENNY_CACHE_MISS] = "missing",
	[PENNY_CACHE_STALE] = "stale",     [PENNY_CACHE_EXPIRED] = "expired",
	[PENNY_CACHE_NO_BODY] = "evicted",
};

static void append_kinds(StringInfo out, const PennyCacheTotals *totals, const PennyCacheUse *use);
static void append_reasons(StringInfo out, const PennyCacheTotals *totals);

/* penny.cached(fn regprocedure, args jsonb, ttl interval) */
Datum
penny_cached(PG_FUNCTION_ARGS)
{
	Interval *ttl;
	double ms;
	bool isnull;
	Datum value;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(2))
		ereport(ERROR, (errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
						errmsg("function and ttl must not be null")));
	ttl = PG_GETARG_INTERVAL_P(2);
	ms = penny_interval_us(ttl) / 1000.0;
	if (ms < 1 || ms > 366.0 * SECS_PER_DAY * 1000.0)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("ttl must be from 1 millisecond to 366 days")));
	value = penny_cached_call(PG_GETARG_OID(0), PG_ARGISNULL(1) ? NULL : PG_GETARG_JSONB_P(1),
							  (int64) ms, &isnull);
	if (isnull)
		PG_RETURN_NULL();
	PG_RETURN_DATUM(value);
}

/* trigger penny.invalidate(name, column, ..) */
Datum
penny_invalidate(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR, (errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
						errmsg("function \"penny.invalidate\" must be called as a trigger")));
	penny_invalidate_by_trigger((TriggerData *) fcinfo->context);
	PG_RETURN_POINTER(NULL);
}

/* penny.cache_tag(VARIADIC tags text[]) */
Datum
penny_cache_tag(PG_FUNCTION_ARGS)
{
	Datum *tag;
	bool *null;
	int n;

	deconstruct_array(PG_GETARG_ARRAYTYPE_P(0), TEXTOID, -1, false, TYPALIGN_INT, &tag, &null, &n);
	for (int i = 0; i < n; i++)
	{
		char *name = null[i] ? NULL : TextDatumGetCString(tag[i]);

		if (name == NULL || *name == '\0')
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("a tag must not be null or empty")));
		penny_cache_depend(name, NULL);
	}
	PG_RETURN_VOID();
}

/* penny.cache_stats() */
Datum
penny_cache_stats(PG_FUNCTION_ARGS)
{
	PennyCacheTotals totals;
	PennyCacheUse use = {0};
	StringInfoData out;

	(void) fcinfo;
	penny_require_preload();
	penny_cache_totals(&totals);
	if (penny_cache_is_on())
		penny_cache_use(penny_plane(), &use);
	initStringInfo(&out);
	appendStringInfo(&out,
					 "{\"on\":%s,\"size\":" UINT64_FORMAT ",\"bytes\":" UINT64_FORMAT
					 ",\"bodies\":" UINT64_FORMAT ",\"entries\":" UINT64_FORMAT
					 ",\"shared\":" UINT64_FORMAT ",\"evictions\":" UINT64_FORMAT
					 ",\"replaced\":" UINT64_FORMAT ",",
					 penny_cache_is_on() ? "true" : "false", use.arena, use.bytes, use.bodies,
					 use.entries, use.shared, use.evictions, use.replaced);
	append_kinds(&out, &totals, &use);
	append_reasons(&out, &totals);
	appendStringInfo(
		&out,
		"\"invalidations\":" UINT64_FORMAT ",\"invalidations_of_all\":" UINT64_FORMAT
		",\"waits\":" UINT64_FORMAT ",\"waits_won\":" UINT64_FORMAT ",\"checked\":" UINT64_FORMAT
		",\"violations\":" UINT64_FORMAT ",\"idle_tag_names\":%d,\"redis\":",
		totals.pushes, totals.pushes_all, totals.waits, totals.waits_won, totals.checked,
		totals.violations, penny_cache_is_on() ? penny_tag_idle_count() : 0);
	penny_redis_stats(&out);
	appendStringInfoChar(&out, '}');
	PG_RETURN_DATUM(DirectFunctionCall1(jsonb_in, CStringGetDatum(out.data)));
}

/* "hits": all, .., "kinds": {..} */
static void
append_kinds(StringInfo out, const PennyCacheTotals *totals, const PennyCacheUse *use)
{
	uint64 hits = 0;
	uint64 misses = 0;
	uint64 fills = 0;

	appendStringInfoString(out, "\"kinds\":{");
	for (int kind = 0; kind < PENNY_CACHE_KINDS; kind++)
	{
		hits += totals->hits[kind];
		misses += totals->misses[kind];
		fills += totals->fills[kind];
		appendStringInfo(out,
						 "%s\"%s\":{\"hits\":" UINT64_FORMAT ",\"misses\":" UINT64_FORMAT
						 ",\"fills\":" UINT64_FORMAT ",\"bytes\":" UINT64_FORMAT "}",
						 kind == 0 ? "" : ",", penny_cache_kind_name(kind), totals->hits[kind],
						 totals->misses[kind], totals->fills[kind], use->kind_bytes[kind]);
	}
	appendStringInfo(out,
					 "},\"hits\":" UINT64_FORMAT ",\"misses\":" UINT64_FORMAT
					 ",\"fills\":" UINT64_FORMAT ",",
					 hits, misses, fills);
}

static void
append_reasons(StringInfo out, const PennyCacheTotals *totals)
{
	appendStringInfoString(out, "\"refused\":{");
	for (int why = PENNY_CACHE_FINE + 1; why < PENNY_CACHE_REFUSALS; why++)
		appendStringInfo(out, "%s\"%s\":" UINT64_FORMAT, why == PENNY_CACHE_FINE + 1 ? "" : ",",
						 refusal_names[why], totals->refused[why]);
	appendStringInfoString(out, "},\"lookups\":{");
	for (int result = 0; result < lengthof(result_names); result++)
		appendStringInfo(out, "%s\"%s\":" UINT64_FORMAT, result == 0 ? "" : ",",
						 result_names[result], totals->result[result]);
	appendStringInfoString(out, "},");
}

static Datum
interval_of_ms(int64 ms)
{
	Interval *interval = palloc0(sizeof(Interval));

	interval->time = ms * 1000;
	return IntervalPGetDatum(interval);
}

/* penny.cache_entries() */
Datum
penny_show_cache_entries(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	PennyCacheHit *hit = palloc(sizeof(PennyCacheHit));
	int64 now = penny_clock_ms();

	penny_require_preload();
	InitMaterializedSRF(fcinfo, 0);
	for (uint32 i = 0; penny_cache_is_on() && i < penny_plane()->config.cache_entries; i++)
	{
		PennyCacheResult state = penny_cache_entry(penny_plane(), i, (uint64_t) now, hit);
		Datum value[ENTRY_COLUMNS];
		bool null[ENTRY_COLUMNS] = {false};

		CHECK_FOR_INTERRUPTS();
		if (state == PENNY_CACHE_MISS)
			continue;
		value[0] = CStringGetTextDatum(penny_cache_kind_name(hit->kind));
		value[1] = CStringGetTextDatum(pnstrdup(hit->label, sizeof(hit->label)));
		value[2] = CStringGetTextDatum(state == PENNY_CACHE_HIT ? "valid" : result_names[state]);
		value[3] = Int32GetDatum((int32) hit->status);
		value[4] = Int64GetDatum((int64) hit->head_len + hit->body_len);
		value[5] = Int32GetDatum(hit->tokens);
		value[6] = interval_of_ms(now - (int64) hit->created);
		value[7] = interval_of_ms((int64) hit->expires - now);
		null[8] = hit->etag[0] == '\0';
		value[8] = CStringGetTextDatum(pnstrdup(hit->etag, PENNY_CACHE_ETAG_LEN));
		value[9] = CStringGetTextDatum(psprintf("%016llx", (unsigned long long) hit->hash.word[0]));
		tuplestore_putvalues(result->setResult, result->setDesc, value, null);
	}
	return (Datum) 0;
}

/* penny.cache_clear() */
Datum
penny_clear_cache(PG_FUNCTION_ARGS)
{
	(void) fcinfo;
	penny_require_preload();
	PG_RETURN_INT64((int64) penny_cache_drop_all());
}

/* _penny.cache_past(past boolean) */
Datum
penny_cache_past(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(penny_cache_go_around(PG_GETARG_BOOL(0)));
}

/* _penny.cache_verified(hits bigint, violations bigint) */
Datum
penny_cache_verified(PG_FUNCTION_ARGS)
{
	penny_cache_checked((uint64) PG_GETARG_INT64(0), (uint64) PG_GETARG_INT64(1));
	PG_RETURN_VOID();
}

/* _penny.cache_check("table" regclass, times bigint, keys integer, pause_us integer) */
Datum
penny_cache_check(PG_FUNCTION_ARGS)
{
	PennyCacheCheck result;
	char *text;

	penny_require_preload();
	if (PG_GETARG_INT32(2) < 1)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("number of keys must be at least 1")));
	penny_cache_check_run(PG_GETARG_OID(0), PG_GETARG_INT64(1), PG_GETARG_INT32(2),
						  PG_GETARG_INT32(3), &result);
	text =
		psprintf("{\"checked\":" INT64_FORMAT ",\"hits\":" INT64_FORMAT ",\"looks\":" INT64_FORMAT
				 ",\"misses\":" INT64_FORMAT ",\"kept\":" INT64_FORMAT ",\"wrong\":" INT64_FORMAT
				 ",\"stale\":" INT64_FORMAT ",\"early\":" INT64_FORMAT "}",
				 result.hits + result.looks, result.hits, result.looks, result.misses, result.kept,
				 result.wrong, result.stale, result.early);
	PG_RETURN_DATUM(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
}

/*-------------------------------------------------------------------------
 *
 * sql_status.c
 *		penny.epoch(), penny.stats() and the version of the library.
 *
 * Counters of an edge come from memory that the edge writes: they are hints,
 * and are shown as they are.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"

#include "base/epoch.h"
#include "base/error.h"
#include "base/planemap.h"
#include "base/registry.h"
#include "base/staff.h"
#include "config/config.h"
#include "plane/call.h"
#include "queue/crew.h"
#include "queue/shared.h"
#include "redis/redis.h"

PG_FUNCTION_INFO_V1(penny_epoch);
PG_FUNCTION_INFO_V1(penny_stats);
PG_FUNCTION_INFO_V1(penny_loaded_version);

static const char *const counter_names[PENNY_COUNTERS] = {
	[PENNY_COUNT_ACCEPTED] = "accepted",
	[PENNY_COUNT_REFUSED] = "refused",
	[PENNY_COUNT_CONNECTIONS] = "connections",
	[PENNY_COUNT_WEBSOCKETS] = "websockets",
	[PENNY_COUNT_ROOMS] = "rooms",
	[PENNY_COUNT_MEMBERS] = "members",
	[PENNY_COUNT_REQUESTS] = "requests",
	[PENNY_COUNT_ERRORS] = "errors",
	[PENNY_COUNT_MALFORMED] = "malformed",
	[PENNY_COUNT_CALLS] = "calls",
	[PENNY_COUNT_WAITING] = "waiting",
	[PENNY_COUNT_TIMEOUTS] = "timeouts",
	[PENNY_COUNT_FRAMES_IN] = "frames_in",
	[PENNY_COUNT_FRAMES_OUT] = "frames_out",
	[PENNY_COUNT_EVENTS] = "events",
	[PENNY_COUNT_RESYNCS] = "resyncs",
	[PENNY_COUNT_CACHE_HITS] = "cache_hits",
	[PENNY_COUNT_CACHE_MISSES] = "cache_misses",
	[PENNY_COUNT_NOT_MODIFIED] = "not_modified",
	[PENNY_COUNT_GATHERED] = "gathered",
	[PENNY_COUNT_COMPRESSED] = "compressed_bytes",
	[PENNY_COUNT_VARIANT_BYTES] = "variant_bytes",
	[PENNY_COUNT_SLOW] = "slow_members",
	[PENNY_COUNT_EVENT_STREAMS] = "event_streams",
	[PENNY_COUNT_HELD] = "held",
};

static void append_executors(StringInfo out);
static void append_workers(StringInfo out);
static void append_jobs(StringInfo out);
static void append_gateway(StringInfo out, int number);
static void append_courier(StringInfo out);

/* penny.epoch() */
Datum
penny_epoch(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(penny_epoch_text()));
}

/* _penny.loaded_version() */
Datum
penny_loaded_version(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(PENNY_VERSION));
}

/* penny.stats() */
Datum
penny_stats(PG_FUNCTION_ARGS)
{
	StringInfoData out;
	const char *reason;

	penny_require_preload();
	reason = penny_readiness_reason(penny_readiness());
	initStringInfo(&out);
	appendStringInfo(&out, "{\"ready\":%s,\"waits_for\":", reason == NULL ? "true" : "false");
	if (reason == NULL)
		appendStringInfoString(&out, "null");
	else
		escape_json(&out, reason);
	appendStringInfo(&out,
					 ",\"epoch\":\"%s\",\"events_published\":" UINT64_FORMAT ",\"executors\":",
					 penny_epoch_text(), (uint64) atomic_load(&penny_plane()->p->ev_tail));
	append_executors(&out);
	appendStringInfoString(&out, ",\"workers\":");
	append_workers(&out);
	appendStringInfoString(&out, ",\"jobs\":");
	append_jobs(&out);
	appendStringInfoString(&out, ",\"gateways\":[");
	for (int i = 0; i < penny_gateways; i++)
	{
		if (i > 0)
			appendStringInfoChar(&out, ',');
		append_gateway(&out, i);
	}
	appendStringInfoString(&out, "],\"courier\":");
	append_courier(&out);
	appendStringInfoString(&out, ",\"redis\":");
	penny_redis_stats(&out);
	appendStringInfoChar(&out, '}');
	PG_RETURN_DATUM(DirectFunctionCall1(jsonb_in, CStringGetDatum(out.data)));
}

static void
append_executors(StringInfo out)
{
	PennyRegistry *registry = penny_registry();
	uint64 served = 0;
	int running;
	int busy;

	penny_executor_count(&running, &busy);
	for (int i = 0; i < PENNY_MAX_EXECUTORS; i++)
		served += pg_atomic_read_u64(&registry->executor[i].served);
	appendStringInfo(out,
					 "{\"minimum\":%d,\"maximum\":%d,\"running\":%d,\"busy\":%d,\"idle\":%d,"
					 "\"served\":" UINT64_FORMAT ",\"backlog\":%u}",
					 penny_executors_min, Max(penny_executors_min, penny_executors_max), running,
					 busy, running - busy, served, penny_call_backlog(penny_plane()));
}

/* Of jobs. */
static void
append_workers(StringInfo out)
{
	int running;
	int busy;

	penny_crew_count(&running, &busy);
	appendStringInfo(out, "{\"maximum\":%d,\"running\":%d,\"busy\":%d,\"idle\":%d}",
					 penny_job_workers, running, busy, running - busy);
}

/* Totals of all queues, of what is in memory; penny.queue_stats() has the rest. */
static void
append_jobs(StringInfo out)
{
	PennyQueueCounts *counts = palloc(sizeof(*counts) * PENNY_SCHED_QUEUES);
	PennyQueueCounts sum = {0};
	uint64 waiting = 0;

	(void) penny_queue_counts_all(counts);
	for (int q = 0; q < PENNY_SCHED_QUEUES; q++)
	{
		for (int runner = 0; runner < PENNY_RUNNERS; runner++)
			waiting += counts[q].ready[runner];
		sum.delayed += counts[q].delayed;
		sum.active += counts[q].active + counts[q].ending;
		sum.started += counts[q].started;
		sum.ended += counts[q].ended;
	}
	appendStringInfo(out,
					 "{\"waiting\":" UINT64_FORMAT ",\"delayed\":" UINT64_FORMAT
					 ",\"active\":" UINT64_FORMAT ",\"started\":" UINT64_FORMAT
					 ",\"ended\":" UINT64_FORMAT "}",
					 waiting, sum.delayed, sum.active, sum.started, sum.ended);
}

/* A gateway, the life of its edges, and what they counted. */
static void
append_gateway(StringInfo out, int number)
{
	PennyGatewayEntry *entry = &penny_registry()->gateway[number];

	appendStringInfo(out,
					 "{\"pid\":%u,\"edge_pid\":%u,\"listening\":%u,\"edge_starts\":" UINT64_FORMAT
					 ",\"edge_crashes\":" UINT64_FORMAT ",\"edge_failures_in_a_row\":%u,"
					 "\"edge\":{",
					 pg_atomic_read_u32(&entry->pid), pg_atomic_read_u32(&entry->edge_pid),
					 pg_atomic_read_u32(&entry->listening), pg_atomic_read_u64(&entry->starts),
					 pg_atomic_read_u64(&entry->crashes), pg_atomic_read_u32(&entry->failures));
	for (int i = 0; i < PENNY_COUNTERS; i++)
		appendStringInfo(out, "%s\"%s\":" UINT64_FORMAT, i == 0 ? "" : ",", counter_names[i],
						 penny_counter(penny_plane(), number, i));
	appendStringInfoString(out, "}}");
}

/* The worker of webhooks, and the life of its penny-courier. */
static void
append_courier(StringInfo out)
{
	PennyRegistry *registry = penny_registry();

	appendStringInfo(
		out, "{\"running\":%s,\"busy\":%s,\"courier_pid\":%u,\"courier_failures_in_a_row\":%u}",
		penny_staff_held(&registry->courier) ? "true" : "false",
		pg_atomic_read_u32(&registry->courier.busy) != 0 ? "true" : "false",
		pg_atomic_read_u32(&registry->courier_child),
		pg_atomic_read_u32(&registry->courier_failures));
}

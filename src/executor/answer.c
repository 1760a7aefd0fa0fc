/*-------------------------------------------------------------------------
 *
 * answer.c
 *		The answer to a call, and its way into the plane.
 *
 * An answer longer than a piece is handed over piece by piece.  While the
 * executor waits for the edge to take one, it sleeps like an idle executor,
 * so the edge may choose it for a new call that it cannot take.  It then
 * passes the wake on to one that is idle, or to the supervisor.  Who is idle
 * stands in `idle`, in PostgreSQL's shared memory.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "port/atomics.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "base/worker.h"
#include "config/config.h"
#include "executor/answer.h"
#include "executor/idle.h"

#define ETAG_SEED UINT64CONST(0x70656e6e79)
#define TAKE_TICK 1000 /* ms between looks at a client that may have gone */

static bool await_taken(PennyPlane *plane, const PennyCall *call, int executor, TimestampTz started,
						WaitEventSet *wait);

PG_FUNCTION_INFO_V1(penny_etag);

void
penny_answer_init(PennyAnswer *answer, MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);

	answer->context = context;
	initStringInfo(&answer->head);
	memset(&answer->extra, 0, sizeof(answer->extra));
	MemoryContextSwitchTo(old);
	penny_answer_reset(answer);
}

void
penny_answer_reset(PennyAnswer *answer)
{
	answer->status = 0;
	resetStringInfo(&answer->head);
	answer->body = "";
	answer->body_len = 0;
	answer->extra.mark = PENNY_MARK_NONE;
	answer->extra.age = 0;
}

void
penny_answer_header(PennyAnswer *answer, const char *name, const char *value)
{
	appendStringInfo(&answer->head, "%s: %s\n", name, value);
}

void
penny_answer_json(PennyAnswer *answer, char *json, Size len)
{
	char *utf8 = pg_server_to_any(json, len, PG_UTF8);

	answer->body = utf8;
	answer->body_len = utf8 == json ? len : strlen(utf8);
}

void
penny_etag_of(const char *text, Size len, char out[PENNY_ETAG_LEN + 1])
{
	uint64 hash = hash_bytes_extended((const unsigned char *) text, (int) len, ETAG_SEED);

	snprintf(out, PENNY_ETAG_LEN + 1, "\"%016" INT64_MODIFIER "x\"", hash);
}

/* _penny.etag(text): the entity tag of a body. */
Datum
penny_etag(PG_FUNCTION_ARGS)
{
	text *body = PG_GETARG_TEXT_PP(0);
	char tag[PENNY_ETAG_LEN + 1];

	penny_etag_of(VARDATA_ANY(body), VARSIZE_ANY_EXHDR(body), tag);
	PG_RETURN_TEXT_P(cstring_to_text(tag));
}

void
penny_answer_deliver(PennyPlane *plane, const PennyCall *call, int executor,
					 const PennyAnswer *answer, WaitEventSet *wait)
{
	PennySpan head = {answer->head.data, (size_t) answer->head.len};
	PennySpan body = {answer->body, answer->body_len};
	size_t total = head.len + body.len;
	size_t offset = 0;
	TimestampTz started = GetCurrentTimestamp();

	for (;;)
	{
		offset += penny_call_write(plane, call, answer->status, head, body, &answer->extra,
								   (uint32_t) offset, false);
		if (offset >= total)
			return;
		if (!await_taken(plane, call, executor, started, wait))
		{
			PennySpan nothing = {"", 0};

			penny_call_write(plane, call, 0, nothing, nothing, NULL, 0, true);
			return;
		}
	}
}

/*
 * Wait until the edge took the piece; false when nobody will.  The limit is for
 * the whole answer: a client that takes a little now and then must not hold an
 * executor, and there are few of them.
 */
static bool
await_taken(PennyPlane *plane, const PennyCall *call, int executor, TimestampTz started,
			WaitEventSet *wait)
{
	for (;;)
	{
		bool taken;
		WaitEvent event;

		/* An edge takes the pieces of an answer that nobody waits for, too. */
		if (penny_call_cancelled(plane, call))
			return false;
		if (penny_call_part_taken(plane, call))
			return true;
		if (TimestampDifferenceExceeds(started, GetCurrentTimestamp(), penny_write_timeout))
			return false;

		penny_sleeper_prepare(plane, executor);
		taken = penny_call_part_taken(plane, call);
		if (!taken)
			(void) WaitEventSetWait(wait, TAKE_TICK, &event, 1, penny_worker_wait_event());
		penny_sleeper_awake(plane, executor);
		if (!taken)
		{
			ResetLatch(MyLatch);
			CHECK_FOR_INTERRUPTS();
			if (penny_call_backlog(plane) > 0)
				penny_idle_pass_wake(plane);
		}
	}
}

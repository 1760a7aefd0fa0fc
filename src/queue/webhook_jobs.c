/*-------------------------------------------------------------------------
 *
 * webhook_jobs.c
 *		Jobs of webhooks: taken, read, sent, recorded.
 *
 *	TAKEN	from the scheduler, ACTIVE, held by this process
 *	SENT	to penny-courier; no transaction is open
 *	DONE	what it means is known (webhook_judge.c); to be written down
 *
 * Rows are read and requests made in one short transaction for all that were
 * taken, and ends are written down likewise, each alone when one of them fails.
 * What cannot be written down is kept and tried again: a webhook that was called
 * is not called again because a disk was full.  Each call has a memory context.
 *
 * A job that somebody ended meanwhile (cancelled it, dropped its queue) is
 * forgotten, whatever its webhook said.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "utils/backend_status.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "base/worker.h"
#include "config/config.h"
#include "queue/courier_link.h"
#include "queue/queue.h"
#include "queue/webhook.h"
#include "queue/webhook_jobs.h"
#include "queue/webhook_sign.h"

#define CALLS PENNY_COURIER_REQUESTS_MAX
#define AT_ONCE 64       /* in one transaction */
#define HOLDER 64        /* no worker has this number */
#define AGAIN_AFTER 5000 /* ms */
#define BUSY_PAUSE 1000  /* ms, after a courier had no room */

typedef enum CallState
{
	CALL_FREE,
	CALL_TAKEN,
	CALL_SENT,
	CALL_DONE
} CallState;

typedef enum CallFate /* of one that was taken, after its row was read */
{
	FATE_SEND,
	FATE_DONE,
	FATE_GONE, /* it has no row any more */
	FATE_POSTPONE
} CallFate;

typedef struct Call
{
	CallState state;
	CallFate fate;
	PennyJobRef ref;
	PennyJob job; /* as taken */
	TimestampTz started;
	MemoryContext context; /* of the following */
	PennyCourierRequest request;
	PennyWebhookEnd end;
	char *result;    /* text that may be JSON, or NULL */
	int64 record_at; /* DONE: not before, ms */
	bool told;       /* the courier was told to cancel it */
	bool recorded;
} Call;

static Call calls[CALLS];
static int open_calls = 0;
static Call *batch[AT_ONCE]; /* of the present transaction */
static int batch_n;
static int at_once = AT_ONCE; /* fewer while a courier has no room for so many */
static int64 pause_until = 0; /* ms: nothing is taken before */

static void prepare(void *arg);
static void prepare_one(Call *call);
static bool settle(void);
static bool cancelled(const Call *call);
static void record(void *arg);
static void record_one(Call *call);
static void release(Call *call);

void
penny_webhook_jobs_init(void)
{
	for (int i = 0; i < CALLS; i++)
		calls[i].context =
			AllocSetContextCreate(TopMemoryContext, "penny webhook", ALLOCSET_SMALL_SIZES);
}

int
penny_webhook_jobs_open(void)
{
	return open_calls;
}

static void
release(Call *call)
{
	MemoryContext context = call->context;

	MemoryContextReset(context);
	memset(call, 0, sizeof(*call));
	call->context = context;
	open_calls--;
}

/* ---- taking ------------------------------------------------------------------- */

/* Up to so many jobs into free calls, which are the batch. */
static void
take(int max)
{
	PennySched *sched = penny_queue_sched();
	PennyTake how = {.runner = PENNY_RUNNER_WEBHOOK,
					 .queue = PENNY_SCHED_ANY,
					 .holder = HOLDER,
					 .until = PENNY_SCHED_NEVER,
					 .max = (uint32) max};
	PennyJobRef refs[AT_ONCE];
	int n;

	batch_n = 0;
	penny_queue_lock();
	n = (int) penny_sched_take(sched, &how, penny_queue_now(), refs);
	for (int i = 0, next = 0; i < n; i++)
	{
		while (calls[next].state != CALL_FREE)
			next++;
		calls[next].state = CALL_TAKEN;
		calls[next].fate = FATE_POSTPONE; /* should its transaction come to nothing */
		calls[next].ref = refs[i];
		calls[next].job = *penny_sched_job(sched, refs[i]);
		batch[batch_n++] = &calls[next];
	}
	penny_queue_unlock();
	open_calls += batch_n;
}

int
penny_webhook_jobs_room(void)
{
	int room = Min(penny_courier_link_room(), CALLS - open_calls);

	/* what is done and cannot be written down counts */
	room = Min(room, penny_webhook_concurrency - open_calls);
	return penny_clock_ms() < pause_until ? 0 : Max(room, 0);
}

bool
penny_webhook_jobs_begin(void)
{
	int max = Min(penny_webhook_jobs_room(), at_once);

	if (max == 0)
		return false;
	take(max);
	if (batch_n == 0)
		return false;
	pgstat_report_activity(STATE_RUNNING, "reading jobs");
	(void) penny_worker_guard(prepare, NULL);
	pgstat_report_activity(STATE_IDLE, NULL);
	return settle();
}

static void
prepare(void *arg)
{
	(void) arg;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	for (int i = 0; i < batch_n; i++)
		prepare_one(batch[i]);
	CommitTransactionCommand();
}

static void
prepare_one(Call *call)
{
	MemoryContext old = MemoryContextSwitchTo(call->context);
	const PennyHandler *handler;
	const char *wrong;
	PennyJobRow row;

	call->started = GetCurrentTimestamp();
	if (!penny_job_read(&call->job, &row))
		call->fate = FATE_GONE;
	else if ((handler = penny_handler_find(row.kind)) == NULL ||
			 handler->runner != PENNY_RUNNER_WEBHOOK)
		call->fate = FATE_POSTPONE; /* until the scheduler knows */
	else
	{
		wrong = penny_webhook_url_wrong(handler->url);
		if (wrong == NULL &&
			(handler->secret == NULL || penny_webhook_secret_wrong(handler->secret) != NULL))
			wrong = "The handler has no secret to sign with.";
		call->fate = wrong == NULL ? FATE_SEND : FATE_DONE;
		if (wrong == NULL)
			penny_webhook_request(&row, handler, call->job.attempt + 1, &call->request);
		else
		{
			call->end.verdict = PENNY_WEBHOOK_PERMANENT;
			call->end.retry_in = -1;
			strlcpy(call->end.error, wrong, sizeof(call->end.error));
		}
	}
	MemoryContextSwitchTo(old);
}

/* After the transaction: send, or give back.  Was anything sent? */
static bool
settle(void)
{
	PennySched *sched = penny_queue_sched();
	int sent = 0;
	bool all = true;

	for (int i = 0; i < batch_n; i++)
	{
		Call *call = batch[i];

		/* an end that was asked for before it was taken, or meanwhile */
		if (call->fate == FATE_SEND && cancelled(call))
		{
			call->fate = FATE_DONE;
			call->end.verdict = PENNY_WEBHOOK_FAILED;
			call->end.retry_in = -1;
			strlcpy(call->end.error, "the job was cancelled", sizeof(call->end.error));
		}
		if (call->fate == FATE_DONE)
			call->state = CALL_DONE;
		else if (call->fate == FATE_SEND &&
				 penny_courier_link_send((uint64) (call - calls), &call->request))
		{
			call->state = CALL_SENT;
			MemoryContextReset(call->context); /* the courier has it now */
		}
		sent += call->state == CALL_SENT;
		all &= call->state != CALL_TAKEN || call->fate != FATE_SEND;
	}
	/* large ones: what is read for nothing is read again */
	at_once = all ? Min(at_once * 2, AT_ONCE) : Max(sent, 1);
	penny_queue_lock();
	for (int i = 0; i < batch_n; i++)
	{
		Call *call = batch[i];
		int64 now = penny_queue_now();

		if (call->state != CALL_TAKEN)
			continue;
		if (call->fate == FATE_GONE)
			penny_sched_finish(sched, call->ref, PENNY_VERB_ENDED, now);
		else if (call->fate == FATE_SEND)
			penny_sched_put_back(sched, call->ref, now);
		else
		{
			penny_sched_job(sched, call->ref)->due = now + AGAIN_AFTER * INT64CONST(1000);
			penny_sched_finish(sched, call->ref, PENNY_VERB_RETRY, now);
		}
	}
	penny_queue_unlock();
	for (int i = 0; i < batch_n; i++)
	{
		if (batch[i]->state == CALL_TAKEN)
			release(batch[i]);
	}
	return sent > 0;
}

/* ---- ends ------------------------------------------------------------------------ */

/* It is as if it had never been taken. */
static void
put_back(Call *call)
{
	PennySched *sched = penny_queue_sched();
	PennyJob *job = penny_sched_job(sched, call->ref);

	penny_queue_lock();
	penny_sched_drain(sched, penny_queue_now());
	if (job->state == PENNY_JOB_ACTIVE && job->id == call->job.id && job->token == call->job.token)
		penny_sched_put_back(sched, call->ref, penny_queue_now());
	penny_queue_unlock();
}

void
penny_webhook_jobs_answer(uint64 cookie, const PennyCourierAnswer *answer, bool stopping)
{
	Call *call = &calls[cookie % CALLS];

	if (call->state != CALL_SENT)
		return;
	penny_webhook_judge(answer, &call->end);
	if (call->end.verdict == PENNY_WEBHOOK_UNTRIED ||
		(stopping && answer->outcome == PENNY_COURIER_LOST))
	{
		put_back(call);
		release(call);
		if (answer->outcome == PENNY_COURIER_BUSY)
			pause_until = penny_clock_ms() + BUSY_PAUSE;
		return;
	}
	MemoryContextReset(call->context);
	if (call->end.result && memchr(answer->body.bytes, '\0', answer->body.len) == NULL &&
		pg_verify_mbstr(PG_UTF8, answer->body.bytes, (int) answer->body.len, true))
	{
		call->result = MemoryContextAlloc(call->context, answer->body.len + 1);
		memcpy(call->result, answer->body.bytes, answer->body.len);
		call->result[answer->body.len] = '\0';
	}
	call->state = CALL_DONE;
	call->record_at = 0;
}

/* Write down the batch, in the present turn's memory. */
static void
record(void *arg)
{
	(void) arg;
	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	for (int i = 0; i < batch_n; i++)
		record_one(batch[i]);
	CommitTransactionCommand();
	for (int i = 0; i < batch_n; i++)
		batch[i]->recorded = true;
}

static void
record_one(Call *call)
{
	PennyEnding ending = {.retry_in = call->end.retry_in,
						  .started = call->started,
						  .worker = MyBgworkerEntry->bgw_name};
	PennyJobRow row;
	PennyJob job;

	if (!penny_job_read(&call->job, &row))
		return; /* the entry is finished in penny_webhook_jobs_record() */
	if (call->result != NULL)
		ending.result = penny_webhook_parse(call->result);
	if (penny_ending_own_claims(&call->job.id, &call->job.token, 1, &ending.ref, &job) == 0)
		return; /* somebody else has ended it */
	ending.row = &row;
	if (call->end.verdict == PENNY_WEBHOOK_COMPLETED)
		ending.outcome = PENNY_OUTCOME_COMPLETED;
	else if ((job.flags & PENNY_JOB_CANCEL) != 0)
		ending.outcome = PENNY_OUTCOME_CANCELLED;
	else
	{
		ending.outcome = PENNY_OUTCOME_FAILED;
		ending.error = call->end.error;
		ending.permanent = call->end.verdict == PENNY_WEBHOOK_PERMANENT;
		ending.reason = ending.permanent ? "permanent" : NULL;
	}
	penny_ending_record(&ending);
}

/* Of those that are written down, an entry that is still ACTIVE has lost its row. */
static void
forget_recorded(void)
{
	PennySched *sched = penny_queue_sched();

	penny_queue_lock();
	penny_sched_drain(sched, penny_queue_now());
	for (int i = 0; i < batch_n; i++)
	{
		PennyJob *job = penny_sched_job(sched, batch[i]->ref);

		if (batch[i]->recorded && job->state == PENNY_JOB_ACTIVE && job->id == batch[i]->job.id &&
			job->token == batch[i]->job.token)
			penny_sched_finish(sched, batch[i]->ref, PENNY_VERB_ENDED, penny_queue_now());
	}
	penny_queue_unlock();
	for (int i = 0; i < batch_n; i++)
	{
		if (batch[i]->recorded)
			release(batch[i]);
		else
			batch[i]->record_at = penny_clock_ms() + AGAIN_AFTER;
	}
}

/* Does its entry say that it is to end, or is it somebody else's? */
static bool
cancelled(const Call *call)
{
	const PennyJob *job = penny_sched_job(penny_queue_sched(), call->ref);

	return job->token != call->job.token || (job->flags & PENNY_JOB_CANCEL) != 0;
}

void
penny_webhook_jobs_cancel(void)
{
	for (int i = 0; i < CALLS && open_calls > 0; i++)
	{
		if (calls[i].state != CALL_SENT || calls[i].told || !cancelled(&calls[i]))
			continue;
		calls[i].told = true;
		penny_courier_link_cancel((uint64) i);
	}
}

void
penny_webhook_jobs_record(void)
{
	int64 now = penny_clock_ms();
	Call *all[AT_ONCE];
	int n = 0;

	for (int i = 0; i < CALLS && n < AT_ONCE && open_calls > 0; i++)
	{
		if (calls[i].state == CALL_DONE && now >= calls[i].record_at)
			all[n++] = &calls[i];
	}
	if (n == 0)
		return;
	pgstat_report_activity(STATE_RUNNING, "recording jobs");
	memcpy(batch, all, sizeof(batch[0]) * (size_t) n);
	batch_n = n;
	if (penny_worker_guard(record, NULL))
		forget_recorded();
	/* one of them may be why: each alone */
	for (int i = 0; i < n; i++)
	{
		if (all[i]->state != CALL_DONE || all[i]->recorded || all[i]->record_at > now)
			continue;
		batch[0] = all[i];
		batch_n = 1;
		(void) penny_worker_guard(record, NULL);
		forget_recorded();
	}
	pgstat_report_activity(STATE_IDLE, NULL);
}

int64
penny_webhook_jobs_due(void)
{
	int64 due = penny_clock_ms() < pause_until ? pause_until : PENNY_NEVER;

	for (int i = 0; i < CALLS && open_calls > 0; i++)
	{
		if (calls[i].state == CALL_DONE)
			due = Min(due, calls[i].record_at);
	}
	return due;
}

void
penny_webhook_jobs_exit(void)
{
	for (int i = 0; i < CALLS; i++)
	{
		if (calls[i].state != CALL_FREE)
			put_back(&calls[i]);
	}
}

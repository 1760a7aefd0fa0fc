/*-------------------------------------------------------------------------
 *
 * keys.c
 *		Enqueueing with a key; what keys mean is in keys.h.
 *
 * The row of the key decides, by INSERT … ON CONFLICT: it waits for whoever is
 * just taking or giving back the key, so of many who come at once one enqueues
 * and the others see its job.  A holder that is to be replaced is looked at with
 * the row locked.  It is made one's own in memory if it has not started
 * (penny_ending_own_waiting()), or, when it waits for others and is in no entry,
 * its row is locked.  The key's row gets its new holder before the old one's end
 * is recorded, which therefore leaves the row alone.
 *
 * What runs is left.  The new job then lies with the deferred ones, pending, and
 * the end of the running one lets it go (ending_keys.c).
 *
 * Order of locks: row of the key, then rows of jobs.  Who ends a job has made it
 * his own in memory, which never waits, before he comes for the key.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/uuid.h"

#include "base/error.h"
#include "queue/enqueue.h"
#include "queue/flow.h"
#include "queue/keys.h"
#include "queue/statements.h"
#include "queue/waiting.h"

static PennyQueueStatement take_key = {
	"INSERT INTO _penny.job_keys (queue, key, job_id) VALUES ($1, $2, $3) "
	"ON CONFLICT (queue, key) DO NOTHING",
	3,
	{INT2OID, TEXTOID, INT8OID},
	NULL};
static PennyQueueStatement find_key = {
	"SELECT k.job_id FROM _penny.job_keys k WHERE k.queue" PENNY_SQL_EQ "$1 AND k.key" PENNY_SQL_EQ
	"$2",
	2,
	{INT2OID, TEXTOID},
	NULL};
static PennyQueueStatement lock_key = {
	"SELECT k.job_id, k.after FROM _penny.job_keys k WHERE k.queue" PENNY_SQL_EQ
	"$1 AND k.key" PENNY_SQL_EQ "$2 FOR UPDATE",
	2,
	{INT2OID, TEXTOID},
	NULL};
static PennyQueueStatement pass_key = {
	"UPDATE _penny.job_keys SET job_id = $3, after = $4 WHERE queue" PENNY_SQL_EQ
	"$1 AND key" PENNY_SQL_EQ "$2",
	4,
	{INT2OID, TEXTOID, INT8OID, INT8OID},
	NULL};

typedef struct KeyRow
{
	int64 job;
	int64 after; /* 0: none */
} KeyRow;

static void check_holder(const PennyJobRow *row, int64 holder);
static void replace_holder(PennyJobRow *row, const KeyRow *held);

PennyKeyMode
penny_key_mode(const char *name)
{
	if (strcmp(name, "keep") == 0)
		return PENNY_KEY_KEEP;
	if (strcmp(name, "replace") == 0)
		return PENNY_KEY_REPLACE;
	if (strcmp(name, "debounce") == 0)
		return PENNY_KEY_DEBOUNCE;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("there is no key_mode \"%s\"", name),
			 errhint("It is keep, replace or debounce.")));
}

static void
read_key_row(const Datum *values, const bool *nulls, void *arg)
{
	KeyRow *row = arg;

	row->job = DatumGetInt64(values[0]);
	row->after = nulls[1] ? 0 : DatumGetInt64(values[1]);
}

int64
penny_key_holder(uint16 queue, const char *key)
{
	Datum values[2] = {Int16GetDatum((int16) queue), CStringGetTextDatum(key)};
	int64 holder;

	return penny_queue_run_int64(&find_key, values, NULL, false, &holder) ? holder : 0;
}

/* The key's row was read by this transaction, so the job's row is to be seen, if any. */
static void
check_holder(const PennyJobRow *row, int64 holder)
{
	PennyJobRow held;

	if (penny_enqueue_has_role('a'))
		return;
	if (penny_job_read_id(holder, &held) && penny_enqueue_may(held.kind) &&
		(row->user_id == NULL
			 ? held.user_id == NULL
			 : held.user_id != NULL && memcmp(row->user_id, held.user_id, sizeof(pg_uuid_t)) == 0))
		return;
	ereport(ERROR, (errcode(ERRCODE_PENNY_CONFLICT),
					errmsg("key \"%s\" is held by a job of somebody else", row->key),
					errhint("Let the keys of a user's jobs begin with what is the user's alone.")));
}

int64
penny_job_insert_keyed(PennyJobRow *row, PennyKeyMode mode, bool caller)
{
	Datum values[3];

	if (strlen(row->key) == 0 || strlen(row->key) > PENNY_JOB_KEY_MAX)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("the key of a job has 1 to %d bytes", PENNY_JOB_KEY_MAX)));
	if (mode == PENNY_KEY_DEBOUNCE && row->due <= row->enqueued_at)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("key_mode debounce needs a delay"),
						errhint("The job runs when no other has come for that long.")));
	row->flags |= PENNY_JOB_KEYED;
	if (row->id == 0)
		row->id = penny_job_next_id();
	values[0] = Int16GetDatum((int16) row->queue);
	values[1] = CStringGetTextDatum(row->key);
	values[2] = Int64GetDatum(row->id);
	for (;;)
	{
		KeyRow held = {0, 0};

		CHECK_FOR_INTERRUPTS();
		if (penny_queue_run(&take_key, values, NULL, false, NULL, NULL) > 0)
			return penny_job_insert(row);
		if (mode == PENNY_KEY_KEEP)
		{
			if (penny_queue_run_int64(&find_key, values, NULL, false, &held.job))
			{
				if (caller)
					check_holder(row, held.job);
				return held.job;
			}
		}
		else if (penny_queue_run(&lock_key, values, NULL, false, read_key_row, &held) > 0)
		{
			if (caller)
				check_holder(row, held.job);
			replace_holder(row, &held);
			return row->id;
		}
		/* given back meanwhile */
	}
}

/* The key's row is locked: the new job takes the holder's place, or comes after it. */
static void
replace_holder(PennyJobRow *row, const KeyRow *held)
{
	Datum values[4];
	char nulls[5] = "    ";
	int64 after = held->after;
	PennyWaitingJob waiting;
	PennyOwned is = penny_waiting_take(held->job, &waiting);

	if (is == PENNY_OWNED_RUNS)
		after = held->job;
	values[0] = Int16GetDatum((int16) row->queue);
	values[1] = CStringGetTextDatum(row->key);
	values[2] = Int64GetDatum(row->id);
	values[3] = Int64GetDatum(after);
	if (after == 0)
		nulls[3] = 'n';
	(void) penny_queue_run(&pass_key, values, nulls, false, NULL, NULL);
	if (is == PENNY_OWNED)
		penny_waiting_cancel(&waiting);
	if (after != 0)
		row->pending++;
	(void) penny_job_insert(row);
}

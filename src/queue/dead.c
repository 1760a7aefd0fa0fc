/*-------------------------------------------------------------------------
 *
 * dead.c
 *		Dead letters: enqueueing them again.
 *
 * A dead letter that is redriven is a new job with a new id, all its attempts before
 * it, and the old row is gone in the same transaction.  What it was is kept in
 * _penny.job_lineage until it has ended: from which ids it came, and all errors; if it
 * dies again they go with it (ending_lineage.c).
 *
 * In flows.  A child takes its place again under its new id; a parent that waits for
 * it (mode wait) goes on waiting.  A parent is redriven together with those of its
 * children that are dead letters, and waits for them; what a child that is gone gave
 * stays as it was.
 *
 * A key is taken again as by key_mode keep; while another job holds it, PY409.  Who
 * redrives a queue leaves those that have to wait for their key.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/uuid.h"

#include "base/error.h"
#include "queue/dead.h"
#include "queue/keys.h"
#include "queue/statements.h"

static PennyQueueStatement take_dead = {
	"DELETE FROM _penny.jobs_dead WHERE id" PENNY_SQL_EQ
	"$1 RETURNING queue, priority, attempts, timeout_ms, backoff_ms, kind, payload, user_id, "
	"parent, key, group_key, room, errors, redriven_from OPERATOR(pg_catalog.||) id",
	1,
	{INT8OID},
	NULL};
static PennyQueueStatement keep_lineage = {
	"INSERT INTO _penny.job_lineage (id, redriven_from, errors) VALUES ($1, $2, $3)",
	3,
	{INT8OID, INT8ARRAYOID, JSONBOID},
	NULL};
static PennyQueueStatement move_as_child = {
	"UPDATE _penny.job_edges e SET child = $2, ended = false, outcome = NULL, error = NULL "
	"WHERE e.child" PENNY_SQL_EQ "$1 AND (NOT e.ended OR NOT EXISTS (SELECT FROM "
	"_penny.jobs_deferred d WHERE d.id" PENNY_SQL_EQ "e.parent))",
	2,
	{INT8OID, INT8OID},
	NULL};
static PennyQueueStatement move_as_parent = {
	"UPDATE _penny.job_edges SET parent = $2 WHERE parent" PENNY_SQL_EQ "$1 RETURNING child",
	2,
	{INT8OID, INT8OID},
	NULL};
static PennyQueueStatement count_children = {
	"SELECT pg_catalog.count(*) FILTER (WHERE NOT e.ended), pg_catalog.min(e.on_failure) "
	"FROM _penny.job_edges e WHERE e.parent" PENNY_SQL_EQ "$1",
	1,
	{INT8OID},
	NULL};
/* Of those that want one key the eldest, if nobody has it. */
static PennyQueueStatement dead_of_queue = {
	"SELECT d.id FROM (SELECT f.id, f.key, f.died_at, pg_catalog.row_number() OVER (PARTITION BY "
	"f.key ORDER BY f.died_at, f.id) AS nth FROM _penny.jobs_dead f WHERE f.queue" PENNY_SQL_EQ
	"$1) d WHERE d.key IS NULL OR (d.nth" PENNY_SQL_EQ
	"1 AND NOT EXISTS (SELECT FROM _penny.job_keys k WHERE k.queue" PENNY_SQL_EQ
	"$1 AND k.key" PENNY_SQL_EQ "d.key)) ORDER BY d.died_at, d.id LIMIT $2",
	2,
	{INT2OID, INT8OID},
	NULL};

/* A dead letter as it was read. */
typedef struct Letter
{
	PennyJobRow row;
	ArrayType *lineage;
	Jsonb *errors;
} Letter;

typedef struct Ids
{
	int n;
	int space;
	int64 *id;
} Ids;

static int64 redrive(int64 id, int64 parent, TimestampTz due);

/* ---- rows ----------------------------------------------------------------------- */

static const char *
text_or_null(Datum value, bool isnull)
{
	return isnull ? NULL : TextDatumGetCString(value);
}

static void
read_letter(const Datum *values, const bool *nulls, void *arg)
{
	Letter *letter = arg;
	PennyJobRow *row = &letter->row;

	row->queue = (uint16) DatumGetInt16(values[0]);
	row->priority = DatumGetInt32(values[1]);
	row->attempts = DatumGetInt16(values[2]);
	row->timeout_ms = DatumGetInt32(values[3]);
	row->backoff_ms = DatumGetInt32(values[4]);
	row->kind = TextDatumGetCString(values[5]);
	row->payload = DatumGetJsonbPCopy(values[6]);
	if (!nulls[7])
	{
		pg_uuid_t *user = palloc(sizeof(*user));

		*user = *DatumGetUUIDP(values[7]);
		row->user_id = user;
	}
	row->parent = nulls[8] ? 0 : DatumGetInt64(values[8]);
	row->key = text_or_null(values[9], nulls[9]);
	row->group_key = text_or_null(values[10], nulls[10]);
	row->room = text_or_null(values[11], nulls[11]);
	letter->errors = DatumGetJsonbPCopy(values[12]);
	letter->lineage = DatumGetArrayTypePCopy(values[13]);
}

static void
read_id(const Datum *values, const bool *nulls, void *arg)
{
	Ids *ids = arg;

	(void) nulls;
	if (ids->n == ids->space)
	{
		ids->space = Max(ids->space * 2, 64);
		ids->id = ids->id == NULL ? palloc(sizeof(int64) * (Size) ids->space)
								  : repalloc(ids->id, sizeof(int64) * (Size) ids->space);
	}
	ids->id[ids->n++] = DatumGetInt64(values[0]);
}

static void
read_count(const Datum *values, const bool *nulls, void *arg)
{
	PennyJobRow *row = arg;

	row->pending = (int) DatumGetInt64(values[0]);
	row->on_child_failure = nulls[1] ? '\0' : *TextDatumGetCString(values[1]);
}

/* ---- redriving ------------------------------------------------------------------ */

/* The children are those of the new job; dead ones are redriven, and it waits for them. */
static void
take_children(int64 old, PennyJobRow *row)
{
	Datum values[2] = {Int64GetDatum(old), Int64GetDatum(row->id)};
	Ids children = {0};

	if (penny_queue_run(&move_as_parent, values, NULL, false, read_id, &children) == 0)
		return;
	for (int i = 0; i < children.n; i++)
		(void) redrive(children.id[i], row->id, row->due);
	values[0] = Int64GetDatum(row->id);
	(void) penny_queue_run(&count_children, values, NULL, false, read_count, row);
}

static int64
insert(PennyJobRow *row)
{
	int64 id;

	if (row->key == NULL)
		return penny_job_insert(row);
	id = penny_job_insert_keyed(row, PENNY_KEY_KEEP, true);
	if (id != row->id)
		ereport(ERROR, (errcode(ERRCODE_PENNY_CONFLICT),
						errmsg("key \"%s\" is held by job " INT64_FORMAT, row->key, id),
						errdetail("A dead letter is redriven when nobody else has its key.")));
	return id;
}

static void
check_queue(const PennyJobRow *row, int64 id)
{
	PennyQueueConfig config;

	if (!penny_queue_by_id(row->queue, &config))
		ereport(ERROR, (errcode(ERRCODE_UNDEFINED_OBJECT),
						errmsg("the queue of job " INT64_FORMAT " does not exist any more", id),
						errhint("Enqueue what it was to do in another queue.")));
}

/* The new id; 0: there is none.  `parent` is the new id of its parent, if not 0. */
static int64
redrive(int64 id, int64 parent, TimestampTz due)
{
	Datum values[3] = {Int64GetDatum(id)};
	Letter letter;
	PennyJobRow *row = &letter.row;

	CHECK_FOR_INTERRUPTS();
	memset(&letter, 0, sizeof(letter));
	if (penny_queue_run(&take_dead, values, NULL, false, read_letter, &letter) == 0)
		return 0;
	check_queue(row, id);
	row->id = penny_job_next_id();
	row->flags = PENNY_JOB_REDRIVEN;
	row->due = due;
	row->enqueued_at = GetCurrentTimestamp();
	if (parent != 0)
		row->parent = parent;
	values[1] = Int64GetDatum(row->id);
	(void) penny_queue_run(&move_as_child, values, NULL, false, NULL, NULL);
	take_children(id, row);
	values[0] = Int64GetDatum(row->id);
	values[1] = PointerGetDatum(letter.lineage);
	values[2] = JsonbPGetDatum(letter.errors);
	(void) penny_queue_run(&keep_lineage, values, NULL, false, NULL, NULL);
	return insert(row);
}

int64
penny_dead_redrive(int64 id, TimestampTz due)
{
	return redrive(id, 0, due);
}

int64
penny_dead_redrive_queue(uint16 queue, int n, int rate)
{
	TimestampTz now = GetCurrentTimestamp();
	Datum values[2] = {Int16GetDatum((int16) queue), Int64GetDatum(n)};
	MemoryContext context =
		AllocSetContextCreate(CurrentMemoryContext, "penny redrive", ALLOCSET_DEFAULT_SIZES);
	Ids dead = {0};
	int64 redriven = 0;

	(void) penny_queue_run(&dead_of_queue, values, n < 0 ? " n" : NULL, false, read_id, &dead);
	for (int i = 0; i < dead.n; i++)
	{
		int64 after = rate > 0 ? redriven * USECS_PER_SEC / rate : 0;
		MemoryContext old = MemoryContextSwitchTo(context);

		/* a child that went with its parent is there no more */
		if (redrive(dead.id[i], 0, now + after) != 0)
			redriven++;
		MemoryContextSwitchTo(old);
		MemoryContextReset(context);
	}
	MemoryContextDelete(context);
	return redriven;
}

/*-------------------------------------------------------------------------
 *
 * config_read.c
 *		The rows of _penny.queues and _penny.handlers as C has them.
 *
 * Read past privileges, by sequential scans: both tables are small, and read
 * only after one of them changed.  A session whose database has no extension
 * finds neither and has no queues.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "catalog/namespace.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#include "base/clock.h"
#include "queue/config.h"

/* A table that is read, by the names of its columns. */
typedef struct Reader
{
	Relation rel;
	Snapshot snapshot;
	TableScanDesc scan;
	HeapTuple tuple;
} Reader;

static bool open_table(Reader *reader, const char *name);
static bool next_row(Reader *reader);
static void close_table(Reader *reader);
static Datum column(const Reader *reader, const char *name, bool *isnull);
static int32 int_column(const Reader *reader, const char *name, int32 missing);
static char *text_column(const Reader *reader, const char *name);
static int64 interval_column(const Reader *reader, const char *name, int64 missing);
static void read_queue(const Reader *reader, PennyQueueConfig *queue);
static void read_handler(const Reader *reader, PennyHandler *handler);

static bool
open_table(Reader *reader, const char *name)
{
	Oid schema = get_namespace_oid("_penny", true);
	Oid table = OidIsValid(schema) ? get_relname_relid(name, schema) : InvalidOid;

	if (!OidIsValid(table))
		return false;
	reader->rel = table_open(table, AccessShareLock);
	reader->snapshot = RegisterSnapshot(GetLatestSnapshot());
	reader->scan = table_beginscan(reader->rel, reader->snapshot, 0, NULL);
	return true;
}

static bool
next_row(Reader *reader)
{
	reader->tuple = heap_getnext(reader->scan, ForwardScanDirection);
	return HeapTupleIsValid(reader->tuple);
}

static void
close_table(Reader *reader)
{
	table_endscan(reader->scan);
	UnregisterSnapshot(reader->snapshot);
	table_close(reader->rel, AccessShareLock);
}

static Datum
column(const Reader *reader, const char *name, bool *isnull)
{
	TupleDesc desc = RelationGetDescr(reader->rel);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute attribute = TupleDescAttr(desc, i);

		if (!attribute->attisdropped && strcmp(NameStr(attribute->attname), name) == 0)
			return heap_getattr(reader->tuple, i + 1, desc, isnull);
	}
	ereport(ERROR, (errcode(ERRCODE_UNDEFINED_COLUMN),
					errmsg("column \"%s\" of table \"%s\" does not exist", name,
						   RelationGetRelationName(reader->rel))));
}

static int32
int_column(const Reader *reader, const char *name, int32 missing)
{
	bool isnull;
	Datum value = column(reader, name, &isnull);

	return isnull ? missing : DatumGetInt32(value);
}

static int32
short_column(const Reader *reader, const char *name, int32 missing)
{
	bool isnull;
	Datum value = column(reader, name, &isnull);

	return isnull ? missing : DatumGetInt16(value);
}

static bool
bool_column(const Reader *reader, const char *name)
{
	bool isnull;
	Datum value = column(reader, name, &isnull);

	return !isnull && DatumGetBool(value);
}

static char *
text_column(const Reader *reader, const char *name)
{
	bool isnull;
	Datum value = column(reader, name, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

/* Microseconds. */
static int64
interval_column(const Reader *reader, const char *name, int64 missing)
{
	bool isnull;
	Datum value = column(reader, name, &isnull);
	const Interval *interval = isnull ? NULL : DatumGetIntervalP(value);

	return interval == NULL ? missing : (int64) penny_interval_us(interval);
}

/* ---- queues ----------------------------------------------------------------------- */

static void
read_queue(const Reader *reader, PennyQueueConfig *queue)
{
	PennyQueueLimits *limits = &queue->limits;
	bool isnull;

	memset(queue, 0, sizeof(*queue));
	queue->id = (uint16) short_column(reader, "id", 0);
	namestrcpy(&queue->name, text_column(reader, "name"));
	limits->exists = true;
	limits->paused = bool_column(reader, "paused");
	limits->urgent = bool_column(reader, "urgent");
	limits->concurrency = int_column(reader, "concurrency", 0);
	limits->rate = int_column(reader, "rate_limit", 0);
	limits->window = interval_column(reader, "rate_window", 0);
	limits->group_concurrency = int_column(reader, "group_concurrency", 0);
	limits->group_rate = int_column(reader, "group_rate_limit", 0);
	limits->group_window = interval_column(reader, "group_rate_window", 0);
	queue->attempts = short_column(reader, "attempts", 1);
	queue->backoff = interval_column(reader, "backoff", 0);
	queue->exponential = strcmp(text_column(reader, "backoff_type"), "exponential") == 0;
	queue->jitter = DatumGetFloat4(column(reader, "jitter", &isnull));
	queue->timeout = interval_column(reader, "timeout", 0);
	queue->keep_completed = int_column(reader, "keep_completed", 0);
	queue->keep_failed = int_column(reader, "keep_failed", 0);
}

int
penny_queue_read_all(PennyQueueConfig **out)
{
	Reader reader;
	int n = 0;

	*out = palloc(sizeof(PennyQueueConfig) * PENNY_SCHED_QUEUES);
	if (!open_table(&reader, "queues"))
		return 0;
	while (n < PENNY_SCHED_QUEUES && next_row(&reader))
		read_queue(&reader, &(*out)[n++]);
	close_table(&reader);
	return n;
}

bool
penny_queue_has_deferred(uint16 queue)
{
	Reader reader;
	bool found = false;

	if (!open_table(&reader, "jobs_deferred"))
		return false;
	while (!found && next_row(&reader))
		found = short_column(&reader, "queue", -1) == (int32) queue;
	close_table(&reader);
	return found;
}

/* ---- handlers ----------------------------------------------------------------------- */

static PennyRunner
runner_of(const char *name)
{
	if (strcmp(name, "sql") == 0)
		return PENNY_RUNNER_SQL;
	return strcmp(name, "webhook") == 0 ? PENNY_RUNNER_WEBHOOK : PENNY_RUNNER_EXTERNAL;
}

static void
read_handler(const Reader *reader, PennyHandler *handler)
{
	const char *access = text_column(reader, "access");

	memset(handler, 0, sizeof(*handler));
	handler->kind = text_column(reader, "kind");
	handler->runner = runner_of(text_column(reader, "runner"));
	handler->function = text_column(reader, "function");
	handler->role = text_column(reader, "role");
	handler->url = text_column(reader, "url");
	handler->secret = text_column(reader, "secret");
	handler->queue = text_column(reader, "queue");
	handler->attempts = short_column(reader, "attempts", 0);
	handler->backoff = interval_column(reader, "backoff", -1);
	handler->timeout = interval_column(reader, "timeout", 0);
	handler->access = strcmp(access, "admin") == 0 ? 'A' : access[0];
	handler->batch = bool_column(reader, "batch");
}

int
penny_handler_read_all(PennyHandler **out)
{
	Reader reader;
	int room = 64;
	int n = 0;

	*out = palloc(sizeof(PennyHandler) * room);
	if (!open_table(&reader, "handlers"))
		return 0;
	while (next_row(&reader))
	{
		if (n == room)
		{
			room *= 2;
			*out = repalloc(*out, sizeof(PennyHandler) * room);
		}
		read_handler(&reader, &(*out)[n++]);
	}
	close_table(&reader);
	return n;
}

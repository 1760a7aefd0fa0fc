/*-------------------------------------------------------------------------
 *
 * storage.h
 *		The tables of the queue as C sees them: opened by a remembered oid, rows
 *		written straight into heap and indexes.
 *
 * Rows are written without a statement: privileges are the caller's business,
 * and triggers and rules that somebody put on these tables are not asked.
 *
 *-------------------------------------------------------------------------
 */
#ifndef PENNY_QUEUE_STORAGE_H
#define PENNY_QUEUE_STORAGE_H

#include "postgres.h"

#include "access/htup.h"
#include "access/tupdesc.h"
#include "storage/lockdefs.h"
#include "utils/relcache.h"
#include "utils/snapshot.h"

#include "queue/queue.h"

typedef enum PennyQueueTable
{
	PENNY_TABLE_JOB, /* the first of eight */
	PENNY_TABLE_RECEIPT = PENNY_TABLE_JOB + PENNY_SEGMENTS,
	PENNY_TABLE_DEFERRED = PENNY_TABLE_RECEIPT + PENNY_SEGMENTS,
	PENNY_TABLE_DEAD,
	PENNY_TABLE_HISTORY,
	PENNY_TABLE_KEYS,
	PENNY_TABLE_EDGES,
	PENNY_TABLE_RESTORED,
	PENNY_TABLE_ID, /* the sequence */
	PENNY_TABLES
} PennyQueueTable;

/* Columns of job_N, of which jobs_deferred has some more. */
enum
{
	JOB_ID,
	JOB_QUEUE,
	JOB_FLAGS,
	JOB_PRIORITY,
	JOB_ATTEMPTS,
	JOB_TIMEOUT,
	JOB_BACKOFF,
	JOB_DUE,
	JOB_ENQUEUED,
	JOB_KIND,
	JOB_PAYLOAD,
	JOB_USER,
	JOB_PARENT,
	JOB_KEY,
	JOB_GROUP,
	JOB_ROOM,
	JOB_COLUMNS,
	JOB_MADE = JOB_COLUMNS,
	JOB_ERRORS,
	JOB_PENDING,
	JOB_ON_CHILD_FAILURE,
	DEFERRED_COLUMNS
};

enum
{
	RECEIPT_ID,
	RECEIPT_LAST_ID,
	RECEIPT_QUEUE,
	RECEIPT_OUTCOME,
	RECEIPT_ATTEMPT,
	RECEIPT_JOBS,
	RECEIPT_STARTED,
	RECEIPT_ENDED,
	RECEIPT_DUE,
	RECEIPT_GROUP,
	RECEIPT_IDS,
	RECEIPT_RESULT,
	RECEIPT_ERROR,
	RECEIPT_WORKER,
	RECEIPT_COLUMNS
};

#define PENNY_TABLE_INDEXES 4
#define PENNY_INDEX_COLUMNS 4

/* An index, as far as it matters here. */
typedef struct PennyIndexShape
{
	Oid oid;
	bool unique;
	bool ready; /* rows are put into it */
	bool valid; /* and it may be read */
	bool partial;
	int ncolumns;
	AttrNumber column[PENNY_INDEX_COLUMNS];
} PennyIndexShape;

/* A table that is open, with its indexes. */
typedef struct PennyOpenTable
{
	PennyQueueTable table;
	Relation relation;
	int nindexes;
	Relation index[PENNY_TABLE_INDEXES];
	PennyIndexShape shape[PENNY_TABLE_INDEXES];
} PennyOpenTable;

/* ---- storage_tables.c --------------------------------------------------------- */

/* InvalidOid: the extension is not here. */
extern Oid penny_queue_table_oid(PennyQueueTable table);
/* Lock and open; an error when it is not there or is not as penny made it. */
extern void penny_table_open(PennyOpenTable *open, PennyQueueTable table, LOCKMODE mode);
/* The lock stays until the end of the transaction. */
extern void penny_table_close(PennyOpenTable *open);
/* Insert a row, where there is nothing to know of its table; gives where it lies. */
extern HeapTuple penny_table_insert(PennyOpenTable *open, Datum *values, bool *isnull);
/* Index entries of a row that is in the heap. */
extern void penny_table_index(PennyOpenTable *open, HeapTuple row, Datum *values, bool *isnull);
/* Replace or delete a row that this transaction saw with `snapshot`. */
extern void penny_table_update(PennyOpenTable *open, HeapTuple old, Datum *values, bool *isnull);
extern void penny_table_delete(PennyOpenTable *open, HeapTuple old);

/* Rows by index, whose first column is `column` (from 0); the first nkeys columns are equal. */
typedef struct PennyTableScan PennyTableScan;
extern PennyTableScan *penny_table_scan(PennyOpenTable *open, int column, Snapshot snapshot,
										int nkeys, const Datum *keys);
/* Rows whose `column`, a bigint or timestamp, is at least `from`, in its order. */
extern PennyTableScan *penny_table_scan_from(PennyOpenTable *open, int column, Snapshot snapshot,
											 int64 from);
/* Likewise at most `to`; to be read from the end. */
extern PennyTableScan *penny_table_scan_to(PennyOpenTable *open, int column, Snapshot snapshot,
										   int64 to);
extern Relation penny_table_index_on(PennyOpenTable *open, int column);
extern bool penny_table_next(PennyTableScan *scan, HeapTuple *row);
/* From the end: the last of the same keys first. */
extern bool penny_table_previous(PennyTableScan *scan, HeapTuple *row);
extern void penny_table_scan_end(PennyTableScan *scan);

/* Of the eight, for any number that somebody may take for an id. */
static inline int
penny_table_number(int64 id)
{
	return (int) ((uint64) penny_segment_of(id) % PENNY_SEGMENTS);
}

static inline PennyQueueTable
penny_job_table(int64 id)
{
	return (PennyQueueTable) (PENNY_TABLE_JOB + penny_table_number(id));
}

static inline PennyQueueTable
penny_receipt_table(int64 id)
{
	return (PennyQueueTable) (PENNY_TABLE_RECEIPT + penny_table_number(id));
}

/* ---- storage_rows.c -------------------------------------------------------------- */

/* Values of job_N (JOB_COLUMNS) or of jobs_deferred (DEFERRED_COLUMNS). */
extern void penny_job_values(const PennyJobRow *row, Datum *values, bool *isnull, int columns);
extern void penny_job_from_tuple(HeapTuple tuple, TupleDesc desc, bool deferred, PennyJobRow *row);
/* What the scheduler wants to know of a row. */
extern void penny_job_entry(const PennyJobRow *row, ItemPointer tid, PennyJob *job);
/* The same from a tuple, looking at no more of it than that needs. */
extern void penny_job_entry_from_tuple(HeapTuple tuple, TupleDesc desc, bool deferred,
									   PennyJob *job);

/* ---- segment.c -------------------------------------------------------------------- */

#define PENNY_ROTATE_PAUSE (INT64CONST(60) * USECS_PER_SEC) /* between looks at segments */

/*
 * May rows of this id's segment be written into its table, on which the caller
 * holds a lock?  False: it holds another segment.
 */
extern bool penny_segment_usable(PennyOpenTable *open, int64 id);
/* Segment whose rows the table holds, dead ones too; -1: it is empty. */
extern int64 penny_segment_in_table(PennyOpenTable *open);
/* Under the queue's lock: have bits for this segment. */
extern bool penny_segment_open(int64 segment, int64 now);

#endif /* PENNY_QUEUE_STORAGE_H */
